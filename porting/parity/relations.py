"""What relates two arrays of weights that differ: a table of the ways in which ports go wrong.

Only arrays are used here. Each relation is a function from a :class:`Pair` to the words
for it, None where it does not hold; :func:`relation_of` tries them in order, from
those that leave nothing over to "unrelated", which holds of any two.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import numpy as np

ROUNDINGS = 4
"""Units in the last place by which a product or a folded batch norm may be off: a few roundings."""

UNIT = 2.0**-23
"""The last place of 1 in float32."""

_ROUNDED_BY = {None: 0.0, "float16": 1.25 * 2.0**-11, "bfloat16": 1.25 * 2.0**-8}
"""How far, of itself, a value may be moved by rounding it to a precision, and a quarter more:
factors are worked out from rounded values too."""

_TINY = {None: 2.0**-147, "float16": 2.0**-25, "bfloat16": 2.0**-134}
"""The same of the least values of each precision, where relative errors mean nothing."""

NEAR = 0.5
"""Relative distance up to which values are called near: half of them is the source's. Values that
have nothing to do with each other are 1.4 apart."""

_FEW = 4
"""Values from which on a factor or a summand common to all of them is no chance."""

_GLANCE = 512
"""Elements, evenly spaced, that are looked at before all are."""

AXES = {4: "oihw", 2: "oi", 1: "c"}
"""Letters of a weight's axes by their number, as in :mod:`porting.mapping.layouts`."""

_CHANNELS = ("output", "input")


