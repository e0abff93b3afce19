"""``porting evaluate`` of a port, against decoding and forward passes alone.

All three with one process per core and one thread each, in one run. The goal: 90 % of
the slower of the two. On the same cores an image takes the time of both, which bounds
the speed; that is printed too.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.photos import photos, write_photos
from benchmarks.sources import bench_sources
from porting.accuracy.evaluation.evaluate import evaluate
from porting.accuracy.evaluation.running import BATCH, Standing
from porting.one_thread import ONE_THREAD, cores

IMAGES, SECONDS, SIZE = 1600, 12.0, 224
GOAL = 0.9
FORWARD = "forward passes alone"


def decoding(_weights: str) -> Callable[[], Any]:
    """A function that preprocesses a batch."""
    from porting.accuracy.preprocessing import named_pipeline

    pipeline, data = named_pipeline("mnasnet", SIZE), photos(BATCH)
    return lambda: np.stack([pipeline(one) for one in data])


def forward(weights: str) -> Callable[[], Any]:
    """A function that runs the deployed network on a batch."""
    import torch

    from genmobilenet import create_model, deploy

    network = deploy(create_model("tf_mnasnet_100", checkpoint_path=weights).eval(), SIZE)
    shape = (BATCH, 3, SIZE, SIZE)
    images = torch.randn(shape).contiguous(memory_format=torch.channels_last)

    def run() -> Any:
        with torch.inference_mode():
            return network(images)

    return run


def count(
    make: Callable[[str], Callable[[], Any]], weights: str, start: Barrier, rates: Any
) -> None:
    """Report images per second, measured over ``SECONDS`` in a separate process."""
    run = make(weights)
    run()
    start.wait()
    begin, batches = time.perf_counter(), 0
    while (seconds := time.perf_counter() - begin) < SECONDS:
        run()
        batches += 1
    rates.put(batches * BATCH / seconds)


def alone(make: Callable[[str], Callable[[], Any]], weights: str) -> float:
    """Images per second of all cores together."""
    context = multiprocessing.get_context("spawn")
    start, rates = context.Barrier(cores()), context.Queue()
    workers = [
        context.Process(target=count, args=(make, weights, start, rates)) for _ in range(cores())
    ]
    for worker in workers:
        worker.start()
    total = sum(rates.get() for _ in workers)
    for worker in workers:
        worker.join()
    return float(total)


def evaluating(weights: Path, folder: Path) -> float:
    """Images per second of an evaluation, without its start and its last ``cores`` batches."""
    progress: list[tuple[float, int]] = []

    def watch(standing: Standing) -> None:
        progress.append((time.perf_counter(), standing.done))

    evaluate(folder / "photos", checkpoint=weights, journal=folder / "journal", progress=watch)
    (begin, first), (end, last) = progress[0], progress[-cores()]
    return (last - first) / (end - begin)


def main() -> None:
    """Measure and print."""
    from porting.api import port
    from porting.release import write_release

    os.environ |= ONE_THREAD
    with bench_sources() as sources, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = write_release(port(sources.b1, verify=False), folder).weights
        write_photos(folder / "photos", IMAGES)
        rates = {
            "decoding and preprocessing alone": alone(decoding, str(weights)),
            FORWARD: alone(forward, str(weights)),
        }
        whole = evaluating(weights, folder)
        again = alone(forward, str(weights))
    rates[f"{FORWARD}, again"] = again
    table = Table(f"MNASNet-B1 at {SIZE}, {cores()} cores", "images a second")
    for what, rate in rates.items():
        table.add_row(what, f"{rate:.1f}")
    decoding_rate = rates["decoding and preprocessing alone"]
    forward_rate = (rates[FORWARD] + again) / 2
    bound = 1 / (1 / decoding_rate + 1 / forward_rate)
    table.add_row("both on these cores, no time lost", f"{bound:.1f}")
    table.add_row("porting evaluate of the port alone", f"{whole:.1f}")
    table.add_row("over what both allow on these cores", f"{whole / bound:.2f}")
    slower = min(decoding_rate, forward_rate)
    table.add_row(f"over the slower of the two; goal {GOAL:g}", f"{whole / slower:.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
