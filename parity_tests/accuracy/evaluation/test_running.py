"""Progress of a running evaluation."""

from __future__ import annotations

import shutil

from porting.accuracy.evaluation.batch import Work
from porting.accuracy.evaluation.predictors import Inputs
from porting.accuracy.evaluation.preparing import prepare
from porting.accuracy.evaluation.running import Counter, answer_batches


def test_what_is_told_while_it_runs(small, photos, evaluated, tmp_path):
    folder = tmp_path / "spoiled"
    shutil.copytree(photos, folder)
    (folder / "000.jpg").write_text("no image")
    seen = []
    evaluation = evaluated(data=folder, on_error="skip", progress=seen.append)
    assert [standing.done for standing in seen] == [16, 32, 48, 64, 70]
    assert [standing.usable for standing in seen] == [15, 31, 47, 63, 69]
    assert {standing.total for standing in seen} == {70}
    last = {name: int(evaluation.right(n).sum()) for n, name in enumerate(("judge", "port"))}
    assert seen[-1].right == last
    assert all(standing.rate > 0 for standing in seen)
    seen.clear()
    evaluated(data=folder, on_error="skip", progress=seen.append)
    assert [(standing.done, standing.right) for standing in seen] == [(70, last)]


def test_a_rank_tells_of_its_share(small, photos, tmp_path):
    prepared = prepare(Inputs(*small), photos, photos / "labels.csv", None, None)
    work = Work(prepared.dataset, prepared.inputs, prepared.sides, 16)
    seen = []
    counter = Counter(work, 3, "stop", seen.append)
    counter.begin([], [0, 3, 4])
    counter.add(next(answer_batches(work, [4], 0)))
    (standing,) = seen
    assert (standing.done, standing.total, standing.ranks) == (6, 38, 3)
