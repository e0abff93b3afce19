"""A judge's verdict on a port."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from porting.errors import BadInput
from porting.mapping.convention import InputConvention
from porting.mapping.match import Match
from porting.parity.compare import Comparison, Reading
from porting.parity.judge_set import JudgeSet, judges_of
from porting.parity.noise import Tolerance
from porting.parity.structure_evidence import StructureEvidence, structure_evidence
from porting.sources import Source

if TYPE_CHECKING:
    from torch import nn

    from porting.parity.pixel_check import PixelCheck

READINGS: tuple[Reading, ...] = ("accumulated", "isolated", "dense")


@dataclass(frozen=True)
class Verdict:
    """What the judge says.

    ``comparison`` decides. ``quantised`` is set where the source has quantised
    weights: the distance to the run as it is, which is reported and not judged.
    ``pixels`` is the check from pixels, None where the source has no input of its own; where
    that disagrees, the comparison refuses.
    ``basis`` is the evidence for the structure that judge and network share.
    """

    comparison: Comparison
    quantised: Comparison | None = None
    pixels: PixelCheck | None = None
    basis: StructureEvidence | None = None


def verify_port(  # noqa: PLR0913 - by keyword, each what a comparison is asked for
    source: Source,
    match: Match,
    model: nn.Module,
    convention: InputConvention,
    pixels: Iterable[np.ndarray],
    *,
    readings: tuple[Reading, ...] = READINGS,
    tolerance: Tolerance | None = None,
    details: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Verdict:
    """Run judge and network on images (H, W, C), 0..255, and compare every tap.

    ``convention`` is the source's. The first images are also compared from pixels
    on; see :mod:`porting.parity.pixel_check`. Images are taken one by one,
    and only the first is kept. The values of a user-defined module are matched with the judge's
    taps on the first image. Without ``details`` the figures lack what plots are made of.

    Raises:
        MissingJudge: the judge's package is not installed.
        BadInput: there was no image.
    """

    import torch

    def compare_with_graph(graph: Source, alignment: Match, images: np.ndarray) -> Comparison:
        verdict, _ = _tap_verdict(
            graph, alignment, model, convention, images, readings=("accumulated", "dense"),
            tolerance=None, details=False,
        )  # fmt: skip
        return verdict.comparison

    # Whoever calls may be in inference mode, whose tensors do not say how often they were written.
    with torch.inference_mode(False):
        verdict, judge_set = _tap_verdict(
            source, match, model, convention, pixels, readings=readings, tolerance=tolerance,
            details=details, progress=progress,
        )  # fmt: skip
        evidence = structure_evidence(source, match, model, judge_set, compare_with_graph)
    refusals = (*verdict.comparison.refusals, *evidence.refusals)
    comparison = replace(verdict.comparison, refusals=refusals)
    return replace(verdict, comparison=comparison, basis=evidence)


def _tap_verdict(  # noqa: PLR0913 - those of verify_port
    source: Source, match: Match, model: nn.Module, convention: InputConvention,
    pixels: Iterable[np.ndarray], *, readings: tuple[Reading, ...], tolerance: Tolerance | None,
    details: bool, progress: Callable[[int], None] | None = None,
) -> tuple[Verdict, JudgeSet]:  # fmt: skip
    """The verdict by taps alone, and the judges that gave it."""
    from concurrent.futures import ThreadPoolExecutor

    from porting.parity.pairing import JudgeRuns, pair_taps
    from porting.parity.session import Session

    session: Session | None = None
    with ThreadPoolExecutor(1) as background:
        judge_set = judges_of(source, match)
        for number, image in enumerate(pixels, start=1):
            inputs = convention.as_source_input(image[None])
            runs = tuple(judge.run(inputs) for judge in judge_set.judges)
            judge_runs = JudgeRuns(image[None], inputs, runs)
            if session is None:
                session = Session(
                    pair_taps(judge_set, match, model, judge_runs), convention, judge_runs,
                    readings, tolerance or Tolerance(), details, background,
                )  # fmt: skip
            else:
                session.add(judge_runs)
            if progress is not None:
                progress(number)
        if session is None:
            raise BadInput("nothing to compare: there was no image to run")
        return Verdict(*session.finish()), judge_set
