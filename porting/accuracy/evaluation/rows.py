"""One row an image, as CSV or Parquet, for tools that go on from there."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from porting.accuracy.evaluation.batch import ANSWERED
from porting.accuracy.evaluation.preparing import check_installed
from porting.accuracy.evaluation.running import Evaluation
from porting.atomic_files import written_whole
from porting.errors import BadInput

WRITTEN_AT_ONCE = 4096
"""Rows held in memory while a file is written."""

PARQUET, CSV = ".parquet", ".csv"


def check_rows_file(path: Path) -> None:
    """Check the ending of the file, before the work that it is to hold.

    Raises:
        BadInput: it is neither ``.parquet`` nor ``.csv``.
        MissingPackage: ``.parquet`` is asked for, and pyarrow is not installed.
    """
    if path.suffix == PARQUET:
        check_installed("pyarrow")
    if path.suffix not in (PARQUET, CSV):
        raise BadInput(f"{path}: rows are written as {PARQUET} or {CSV}, by the file's ending")


def write_rows(evaluation: Evaluation, path: Path) -> None:
    """Write the rows of :func:`rows_of`.

    Raises:
        OutputError: the path cannot be written.
    """
    check_rows_file(path)
    with written_whole(path) as place:
        (_write_parquet if path.suffix == PARQUET else _write_csv)(evaluation, place)


def rows_of(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """A row for each image, in the data set's order; answers are classes, -1 a background."""
    answers = evaluation.answers
    for number in range(len(evaluation.dataset)):
        label, used = int(evaluation.labels[number]), answers.state[number] == ANSWERED
        row = {
            "number": number,
            "name": evaluation.dataset.example(number).name,
            "label": label if label >= 0 else None,
            "error": answers.reasons.get(number),
        }
        for place, side in enumerate(evaluation.sides):
            best = answers.best[number, place].tolist() if used else None
            row[f"{side.name}_answers"] = best
            row[f"{side.name}_margin"] = float(answers.margin[number, place]) if used else None
            row[f"{side.name}_right"] = None if best is None else best[0] == label
        yield row


def _write_csv(evaluation: Evaluation, place: Path) -> None:
    rows = rows_of(evaluation)
    first = next(rows)
    with place.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(first))
        writer.writeheader()
        for row in chain((first,), rows):
            writer.writerow({key: _as_text(value) for key, value in row.items()})


def _as_text(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list) else value


def _write_parquet(evaluation: Evaluation, place: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema(
        [("number", pa.int32()), ("name", pa.string()), ("label", pa.int32()),
         ("error", pa.string())]
        + [
            (f"{side.name}_{what}", kind)
            for side in evaluation.sides
            for what, kind in (
                ("answers", pa.list_(pa.int16())), ("margin", pa.float32()), ("right", pa.bool_()),
            )
        ]
    )  # fmt: skip
    rows = rows_of(evaluation)
    with parquet.ParquetWriter(place, schema) as writer:
        while part := list(islice(rows, WRITTEN_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(part, schema))
