"""A judge's verdict on a port."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from porting.mapping.input_spec import InputConvention
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


def verify_port(  # noqa: PLR0913 - by keyword, each an option of a comparison
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
    judge_set: JudgeSet | None = None,
) -> Verdict:
    """Run judge and network on images (H, W, C), 0..255, and compare every tap.

    ``convention`` is the source's. The first images are also compared from pixels
    on; see :mod:`porting.parity.pixel_check`. Images are taken one by one,
    and only the first is kept. The values of a user-defined module are matched with the judge's
    taps on the first image. Without ``details`` the figures lack what plots are made of.
    ``judge_set`` are the source's judges, where they are at hand already.

    Raises:
        MissingJudge: the judge's package is not installed.
        BadInput: there was no image.
    """
    import torch

    from porting.parity.session import compare_taps

    def compare_with_graph(graph: Source, alignment: Match, images: np.ndarray) -> Comparison:
        return compare_taps(
            judges_of(graph, alignment), alignment, model, convention, images,
            readings=("accumulated", "dense"), details=False,
        ).comparison  # fmt: skip

    # Tensors of inference mode, in which the caller may be, have no version counter.
    with torch.inference_mode(False):
        judge_set = judge_set or judges_of(source, match)
        taps = compare_taps(
            judge_set, match, model, convention, pixels, readings=readings, tolerance=tolerance,
            details=details, progress=progress,
        )  # fmt: skip
        evidence = structure_evidence(source, match, model, judge_set, compare_with_graph)
    refusals = (*taps.comparison.refusals, *evidence.refusals)
    return Verdict(
        replace(taps.comparison, refusals=refusals), taps.quantised_run, taps.pixels, evidence
    )
