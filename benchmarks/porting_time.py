"""``porting port`` as a whole process, against ``import torch`` alone.

Prints, for each way to port, the median time over that of importing torch, the
peak memory above it, and the goal.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measuring import PYTHON, Measured, by_turns
from benchmarks.sources import BenchSources, bench_sources

BARE = "import torch"

# Name -> most times importing torch, most MiB above it (None: no goal).
GOALS: dict[str, tuple[float, float | None]] = {
    "B1 TFLite, --no-verify": (1.25, 150),
    "B1 TFLite, verified by LiteRT": (2.5, None),
    "A1 0.5 checkpoint, --no-verify": (1.25, None),
}

# As on a machine that does not have TensorFlow.
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


def commands(sources: BenchSources, out: Path) -> dict[str, list[str]]:
    """What is measured, by name."""
    port = [PYTHON, "-m", "porting", "port"]
    hidden = [PYTHON, "-c", HIDE_TENSORFLOW, "port"]
    written = ["--out", str(out)]
    names = iter(GOALS)
    return {
        BARE: [PYTHON, "-c", "import torch"],
        next(names): [*port, str(sources.b1), "--no-verify", *written],
        next(names): [*port, str(sources.b1), *written],
        next(names): [*hidden, str(sources.a1_checkpoint), "--no-verify", *written],
    }


def table(results: dict[str, Measured]) -> Table:
    """The figures beside their goals."""
    bare = results[BARE]
    table = Table("process", "seconds", "x import torch", "goal", "MiB above", "goal")
    table.add_row(BARE, f"{bare.seconds:.2f}", "1.00", "", f"({bare.mib:.0f} in all)", "")
    for name, (most, mib) in GOALS.items():
        run = results[name]
        table.add_row(
            name,
            f"{run.seconds:.2f}",
            f"{run.seconds / bare.seconds:.2f}",
            f"{most}",
            f"{run.mib - bare.mib:.0f}",
            "" if mib is None else f"{mib:.0f}",
        )
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with bench_sources() as sources, tempfile.TemporaryDirectory() as out:
        results = by_turns(commands(sources, Path(out)), rounds)
    Console(width=100).print(table(results))


if __name__ == "__main__":
    main()
