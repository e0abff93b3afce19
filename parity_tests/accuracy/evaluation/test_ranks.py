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

from parity_tests.accuracy.evaluation.commands import MANY, command, finished
from parity_tests.building.sampling import sampled
from porting.accuracy.evaluation import batch
from porting.accuracy.evaluation.predictors import predictor_of
from porting.accuracy.evaluation.ranks import Ranks
from porting.errors import BadInput, RankEnded


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
@pytest.mark.parametrize(("ranks", "workers"), sampled([(1, 0), (2, 1), (3, 0)], [(2, 1)]))
def test_figures_are_those_of_one_process(ranks, workers, small, photos, alone, tmp_path):
    words = command(small, photos, tmp_path, "run", "--workers", str(workers))
    process = torchrun(ranks, words)
    said, complaint = process.communicate()
    assert process.returncode == 0, complaint
    assert said.count("verdict") == 1  # only the first rank prints
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
def test_pixels_made_by_workers_and_answered_here(small, photos, alone, evaluated, monkeypatch):
    """As with a network on a GPU; ``cpu:0`` is a device like another. The judge is the workers'."""

    def built(files, side, device):
        asked.append((side.runs, device))
        return predictor_of(files, side, device)

    asked = []
    monkeypatch.setattr(batch, "predictor_of", built)
    evaluation = evaluated(device="cpu:0", workers=2)
    told = json.loads((alone / "run.json").read_text())
    for name, number in (("judge", 0), ("port", 1)):
        assert int(evaluation.right(number).sum()) == told["sides"][name]["top1"]["count"]
    assert asked == [("checkpoint", "cpu:0")]


def nodes(commands):
    """Two simulated machines with a rank each: their exit codes and messages."""
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
    try:
        said = [process.communicate(timeout=180)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
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


@pytest.mark.slow
def test_what_fails_on_one_machine_ends_all_of_them(small, photos, tmp_path):
    words = {"a": photos, "b": tmp_path / "nowhere"}
    codes, said = nodes(
        [command(small, data, tmp_path / one, "run") for one, data in words.items()]
    )
    assert 0 not in codes
    reason = f"{tmp_path / 'nowhere'}: no such file or folder; expected a data set"
    assert f"porting: rank 1 of 2: {reason}" in said[0]
    assert f"porting: {reason}" in said[1]


@pytest.mark.slow
def test_an_image_that_stops_one_rank_stops_the_others_soon(small, many, tmp_path):
    data = tmp_path / "many"
    shutil.copytree(many, data, copy_function=os.link)
    (data / "00016.jpg").unlink()
    (data / "00016.jpg").write_text("no image")  # in the first batch of the second rank
    words = ("run", "--workers", "0")
    codes, said = nodes([command(small, data, tmp_path / one, *words) for one in "ab"])
    assert 0 not in codes
    assert "porting: rank 1 of 2: " in said[0] and "00016.jpg: not an image" in said[0]
    assert "a defect" not in "".join(said)
    assert finished(tmp_path / "a" / "run") < MANY // 16 // 2 - 10


class Told:
    """A store that records its messages."""

    def __init__(self, words=None, gone=False):
        self.words, self.gone = words, gone

    def check(self, keys):
        if self.gone:
            raise RuntimeError("connection reset")
        return self.words is not None

    def get(self, key):
        return self.words.encode()

    def set(self, key, words):
        self.words = words


def test_ranks_tell_each_other_that_they_end():
    store = Told()
    Ranks(2, 3, store=store).check()
    Ranks(1, 3, store=store).ended(BadInput("what is wrong"))
    with pytest.raises(RankEnded, match="rank 1 of 3: what is wrong"):
        Ranks(2, 3, store=store).check()
    Ranks(2, 3, store=store).ended(RankEnded("rank 1 of 3: what is wrong"))
    assert store.words == "rank 1 of 3: what is wrong"
    with pytest.raises(RankEnded, match="rank 0 of 3 has ended"):
        Ranks(2, 3, store=Told(gone=True)).check()
