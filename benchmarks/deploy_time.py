"""Forward passes of deployed networks, in turns with timm's networks and with LiteRT.

timm's networks get the same weights and TensorFlow's padding, so that all do the same work;
that their logits agree is checked first. Milliseconds are medians, on a CPU, at 224x224.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import function_seconds
from benchmarks.others import others_available
from benchmarks.sources import bench_sources
from genmobilenet import create_model, deploy
from genmobilenet.network import GenMobileNet
from porting import port

# Our network in TensorFlow's form, timm's name, and timm's options for the same computation.
SAME = {"pad_type": "same", "bn_eps": 1e-3}
NETWORKS: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("tf_mnasnet_100", "mnasnet_100", SAME),
    ("tf_semnasnet_100", "semnasnet_100", SAME),
    ("tf_mobilenetv2_100", "mobilenetv2_100", SAME),
    ("tf_mobilenetv3_large_100", "tf_mobilenetv3_large_100", {}),
)
THREADS = (1, 2)
ROUNDS = {1: 41, 16: 9}
"""Batch sizes, and how often each cell of the table is run."""

TOLERANCE = 1e-3
"""Of the largest logit: far above rounding, far below another padding or epsilon."""


def agree(actual: np.ndarray, expected: np.ndarray, what: str) -> None:
    """Exit if two networks do not compute the same."""
    apart = float(np.abs(actual - expected).max() / np.abs(expected).max())
    if not apart < TOLERANCE:
        sys.exit(f"{what}: logits {apart:.1e} of the largest apart, expected {TOLERANCE:g}")


def random_network(name: str) -> GenMobileNet:
    """A network with random weights whose activations keep their size."""
    torch.manual_seed(0)
    model = create_model(name)
    with torch.no_grad():
        model.train()(torch.randn(8, 3, 96, 96))
        model.train()(torch.randn(8, 3, 96, 96))
    return model.eval()


def against_timm() -> Iterator[tuple[str, int, int, float, float]]:
    """Network, batch, threads, milliseconds of timm's and of the deployed one."""
    import timm

    for name, other, options in NETWORKS:
        model = random_network(name)
        theirs = timm.create_model(other, **options).eval()
        theirs.load_state_dict(model.state_dict())
        ours = deploy(model)
        with torch.inference_mode():
            x = torch.randn(1, 3, 224, 224)
            agree(ours(x).numpy(), theirs(x).numpy(), f"{name} and timm's {other}")
        for threads in THREADS:
            torch.set_num_threads(threads)
            for batch, rounds in ROUNDS.items():
                x = torch.randn(batch, 3, 224, 224)
                passes = {"timm": partial(theirs, x), "deployed": partial(ours, x)}
                with torch.inference_mode():
                    seconds = function_seconds(passes, rounds, warmups=2)
                yield name, batch, threads, 1e3 * seconds["timm"], 1e3 * seconds["deployed"]


def against_litert(b1: Path) -> tuple[float, float]:
    """Milliseconds of LiteRT and of the deployed port of one file, a batch of one, one thread.

    LiteRT runs with its default delegate, XNNPACK.
    """
    from ai_edge_litert.interpreter import Interpreter

    torch.set_num_threads(1)
    b1_port = port(b1, verify=False)
    model = create_model(b1_port.model, num_classes=b1_port.convention.classes)
    model.load_state_dict(b1_port.state_dict)
    ours = deploy(model.eval(), b1_port.convention.size)
    interpreter = Interpreter(str(b1), num_threads=1)
    interpreter.allocate_tensors()
    place, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    x = torch.rand(1, *place["shape"][1:]) * 2 - 1  # NHWC
    interpreter.set_tensor(place["index"], x.numpy())
    x = x.permute(0, 3, 1, 2).contiguous()
    interpreter.invoke()
    agree(ours(x).numpy(), interpreter.get_tensor(result["index"]), f"{b1.name} and its port")
    passes = {"LiteRT": interpreter.invoke, "deployed": partial(ours, x)}
    with torch.inference_mode():
        seconds = function_seconds(passes, ROUNDS[1], warmups=2)
    return 1e3 * seconds["LiteRT"], 1e3 * seconds["deployed"]


def first_pass() -> tuple[float, float]:
    """By how many seconds the first pass of a deployed network is longer, and its MiB."""
    torch.set_num_threads(1)
    ours, x = deploy(random_network("tf_mnasnet_100")), torch.randn(1, 3, 224, 224)
    before, start = _resident(), time.perf_counter()
    with torch.inference_mode():
        ours(x)
        middle = time.perf_counter()
        mebibytes = _resident() - before
        ours(x)
    second = time.perf_counter() - middle
    return middle - start - second, mebibytes


def _resident() -> float:
    """MiB that this process has in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Print all tables."""
    console = Console(width=100)
    seconds, memory = first_pass()
    console.print(
        f"tf_mnasnet_100, batch 1: the first pass takes {seconds:.1f} s longer, "
        f"and {memory:.0f} MiB"
    )
    if others_available():
        table = Table("network", "batch", "threads", "timm, ms", "deployed, ms", "times as fast")
        gains = []
        for name, batch, threads, theirs, ours in against_timm():
            gains.append(theirs / ours)
            figures = f"{theirs:.1f}", f"{ours:.1f}", f"{gains[-1]:.2f}"
            table.add_row(name, str(batch), str(threads), *figures)
        table.add_row(
            "median, least", "", "", "", "", f"{statistics.median(gains):.2f}, {min(gains):.2f}"
        )
        console.print(table)
    else:
        console.print("timm: left out, PORTING_OTHERS does not name a folder that has it")
    with bench_sources() as sources:
        theirs, ours = against_litert(sources.b1)
    console.print(
        f"{sources.b1.name}, batch 1, one thread: LiteRT {theirs:.1f} ms, deployed {ours:.1f} ms, "
        f"{ours / theirs:.2f} times LiteRT's"
    )


if __name__ == "__main__":
    main()
