"""What an evaluation says about a port, in one sentence."""

from __future__ import annotations

from porting.accuracy.evaluation.figures import SIGNIFICANT, Difference


def sentence_of(differ: int, ties: int, change: Difference) -> str:
    """The verdict where ``differ`` answers are not the judge's, ``ties`` of them near ties."""
    count = f"{differ:,} of {change.of:,} answers differ"
    if not differ:
        return f"the port is the judge: {count}"
    if differ == ties and change.p >= SIGNIFICANT:
        return f"the port is the judge, within noise: {count}, each a near tie"
    beyond = f"{count}, {'all' if not ties else f'{differ - ties:,}'} of them beyond a tie"
    if change.p >= SIGNIFICANT:
        return (
            "the port is not the judge, but these images show no difference in accuracy "
            f"(McNemar p = {change.p:.2g}): {beyond}"
        )
    worse = "less" if change.points < 0 else "more"
    return (
        f"the port is not the judge: it is {worse} accurate by {abs(change.points):.2f} points "
        f"(McNemar p = {change.p:.2g}), {beyond}"
    )
