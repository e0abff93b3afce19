"""Run an evaluation: batches go to processes, and their answers are counted and gathered.

One batch is one process's from its files to its answers: no pixels travel, and
no process waits while another could work. Where the network runs on a GPU the
processes make pixels and have the judge answer, and this one runs the network.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from porting.accuracy.evaluation.batch import (
    UNREADABLE,
    USABLE,
    Answers,
    Batch,
    Evaluator,
    Pixels,
    Work,
    labels_of,
)
from porting.accuracy.evaluation.journal import Journal, discard
from porting.accuracy.evaluation.ranks import Ranks
from porting.errors import BadExample, WorkerDied
from porting.one_thread import ONE_THREAD, cores

BATCH = 16
"""Images in a batch: more make a network on one core no faster, and are lost with a kill."""

Result = TypeVar("Result")

AHEAD = 2
"""Batches given to each process, so that none waits for the next."""


@dataclass(frozen=True)
class Standing:
    """The progress of an evaluation: images done, and how many each side got right.

    Of several ``ranks`` it is the first one's share. ``usable`` are those of
    the images done that could be read. ``rate`` is in images a second, of what
    is not from the journal; 0 before the first.
    """

    done: int
    total: int
    usable: int
    right: dict[str, int]
    rate: float
    ranks: int


Progress = Callable[[Standing], None]


class Counter:
    """Collects answers by image, and reports progress after each batch."""

    def __init__(self, work: Work, ranks: int, on_error: str, progress: Progress | None) -> None:
        self.labels = labels_of(work.dataset)
        self.answers = Answers.none_of(len(work.dataset), len(work.answering))
        self._work, self._ranks, self._on_error = work, ranks, on_error
        self._progress = progress
        self._right = np.zeros(len(work.sides), np.int64)
        self._done = self._usable = self._total = self._before = 0
        self._since = time.monotonic()

    def begin(self, from_journal: Iterable[Batch], remaining: Sequence[int]) -> None:
        """Count in what the journal has, and start the clock for the remaining batches.

        Raises:
            BadExample: as :meth:`add`.
        """
        for batch in from_journal:
            self._count(batch)
        self._total = self._done + sum(len(self._work.numbers(batch)) for batch in remaining)
        self._since, self._before = time.monotonic(), self._done
        if self._done:
            self._report()

    def add(self, batch: Batch) -> None:
        """Count a batch in, and report progress.

        Raises:
            BadExample: an image of it could not be read, and that is to stop the evaluation.
        """
        self._count(batch)
        self._report()

    def fill(self, batch: Batch) -> np.ndarray:
        """Store the answers of a batch; return the numbers of its images."""
        answers, numbers = self.answers, np.array(self._work.numbers(batch.number))
        answers.best[numbers], answers.margin[numbers] = batch.best, batch.margin
        answers.state[numbers] = USABLE
        for number, why in batch.failures.items():
            answers.state[number] = UNREADABLE
            answers.reasons[number] = why
        return numbers

    def _count(self, batch: Batch) -> None:
        if batch.failures and self._on_error == "stop":
            raise BadExample(next(iter(batch.failures.values())))
        numbers = self.fill(batch)
        usable = self.answers.state[numbers] == USABLE
        best, labels = self.answers.best[numbers][usable], self.labels[numbers][usable]
        self._done += len(numbers)
        self._usable += len(best)
        self._right += (best[:, : len(self._right), 0] == labels[:, None]).sum(0)

    def _report(self) -> None:
        if self._progress is None:
            return
        names = (side.name for side in self._work.sides)
        right_by_side = dict(zip(names, self._right.tolist(), strict=True))
        fresh, seconds = self._done - self._before, time.monotonic() - self._since
        rate = fresh / seconds if fresh and seconds else 0.0
        self._progress(
            Standing(self._done, self._total, self._usable, right_by_side, rate, self._ranks)
        )


@dataclass(frozen=True)
class Runner:
    """How evaluations are run: in which processes, and what becomes of bad images."""

    ranks: Ranks
    fresh: bool
    workers: int | None
    on_error: str
    progress: Progress | None

    def run(self, work: Work, provenance: Mapping[str, Any], folder: Path) -> Answers:
        """Evaluate what is not in the journal of the folder yet; every rank gets all answers."""
        ranks = self.ranks
        counter = Counter(work, ranks.size, self.on_error, self.progress if ranks.first else None)
        ranks.check_alike(provenance)
        if self.fresh:
            # By the first of each machine, before any of them looks at what is there.
            ranks.together(partial(discard, folder) if ranks.first_here else lambda: None)
        with ranks.together(partial(Journal, folder, provenance)) as journal:
            mine = {batch.number: batch for batch in journal.batches(work.check)}
            in_journals = set().union(*ranks.gathered(set(mine)))
            remaining = ranks.share(b for b in range(work.batches) if b not in in_journals)
            ranks.together(partial(counter.begin, mine.values(), remaining))
            count = max(cores() // ranks.local, 1) if self.workers is None else self.workers
            # Closed at once where an image stops the evaluation, so that its processes end.
            with closing(answer_batches(work, remaining, min(count, len(remaining)))) as batches:
                for batch in batches:
                    counter.add(batch)
                    journal.add(batch)
                    mine[batch.number] = batch
                    ranks.check()
        for batch in itertools.chain(*ranks.gathered(list(mine.values()))):
            counter.fill(batch)
        return counter.answers


def answer_batches(work: Work, batches: Sequence[int], workers: int) -> Generator[Batch]:
    """Yield the answers to batches as they are finished, in any order.

    With 0 workers it is done in this process.

    Raises:
        WorkerDied: a process was killed.
        BadInput: a file cannot be read, or a judge is not installed.
    """
    if not batches:
        return
    if not workers:
        import torch

        threads = torch.get_num_threads()
        with _one_thread():
            torch.set_num_threads(1)
            try:
                evaluator = Evaluator(work)
                yield from map(evaluator.evaluate, batches)
            finally:
                torch.set_num_threads(threads)
        return
    with _pool(work, workers) as pool:
        if work.device == "cpu":
            yield from _as_finished(pool, _evaluate, batches, workers * AHEAD)
            return
        here = Evaluator(work)
        for answers, pixels in _as_finished(pool, _judge, batches, workers * AHEAD):
            yield here.answer(answers, pixels, on_device=True)


def _as_finished(
    pool: ProcessPoolExecutor, task: Callable[[int], Result], batches: Iterable[int], ahead: int
) -> Iterator[Result]:
    """Yield results of a task on each batch, with at most ``ahead`` of them under way."""
    waiting = iter(batches)
    under_way = {pool.submit(task, batch) for batch in islice(waiting, ahead)}
    try:
        while under_way:
            ready, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            under_way |= {pool.submit(task, batch) for batch in islice(waiting, len(ready))}
            for future in ready:
                yield future.result()
    except BrokenProcessPool as error:
        raise WorkerDied(
            "a process that evaluates has ended, as where memory runs out, or where a script does "
            "not begin below `if __name__ == '__main__':`; what is finished is kept: the same goes "
            "on, with fewer processes by --workers"
        ) from error


@contextmanager
def _pool(work: Work, workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes with one thread each, which end with this one."""
    # Spawned, as neither PyTorch nor TensorFlow survives a fork.
    context = multiprocessing.get_context("spawn")
    with _one_thread():
        others = set(multiprocessing.active_children())
        pool = ProcessPoolExecutor(workers, context, _begin, (work,))
        try:
            yield pool
        except BaseException:
            # Their work is no longer needed, and may take long.
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes that are started within this context keep to one thread."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ |= ONE_THREAD
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


_evaluator: list[Evaluator] = []
"""A worker's evaluator, set when the worker starts."""


def _begin(work: Work) -> None:
    def end_with_parent() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process reports it
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # TensorFlow would take a GPU's memory
    threading.Thread(target=end_with_parent, daemon=True).start()
    _evaluator.append(Evaluator(work))


def _evaluate(batch: int) -> Batch:
    return _evaluator[0].evaluate(batch)


def _judge(batch: int) -> tuple[Batch, Pixels]:
    return _evaluator[0].judged(batch)
