"""Comparing a source and a network: all of ``porting diff`` but reading and printing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Literal

from porting.catalog.local import open_published
from porting.errors import BadInput
from porting.mapping.families import Affine
from porting.mapping.input_spec import InputConvention, convention_of, parse_affine
from porting.parity.compare import Comparison, Reading
from porting.parity.inputs import INPUTS, Images, ImageStream, image_stream
from porting.parity.noise import Tolerance
from porting.parity.verify import READINGS, Verdict, verify_port
from porting.parity.weights import compare_weights
from porting.sources import Source
from porting.subject import Subject, subject_of

if TYPE_CHECKING:
    from torch import nn

Mode = Literal["both", "accumulated", "isolated"]

MODES: dict[str, tuple[Reading, ...]] = {
    "both": READINGS,
    "accumulated": ("accumulated", "dense"),
    "isolated": ("isolated", "dense"),
}
"""Mode of a comparison -> the readings that it takes."""


@dataclass(frozen=True)
class Diff:
    """A comparison with its inputs."""

    source: Source
    subject: Subject
    convention: InputConvention
    images: ImageStream
    verdict: Verdict

    @property
    def comparison(self) -> Comparison:
        """The comparison that decides."""
        return self.verdict.comparison


def diff(
    source: Source,
    subject: Subject,
    images: Images | None = None,
    *,
    count: int | None = None,
    mode: Mode = "both",
    tolerance: Tolerance | None = None,
    affine: Affine | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Diff:
    """Compare every tap of a source's judge and a network, and every weight.

    Where ``images`` is None, they are the built-in ones: photographs and random
    images, or ``count`` random images alone. ``affine`` is the user's convention,
    as :func:`~porting.mapping.input_spec.parse_affine` gives it; ``progress`` is
    called with images done and in all.

    Raises:
        BadInput: an unknown mode, no usable image, a convention that contradicts the file, or
            the judge is not installed.
    """
    if mode not in MODES:
        raise BadInput(f"mode {mode!r}: expected one of {', '.join(MODES)}")
    convention = convention_of(source, subject.match, affine)
    # A graph states the size of its images; a network built from names takes any.
    any_size = source.graph is None
    stream = image_stream(
        images, INPUTS if count is None else count, convention.size, convention.channels,
        any_size, random_only=count is not None,
    )  # fmt: skip

    def advance(done: int) -> None:
        if progress is not None and stream.total is not None:
            progress(done, stream.total)

    verdict = verify_port(
        source, subject.match, subject.network, convention, stream,
        readings=MODES[mode], tolerance=tolerance, progress=advance,
    )  # fmt: skip
    weights = compare_weights(source, subject.match, subject.network, convention)
    comparison = replace(verdict.comparison, weights=weights)
    return Diff(source, subject, convention, stream, replace(verdict, comparison=comparison))


def compare(  # noqa: PLR0913 - by keyword, each an option of the command
    source: Source | str | PathLike[str],
    model: nn.Module | str | PathLike[str],
    images: Images | None = None,
    *,
    name: str | None = None,
    weights: str | None = None,
    mode: Mode = "both",
    atol: float | None = None,
    rtol: float | None = None,
    mean: float | Sequence[float] | str | None = None,
    std: float | Sequence[float] | str | None = None,
) -> Comparison:
    """Compare a TensorFlow source with a PyTorch network, every tap of it.

    ``assert porting.compare(source, model, images)`` is a parity test in one
    line: the comparison is truthy at parity, and its repr, which pytest
    prints, is the line that names the culprit.

    Args:
        source: a path, or an opened source.
        model: a module, or the file of a state dict.
        images: a folder, an array (N, H, W, C) or arrays (H, W, C), values
            0..255; by default eight photographs and two random images.
        name: the network's name, where source or file leave more than one.
        weights: the source's weight set, ``"ema"`` or ``"raw"``.
        mode: ``"both"``, ``"accumulated"`` or ``"isolated"``.
        atol, rtol: a fixed tolerance in place of the measured one; 0 asks for equality.
        mean, std: how RGB pixels 0..255 become what the network's first layer
            takes, where the source does not say it.

    Raises:
        BadInput: the source cannot be read, or the two do not fit.
    """
    opened = source if isinstance(source, Source) else open_published(source)
    subject = subject_of(opened, model, name, weights)
    tolerance = Tolerance(atol=atol, rtol=rtol)
    affine = parse_affine(mean, std)
    return diff(opened, subject, images, mode=mode, tolerance=tolerance, affine=affine).comparison
