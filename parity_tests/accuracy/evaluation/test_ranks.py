"""Several ranks of torchrun share an evaluation, and give one process's figures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parity_tests.accuracy.evaluation.commands import command, finished


def torchrun(ranks, words, **options):
    """The same command in several processes."""
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    return subprocess.Popen(
        [*run, str(ranks), *words[1:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def alone(small, photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    words = command(small, photos, folder, "run")
    subprocess.run(words, check=True, capture_output=True)
    return folder


def check_same(folder, alone):
    for ending in ("json", "csv"):
        assert (folder / f"run.{ending}").read_bytes() == (alone / f"run.{ending}").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "workers"), [(1, 0), (2, 1), (3, 0)])
def test_figures_are_those_of_one_process(ranks, workers, small, photos, alone, tmp_path):
    words = command(small, photos, tmp_path, "run", "--workers", str(workers))
    process = torchrun(ranks, words)
    said, complaint = process.communicate()
    assert process.returncode == 0, complaint
    assert said.count("verdict") == 1  # the first rank speaks alone
    check_same(tmp_path, alone)
    assert len(list((tmp_path / "run").glob("batches-*"))) == ranks


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_run_and_another_number_of_ranks_finishes_it(
    small, photos, alone, tmp_path
):
    words = command(small, photos, tmp_path, "run", "--workers", "0")
    process = torchrun(3, words, start_new_session=True)
    while not finished(tmp_path / "run"):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    os.kill(rank_of(process.pid), signal.SIGKILL)
    process.communicate()
    assert process.returncode != 0
    kept = finished(tmp_path / "run")
    assert 0 < kept <= 5
    assert not (tmp_path / "run.json").exists()
    again = torchrun(2, words)
    again.communicate()
    assert again.returncode == 0
    check_same(tmp_path, alone)


def rank_of(launcher):
    """The process of one of a launcher's ranks."""
    for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        if b"evaluate" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    raise AssertionError("no rank is running")


@pytest.mark.slow
def test_pixels_made_by_workers_and_answered_here(small, photos, alone, evaluated):
    """As with a network on a GPU; ``cpu:0`` is a device like another."""
    found = evaluated(device="cpu:0", workers=2)
    told = json.loads((alone / "run.json").read_text())
    for name, number in (("judge", 0), ("port", 1)):
        assert int(found.right(number).sum()) == told["sides"][name]["top1"]["count"]
