"""Several ranks of torchrun share an evaluation, and give one process's figures."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
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


def nodes(commands):
    """Two machines with a rank each, as it were: what they ended with, and said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1",
           "--master-addr", "127.0.0.1", "--master-port", str(port), "--node-rank"]  # fmt: skip
    processes = [
        subprocess.Popen([*run, str(rank), *words[1:]], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
        for rank, words in enumerate(commands)
    ]  # fmt: skip
    said = [process.communicate()[1] for process in processes]
    return [process.returncode for process in processes], said


@pytest.mark.slow
def test_each_machine_clears_its_own_disk(small, photos, alone, tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    parts = []
    for more in ((), ("--fresh",)):
        words = ("run", "--workers", "0", *more)
        codes, said = nodes([command(small, photos, folder, *words) for folder in folders])
        assert codes == [0, 0], said
        parts.append([sorted(folder.rglob("batches-*")) for folder in folders])
    for before, after in zip(*parts, strict=True):
        assert len(before) == len(after) == 1
        assert before != after
    check_same(folders[0], alone)


@pytest.mark.slow
def test_machines_with_other_data_do_not_evaluate_together(small, photos, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(photos, other)
    (other / "000.jpg").write_bytes((other / "001.jpg").read_bytes())
    data = {"a": photos, "b": other}
    codes, said = nodes([command(small, data[one], tmp_path / one, "run") for one in data])
    assert 0 not in codes
    for complaint in said:
        words = " ".join(complaint.split())
        assert "rank 1 of 2 evaluates something else than rank 0: data sha256 is" in words
    assert not list(tmp_path.rglob("batches-*"))
