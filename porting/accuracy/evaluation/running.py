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
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from porting.accuracy.datasets import DataSet
from porting.accuracy.evaluation.agreement import Quantisation, quantisation_on, tie_on
from porting.accuracy.evaluation.batch import (
    ANSWERED,
    FAILED,
    Answers,
    Batch,
    Evaluator,
    Pixels,
    Work,
)
from porting.accuracy.evaluation.effects import Explanation
from porting.accuracy.evaluation.journal import Journal, discard
from porting.accuracy.evaluation.predictors import Inputs, Side
from porting.accuracy.evaluation.preparing import Prepared
from porting.accuracy.evaluation.provenance import Provenance
from porting.accuracy.evaluation.ranks import Ranks
from porting.accuracy.evaluation.significance import right
from porting.errors import BadExample, WorkerDied
from porting.mapping.convention import InputConvention
from porting.one_thread import ONE_THREAD, cores

BATCH = 16
"""Images in a batch: more make a network on one core no faster, and are lost with a kill."""

Result = TypeVar("Result")

AHEAD = 2
"""Batches given to each process, so that none waits for the next."""


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Answers of a judge and a port on a data set, and what they rest on.

    ``labels`` (N,) are the images', -1 where one has none; ``answers`` are those of
    ``sides``. ``inputs`` are the files, ``stated`` is the authors' top-1 in percent
    where it is published. Where judge and port differ on an image, ``tie`` is the margin in
    logits up to which rounding may decide; see :mod:`porting.accuracy.evaluation.agreement`.
    Where they differ beyond that and the source is quantised, ``quantisation`` says what it
    answers in float32. On request, ``explanation`` attributes the distance to the stated
    accuracy; the answers of its variants stand behind those of the sides.
    """

    dataset: DataSet
    inputs: Inputs
    sides: tuple[Side, ...]
    convention: InputConvention
    labels: np.ndarray
    answers: Answers
    provenance: Provenance
    stated: float | None = None
    tie: float | None = None
    quantisation: Quantisation | None = None
    explanation: Explanation | None = None

    def __repr__(self) -> str:
        names = " and ".join(side.name for side in self.sides)
        return f"Evaluation({names} on {self.dataset!r})"

    @property
    def usable(self) -> np.ndarray:
        """(N,) whether an image was answered by every side."""
        return np.asarray(self.answers.state == ANSWERED)

    @property
    def compares(self) -> bool:
        """Whether judge and port both answered."""
        return [side.name for side in self.sides[:2]] == ["judge", "port"]

    @property
    def differing(self) -> list[int]:
        """Numbers of the images on which the answers of judge and port differ."""
        if not self.compares:
            return []
        best = self.answers.best
        return np.flatnonzero(self.usable & (best[:, 0, 0] != best[:, 1, 0])).tolist()

    def near_tie(self, number: int) -> bool:
        """Whether a differing image's best two are so near for both that rounding may decide."""
        return self.tie is not None and bool((self.answers.margin[number, :2] <= self.tie).all())

    def right(self, side: int, among: int = 1) -> np.ndarray:
        """(usable,) whether the label is among the ``among`` best classes of a side."""
        usable = self.usable
        return right(self.answers.best[usable, side], self.labels[usable], among)


