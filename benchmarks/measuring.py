"""Running whole processes by turns, and what they took."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PYTHON = sys.executable


@dataclass(frozen=True)
class Measured:
    """Median seconds and peak memory in MiB of one command."""

    seconds: float
    mib: float


def run_once(command: Sequence[str]) -> Measured:
    """Run a command to its end; its peak memory comes from the kernel's own count."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    complaint = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"{' '.join(command)} failed:\n{complaint.decode(errors='replace')}")
    return Measured(seconds, usage.ru_maxrss / 1024)


def by_turns(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, Measured]:
    """Medians over rounds in which every command runs once, so that a busy spell hits all."""
    runs: dict[str, list[Measured]] = {name: [] for name in commands}
    for command in commands.values():
        run_once(command)  # fills the page cache; not counted
    for _ in range(rounds):
        for name, command in commands.items():
            runs[name].append(run_once(command))
    return {name: median_of(done) for name, done in runs.items()}


def median_of(runs: Sequence[Measured]) -> Measured:
    """The median time and the peak memory of several runs."""
    return Measured(statistics.median(run.seconds for run in runs), max(run.mib for run in runs))
