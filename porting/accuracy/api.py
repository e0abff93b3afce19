"""Evaluating from Python."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from porting.accuracy.evaluation.side import Inputs

if TYPE_CHECKING:
    from porting.accuracy.evaluation.evaluate import Evaluation, Progress

AnyPath = str | PathLike[str]


def evaluate(  # noqa: PLR0913 - by keyword, each what an option of the command is
    data: AnyPath,
    source: AnyPath | None = None,
    checkpoint: AnyPath | None = None,
    *,
    model: str | None = None,
    weights: str | None = None,
    onto: str | None = None,
    labels: AnyPath | None = None,
    synsets: AnyPath | None = None,
    preprocessing: str | None = None,
    stated: float | None = None,
    explain: bool = False,
    on_error: str = "stop",
    journal: AnyPath | None = None,
    fresh: bool = False,
    workers: int | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Evaluation | None:
    """Count right answers of a source's judge and of a network's file, on the same pixels.

    What ``porting evaluate`` does, with its options; without source or
    checkpoint the other one is evaluated alone. Unless ``workers`` is 0 it
    begins processes, so that a script has to call it below ``if __name__ ==
    "__main__"``. Under ``torchrun`` all ranks but the first get None.

    Raises:
        BadInput: something cannot be read or does not fit; BadExample: an image.
        WorkerDied: a process was killed.
    """
    from porting.accuracy.evaluation.evaluate import evaluate as evaluate_files

    return evaluate_files(
        Path(data), Inputs(_path(source), _path(checkpoint), model, weights, onto),
        labels=_path(labels), synsets=_path(synsets), preprocessing=preprocessing, stated=stated,
        explain=explain, on_error=on_error, journal=_path(journal), fresh=fresh, workers=workers,
        device=device, progress=progress,
    )  # fmt: skip


def _path(place: AnyPath | None) -> Path | None:
    return None if place is None else Path(place)
