"""Counting while an evaluation runs: all answers so far, and how many of them are right."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from porting.accuracy.evaluation.answers import ANSWERED, FAILED, Answers
from porting.accuracy.evaluation.batch import Batch, Work
from porting.errors import BadExample


@dataclass(frozen=True)
class Standing:
    """How far an evaluation is: images done, of how many, and how many each side got right.

    Of several ``ranks`` it is the first one's share. ``answered`` are those of
    the images done that could be read. ``rate`` is in images a second, of what
    is not from the journal; 0 before the first.
    """

    done: int
    total: int
    answered: int
    right: dict[str, int]
    rate: float
    ranks: int


Progress = Callable[[Standing], None]


class Tally:
    """Answers by image, and a standing after each batch."""

    def __init__(self, work: Work, ranks: int, progress: Progress | None) -> None:
        dataset = work.dataset
        found = (dataset.example(number).label for number in range(len(dataset)))
        self.labels = np.array([-1 if label is None else label for label in found], np.int32)
        self.answers = Answers.none_of(len(dataset), len(work.answering))
        self._work, self._ranks, self._progress = work, ranks, progress
        self._right = np.zeros(len(work.sides), np.int64)
        self._done = self._answered = self._total = self._before = 0
        self._since = time.monotonic()

    def begin(self, finished: Iterable[Batch], left: Sequence[int], on_error: str) -> None:
        """Count in what the journal has; what is left takes time from now on.

        Raises:
            BadExample: as :meth:`add`.
        """
        for batch in finished:
            self._count(batch, on_error)
        self._total = self._done + sum(len(self._work.numbers(batch)) for batch in left)
        self._since, self._before = time.monotonic(), self._done
        if self._done:
            self._tell()

    def add(self, batch: Batch, on_error: str) -> None:
        """Count a batch in, and tell how far it is.

        Raises:
            BadExample: an image of it could not be read, and that is to stop the evaluation.
        """
        self._count(batch, on_error)
        self._tell()

    def fill(self, batch: Batch) -> np.ndarray:
        """Put a batch in its place; the numbers of its images."""
        answers, numbers = self.answers, np.array(self._work.numbers(batch.number))
        answers.best[numbers], answers.margin[numbers] = batch.best, batch.margin
        answers.state[numbers] = ANSWERED
        for number, why in batch.failed.items():
            answers.state[number] = FAILED
            answers.reasons[number] = why
        return numbers

    def _count(self, batch: Batch, on_error: str) -> None:
        if batch.failed and on_error == "stop":
            raise BadExample(next(iter(batch.failed.values())))
        numbers = self.fill(batch)
        usable = self.answers.state[numbers] == ANSWERED
        best, labels = self.answers.best[numbers][usable], self.labels[numbers][usable]
        self._done += len(numbers)
        self._answered += len(best)
        self._right += (best[:, : len(self._right), 0] == labels[:, None]).sum(0)

    def _tell(self) -> None:
        if self._progress is None:
            return
        names = (side.name for side in self._work.sides)
        right = dict(zip(names, self._right.tolist(), strict=True))
        self._progress(
            Standing(self._done, self._total, self._answered, right, self._rate(), self._ranks)
        )

    def _rate(self) -> float:
        fresh, seconds = self._done - self._before, time.monotonic() - self._since
        return fresh / seconds if fresh and seconds else 0.0
