"""Padding of convolutions, in a graph or in a network."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pads:
    """Zeros added at each side: rows (top, bottom) and columns (left, right)."""

    rows: tuple[int, int]
    columns: tuple[int, int]

    def __str__(self) -> str:
        return f"rows {self.rows}, columns {self.columns}"

    def __add__(self, other: Pads) -> Pads:
        return Pads(
            (self.rows[0] + other.rows[0], self.rows[1] + other.rows[1]),
            (self.columns[0] + other.columns[0], self.columns[1] + other.columns[1]),
        )


NO_PADS = Pads((0, 0), (0, 0))


def same_pads(
    sides: tuple[int, ...], reach: tuple[int, int], stride: tuple[int, int]
) -> Pads | None:
    """What SAME padding adds to an image of ``sides`` (height, width).

    None where a side is open (below 1), unless it does not matter.
    """
    pads = []
    for side, length, step in zip(sides, reach, stride, strict=True):
        if step < 1 or (side < 1 and step > 1):
            return None
        pads.append(same_pad(max(side, 1), length, step))
    return Pads(*pads)


def same_pad(side: int, reach: int, stride: int) -> tuple[int, int]:
    """What SAME padding adds before and after one side, for a kernel that spans ``reach`` pixels.

    Source: the notes on padding at https://www.tensorflow.org/api_docs/python/tf/nn.
    """
    total = max((-(-side // stride) - 1) * stride + reach - side, 0)
    return total // 2, total - total // 2


@dataclass(frozen=True)
class Padding:
    """How a convolution pads.

    ``rule`` is ``SAME`` or ``VALID``, ``before`` an explicit padding in front of it. ``sides`` are
    (height, width) of the data in front of both, below 1 where they are open; ``reach`` is how many
    places the kernel spans with its dilation.
    """

    rule: str
    before: Pads
    sides: tuple[int, ...]
    reach: tuple[int, int]
    stride: tuple[int, int]

    @property
    def pads(self) -> Pads | None:
        """All zeros that are added; None where that depends on a size that is not known."""
        if self.rule != "SAME":
            return self.before
        sides = tuple(
            side + sum(ends) if side > 0 else side
            for side, ends in zip(self.sides, (self.before.rows, self.before.columns), strict=True)
        )
        own = same_pads(sides, self.reach, self.stride)
        return None if own is None else own + self.before

    def fits(self, padding: str) -> bool:
        """Whether ``padding``, ``same`` (TensorFlow) or ``symmetric`` (PyTorch), adds the same."""
        if self.before == NO_PADS and self.reach == (1, 1):
            return True  # a kernel of one place needs no padding, whatever the side
        plain_same = self.rule == "SAME" and self.before == NO_PADS
        # At stride 1 the two are equal for any side.
        if plain_same and (padding == "same" or self.stride == (1, 1)):
            return True
        if padding == "symmetric":
            rows, columns = ((length - 1) // 2 for length in self.reach)
            return self.pads == Pads((rows, rows), (columns, columns))
        if self.rule == "SAME":
            return False
        return min(self.sides) > 0 and self.before == same_pads(self.sides, self.reach, self.stride)

    def __str__(self) -> str:
        behind = "" if self.before == NO_PADS else f" behind an explicit one of {self.before}"
        return f"padding {self.rule}{behind}"
