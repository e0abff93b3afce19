"""``porting port`` as a whole process, against ``import torch`` alone.

Prints, for each way to port and for a file of each format, the median time divided by that of
importing torch, the peak memory above it, and the goal. For graphs the goal is in times of
importing torch and TensorFlow, which another reader would need.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measuring import PYTHON, Measured, by_turns
from benchmarks.sources import BenchSources, bench_sources

BARE = "import torch"
BOTH = "import torch, tensorflow"
MODEL, FORMAT_GOAL = "tf_mobilenetv2_100", 1.5
GRAPHS = ("frozen graph", "SavedModel")
FILES = {
    "TFLite": "float.tflite",
    "TFLite, int8 weights": "dynamic.tflite",
    "checkpoint": "checkpoint",
    "frozen graph": "graph.pb",
    "SavedModel": "saved",
    "Keras .keras": "model.keras",
    "Keras .h5": "model.h5",
    "Keras .weights.h5": "model.weights.h5",
}

# Name -> goals in times of importing torch, and in MiB above it (None: no goal).
GOALS: dict[str, tuple[float, float | None]] = {
    "B1 TFLite, --no-verify": (1.25, 150),
    "B1 TFLite, verified by LiteRT": (2.5, None),
    "A1 0.5 checkpoint, --no-verify": (1.25, None),
}

# As on a machine without TensorFlow.
HIDE_TENSORFLOW = """
import sys

class Hidden:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "tensorflow":
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Hidden())
from porting.__main__ import main
sys.argv[0] = "porting"
main()
"""


def commands(sources: BenchSources, folder: Path) -> dict[str, list[str]]:
    """The commands to measure, by name; files of all formats are in ``folder``."""
    options = ["--out", str(folder / "out")]
    port = [PYTHON, "-m", "porting", "port", *options]
    hidden = [PYTHON, "-c", HIDE_TENSORFLOW, "port", *options]
    names = iter(GOALS)
    return {
        BARE: [PYTHON, "-c", BARE],
        BOTH: [PYTHON, "-c", BOTH],
        next(names): [*port, str(sources.b1), "--no-verify"],
        next(names): [*port, str(sources.b1)],
        next(names): [*hidden, str(sources.a1_checkpoint), "--no-verify"],
        **{name: [*port, str(folder / file), "--no-verify"] for name, file in FILES.items()},
    }


def make_every_format(folder: Path) -> None:
    """Write MobileNet V2 with seeded weights in every format."""
    from parity_tests.building.graphs import Network
    from parity_tests.building.keras_models import build, write
    from porting.judges.keras import Application
    from porting.judges.reference.synthesize import synthesize

    files = synthesize(MODEL, folder / "synthetic")
    for path, name in ((files.float, "float"), (files.dynamic, "dynamic")):
        path.rename(folder / f"{name}.tflite")
    files.checkpoint.rename(folder / "checkpoint")
    network = Network(MODEL, classes=1000, size=224)
    network.write_frozen(folder / "graph.pb")
    network.write_saved_model(folder / "saved")
    write(build(Application("MobileNetV2", 1.0, classes=1000, size=224)), folder)


def table(results: dict[str, Measured]) -> Table:
    """The figures beside their goals."""
    bare, both = results[BARE], results[BOTH]
    table = Table("process", "seconds", f"x {BARE}", "x both", "goal", "MiB above", "goal")
    table.add_row(BARE, f"{bare.seconds:.2f}", "1.00", "", "", f"({bare.mib:.0f} in all)", "")
    for name in (*GOALS, *FILES):
        run = results[name]
        times, mib = GOALS.get(name, (FORMAT_GOAL, None))
        table.add_row(
            name,
            f"{run.seconds:.2f}",
            f"{run.seconds / bare.seconds:.2f}",
            f"{run.seconds / both.seconds:.2f}",
            f"{times} x {'both' if name in GRAPHS else 'torch'}",
            f"{run.mib - bare.mib:.0f}",
            "" if mib is None else f"{mib:.0f}",
        )
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--make", type=Path, help="only write the files, into this folder")
    options = parser.parse_args()
    if options.make is not None:
        make_every_format(options.make)
        return
    with bench_sources() as sources, tempfile.TemporaryDirectory() as folder:
        # A process starts with the peak memory of its parent: TensorFlow's would count here.
        make = [PYTHON, "-m", "benchmarks.porting_time", "--make", folder]
        subprocess.run(make, check=True, capture_output=True)
        results = by_turns(commands(sources, Path(folder)), options.rounds)
    Console(width=100).print(table(results))


if __name__ == "__main__":
    main()
