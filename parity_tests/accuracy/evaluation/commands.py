"""`porting evaluate` as a user runs it, and the contents of its journal."""

from __future__ import annotations

import sys

MANY = 2000
"""Images of the fixture ``many``."""


def command(small, data, folder, name, *more):
    words = ["evaluate", data, "--source", small[0], "--checkpoint", small[1], "--labels",
             data / "labels.csv", "--journal", folder / name, "--json", folder / f"{name}.json",
             "--rows", folder / f"{name}.csv", *more]  # fmt: skip
    return [sys.executable, "-m", "porting", *map(str, words)]


def finished(folder):
    return sum(part.read_bytes().count(b"\n") for part in folder.glob("batches-*"))
