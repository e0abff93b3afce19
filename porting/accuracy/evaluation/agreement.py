"""Whether a port answers as its judge does, and what explains answers that differ.

Near ties: the network is run in float32 and float64 on the images in question, which gives the
noise of its logits (:mod:`porting.parity.noise`). A judge that computes the same function is
within :data:`~porting.parity.noise.FACTOR` times that of the port, in either class; so where both
computed the same, a first answer that changes had a margin of at most twice that.

Quantisation: the judge of an evaluation runs a file as it is. Where that computes with integers,
its answers may differ from those of a port that is right, and by more than a near tie. So a port
is compared with the same file with everything in float32, as it is where taps are compared, on the
images on which the two differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from porting.accuracy.evaluation.batch import Answers, Work, best_of
from porting.accuracy.evaluation.predictors import Files, judge_of, network_of, normalised
from porting.accuracy.evaluation.significance import SIGNIFICANT, Difference
from porting.accuracy.preprocessing import parse_pipeline
from porting.errors import BadExample, BadInput, MissingJudge
from porting.parity.noise import FACTOR
from porting.sources.tflite import TFLiteSource

NOISE_IMAGES = 8
"""Images on which the noise is measured: between images it differs by a factor of two or so."""

ENOUGH = 100
"""Images on which the source in float32 answers otherwise, after which no more are looked at."""


def tie_on(work: Work, numbers: Sequence[int]) -> float | None:
    """Measure the margin in logits up to which rounding may decide, on the first of these images.

    None where none of them can be read any more, and for a user-defined module
    that does not run in both precisions.
    """
    import torch

    from genmobilenet.network import GenMobileNet
    from porting.graph.tap_names import OUTPUT
    from porting.parity.port_runner import PortRunner
    from porting.parity.tap_matching import check_runs

    port = next(side for side in work.sides if side.on_device)
    pipeline, images = parse_pipeline(port.pipeline), []
    for number in numbers[:NOISE_IMAGES]:
        with suppress(BadExample):
            images.append(pipeline(work.dataset.read(number)))
    if not images:
        return None
    inputs = torch.from_numpy(normalised(np.stack(images), port)).permute(0, 3, 1, 2).contiguous()
    network = network_of(Files(work.inputs), port)
    if not isinstance(network, GenMobileNet):
        try:
            check_runs(network, inputs)
        except BadInput:
            return None
    runner = PortRunner(network, [OUTPUT], logits=None)
    noise = runner.run_with_noise(inputs, thorough=True).noise[OUTPUT]
    return 2 * FACTOR * float(np.max(noise))


@dataclass(frozen=True)
class Quantisation:
    """What a quantised source answers in float32 on images on which judge and port differ.

    On those of ``alone`` it answers as the port does, or with a near tie: quantisation alone
    makes the difference. On those of ``others`` it answers otherwise. ``refusal`` says why the
    source could not be run in float32, so that nothing is known.
    """

    alone: frozenset[int] = frozenset()
    others: frozenset[int] = frozenset()
    refusal: str | None = None

    @property
    def enough(self) -> bool:
        """Whether there were so many others that not all images were looked at."""
        return len(self.others) >= ENOUGH


def quantisation_on(
    work: Work, answers: Answers, numbers: Iterable[int], tie: float | None
) -> Quantisation | None:
    """Run the source in float32 on the images of these numbers; None where it is not quantised.

    ``answers`` are those of judge and port, ``tie`` is the margin in logits up to which rounding
    may decide between classes. Images that cannot be read any more are in neither set.
    """
    files = Files(work.inputs)
    if not (isinstance(files.source, TFLiteSource) and files.source.quantised_weights):
        return None
    try:
        predict = judge_of(files, in_float=True)
    except MissingJudge:
        raise
    except BadInput as error:
        return Quantisation(refusal=str(error))
    judge = work.sides[0]
    pipeline = parse_pipeline(judge.pipeline)
    alone: set[int] = set()
    others: set[int] = set()
    for number in numbers:
        if len(others) >= ENOUGH:
            break
        with suppress(BadExample):
            pixels = pipeline(work.dataset.read(number))
            best, margin = best_of(predict(pixels[None], judge), judge.background)
            same = best[0, 0] == answers.best[number, 1, 0]
            apart = np.maximum(margin[0], answers.margin[number, 1])
            (alone if same or (tie is not None and apart <= tie) else others).add(number)
    return Quantisation(frozenset(alone), frozenset(others))


@dataclass(frozen=True)
class Counts:
    """How many answers of judge and port differ, and what explains them.

    ``ties`` are near ties; ``has_tie`` is False where it could not be measured how near two
    answers must be for that. The rest is for a quantised source: on ``by_quantisation`` more
    images quantisation alone makes the difference, on ``others`` it does not, ``enough`` says
    that there may be more of those. ``refusal`` says why it could not be run in float32.
    """

    differ: int
    ties: int
    has_tie: bool = True
    by_quantisation: int | None = None
    others: int = 0
    enough: bool = False
    refusal: str | None = None

    @property
    def unexplained(self) -> int:
        """Differing answers that nothing explains."""
        return self.differ - self.ties - (self.by_quantisation or 0)


def agreement_of(counts: Counts, change: Difference) -> bool | None:
    """Whether the port answers as its judge does, within what rounding and quantisation change.

    It does not where nothing explains a differing answer, or where accuracies differ beyond
    chance, which near ties do not do. None where a quantised source cannot be run in float32, so
    that it is not known.
    """
    if counts.refusal is not None and counts.unexplained:
        return False if change.p < SIGNIFICANT else None
    return not counts.unexplained and (bool(counts.by_quantisation) or change.p >= SIGNIFICANT)


def sentence_of(counts: Counts, change: Difference) -> str:
    """The verdict in a sentence."""
    count = f"{counts.differ:,} of {change.of:,} answers differ"
    worse = "less" if change.points < 0 else "more"
    gap = f"{worse} accurate by {abs(change.points):.2f} points (McNemar p = {change.p:.2g})"
    agrees = agreement_of(counts, change)
    if not counts.differ:
        return f"the port is the judge: {count}"
    if agrees and not counts.by_quantisation:
        return f"the port is the judge, within noise: {count}, each a near tie"
    if agrees:
        ties = f"{counts.ties:,} of them near ties, the others" if counts.ties else "each"
        effect = f"; by that the port is {gap}" if change.p < SIGNIFICANT else ""
        return (
            f"the port is the judge in float32: {count}, {ties} by quantisation alone (in float32 "
            f"the source answers as the port does){effect}"
        )
    beyond = f"{count}, {_unexplained(counts)}"
    if agrees is None:
        return (
            f"whether the port is the judge cannot be told: {beyond}, and the source, which "
            f"computes with integers, could not be asked in float32 ({counts.refusal})"
        )
    if change.p >= SIGNIFICANT:
        return (
            "the port is not the judge, but these images show no difference in accuracy "
            f"(McNemar p = {change.p:.2g}): {beyond}"
        )
    return f"the port is not the judge: it is {gap}, {beyond}"


def _unexplained(counts: Counts) -> str:
    """Describe the answers that nothing explains."""
    if not counts.has_tie:
        return "and how near a tie each is could not be measured"
    if counts.others:
        least = "at least " if counts.enough else ""
        return (
            f"{least}{counts.others:,} of them neither in a near tie nor by quantisation (the "
            "source in float32 does not answer as the port does)"
        )
    many = "all" if counts.unexplained == counts.differ else f"{counts.unexplained:,}"
    return f"{many} of them beyond a tie"
