"""One row for each image, as CSV and Parquet."""

from __future__ import annotations

import csv

import pytest
from pyarrow import parquet

from porting.accuracy.evaluation.results import check_rows_file, rows_of, write_rows
from porting.errors import BadInput, OutputError


def test_both_kinds_hold_the_same(evaluated, tmp_path):
    evaluation = evaluated()
    expected = list(rows_of(evaluation))
    assert [row["number"] for row in expected] == list(range(70))
    assert expected[3]["name"] == "003.jpg"
    assert expected[3]["port_answers"] == evaluation.answers.best[3, 1].tolist()
    assert expected[3]["judge_right"] is bool(evaluation.right(0)[3])
    write_rows(evaluation, tmp_path / "rows.parquet")
    assert parquet.read_table(tmp_path / "rows.parquet").to_pylist() == expected
    write_rows(evaluation, tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 70
    assert rows[3]["judge_answers"] == " ".join(map(str, evaluation.answers.best[3, 0]))
    assert float(rows[3]["port_margin"]) == expected[3]["port_margin"]


def test_an_image_that_could_not_be_read_has_its_reason(photos, evaluated, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for file in photos.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "009.jpg").write_text("words")
    evaluation = evaluated(data=folder, on_error="skip")
    write_rows(evaluation, tmp_path / "rows.parquet")
    row = parquet.read_table(tmp_path / "rows.parquet").to_pylist()[9]
    assert "009.jpg: not an image" in row["error"]
    assert (row["judge_answers"], row["port_margin"], row["port_right"]) == (None, None, None)


def test_other_kinds_are_refused_before_the_work(evaluated, tmp_path):
    with pytest.raises(BadInput, match=r"rows.json: rows are written as .parquet or .csv"):
        check_rows_file(tmp_path / "rows.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_rows(evaluated(), tmp_path / "file" / "rows.csv")