@dataclass(frozen=True)
class Standing:
    """The progress of an evaluation: images done, and how many each side got right.

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


class Counter:
    """Collects answers by image, and reports progress after each batch."""

    def __init__(self, work: Work, ranks: int, progress: Progress | None) -> None:
        dataset = work.dataset
        labels = (dataset.example(number).label for number in range(len(dataset)))
        self.labels = np.array([-1 if label is None else label for label in labels], np.int32)
        self.answers = Answers.none_of(len(dataset), len(work.answering))
        self._work, self._ranks, self._progress = work, ranks, progress
        self._right = np.zeros(len(work.sides), np.int64)
        self._done = self._answered = self._total = self._before = 0
        self._since = time.monotonic()

    def begin(self, finished: Iterable[Batch], remaining: Sequence[int], on_error: str) -> None:
        """Count in what the journal has, and start the clock for the remaining batches.

        Raises:
            BadExample: as :meth:`add`.
        """
        for batch in finished:
            self._count(batch, on_error)
        self._total = self._done + sum(len(self._work.numbers(batch)) for batch in remaining)
        self._since, self._before = time.monotonic(), self._done
        if self._done:
            self._report()

    def add(self, batch: Batch, on_error: str) -> None:
        """Count a batch in, and report progress.

        Raises:
            BadExample: an image of it could not be read, and that is to stop the evaluation.
        """
        self._count(batch, on_error)
        self._report()

    def fill(self, batch: Batch) -> np.ndarray:
        """Store the answers of a batch; return the numbers of its images."""
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

    def _report(self) -> None:
        if self._progress is None:
            return
        names = (side.name for side in self._work.sides)
        right_by_side = dict(zip(names, self._right.tolist(), strict=True))
        fresh, seconds = self._done - self._before, time.monotonic() - self._since
        rate = fresh / seconds if fresh and seconds else 0.0
        self._progress(
            Standing(self._done, self._total, self._answered, right_by_side, rate, self._ranks)
        )


@dataclass(frozen=True)
class Runner:
    """How evaluations are run: in which processes, on what, and what becomes of bad images."""

    ranks: Ranks
    fresh: bool
    workers: int | None
    device: str
    on_error: str
    progress: Progress | None

    def run(self, prepared: Prepared, folder: Path) -> Evaluation | None:
        """Evaluate what is not in the journal of the folder yet; the first rank gets everything."""
        ranks = self.ranks
        work = Work(
            prepared.dataset, prepared.inputs, prepared.sides, BATCH, self.device,
            prepared.variants,
        )  # fmt: skip
        provenance = replace(prepared.provenance, batch=BATCH, device=self.device)
        counter = Counter(work, ranks.size, self.progress if ranks.first else None)
        ranks.check_alike(provenance.to_json())
        if self.fresh:
            # By the first of each machine, before any of them looks at what is there.
            ranks.together(partial(discard, folder) if ranks.first_here else lambda: None)
        with ranks.together(partial(Journal, folder, provenance.to_json())) as journal:
            mine = {batch.number: batch for batch in journal.finished()}
            finished = set().union(*ranks.gathered(set(mine)))
            remaining = ranks.share(b for b in range(work.batches) if b not in finished)
            ranks.together(partial(counter.begin, mine.values(), remaining, self.on_error))
            count = max(cores() // ranks.local, 1) if self.workers is None else self.workers
            # Closed at once where an image stops the evaluation, so that its processes end.
            with closing(answer_batches(work, remaining, min(count, len(remaining)))) as batches:
                for batch in batches:
                    counter.add(batch, self.on_error)
                    journal.add(batch)
                    mine[batch.number] = batch
                    ranks.check()
        for batch in itertools.chain(*ranks.gathered(list(mine.values()))):
            counter.fill(batch)
        if not ranks.first:
            return None
        evaluation = Evaluation(
            prepared.dataset, prepared.inputs, prepared.sides, prepared.convention,
            counter.labels, counter.answers, provenance, prepared.stated,
        )  # fmt: skip
        if not evaluation.differing:
            return evaluation
        evaluation = replace(evaluation, tie=tie_on(work, evaluation.differing))
        beyond = [n for n in evaluation.differing if not evaluation.near_tie(n)]
        if not beyond:
            return evaluation
        quantisation = quantisation_on(work, evaluation.answers, beyond, evaluation.tie)
        return replace(evaluation, quantisation=quantisation)


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
    ahead = workers * AHEAD
    with _pool(work, workers) as pool:
        if work.device == "cpu":
            yield from _as_finished(pool, _evaluate, batches, ahead)
            return
        here = Evaluator(work)
        for answers, pixels in _as_finished(pool, _judge, batches, ahead):
            yield here.answer(answers, pixels, on_device=True)


def _as_finished(
    pool: ProcessPoolExecutor, task: Callable[[int], Result], batches: Iterable[int], ahead: int
) -> Iterator[Result]:
    """Yield results of a task on each batch, with at most ``ahead`` of them under way."""
    waiting = iter(batches)
    under_way = {pool.submit(task, batch) for batch in islice(waiting, ahead)}
    try:
        while under_way:
            finished, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            under_way |= {pool.submit(task, batch) for batch in islice(waiting, len(finished))}
            for future in finished:
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
            # What they are at is of no use any more, and may take long.
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
"""Of a worker: what it evaluates with."""


def _begin(work: Work) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that began this one says so
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # TensorFlow would take a GPU's memory
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _evaluator.append(Evaluator(work))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _evaluate(batch: int) -> Batch:
    return _evaluator[0].evaluate(batch)


def _judge(batch: int) -> tuple[Batch, Pixels]:
    return _evaluator[0].judged(batch)
