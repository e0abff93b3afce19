"""What a port expects of its input, how that is known, and how surely.

A file's input is not always what its network's first layer takes. Bytes may stand for real numbers
by a scale and a zero point, and the graph may add to and multiply what comes in. An
:class:`InputRange` says how RGB pixels 0..255 become what the file's own input stands for,
:class:`Steps` what the graph or the first layers compute of it, and an :class:`InputConvention` is
the two put together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from porting.errors import BadInput, BadSource
from porting.graph.from_source import SUB_FROM
from porting.graph.operators import stored_name, takes_channels_first
from porting.mapping.families import ASSUMED, ROUNDED, Affine, family_of
from porting.mapping.match import Match
from porting.mapping.recognise import candidates
from porting.sources.source import Source, TensorInfo

Certainty = Literal["proved", "stated", "assumed", "unknown"]
"""How sure a convention is. ``proved``: the file says it, or it is a published source whose authors
do. ``stated``: the user does. ``assumed``: the file leaves it open, and it is as for others like
it. ``unknown``: there is nothing like it either."""

BYTES = ("uint8", "int8")
"""Types in which an image's bytes are the input: as they are, or less 128."""

_WHOLE = (*BYTES, "uint16", "int16", "uint32", "int32", "uint64", "int64")

RANGES = ((0.0, 255.0), (0.0, 1.0), (-1.0, 1.0))
"""Usual ranges of images in float."""

GREY_LEVEL = 1.0
"""Largest difference, in pixels 0..255, of two conventions that count as one: that between
(x - 127.5) / 127.5 and (x - 128) / 128, its quantised form."""

_QUANTISED_RANGES = (*RANGES, (-128.0, 127.0))

NOTHING_SAYS_SO = "nothing in the file says so"

_BY_ITSELF = "the network normalises by itself"


