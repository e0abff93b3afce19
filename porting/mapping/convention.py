"""What a port expects of its input, how that is known, and how surely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from porting.errors import BadInput
from porting.graph.operators import takes_channels_first
from porting.mapping.families import ROUNDED, Affine, family_of
from porting.mapping.input_range import (
    NOTHING_SAYS_SO,
    InputRange,
    affine_text,
    before,
    composed,
    input_info,
    likely_range,
    range_by_file,
    same,
)
from porting.mapping.match import Match
from porting.mapping.normalisation import Steps, steps_of
from porting.mapping.recognise import candidates
from porting.sources.source import Source

Certainty = Literal["proved", "stated", "assumed", "unknown"]
"""How sure a convention is. ``proved``: the file says it, or it is a published source whose authors
do. ``stated``: the user does. ``assumed``: the file leaves it open, and it is as for others like
it. ``unknown``: there is nothing like it either."""

_BY_ITSELF = "the network normalises by itself"

_UNKNOWN = "mobilenet"
"""What a source that holds no known network is taken for, so that its input is [-1, 1]."""


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
        """Whether its source takes whole pixels alone."""
        return self.preprocessing.endswith(ROUNDED)

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels 0..255, (..., channels), to the network's input in float32."""
        return _affine(pixels, self.mean, self.std)

    def as_source_input(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels 0..255, (..., channels), to what the source's own input stands for, in float32."""
        return _affine(pixels, self.source_mean, self.source_std)

    def taken_in(self) -> InputConvention:
        """That of a network which normalises by itself: pixels as they are."""
        (none, one), said = ((0.0,) * self.channels, (1.0,) * self.channels), self.evidence
        evidence = f"{_BY_ITSELF}; for the source: {said}"
        return replace(self, mean=none, std=one, evidence=evidence)

    def restated(self, by_user: Affine, where: str) -> InputConvention:
        """The convention of a card at ``where`` with a user's, which must not contradict it.

        Raises:
            BadInput: the card's is proved, or the network normalises by itself, and they differ.
        """
        user = _of_user(by_user, self.channels)
        if same(InputRange(self.mean, self.std, "", False), user):
            return self
        options = f"--mean {_joined(user.mean)} --std {_joined(user.std)}"
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
        """The convention of a card, perhaps of before some fields were in it.

        Raises:
            TypeError: it has other fields, or lacks one.
        """
        lists = {name: tuple(v) for name, v in data.items() if isinstance(v, (list, tuple))}
        return cls(**{**data, **lists})


def parse_affine(
    mean: str | float | Sequence[float] | None, std: str | float | Sequence[float] | None
) -> Affine | None:
    """A user's mean and deviation of pixels 0..255: numbers, or a text of them between commas.

    One number is for all channels. None where neither is stated.

    Raises:
        BadInput: only one of the two is stated, or one is not made of numbers.
    """
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        missing = "mean" if mean is None else "std"
        raise BadInput(f"--{missing} is missing: a convention is both, --mean and --std")
    numbers = _numbers("mean", mean), _numbers("std", std)
    if not all(numbers[1]):
        raise BadInput(f"--std {std}: pixels are divided by it; expected numbers other than 0")
    return numbers


def convention_of(source: Source, match: Match, by_user: Affine | None = None) -> InputConvention:
    """The convention of a source: of its file where that says it, else of the user or its family.

    What the file's input stands for and what the graph makes of it are put together. ``by_user``
    is mean and deviation of RGB 0..255 for the network's first layer, as the user states them.

    Raises:
        BadInput: the user's convention contradicts the file's, or has another number of channels.
    """
    ends = match.ends
    known = _known_as(source, match)
    family = family_of(known or _UNKNOWN)
    steps = steps_of(source, match.normalisation, ends.channels)
    by_file = range_by_file(source, ends.channels, steps.scale, steps.offset)
    usual = _for_channels(family.affine, ends.channels)
    entry, certainty, evidence = _settled(source, steps, by_file, usual, known)
    if by_user is not None:
        entry, certainty, evidence = _as_stated(
            source, steps, (entry, certainty, evidence), _of_user(by_user, ends.channels)
        )
    whole = composed(entry, steps.scale, steps.offset)
    if takes_channels_first(source):
        evidence += "; the source's own input is NCHW"
    text = family.preprocessing(ends.side)
    if _takes_bytes(source):
        text += ROUNDED
    return InputConvention(
        ends.side, ends.channels, ends.classes, whole.mean, whole.std, evidence, text, certainty,
        entry.mean, entry.std,
    )  # fmt: skip


def normalises_inside(source: Source, match: Match) -> bool:
    """Whether a source normalises pixels itself, in its graph or by a layer."""
    return bool(steps_of(source, match.normalisation, match.ends.channels).kinds)


_Settled = tuple[InputRange, Certainty, str]
"""What the source's input stands for, how surely that and all that follows is known, and how."""


def _settled(
    source: Source, steps: Steps, by_file: InputRange | None, usual: Affine, known: str | None
) -> _Settled:
    """Without the user: by the file, else by what its family's authors publish, else as usual."""
    if by_file is not None:
        certainty: Certainty = "proved" if by_file.proved else "assumed"
        return by_file, certainty, f"{steps.what}, {by_file.how}"
    as_usual = before(InputRange(*usual, "", False), steps.scale, steps.offset)
    if source.documented_as is not None and known is not None:
        code = f"the family's training code, as published with {source.documented_as}"
        return as_usual, "proved", f"{steps.what} ({code})" if steps.kinds else code
    if steps.kinds:
        likely = likely_range(steps.scale, steps.offset, len(usual[0]), usual)
        return likely, "unknown" if likely.unknown else "assumed", f"{steps.what}, {likely.how}"
    if known is None:
        nothing = "neither the file nor a known network says what it takes; [-1, 1] is taken"
        return as_usual, "unknown", f"{nothing}; --mean and --std say it"
    return as_usual, "assumed", f"assumed as in the family's training code; {NOTHING_SAYS_SO}"


def _as_stated(source: Source, steps: Steps, settled: _Settled, user: InputRange) -> _Settled:
    """With the user's convention for the whole road, which must not contradict the file."""
    entry, certainty, evidence = settled
    options = f"--mean {_joined(user.mean)} --std {_joined(user.std)}"
    if certainty == "proved":
        whole = composed(entry, steps.scale, steps.offset)
        if not same(whole, user):
            raise BadInput(
                f"{source.path}: {options} contradict the file, by which RGB 0..255 are to be "
                f"{affine_text(whole.mean, whole.std)}: {evidence}. Leave the two options out"
            )
        return entry, certainty, f"{evidence}; as {options} say"
    implied = before(user, steps.scale, steps.offset)
    if steps.kinds and not _is_even(implied):
        raise BadInput(
            f"{source.path}: {options} contradict the file: {steps.what}, and other than these "
            f"would have it: its input would be RGB 0..255 {affine_text(implied.mean, implied.std)}"
            "; expected the same for each channel"
        )
    before_that = f"{steps.what}; the rest is the user's" if steps.kinds else "the user's"
    return implied, "stated", f"{before_that}: {options}"


def _is_even(entry: InputRange) -> bool:
    """Whether an input treats all channels alike, but for a grey level."""
    first = replace(
        entry, mean=entry.mean[:1] * len(entry.mean), std=entry.std[:1] * len(entry.std)
    )
    return same(entry, first)


def _known_as(source: Source, match: Match) -> str | None:
    """The plain name of the network that a source holds, where that is a known one."""
    known: Match | None = match
    if match.architecture is None:
        # The module's name says nothing; the source may be one of a known network's.
        known = next(candidates(source, match.plan.weight_set), None)
    return None if known is None else known.model.removeprefix("tf_")


def _takes_bytes(source: Source) -> bool:
    info = input_info(source)
    return info is not None and bool({info.stored_as, info.dtype} & {"uint8", "int8"})


def _affine(pixels: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    shift, divisor = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    return (pixels.astype(np.float32) - shift) / divisor


def _numbers(name: str, value: str | float | Sequence[float]) -> tuple[float, ...]:
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


def _of_user(affine: Affine, channels: int) -> InputRange:
    for name, values in zip(("mean", "std"), affine, strict=True):
        if len(values) not in (1, channels):
            raise BadInput(
                f"--{name} {_joined(values)}: {len(values)} numbers, and the network takes images "
                f"of {channels} channels; expected one number, or {channels}"
            )
    mean, std = (values * channels if len(values) == 1 else values for values in affine)
    return InputRange(mean, std, "", False)


def _joined(values: tuple[float, ...]) -> str:
    shown = values[:1] if len(set(values)) == 1 else values
    return ",".join(f"{value:.6g}" for value in shown)


def _for_channels(affine: Affine, channels: int) -> Affine:
    mean, std = (
        values if channels == len(values) else (float(np.mean(values)),) * channels
        for values in affine
    )
    return mean, std
