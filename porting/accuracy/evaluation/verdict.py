"""What an evaluation says about a port: whether it answers as its judge does, and a sentence."""

from __future__ import annotations

from dataclasses import dataclass

from porting.accuracy.evaluation.figures import SIGNIFICANT, Difference


@dataclass(frozen=True)
class Counts:
    """On how many images judge and port answer something else, and what accounts for it.

    ``ties`` are near ties; ``measured`` is False where it could not be measured how near two
    answers must be for that. The rest is for a quantised source: on ``quantised`` more images
    quantisation alone makes the difference, on ``others`` it does not, ``enough`` says that
    there may be more of those. ``refused`` says why it could not be asked in float32.
    """

    differ: int
    ties: int
    measured: bool = True
    quantised: int | None = None
    others: int = 0
    enough: bool = False
    refused: str | None = None

    @property
    def left(self) -> int:
        """Differing answers for which nothing accounts."""
        return self.differ - self.ties - (self.quantised or 0)


def agreement_of(counts: Counts, change: Difference) -> bool | None:
    """Whether the port answers as its judge does, within what rounding and quantisation change.

    It does not where an answer differs for which nothing accounts, or where accuracies differ
    beyond chance, which near ties do not do. None where a quantised source cannot be asked in
    float32: then nobody can tell.
    """
    if counts.refused is not None and counts.left:
        return False if change.p < SIGNIFICANT else None
    return not counts.left and (bool(counts.quantised) or change.p >= SIGNIFICANT)


def sentence_of(counts: Counts, change: Difference) -> str:
    """The verdict in a sentence."""
    count = f"{counts.differ:,} of {change.of:,} answers differ"
    agrees = agreement_of(counts, change)
    if not counts.differ:
        return f"the port is the judge: {count}"
    if agrees and not counts.quantised:
        return f"the port is the judge, within noise: {count}, each a near tie"
    if agrees:
        return f"the port is the judge in float32: {count}, {_accounted(counts)}{_moved(change)}"
    beyond = f"{count}, {_beyond(counts)}"
    if agrees is None:
        return (
            f"whether the port is the judge cannot be told: {beyond}, and the source, which "
            f"computes with integers, could not be asked in float32 ({counts.refused})"
        )
    if change.p >= SIGNIFICANT:
        return (
            "the port is not the judge, but these images show no difference in accuracy "
            f"(McNemar p = {change.p:.2g}): {beyond}"
        )
    return f"the port is not the judge: it is {_by(change)}, {beyond}"


def _accounted(counts: Counts) -> str:
    """What accounts for every differing answer, quantisation among it."""
    ties = f"{counts.ties:,} of them near ties, the others" if counts.ties else "each"
    return f"{ties} by quantisation alone (in float32 the source answers as the port does)"


def _moved(change: Difference) -> str:
    return f"; by that the port is {_by(change)}" if change.p < SIGNIFICANT else ""


def _by(change: Difference) -> str:
    worse = "less" if change.points < 0 else "more"
    return f"{worse} accurate by {abs(change.points):.2f} points (McNemar p = {change.p:.2g})"


def _beyond(counts: Counts) -> str:
    """The answers for which nothing accounts."""
    if not counts.measured:
        return "and how near a tie each is could not be measured"
    if counts.others:
        least = "at least " if counts.enough else ""
        return (
            f"{least}{counts.others:,} of them neither in a near tie nor by quantisation (the "
            "source in float32 does not answer as the port does)"
        )
    many = "all" if counts.left == counts.differ else f"{counts.left:,}"
    return f"{many} of them beyond a tie"
