"""``porting diff`` with all readings and the HTML report, against the forward passes it needs.

A comparison needs at least one pass of the judge and one of the port in float32 and in float64
per image. The goal is four times these, plus the imports.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measuring import PYTHON, Measured, median_of, run_once
from benchmarks.sources import bench_sources

IMAGES, ROUNDS = 8, 5
GOAL = 4.0

IMPORTS = "import torch, numpy, ai_edge_litert.interpreter"


def bare_passes(source: Path, weights: Path) -> float:
    """Seconds of one pass of the judge and one of the port in each precision for all images."""
    import torch
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    from genmobilenet import create_model
    from porting.parity.inputs import seeded_pixels

    judge = Interpreter(
        str(source),
        num_threads=2,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    judge.allocate_tensors()
    place = judge.get_input_details()[0]["index"]
    model = create_model("tf_mnasnet_100", checkpoint_path=weights).eval()
    exact = create_model("tf_mnasnet_100", checkpoint_path=weights).eval().double()
    images = seeded_pixels(IMAGES, 224).astype("float32")
    start = time.perf_counter()
    with torch.inference_mode():
        for image in images:
            judge.set_tensor(place, image[None])
            judge.invoke()
            data = torch.from_numpy(image[None].transpose(0, 3, 1, 2).copy())
            model(data)
            exact(data.double())
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    with bench_sources() as sources, tempfile.TemporaryDirectory() as folder:
        port = [PYTHON, "-m", "porting", "port", str(sources.b1), "--no-verify", "--out", folder]
        run_once(port)
        weights = next(Path(folder).glob("*.pth"))
        page = str(Path(folder, "report.html"))
        diff = [PYTHON, "-m", "porting", "diff", str(sources.b1), str(weights)]
        bare = [PYTHON, "-m", "benchmarks.diff_time", str(sources.b1), str(weights)]
        commands = {
            "imports": [PYTHON, "-c", IMPORTS],
            "diff": [*diff, "--random", str(IMAGES), "--report", page],
        }
        results, passes = _by_turns_with_passes(commands, bare)
    table = Table("porting diff of B1, all readings, 8 images, HTML", "seconds")
    whole, imports = results["diff"].seconds, results["imports"].seconds
    table.add_row("whole process", f"{whole:.2f}")
    table.add_row("imports alone", f"{imports:.2f}")
    table.add_row("bare forward passes: judge, float32, float64", f"{passes:.2f}")
    table.add_row(
        f"(whole - imports) / passes; goal {GOAL:g}", f"{(whole - imports) / passes:.2f} x"
    )
    Console(width=100).print(table)


def _by_turns_with_passes(
    commands: dict[str, list[str]], bare: list[str]
) -> tuple[dict[str, Measured], float]:
    """Medians over rounds in which the passes and every command run once each."""
    rounds: dict[str, list[Measured]] = {name: [] for name in commands}
    passes = []
    for command in commands.values():
        run_once(command)  # fills the page cache; not counted
    for _ in range(ROUNDS):
        passes.append(float(_output(bare)))
        for name, command in commands.items():
            rounds[name].append(run_once(command))
    return {name: median_of(runs) for name, runs in rounds.items()}, statistics.median(passes)


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(bare_passes(Path(sys.argv[1]), Path(sys.argv[2])))
    else:
        main()