@dataclass(frozen=True, eq=False)
class Pair:
    """A port's values of one key and the source's, of one shape, with PyTorch's axes.

    ``terms`` are the sizes of what the source's values are sums of, where they are
    (a folded bias is the difference of two); by default the values' own.
    """

    port: np.ndarray
    source: np.ndarray
    terms: np.ndarray | None = None

    @cached_property
    def precisions(self) -> tuple[str, ...]:
        """Lower precisions that the port's values are all of, and the source's are not."""
        if not self.in_singles:
            return ()
        return tuple(
            name
            for name, holds in _PRECISIONS.items()
            if holds(self.port) and not holds(self.source)
        )

    @property
    def precision(self) -> str | None:
        """The lowest of them."""
        return next(iter(self.precisions), None)

    @cached_property
    def doubles(self) -> tuple[np.ndarray, np.ndarray]:
        """Both in float64: the port's, the source's."""
        return self.port.astype(np.float64), self.source.astype(np.float64)

    @cached_property
    def distance(self) -> float:
        """The norm of the difference over the source's; infinite where the source is 0."""
        port, source = self.doubles
        with np.errstate(all="ignore"):
            norm = float(np.square(source).sum())
            return math.sqrt(np.square(port - source).sum() / norm) if norm else math.inf

    @cached_property
    def farthest(self) -> tuple[int, ...]:
        """Where the difference is largest."""
        port, source = self.doubles
        with np.errstate(all="ignore"):
            # What is not finite on one side alone is farther than anything.
            difference = np.nan_to_num(np.abs(port - source), nan=np.inf, posinf=np.inf)
        return tuple(int(i) for i in np.unravel_index(int(difference.argmax()), port.shape))

    @property
    def in_singles(self) -> bool:
        """Whether both are float32, so that equality to the last bit means something."""
        return self.port.dtype == self.source.dtype == np.float32

    @property
    def constant(self) -> bool:
        """Whether the port has one value everywhere."""
        return self.port.size > 1 and bool((self.port == self.port.flat[0]).all())

    @cached_property
    def equal(self) -> bool:
        """Whether the two are equal but for a few roundings of float32."""
        return self.precision is None and self.fits(self.doubles[1])

    @cached_property
    def same_bits(self) -> bool:
        """Whether both may hold the same values, in whatever order: their sums of bits agree."""
        if not self.in_singles:
            return False
        return bit_sum(self.port) == bit_sum(self.source)

    def fits(self, expected: np.ndarray, factor: float = 1.0) -> bool:
        """Whether the port's values are ``expected``, but for a few roundings.

        ``factor`` is what the source's were multiplied by to get there.
        """
        part, least = ROUNDINGS * UNIT + _ROUNDED_BY[self.precision], _TINY[self.precision]
        terms = self.doubles[1] if self.terms is None else self.terms
        arrays = [values.ravel() for values in (self.doubles[0], expected, terms)]
        # Most do not fit at the first glance.
        for step in (self.port.size // _GLANCE or 1, 1):
            port, there, size = (values[::step] for values in arrays)
            with np.errstate(all="ignore"):
                room = part * np.maximum(abs(factor) * np.abs(size), np.abs(there)) + least
                # Written so that NaN does not fit.
                if not ((np.abs(port - there) <= room) & np.isfinite(room)).all():
                    return False
        return True


@dataclass(frozen=True)
class Relation:
    """What relates a pair: its name in :data:`RELATIONS`, and words that follow "is" or "are"."""

    name: str
    text: str


def relation_of(pair: Pair) -> Relation:
    """The first relation that holds."""
    with np.errstate(all="ignore"):  # what overflows fits nothing
        for name, kind in RELATIONS.items():
            text = kind.words(pair)
            if text is not None:
                return Relation(name, text)
    raise AssertionError("the last relation holds of any pair")


def bit_sum(values: np.ndarray) -> int:
    """The sum of float32 values read as integers: the same in whatever order they are."""
    return int(values.view(np.int32).sum(dtype=np.int64))


def bits_equal(left: np.ndarray, right: np.ndarray) -> bool:
    """Whether two float32 arrays of one shape are equal to the last bit."""
    return bool((left.view(np.int32) == right.view(np.int32)).all())


def _in_bfloat16(values: np.ndarray) -> bool:
    return not (values.view(np.uint32) & 0xFFFF).any()


def _in_float16(values: np.ndarray) -> bool:
    return np.array_equal(_as_float16(values), values)


_PRECISIONS = {"bfloat16": _in_bfloat16, "float16": _in_float16}
"""Whether float32 values are all of a lower precision: their last bits are 0."""


def _rounding(pair: Pair) -> str | None:
    return "equal to the source's within float32 rounding" if pair.equal else None


def _not_finite(pair: Pair) -> str | None:
    wrong = ~np.isfinite(pair.port)
    count = int(wrong.sum())
    if not count:
        return None
    place = np.unravel_index(int(wrong.argmax()), wrong.shape)
    return f"not finite in {count} of {wrong.size} elements, {_at(place)} first"


def _rounded_relation(pair: Pair) -> str | None:
    if "bfloat16" in pair.precisions:
        bits = pair.source.view(np.uint32)
        # To the nearest, ties to even: half of the last place, and a bit more where that is odd.
        nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
        if np.array_equal(pair.port.view(np.uint32), nearest):
            return "the source's rounded to bfloat16"
        if np.array_equal(pair.port.view(np.uint32), bits & np.uint32(0xFFFF0000)):
            return "the source's cut off to bfloat16"
    if "float16" in pair.precisions and np.array_equal(pair.port, _as_float16(pair.source)):
        return "the source's rounded to float16"
    return None


def _opposite_sign(pair: Pair) -> str | None:
    if not pair.fits(-pair.doubles[1]):
        return None
    return "the source's with the sign turned" + _in_precision(pair)


def _constant(pair: Pair) -> str | None:
    value, other = pair.port.flat[0], pair.source.flat[0]
    if not pair.constant:
        return None
    too = (pair.source == other).all()
    return f"{value:.7g} everywhere" + (f", the source's {other:.7g} everywhere" if too else "")


def _ratio(pair: Pair) -> str | None:
    source = pair.doubles[1]
    places = np.flatnonzero(source)
    if len(places) < _FEW:
        return None
    places = places[:: len(places) // _GLANCE or 1]
    few, others = pair.doubles[0].flat[places], source.flat[places]
    factor = float((few * others).sum() / (others * others).sum())
    if not pair.fits(factor * source, factor):
        return None
    in_lower_precision = pair.precision is not None
    return f"{factor:.{3 if in_lower_precision else 7}g} times the source's" + _in_precision(pair)


def _in_precision(pair: Pair) -> str:
    return "" if pair.precision is None else f", rounded to {pair.precision}"


def _offset(pair: Pair) -> str | None:
    port, source = pair.doubles
    if source.size < _FEW:
        return None
    # Where what is summed is smallest the least of the summand is lost.
    place = int((np.abs(port) + np.abs(source if pair.terms is None else pair.terms)).argmin())
    summand = float(port.flat[place] - source.flat[place])
    if not pair.fits(source + summand):
        return None
    sign = "minus" if summand < 0 else "plus"
    return f"the source's {sign} {abs(summand):.4g}" + _in_precision(pair)


def _ratio_by_channel(pair: Pair) -> str | None:
    for axis, channels in enumerate(_CHANNELS if pair.port.ndim > 1 else ()):
        factors = channel_factors(pair, axis)
        if factors is not None:
            return _factors_in_words(factors, channels) + _in_precision(pair)
    return None


def channel_factors(pair: Pair, axis: int) -> np.ndarray | None:
    """How many times the source's each channel (C,) along an axis is; None where one is not."""
    count = pair.port.shape[axis]
    port, source = (np.moveaxis(values, axis, 0).reshape(count, -1) for values in pair.doubles)
    # A single value is a multiple of any other.
    if np.count_nonzero(source) < 2 * count:
        return None
    squares = (source * source).sum(1)
    factors = np.divide((port * source).sum(1), squares, out=np.ones(count), where=squares > 0)
    shape = [1] * pair.port.ndim
    shape[axis] = count
    spread = factors.reshape(shape)
    return factors if pair.fits(spread * pair.doubles[1]) else None


def _factors_in_words(factors: np.ndarray, channels: str) -> str:
    scaled_channels = np.flatnonzero(np.abs(factors - 1) > ROUNDINGS * UNIT)
    if len(scaled_channels) == 1:
        place = int(scaled_channels[0])
        return f"the source's with {channels} channel {place} multiplied by {factors[place]:.7g}"
    least, largest = factors[scaled_channels].min(), factors[scaled_channels].max()
    return (
        f"the source's with {len(scaled_channels)} of {len(factors)} {channels} channels "
        f"multiplied, each by a number of its own ({least:.3g} to {largest:.3g}), as a batch "
        "norm or its folding does"
    )


def _channels_moved(pair: Pair) -> str | None:
    if not pair.same_bits:
        return None
    count = min(pair.port.ndim, 2)
    names = _CHANNELS if count == 2 else ("",)
    for axis in range(count):
        order = _order(_rows(pair.port, axis), _rows(pair.source, axis))
        if order is not None:
            return f"the source's with {_order_in_words(order, names[axis])}"
    return _both_moved(pair) if count == 2 else None


def _both_moved(pair: Pair) -> str | None:
    """Output and input channels at once: a row is known by its values, whatever their order."""
    sides = pair.port.shape[:2]
    port, source = (v.reshape(*sides, -1) for v in (pair.port, pair.source))
    outer = _order(_rows(np.sort(port, 1), 0), _rows(np.sort(source, 1), 0))
    if outer is None:
        return None
    inner = _order(_rows(port, 1), _rows(source[outer], 1))
    if inner is None:
        return None
    words = (_order_in_words(outer, "output"), _order_in_words(inner, "input"))
    return f"the source's with {words[0]}, and {words[1]}"


def _rows(values: np.ndarray, axis: int) -> list[bytes]:
    """The bytes of each channel along an axis."""
    return [row.tobytes() for row in np.moveaxis(values, axis, 0)]


def _order(port: list[bytes], source: list[bytes]) -> np.ndarray | None:
    """Which of the source's each of the port's is; None where one is none of them."""
    if port == source:
        return None
    places = defaultdict(list)
    for place in reversed(range(len(source))):
        if source[place] != port[place]:
            places[source[place]].append(place)
    order = np.arange(len(port))
    for place, row in enumerate(port):
        if row != source[place]:
            if not places[row]:
                return None
            order[place] = places[row].pop()
    return order


def _order_in_words(order: np.ndarray, channels: str) -> str:
    count, kind = len(order), f"{channels} channels".strip()
    places = np.flatnonzero(order != np.arange(count))
    if len(places) == 2:
        colours = " (BGR for RGB)" if (count, channels) == (3, "input") and not places[0] else ""
        return f"{kind} {places[0]} and {places[1]} exchanged{colours if places[1] == 2 else ''}"
    if np.array_equal(order, np.arange(count)[::-1]):
        return f"its {count} {kind} in reverse"
    shift = -int(order[0]) % count
    if np.array_equal(order, np.roll(np.arange(count), shift)):
        return f"its {count} {kind} moved on by {min(shift, shift - count, key=abs)}, in a ring"
    for groups in range(2, count):
        if count % groups == 0 and np.array_equal(order, _dealt(count, groups)):
            return (
                f"its {kind} dealt out as {groups} x {count // groups} in place of "
                f"{count // groups} x {groups}, as where a depthwise multiplier comes first"
            )
    first = int(places[0])
    return (
        f"{len(places)} of its {count} {kind} in other places, the source's {order[first]} first, "
        f"at {first}"
    )


def _dealt(count: int, groups: int) -> np.ndarray:
    return np.arange(count).reshape(-1, groups).T.ravel()


_TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rotated by 180 degrees": lambda kernel: kernel[..., ::-1, ::-1],
    "mirrored left to right": lambda kernel: kernel[..., ::-1],
    "mirrored top to bottom": lambda kernel: kernel[..., ::-1, :],
    "rotated by 90 degrees": lambda kernel: np.rot90(kernel, 1, (-2, -1)),
    "rotated by 270 degrees": lambda kernel: np.rot90(kernel, 3, (-2, -1)),
}
"""Ways to turn a kernel (O, I, h, w)."""

_EXCHANGED = {
    (1, 0): "input and output channels exchanged",
    (1, 0, 2, 3): "input and output channels exchanged",
    (0, 1, 3, 2): "h and w exchanged",
    (1, 0, 3, 2): "input and output channels exchanged, and h and w",
}


def _axes_moved(pair: Pair) -> str | None:
    if not pair.same_bits or pair.port.ndim not in (2, 4):
        return None
    port, source = pair.port, pair.source
    for axes in list(permutations(range(port.ndim)))[1:]:
        permutation = source.transpose(axes)
        letters = " ".join(AXES[port.ndim][axis] for axis in axes if source.shape[axis] > 1)
        if permutation.shape == port.shape and np.array_equal(permutation, port):
            return f"the source's with {_EXCHANGED.get(axes, f'its axes in the order {letters}')}"
        if np.array_equal(permutation.ravel(), port.ravel()):
            return f"the source's values in the order {letters}, reshaped and not transposed"
    turns = _TURNS.items() if port.ndim == 4 else ()
    for words, turn in turns:
        rotation = turn(source)
        if rotation.shape == port.shape and np.array_equal(rotation, port):
            return f"the source's, each kernel {words}"
    return None


def _other_order(pair: Pair) -> str | None:
    if pair.same_bits and np.array_equal(np.sort(pair.port, None), np.sort(pair.source, None)):
        return "the source's values in another order"
    return None


_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "the square root of the source's": np.sqrt,
    "the source's squared": np.square,
    "1 over the source's": np.reciprocal,
    "1 over the square root of the source's": lambda values: 1 / np.sqrt(values),
    "the source's without signs": np.abs,
}
"""What a statistic may have been mistaken for: a deviation for a variance, and the reverse."""


