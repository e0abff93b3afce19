"""Block strings: one line of text for one stage of a mobile network.

The notation is that of Google's MnasNet code and of timm: tokens joined by
underscores, the block type first.

====== =======================================================================
token  meaning
====== =======================================================================
``ds`` block type: depthwise-separable convolution, no expansion
``ir`` block type: inverted residual (expansion, depthwise, projection)
``r``  repeats; the stride is the first block's alone
``k``  depthwise kernel size
``s``  stride
``e``  expansion: the depthwise width over the block's input channels
``i``  *declared* input channels, where they differ from what really comes in;
       the residual rule compares these (see :class:`BlockSpec`)
``c``  output channels at a width multiplier of 1
``se`` squeeze-excite width over the block's input channels
``noskip`` never a residual
====== =======================================================================

Sources: ``MnasNetDecoder`` in tensorflow/tpu
``models/official/mnasnet/mnasnet_models.py`` (there ``o`` for output channels,
and a stride a side); timm ``_efficientnet_builder.py``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from genmobilenet.errors import ArchitectureError

BLOCK_TYPES = {"ds": "depthwise separable", "ir": "inverted residual"}

_TOKEN = re.compile(r"(se|[rkseic])(\d+(?:\.\d+)?)")
_FIELDS = {
    "r": ("repeats", int),
    "k": ("kernel", int),
    "s": ("stride", int),
    "e": ("expansion", float),
    "i": ("declared_in", int),
    "c": ("channels", int),
    "se": ("se_ratio", float),
}


@dataclass(frozen=True)
class BlockSpec:
    """One stage: ``repeats`` blocks of one type.

    ``declared_in`` is None where the stage says nothing of its input. Google's
    code adds a residual where stride is 1 and the *declared* input width
    equals the output width; mnasnet-small declares 16 for a stage that gets 8,
    and so has no residual where the shapes alone would suggest one.
    """

    type: str
    repeats: int
    kernel: int
    stride: int
    expansion: float
    channels: int
    se_ratio: float = 0.0
    declared_in: int | None = None
    skip: bool = True

    def format(self) -> str:
        """The block string; ``parse_block`` of it gives this spec again."""
        tokens = [
            self.type,
            f"r{self.repeats}",
            f"k{self.kernel}",
            f"s{self.stride}",
            f"e{self.expansion:g}",
        ]
        if self.declared_in is not None:
            tokens.append(f"i{self.declared_in}")
        tokens.append(f"c{self.channels}")
        if self.se_ratio:
            tokens.append(f"se{self.se_ratio:g}")
        if not self.skip:
            tokens.append("noskip")
        return "_".join(tokens)


def parse_block(text: str) -> BlockSpec:
    """Parse one block string.

    Raises:
        ArchitectureError: a token is unknown, given twice or missing, or a
            value makes no sense; the message quotes the token and the string.
    """
    head, *tokens = text.split("_")
    if head not in BLOCK_TYPES:
        known = ", ".join(f"{name} ({what})" for name, what in BLOCK_TYPES.items())
        raise ArchitectureError(f"{text!r}: unknown block type {head!r}; known are {known}")
    values: dict[str, int | float | bool] = {}
    for token in tokens:
        name, value = _parse_token(token, text)
        if name in values:
            raise ArchitectureError(f"{text!r}: {name} is given twice, again by {token!r}")
        values[name] = value
    return _checked(head, values, text)


def _parse_token(token: str, text: str) -> tuple[str, int | float | bool]:
    if token == "noskip":
        return "skip", False
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise ArchitectureError(
            f"{text!r}: unknown token {token!r}; expected one of "
            f"{', '.join(_FIELDS)} with a number, or noskip"
        )
    name, kind = _FIELDS[match[1]]
    try:
        return name, kind(match[2])
    except ValueError:
        raise ArchitectureError(f"{text!r}: {token!r} takes a whole number") from None


def _checked(head: str, values: dict[str, int | float | bool], text: str) -> BlockSpec:
    if head == "ds":
        values.setdefault("expansion", 1.0)
    missing = {"repeats", "kernel", "stride", "expansion", "channels"} - set(values)
    if missing:
        raise ArchitectureError(f"{text!r}: no token for {', '.join(sorted(missing))}")
    zero = [name for name, value in values.items() if name != "skip" and value <= 0]
    if zero:
        raise ArchitectureError(f"{text!r}: {zero[0]} must be above zero")
    if head == "ds" and values["expansion"] != 1:
        raise ArchitectureError(f"{text!r}: a depthwise-separable block has no expansion; use ir")
    fields: dict[str, Any] = dict(values)  # names and types come from _FIELDS
    return BlockSpec(type=head, **fields)


def round_channels(channels: float, divisor: int = 8, limit: float = 0.9) -> int:
    """Round a scaled width to a multiple of ``divisor``, at least ``divisor``.

    One step up where rounding would lose more than 10 %. Source:
    ``round_filters`` in tensorflow/tpu ``mnasnet_model.py``; the same rule is
    ``_make_divisible`` in slim's MobileNet code.
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < limit * channels else rounded
