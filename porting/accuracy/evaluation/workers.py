"""Processes that evaluate batches, each with one thread.

One batch is one process's from its files to its answers: no pixels travel, and
no process waits while another could work. Where the network runs on a GPU the
processes make pixels and have the judge answer, and this one runs the network.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from porting.accuracy.evaluation.batch import Batch, Evaluator, Pixels, Work
from porting.errors import WorkerDied
from porting.one_thread import ONE_THREAD

Done = TypeVar("Done")

AHEAD = 2
"""Batches given to each process, so that none waits for the next."""


def evaluated(work: Work, batches: Sequence[int], workers: int) -> Generator[Batch]:
    """The answers to batches as they are finished, in any order; 0 workers: in this process.

    Raises:
        WorkerDied: a process was killed.
        BadInput: a file cannot be read, or a judge is not installed.
    """
    if not batches:
        return
    if not workers:
        yield from _evaluated_here(work, batches)
        return
    ahead = workers * AHEAD
    with _pool(work, workers) as pool:
        if work.device == "cpu":
            yield from _as_finished(pool, _evaluate, batches, ahead)
            return
        here = Evaluator(work)
        for answers, pixels in _as_finished(pool, _judge, batches, ahead):
            yield here.answer(answers, pixels, on_device=True)


def _evaluated_here(work: Work, batches: Iterable[int]) -> Iterator[Batch]:
    import torch

    threads = torch.get_num_threads()
    with _one_thread():
        torch.set_num_threads(1)
        try:
            evaluator = Evaluator(work)
            for batch in batches:
                yield evaluator.evaluate(batch)
        finally:
            torch.set_num_threads(threads)


def _as_finished(
    pool: ProcessPoolExecutor, task: Callable[[int], Done], batches: Iterable[int], ahead: int
) -> Iterator[Done]:
    """Results of a task on each batch, no more than ``ahead`` of them under way."""
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
    """Processes with a thread each, which end with this one."""
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
    """What is begun meanwhile keeps to one thread."""
    kept = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ |= ONE_THREAD
    try:
        yield
    finally:
        for name, value in kept.items():
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
