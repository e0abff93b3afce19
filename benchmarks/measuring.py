"""Time processes and functions in turns, and measure the memory of processes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

PYTHON = sys.executable


@dataclass(frozen=True)
class Measured:
    """Median seconds and peak memory in MiB of one command."""

    seconds: float
    mib: float


def run_once(command: Sequence[str]) -> Measured:
    """Run a command; its peak memory is the kernel's own figure."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"{' '.join(command)} failed:\n{errors.decode(errors='replace')}")
    return Measured(seconds, usage.ru_maxrss / 1024)


def by_turns(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, Measured]:
    """Medians over rounds in which every command runs once, so that a busy period affects all."""
    runs: dict[str, list[Measured]] = {name: [] for name in commands}
    for command in commands.values():
        run_once(command)  # fills the page cache; not counted
    for _ in range(rounds):
        for name, command in commands.items():
            runs[name].append(run_once(command))
    return {name: median_of(of_command) for name, of_command in runs.items()}


def median_of(runs: Sequence[Measured]) -> Measured:
    """The median time and the peak memory of several runs."""
    return Measured(statistics.median(run.seconds for run in runs), max(run.mib for run in runs))


def function_seconds(
    functions: Mapping[str, Callable[[], object]], rounds: int, warmups: int = 1
) -> dict[str, float]:
    """Median seconds over rounds in which every function runs once."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        for _ in range(warmups):
            function()  # compiles and fills caches; not counted
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}
