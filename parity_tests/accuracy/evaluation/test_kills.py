"""An evaluation that is killed again and again ends with the figures of an undisturbed one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from parity_tests.accuracy.evaluation.commands import MANY, command, finished
from parity_tests.building.sampling import sampled


def children(process):
    return [
        int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()
    ]


def gone(process):
    try:
        return "Z" in Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return True


@pytest.mark.slow
@pytest.mark.parametrize("kills", sampled([6, 20], [6]))
def test_killed_again_and_again(small, many, tmp_path, kills):
    whole = command(small, many, tmp_path, "whole", "--workers", "2")
    subprocess.run(whole, check=True, capture_output=True)
    moments, left_behind = random.Random(20), []
    for kill in range(kills):
        words = command(small, many, tmp_path, "killed", "--workers", str(kill % 2 * 2))
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        before = finished(tmp_path / "killed")
        while kill % 4 and finished(tmp_path / "killed") == before and process.poll() is None:
            time.sleep(0.02)  # three in four are killed while evaluating, the others while starting
        time.sleep(moments.random() * (0.1 if kill % 4 else 4))
        assert process.poll() is None, process.stderr.read().decode()
        left_behind += children(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert kills // 2 < finished(tmp_path / "killed") < MANY // 16
    subprocess.run(command(small, many, tmp_path, "killed"), check=True, capture_output=True)
    for ending in ("json", "csv"):
        actual, expected = (tmp_path / f"{n}.{ending}" for n in ("killed", "whole"))
        assert actual.read_bytes() == expected.read_bytes()
    assert len(left_behind) > kills / 2
    assert all(gone(process) for process in left_behind)


@pytest.mark.slow
def test_a_worker_that_is_killed_ends_the_run_and_what_is_finished_is_kept(small, many, tmp_path):
    words = command(small, many, tmp_path, "run", "--workers", "2")
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while not finished(tmp_path / "run"):
        assert process.poll() is None
        time.sleep(0.02)
    workers = [
        child for child in children(process.pid)
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]  # fmt: skip
    os.kill(workers[0], signal.SIGKILL)
    complaint = process.communicate()[1].decode()
    assert process.returncode == 2
    assert "a process that evaluates has ended" in complaint
    kept = finished(tmp_path / "run")
    subprocess.run(words, check=True, capture_output=True)
    assert kept < finished(tmp_path / "run") == MANY // 16
    assert json.loads((tmp_path / "run.json").read_text())["data"]["used"] == MANY
