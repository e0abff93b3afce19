"""Memory does not grow with the number of images."""

from __future__ import annotations

import os
import subprocess

import pytest

from parity_tests.accuracy.evaluation.commands import MANY, command

FEW = 200
SOME = 12
"""MiB that two runs of the same may differ by."""


def peak(words):
    """Peak memory of a command in MiB, by the kernel's own count."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return usage.ru_maxrss / 1024


@pytest.mark.slow
def test_ten_times_the_images_take_no_more(small, many, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for file in sorted(many.glob("*.jpg"))[:FEW]:
        os.link(file, few / file.name)
    lines = (many / "labels.csv").read_text().splitlines()
    (few / "labels.csv").write_text("\n".join(lines[: FEW + 1]))
    peaks = [
        peak(command(small, folder, tmp_path, f"run-{folder.name}", "--workers", "0"))
        for folder in (few, many)
    ]
    assert MANY == 10 * FEW
    assert peaks[1] - peaks[0] < SOME, peaks
