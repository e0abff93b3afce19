"""The journal has each finished batch once, and belongs to one evaluation."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from parity_tests.building.command import porting_process
from porting.accuracy.evaluation.batch import Batch, Evaluator, Work
from porting.accuracy.evaluation.evaluate import evaluate
from porting.accuracy.evaluation.journal import RUN, Journal, check_apart, discard
from porting.accuracy.evaluation.running import BATCH
from porting.errors import BadInput
from porting.folders import EVALUATIONS
from porting.reports.evaluation import evaluation_report


def batch(number, failures=None):
    generator = np.random.default_rng(number)
    best = generator.integers(0, 1000, (4, 2, 5)).astype(np.int16)
    return Batch(number, best, generator.random((4, 2)).astype(np.float32), failures or {})


def same(a, b):
    return a.number == b.number and np.array_equal(a.best, b.best) and (
        np.array_equal(a.margin, b.margin) and a.failures == b.failures
    )  # fmt: skip


def test_batches_come_back_to_the_last_digit(tmp_path):
    written = [batch(3), batch(1, {5: "a.jpg: damaged"}), batch(2)]
    with Journal(tmp_path, {"what": 1}) as journal:
        for one in written:
            journal.add(one)
    with Journal(tmp_path, {"what": 1}) as journal:
        actual = list(journal.batches())
    assert all(same(*pair) for pair in zip(actual, written, strict=True))


def test_a_line_cut_anywhere_does_not_count_and_the_others_do(tmp_path):
    with Journal(tmp_path, {}) as journal:
        for number in range(3):
            journal.add(batch(number))
    (part,) = tmp_path.glob("batches-*")
    whole = part.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for end in (last, last + 1, last + 9, last + 60, len(whole) - 1):
        part.write_bytes(whole[:end])
        assert [one.number for one in Journal(tmp_path, {}).batches()] == [0, 1]
    damaged = bytearray(whole)
    damaged[40] ^= 1
    part.write_bytes(damaged)
    assert [one.number for one in Journal(tmp_path, {}).batches()] == [1, 2]


def test_a_batch_that_two_processes_finished_comes_once(tmp_path):
    for _ in range(2):
        with Journal(tmp_path, {}) as journal:
            journal.add(batch(7))
    assert len(list(tmp_path.glob("batches-*"))) == 2
    assert [one.number for one in Journal(tmp_path, {}).batches()] == [7]


def test_another_evaluation_is_refused_and_what_changed_is_said(tmp_path):
    told = {"checkpoint": {"sha256": "aa", "file": "x.pth"}, "batch": 16}
    Journal(tmp_path, told)
    other = {"checkpoint": {"sha256": "bb", "file": "x.pth"}, "batch": 16}
    with pytest.raises(
        BadInput, match=r"checkpoint sha256 was aa, is bb. Go on with that one, .*--fr"
    ):
        Journal(tmp_path, other)
    with pytest.raises(BadInput, match=r"checkpoint was .*, is absent; source was absent, is 1"):
        Journal(tmp_path, {"source": 1, "batch": 16})
    discard(tmp_path)
    with Journal(tmp_path, other) as journal:
        journal.add(batch(0))
    with pytest.raises(BadInput, match="was bb, is aa"):
        Journal(tmp_path, told)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "batches-1.jsonl").write_text("mine")
    with pytest.raises(
        BadInput, match=r"is not a journal, and holds other files, such as batches-1"
    ):
        discard(tmp_path)
        Journal(tmp_path, {})
    (tmp_path / "batches-1.jsonl").rename(tmp_path / "photo.jpg")
    with pytest.raises(BadInput, match=r"such as photo\.jpg; name a new or an empty folder"):
        Journal(tmp_path, {})
    (tmp_path / RUN).write_text("{")
    with pytest.raises(BadInput, match="cannot be read"):
        Journal(tmp_path, {})


def test_discarding_removes_what_is_a_journal_s_and_nothing_else(tmp_path):
    (tmp_path / RUN).write_text('{"mine": 1}')
    discard(tmp_path)
    assert (tmp_path / RUN).is_file()
    (tmp_path / RUN).unlink()
    for folder in (tmp_path, tmp_path / "combined" / "ab"):
        with Journal(folder, {}) as journal:
            journal.add(batch(0))
    (tmp_path / "precious.pth").write_text("mine")
    discard(tmp_path)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["precious.pth"]


class TestAnEvaluationGoesOn:
    def test_with_the_same_figures_and_nothing_done_twice(self, evaluated, tmp_path, monkeypatch):
        whole = evaluation_report(evaluated(journal=tmp_path / "whole")).to_json()
        done, work = [], Evaluator.evaluate

        def interrupted(self, number):
            if len(done) in (2, 3):
                done.append("stop")
                raise KeyboardInterrupt
            done.append(number)
            return work(self, number)

        monkeypatch.setattr(Evaluator, "evaluate", interrupted)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                evaluated()
        assert evaluation_report(evaluated()).to_json() == whole
        assert [number for number in done if number != "stop"] == [0, 1, 2, 3, 4]
        evaluated()
        assert len(done) == 7

    @pytest.mark.parametrize(
        ("options", "said"),
        [({"preprocessing": "slim"}, "sides judge pipeline was decode-and-crop"),
         ({"checkpoint": "other"}, "checkpoint file was .*; checkpoint sha256 was"),
         ({"source": None}, "source was .*, is absent")],
    )  # fmt: skip
    def test_unless_something_changed(self, small, evaluated, tmp_path, options, said):
        evaluated()
        if options.get("checkpoint"):
            state = torch.load(small[1], weights_only=True)
            state["classifier.bias"][0] += 1
            torch.save(state, tmp_path / "other.pth")
            options = {"checkpoint": tmp_path / "other.pth"}
        with pytest.raises(BadInput, match=said):
            evaluated(**options)

    def test_or_the_images_did(self, photos, evaluated, tmp_path):
        folder = tmp_path / "photos"
        folder.mkdir()
        for file in photos.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        evaluated(data=folder)
        with (folder / "003.jpg").open("ab") as stream:
            stream.write(b"more")
        with pytest.raises(BadInput, match="data sha256 was"):
            evaluated(data=folder)


def test_every_batch_is_told_of(evaluated):
    seen = []
    evaluated(progress=seen.append)
    assert [standing.done for standing in seen] == [16, 32, 48, 64, 70]
    assert all(standing.total == 70 for standing in seen)
    assert seen[-1].right["judge"] == seen[-1].right["port"] > 20
    assert all(standing.rate > 0 for standing in seen)


def test_the_journal_says_what_it_is_of(evaluated, tmp_path):
    evaluated()
    told = json.loads((tmp_path / "journal" / RUN).read_text())
    assert told["source"]["file"] == "small.tflite"
    assert told["sides"]["port"]["pipeline"].startswith("decode-and-crop")
    assert told["versions"]["torch"]
    assert told["batch"] == BATCH


def test_results_do_not_take_a_journals_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    default = EVALUATIONS / "net-photos"
    Journal(tmp_path / "other", {})
    for file, journal in (
        ("j/run.json", "j"), ("j/batches-a.jsonl", "j"), (default / "run.json", None),
        ("other/run.json", "j"), ("x/../j/run.json", "j"), ("j/combined/a/run.json", "j"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=r"is a file of the journal there; write the result el"):
            check_apart(Path(file), journal and Path(journal))
    for file in ("run.json", "j/result.json", default.parent / "run.json"):
        check_apart(Path(file), Path("j"))


def test_the_command_looks_at_where_its_results_go(small, photos, tmp_path):
    words = ["evaluate", photos, "--checkpoint", small[1], "--journal", tmp_path / "j"]
    for more, said in (
        (["--json", tmp_path / "j" / "run.json"], "is a file of the journal there"),
        (["--json", tmp_path / "a", "--report", tmp_path / "x" / ".." / "a"], "two results would"),
        (["--json", small[1]], "is read here; write the result to another file"),
        (["--json", photos / "labels.csv", "--labels", photos / "labels.csv"], "is read here"),
        (["--json", "/dev/null"], "it is a device or a pipe"),
    ):
        done = porting_process(*words, *more)
        assert done.returncode == 2
        assert said in " ".join(done.stderr.split())
    assert not (tmp_path / "j").exists()


def test_what_is_asked_otherwise_has_another_journal(photos, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = photos / "labels.csv"
    for more in ({}, {"preprocessing": "pillow"}, {}, {"weights": None}):
        evaluate(photos, small[0], labels=labels, workers=0, **more)
    names = sorted(folder.name for folder in EVALUATIONS.iterdir())
    assert len(names) == 2
    assert all(name.startswith(f"small-{photos.name}-") for name in names)


def test_a_refusal_names_the_first_differences_alone(tmp_path):
    Journal(tmp_path, {f"topic {number}": 1 for number in range(9)})
    with pytest.raises(BadInput, match=r"topic 3 was 1, is 2; and 5 more\. Go on with that one"):
        Journal(tmp_path, {f"topic {number}": 2 for number in range(9)})


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", "null", '{"batch": 1e999, "best": [], "margin": [], "failed": {}}', "[" * 50_000],
)
def test_a_line_that_no_evaluation_writes_is_refused(tmp_path, text):
    line = text.encode()
    journal = Journal(tmp_path, {})
    (tmp_path / "batches-here-1.jsonl").write_bytes(b"%08x %s\n" % (zlib.crc32(line), line))
    with pytest.raises(BadInput, match=r"is not what an evaluation writes .*begin anew"):
        list(journal.batches())


def test_batches_of_other_shapes_or_numbers_are_refused():
    work = Work(range(5), None, (None, None), batch=4)

    def check(number, best=(4, 2, 5), margin=(4, 2), failures=()):
        one = Batch(
            number, np.zeros(best, np.int16), np.zeros(margin, np.float32),
            dict.fromkeys(failures, "damaged"),
        )  # fmt: skip
        work.check(one)

    check(0)
    check(1, (1, 2, 5), (1, 2), [4])
    for wrong in ((-1,), (2,), (10**9,), (0, (1, 2, 5), (1, 2)), (0, (4, 2, 5), (4, 1)),
                  (0, (4, 2, 5), (4, 2), [4])):  # fmt: skip
        with pytest.raises(ValueError, match=r"batch|shape"):
            check(*wrong)