def _function(pair: Pair) -> str | None:
    source = pair.doubles[1]
    for words, function in _FUNCTIONS.items():
        expected = function(source)
        if pair.source.size >= _FEW and pair.fits(expected, 0.0):
            return words
    return None


def _some_elements(pair: Pair) -> str | None:
    if not pair.in_singles:
        return None
    differ = pair.port.view(np.int32) != pair.source.view(np.int32)
    count = int(differ.sum())
    if count > differ.size // 2:
        return None
    place = tuple(int(i) for i in np.unravel_index(int(differ.argmax()), differ.shape))
    return f"the source's but for {count} of {differ.size} elements, {_values_at(pair, place)}"


def _near(pair: Pair) -> str | None:
    return f"near the source's, {_how_far(pair)}" if pair.distance <= NEAR else None


def _no_relation(pair: Pair) -> str:
    return f"unrelated to the source's: {_how_far(pair)}"


def _how_far(pair: Pair) -> str:
    values = _values_at(pair, pair.farthest)
    if not np.isfinite(pair.distance):
        return f"that is 0 everywhere; {values}"
    return f"{100 * pair.distance:.2g} % of its norm away, {values}"


def _values_at(pair: Pair, place: tuple[int, ...]) -> str:
    return f"{pair.port[place]:.4g} for {pair.source[place]:.4g} at {_at(place)}"


