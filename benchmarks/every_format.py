"""``porting port --no-verify`` of a file of every format, against the imports that it is for.

All hold MobileNet V2, seeded, as TensorFlow, Keras and its converter write it. Prints the
median time of the whole process over that of importing torch, for graphs also over that of
importing torch and TensorFlow, which another reader would need.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measuring import PYTHON, by_turns

MODEL, GOAL = "tf_mobilenetv2_100", 1.5
BARE, BOTH = "import torch", "import torch, tensorflow"
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


def make(folder: Path) -> None:
    """Write all of them."""
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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--make", type=Path, help="only write the files, into this folder")
    options = parser.parse_args()
    if options.make is not None:
        make(options.make)
        return
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own: a process starts with the peak memory of that before it.
        again = [PYTHON, "-m", "benchmarks.every_format", "--make", folder]
        subprocess.run(again, check=True, capture_output=True)
        port = [PYTHON, "-m", "porting", "port", "--no-verify", "--out", f"{folder}/out"]
        commands = {name: [*port, f"{folder}/{file}"] for name, file in FILES.items()}
        imports = {words: [PYTHON, "-c", words] for words in (BARE, BOTH)}
        results = by_turns({**imports, **commands}, options.rounds)
    table = Table("porting port --no-verify", "seconds", "MiB above", f"x {BARE}", "x both", "goal")
    for name in FILES:
        run, above = results[name], results[name].mib - results[BARE].mib
        times = [f"{run.seconds / results[words].seconds:.2f}" for words in imports]
        goal = f"{GOAL} x {'both' if name in GRAPHS else 'torch'}"
        table.add_row(name, f"{run.seconds:.2f}", f"{above:.0f}", *times, goal)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