@dataclass(frozen=True)
class InputRange:
    """RGB pixels 0..255 become a source's input by ``(x - mean) / std``, a number a channel.

    ``how`` says of the input what it is and by what that is known; ``proved`` whether the file
    itself says it; ``unknown`` whether it says so little that several ranges are as likely.
    ``from_metadata`` marks what stands beside the graph, and may be left from another model.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    how: str
    proved: bool
    unknown: bool = False
    from_metadata: bool = False

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """What pixels 0 and 255 become, (C,) each, in float64."""
        mean, std = np.asarray(self.mean), np.asarray(self.std)
        return -mean / std, (255.0 - mean) / std


@dataclass(frozen=True)
class Steps:
    """What a source makes of its input before the network's first layer: ``x * scale + offset``.

    Both are float64, (1,) or one number a channel. ``kinds`` are the steps by name, none where
    there are none; ``what`` says it in words.
    """

    scale: np.ndarray
    offset: np.ndarray
    kinds: tuple[str, ...]
    what: str


@dataclass(frozen=True)
class InputConvention:
    """RGB pixels 0..255 become the network's input by ``(x - mean) / std``.

    ``size`` is the side in pixels for which the source was made. ``evidence``
    says how the convention is known, ``certainty`` how surely. ``preprocessing`` says how the
    family's authors make pixels of an image file, which no source tells.

    ``source_mean`` and ``source_std`` turn the same pixels into what the source's own input
    stands for, before it normalises or after it has read its integers as real numbers; where it
    does neither they are ``mean`` and ``std``.
    """

    size: int
    channels: int
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    evidence: str
    preprocessing: str
    certainty: Certainty = "assumed"
    source_mean: tuple[float, ...] = ()
    source_std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.source_mean:
            object.__setattr__(self, "source_mean", self.mean)
            object.__setattr__(self, "source_std", self.std)

    @property
    def takes_bytes(self) -> bool:
        """Whether its source takes integers."""
        return self.preprocessing.endswith(ROUNDED)

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels 0..255, (..., channels), to the network's input in float32."""
        return _affine(pixels, self.mean, self.std)

    def as_source_input(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels 0..255, (..., channels), to what the source's own input stands for, in float32."""
        return _affine(pixels, self.source_mean, self.source_std)

    def taken_in(self) -> InputConvention:
        """The convention of a network that normalises by itself: pixels as they are."""
        none, one = (0.0,) * self.channels, (1.0,) * self.channels
        evidence = f"{_BY_ITSELF}; for the source: {self.evidence}"
        return replace(self, mean=none, std=one, evidence=evidence)

    def restated(self, by_user: Affine, where: str) -> InputConvention:
        """The card's convention at ``where`` with the user's mean and deviation.

        Raises:
            BadInput: the card's is proved, or the network normalises by itself, and they differ.
        """
        user = _range_of_user(by_user, self.channels)
        if same(InputRange(self.mean, self.std, "", False), user):
            return self
        options = f"--mean {_list(user.mean)} --std {_list(user.std)}"
        if self.certainty == "proved" or self.evidence.startswith(_BY_ITSELF):
            raise BadInput(
                f"{where}: {options} contradict its card, by which RGB 0..255 are to be "
                f"{affine_text(self.mean, self.std)}: {self.evidence}. Leave the two options out"
            )
        return replace(
            self, mean=user.mean, std=user.std, evidence=f"the user's: {options}",
            certainty="stated", source_mean=(), source_std=(),
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Plain data for the release file."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> InputConvention:
        """The convention of a card; cards of earlier versions lack some fields.

        Raises:
            TypeError: it has other fields, or lacks one.
        """
        lists = {name: tuple(v) for name, v in data.items() if isinstance(v, (list, tuple))}
        return cls(**{**data, **lists})


def convention_of(source: Source, match: Match, by_user: Affine | None = None) -> InputConvention:
    """The convention of a source, by its file, else by the user, else as usual in its family.

    What the file's input stands for and what the graph makes of it are put together. ``by_user``
    is mean and deviation of RGB 0..255 for the network's first layer, as the user states them.

    Raises:
        BadInput: the user's convention contradicts the file's, or has another number of channels.
    """
    ends = match.ends
    network: Match | None = match
    if match.architecture is None:
        # The module's name says nothing; the source may be one of a known network's.
        network = next(candidates(source, match.plan.weight_set), None)
    known_family = None if network is None else family_of(network.model)
    family = known_family or ASSUMED
    mean, std = (
        values if ends.channels == len(values) else (float(np.mean(values)),) * ends.channels
        for values in family.affine
    )
    steps = steps_of(source, match.normalisation)
    entry_spec = _without_user(source, steps, (mean, std), known_family is not None)
    if by_user is not None:
        entry_spec = _with_user(source, steps, entry_spec, _range_of_user(by_user, ends.channels))
    entry, certainty, evidence = entry_spec
    if takes_channels_first(source):
        evidence += "; the source's own input is NCHW"
    whole = composed(entry, steps.scale, steps.offset)
    preprocessing, info = family.preprocessing(ends.side), input_info(source)
    if info is not None and {info.stored_as, info.dtype} & set(BYTES):
        preprocessing += ROUNDED
    return InputConvention(
        ends.side, ends.channels, ends.classes, whole.mean, whole.std, evidence, preprocessing,
        certainty, entry.mean, entry.std,
    )  # fmt: skip


def normalises_inside(source: Source, match: Match) -> bool:
    """Whether a source normalises pixels itself, in its graph or by a layer."""
    return bool(steps_of(source, match.normalisation).kinds)


_EntrySpec = tuple["InputRange", Certainty, str]
"""What the source's own input stands for, how surely that is known, and the evidence."""


def _without_user(source: Source, steps: Steps, usual: Affine, is_known: bool) -> _EntrySpec:
    """By the file, else by what the family's authors publish, else as usual in the family."""
    by_file = range_by_file(source, len(usual[0]), steps.scale, steps.offset)
    if by_file is not None:
        certainty: Certainty = "proved" if by_file.proved else "assumed"
        return by_file, certainty, f"{steps.what}, {by_file.how}"
    as_usual = before(InputRange(*usual, "", False), steps.scale, steps.offset)
    if source.documented_as is not None and is_known:
        code = f"the family's training code, as published with {source.documented_as}"
        return as_usual, "proved", f"{steps.what} ({code})" if steps.kinds else code
    if steps.kinds:
        likely = likely_range(steps.scale, steps.offset, len(usual[0]), usual)
        return likely, "unknown" if likely.unknown else "assumed", f"{steps.what}, {likely.how}"
    if not is_known:
        nothing = "neither the file nor a known network says what it takes; [-1, 1] is taken"
        return as_usual, "unknown", f"{nothing}; --mean and --std say it"
    return as_usual, "assumed", f"assumed as in the family's training code; {NOTHING_SAYS_SO}"


def _with_user(
    source: Source, steps: Steps, entry_spec: _EntrySpec, user: InputRange
) -> _EntrySpec:
    """With the user's convention of the first layer, which must not contradict the file."""
    entry, certainty, evidence = entry_spec
    options = f"--mean {_list(user.mean)} --std {_list(user.std)}"
    if certainty == "proved":
        whole = composed(entry, steps.scale, steps.offset)
        if not same(whole, user):
            raise BadInput(
                f"{source.path}: {options} contradict the file, by which RGB 0..255 are to be "
                f"{affine_text(whole.mean, whole.std)}: {evidence}. Leave the two options out"
            )
        return entry, certainty, f"{evidence}; as {options} say"
    start = before(user, steps.scale, steps.offset)
    channels = len(start.mean)
    grey = replace(start, mean=start.mean[:1] * channels, std=start.std[:1] * channels)
    if steps.kinds and not same(start, grey):
        raise BadInput(
            f"{source.path}: {options} contradict the file: {steps.what}, and other than these "
            f"would have it: its input would be RGB 0..255 {affine_text(start.mean, start.std)}"
            "; expected the same for each channel"
        )
    before_that = f"{steps.what}; the rest is the user's" if steps.kinds else "the user's"
    return start, "stated", f"{before_that}: {options}"


def parse_affine(
    mean: str | float | Sequence[float] | None, std: str | float | Sequence[float] | None
) -> Affine | None:
    """Mean and deviation of pixels 0..255 as a user states them: numbers, or comma-separated text.

    One number is for all channels. None where neither is stated.

    Raises:
        BadInput: only one of the two is stated, or one is not made of numbers.
    """
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        missing = "mean" if mean is None else "std"
        raise BadInput(f"--{missing} is missing: a convention is both, --mean and --std")
    numbers = _option_numbers("mean", mean), _option_numbers("std", std)
    if not all(numbers[1]):
        raise BadInput(f"--std {std}: pixels are divided by it; expected numbers other than 0")
    return numbers


def _option_numbers(name: str, value: str | float | Sequence[float]) -> tuple[float, ...]:
    """One number or several of an option."""
    parts = value.split(",") if isinstance(value, str) else np.atleast_1d(value).tolist()
    try:
        numbers = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        numbers = ()
    if not numbers or not np.isfinite(numbers).all():
        raise BadInput(
            f"--{name} {value}: expected one number, or one a channel between commas: "
            f"--{name} 127.5, or --{name} 123.675,116.28,103.53"
        )
    return numbers


def _range_of_user(affine: Affine, channels: int) -> InputRange:
    for name, values in zip(("mean", "std"), affine, strict=True):
        if len(values) not in (1, channels):
            raise BadInput(
                f"--{name} {_list(values)}: {len(values)} numbers, and the network takes images "
                f"of {channels} channels; expected one number, or {channels}"
            )
    mean, std = (values * channels if len(values) == 1 else values for values in affine)
    return InputRange(mean, std, "", False)


@np.errstate(all="ignore")
def range_by_file(
    source: Source, channels: int, scale: np.ndarray, offset: np.ndarray
) -> InputRange | None:
    """What the file itself says about its input; None if it says nothing.

    Its input's type and quantisation, the metadata of a TFLite file, the integers that a float
    input becomes at once, and that a graph decodes the images itself are such statements. Where
    two contradict each other, or metadata the ``x * scale + offset`` that the graph computes of
    its input, both are shown, and the range is not ``proved``.
    """
    ranges = [*_statements(source, channels)]
    if not ranges:
        return None
    statement = ranges[0]
    for other in ranges[1:]:
        if not same(statement, other):
            how = f"{statement.how}, and {other.how}: the two contradict each other"
            return replace(statement, how=how, proved=False)
    ends = np.stack(composed(statement, scale, offset).ends)
    low, high = ends.min(axis=0), ends.max(axis=0)
    if statement.from_metadata and not _is_plausible(low, high):
        how = f"{statement.how}: of that it makes {_ends_text(low, high)}, which contradicts them"
        return replace(statement, how=how, proved=False)
    return statement


@np.errstate(all="ignore")
def likely_range(scale: np.ndarray, offset: np.ndarray, channels: int, usual: Affine) -> InputRange:
    """The likely range of the input of a graph that begins with ``x * scale + offset``.

    What comes of it is to be about what networks take: a few units about 0 or 0 to 255, and
    most of that. ``usual`` is the convention of the network's family, which decides between
    several; none of it is proved.
    """
    scale, offset = (np.broadcast_to(values, (channels,)) for values in (scale, offset))
    familiar = InputRange(*usual, "", False)
    likely = [bounds for bounds in RANGES if _is_plausible(*_result(bounds, scale, offset))]
    familiar_bounds = [
        b for b in likely if same(composed(_of(b, channels, ""), scale, offset), familiar)
    ]
    if len(likely) != 1 and len(familiar_bounds) != 1:

        def distance_from_middle(bounds: tuple[float, float]) -> float:
            low, high = _result(bounds, scale, offset)
            return float(np.max(np.abs(high + low) / (high - low)))

        bounds = min(likely, key=distance_from_middle, default=RANGES[0])
        how = f"whose range nothing in the file says; {_range_text(bounds)} is taken"
        return replace(_of(bounds, channels, how), unknown=True)
    bounds = (familiar_bounds or likely)[0]
    low, high = _result(bounds, scale, offset)
    how = f"assumed to be {_range_text(bounds)}, of which it makes {_ends_text(low, high)}; "
    return _of(bounds, channels, how + NOTHING_SAYS_SO)


@np.errstate(all="ignore")
def composed(entry: InputRange, scale: np.ndarray, offset: np.ndarray) -> InputRange:
    """The range of ``x * scale + offset``, for an input x of range ``entry``.

    Both are float64, one number or one a channel.
    """
    mean, std = np.asarray(entry.mean), np.asarray(entry.std)
    std = std / scale
    mean = mean - offset * std
    return replace(entry, mean=_as_tuple(mean), std=_as_tuple(std))


@np.errstate(all="ignore")
def before(entry: InputRange, scale: np.ndarray, offset: np.ndarray) -> InputRange:
    """The inverse of :func:`composed`: the range of x if that of the result is ``entry``."""
    mean, std = np.asarray(entry.mean), np.asarray(entry.std)
    mean = mean + offset * std
    return replace(entry, mean=_as_tuple(mean), std=_as_tuple(std * scale))


@np.errstate(all="ignore")
def same(one: InputRange, other: InputRange) -> bool:
    """Whether two conventions agree to within :data:`GREY_LEVEL`."""
    finest = np.minimum(np.abs(one.std), np.abs(other.std))
    apart = [np.abs(a - b) * finest for a, b in zip(one.ends, other.ends, strict=True)]
    return bool(np.max(apart) <= GREY_LEVEL * (1 + 1e-3))


def affine_text(mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    """``minus (127.5), over (127.5)``: one number where all channels have the same."""
    return f"minus ({_list(mean, ', ')}), over ({_list(std, ', ')})"


def _statements(source: Source, channels: int) -> Iterator[InputRange]:
    """Everything that a file says about its input, the most reliable first."""
    info = input_info(source)
    storage = "" if info is None else info.stored_as
    # An image's bytes, as they are or less 128, are the input of a file that takes integers.
    if info is not None and storage in BYTES and info.range is not None:
        how = f"which stands for {_range_text(info.range)} by its quantisation"
        yield _of(info.range, channels, how, proved=True)
    elif info is not None and storage in _WHOLE and info.range is None:
        mean = 128.0 if storage == "int8" else 0.0
        how = f"which is {'0..255 less 128' if mean else 'pixels 0..255'} in {storage}"
        yield InputRange((mean,) * channels, (1.0,) * channels, how, True)
    if info is not None:
        yield from _by_metadata(source, channels)
    graph = source.graph
    if graph is not None and info is not None and storage not in _WHOLE:
        # A float input that becomes integers at once holds what those can hold, where that is
        # usual: their range was measured on images when the file was made.
        takers = graph.consumers.get(graph.inputs[0], ())
        result = source.activations.get(takers[0].outputs[0]) if len(takers) == 1 else None
        kind = takers[0].kind if result is not None else ""
        rounds = kind == "FAKE_QUANT"
        if result is not None and (
            rounds or (kind in ("QUANTIZE", "CAST") and result.stored_as in BYTES)
        ):
            dtype = "an integer type" if rounds else result.stored_as
            if result.range is None and not rounds:
                yield _of(RANGES[0], channels, f"which becomes {dtype} at once", proved=True)
            elif result.range is not None:
                low, high = result.range
                within = GREY_LEVEL * (high - low) / 255
                for bounds in _QUANTISED_RANGES:
                    if np.abs(np.subtract(bounds, result.range)).max() <= within:
                        how = f"which becomes {dtype} of {_range_text(result.range)} at once"
                        yield _of(bounds, channels, how, proved=True)
                        break
    if source.decodes_images:
        yield _of(RANGES[0], channels, "which is images that it has decoded itself", proved=True)


def input_info(source: Source) -> TensorInfo | None:
    """The input tensor of a source's graph; None for weights alone."""
    entry = source.graph.inputs[0] if source.graph and source.graph.inputs else ""
    return source.activations.get(entry)


def _by_metadata(source: Source, channels: int) -> Iterator[InputRange]:
    try:
        normalisation = source.metadata_normalisation
    except BadSource:
        # Nothing of the network is in them; who asks for its labels is told of the damage.
        return
    if normalisation is None:
        return
    mean, std = (np.asarray(values, np.float64) for values in normalisation)
    fits = all(values.size in (1, channels) for values in (mean, std))
    if not fits or not np.isfinite([*mean, *std]).all() or not std.all():
        return
    means, deviations = (_as_tuple(np.broadcast_to(v, (channels,))) for v in (mean, std))
    how = f"which is RGB 0..255 {affine_text(means, deviations)} by its metadata"
    yield InputRange(means, deviations, how, True, from_metadata=True)


def steps_of(source: Source, normalisation: tuple[tuple[str, str], ...]) -> Steps:
    """What a source's graph computes of the input.

    ``normalisation`` are the graph's (operator, constant); none where the source has no graph.
    """
    scale, offset = np.ones(1), np.zeros(1)
    if not normalisation:
        return Steps(scale, offset, (), "the source's input")
    for kind, name in normalisation:
        constant = source.read(stored_name(name, source)).astype(np.float64).ravel()
        if kind in ("MUL", "DIV"):
            factor = constant if kind == "MUL" else 1.0 / constant
            scale, offset = scale * factor, offset * factor
        elif kind == SUB_FROM:
            scale, offset = -scale, constant - offset
        else:
            offset = offset + constant if kind == "ADD" else offset - constant
    kinds = tuple(kind for kind, _ in normalisation)
    what = f"the source's graph normalises its input ({', '.join(kinds)})"
    return Steps(scale, offset, kinds, what)


def _affine(pixels: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    shift, divisor = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    return (pixels.astype(np.float32) - shift) / divisor


def _of(bounds: tuple[float, float], channels: int, how: str, proved: bool = False) -> InputRange:
    """The convention by which pixels 0 and 255 become the ends of a range."""
    low, high = bounds
    std = 255 / (high - low)
    return InputRange(_as_tuple(np.full(channels, -low * std)), (std,) * channels, how, proved)


def _result(
    bounds: tuple[float, float], scale: np.ndarray, offset: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest value of ``x * scale + offset``, (C,) each, for x in a range."""
    ends = np.stack([bound * scale + offset for bound in bounds])
    return ends.min(axis=0), ends.max(axis=0)


def _is_plausible(low: np.ndarray, high: np.ndarray) -> bool:
    """Whether ``low`` to ``high``, (C,) each, is a plausible input range of a first layer.

    Either normalised, as [-1, 1], [0, 1] or by ImageNet's mean and deviation (to 2.64), or as
    wide as bytes, with or without their mean.
    """
    width, middle = high - low, (high + low) / 2
    about_zero = (width >= 0.99) & (np.maximum(-low, high) <= 3) & (np.abs(middle) < 0.95)
    as_bytes = (width > 200) & (width < 300) & (low > -160) & (high < 300)
    return bool(about_zero.all() or as_bytes.all())


def _as_tuple(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(v) + 0.0 for v in values)  # 0 for a -0


def _range_text(bounds: tuple[float, float]) -> str:
    low, high = bounds
    return f"{low:.4g} to {high:.4g}"


def _ends_text(low: np.ndarray, high: np.ndarray) -> str:
    return _range_text((float(low.min()), float(high.max())))


def _list(values: tuple[float, ...], separator: str = ",") -> str:
    numbers = values[:1] if len(set(values)) == 1 else values
    return separator.join(f"{number:.6g}" for number in numbers)