def _at(place: tuple[np.intp | int, ...]) -> str:
    return f"[{', '.join(str(int(i)) for i in place)}]"


def _as_float16(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float32)


@dataclass(frozen=True)
class RelationKind:
    """A relation: the words for a pair that has it, and for several of which each has its own."""

    words: Callable[[Pair], str | None]
    plural: str


RELATIONS: dict[str, RelationKind] = {
    "not finite": RelationKind(_not_finite, "not finite in some elements"),
    "rounding": RelationKind(_rounding, "equal to the source's within float32 rounding"),
    "rounded": RelationKind(_rounded_relation, "the source's rounded to another precision"),
    "constant": RelationKind(_constant, "the same everywhere"),
    "negated": RelationKind(_opposite_sign, "the source's with the sign turned"),
    "ratio": RelationKind(_ratio, "multiples of the source's"),
    "offset": RelationKind(_offset, "the source's and a summand"),
    "ratio by channel": RelationKind(_ratio_by_channel, "the source's with channels multiplied"),
    "channels moved": RelationKind(_channels_moved, "the source's with channels in other places"),
    "axes moved": RelationKind(_axes_moved, "the source's with axes or kernels turned"),
    "reordered": RelationKind(_other_order, "the source's values in another order"),
    "function": RelationKind(_function, "functions of the source's"),
    "elements": RelationKind(_some_elements, "the source's but for some elements"),
    "near": RelationKind(_near, "near the source's"),
    "unrelated": RelationKind(_no_relation, "unrelated to the source's"),
}
"""Relations by name, in the order in which they are tried."""
