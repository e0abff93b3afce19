"""The result of an evaluation, and its rows, one an image, as CSV or Parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from porting.accuracy.datasets import DataSet
from porting.accuracy.evaluation.agreement import Quantisation
from porting.accuracy.evaluation.batch import USABLE, Answers
from porting.accuracy.evaluation.explaining import Explanation
from porting.accuracy.evaluation.predictors import Inputs, Side
from porting.accuracy.evaluation.preparing import check_installed
from porting.accuracy.evaluation.provenance import Provenance
from porting.accuracy.evaluation.significance import right
from porting.atomic_files import written_whole
from porting.errors import BadInput
from porting.mapping.input_spec import InputConvention

WRITTEN_AT_ONCE = 4096
"""Rows held in memory while a file is written."""

PARQUET, CSV = ".parquet", ".csv"


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Answers of a judge and a port on a data set, and what they rest on.

    ``labels`` (N,) are the images', -1 where one has none; ``answers`` are those of
    ``sides``. ``inputs`` are the files, ``stated`` is the authors' top-1 in percent
    where it is published. Where judge and port differ on an image, ``tie`` is the margin in
    logits up to which rounding may decide; see :mod:`porting.accuracy.evaluation.agreement`.
    Where they differ beyond that and the source is quantised, ``quantisation`` says what it
    answers in float32. On request, ``explanation`` attributes the distance to the stated
    accuracy; the answers of its variants stand behind those of the sides.
    """

    dataset: DataSet
    inputs: Inputs
    sides: tuple[Side, ...]
    convention: InputConvention
    labels: np.ndarray
    answers: Answers
    provenance: Provenance
    stated: float | None = None
    tie: float | None = None
    quantisation: Quantisation | None = None
    explanation: Explanation | None = None

    def __repr__(self) -> str:
        names = " and ".join(side.name for side in self.sides)
        return f"Evaluation({names} on {self.dataset!r})"

    @property
    def usable(self) -> np.ndarray:
        """(N,) whether an image was answered by every side."""
        return np.asarray(self.answers.state == USABLE)

    @property
    def compares(self) -> bool:
        """Whether judge and port both answered."""
        return [side.name for side in self.sides[:2]] == ["judge", "port"]

    @property
    def differing(self) -> list[int]:
        """Numbers of the images on which the answers of judge and port differ."""
        if not self.compares:
            return []
        best = self.answers.best
        return np.flatnonzero(self.usable & (best[:, 0, 0] != best[:, 1, 0])).tolist()

    def near_tie(self, number: int) -> bool:
        """Whether a differing image's best two are so near for both that rounding may decide."""
        return self.tie is not None and bool((self.answers.margin[number, :2] <= self.tie).all())

    def right(self, side: int, among: int = 1) -> np.ndarray:
        """(usable,) whether the label is among the ``among`` best classes of a side."""
        usable = self.usable
        return right(self.answers.best[usable, side], self.labels[usable], among)


def rows_of(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """A row for each image, in the data set's order; answers are classes, -1 a background."""
    answers = evaluation.answers
    for number in range(len(evaluation.dataset)):
        label, usable = int(evaluation.labels[number]), answers.state[number] == USABLE
        row = {
            "number": number,
            "name": evaluation.dataset.example(number).name,
            "label": label if label >= 0 else None,
            "error": answers.reasons.get(number),
        }
        for place, side in enumerate(evaluation.sides):
            best = answers.best[number, place].tolist() if usable else None
            row[f"{side.name}_answers"] = best
            row[f"{side.name}_margin"] = float(answers.margin[number, place]) if usable else None
            row[f"{side.name}_right"] = None if best is None else best[0] == label
        yield row


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


def _cell(value: Any) -> Any:
    """A value for CSV; text that a spreadsheet would take for a formula gets a quote before it."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value


def write_rows(evaluation: Evaluation, path: Path) -> None:
    """Write the rows of :func:`rows_of`.

    Raises:
        OutputError: the path cannot be written.
    """
    check_rows_file(path)
    rows = rows_of(evaluation)
    with written_whole(path) as place:
        if path.suffix == CSV:
            first = next(rows)
            with place.open("w", newline="", encoding="utf-8") as stream:
                writer = csv.DictWriter(stream, list(first))
                writer.writeheader()
                for row in chain((first,), rows):
                    writer.writerow({key: _cell(value) for key, value in row.items()})
            return
        import pyarrow as pa
        from pyarrow import parquet

        columns = {
            "number": pa.int32(), "name": pa.string(), "label": pa.int32(), "error": pa.string(),
        }  # fmt: skip
        for side in evaluation.sides:
            columns[f"{side.name}_answers"] = pa.list_(pa.int16())
            columns[f"{side.name}_margin"] = pa.float32()
            columns[f"{side.name}_right"] = pa.bool_()
        schema = pa.schema(list(columns.items()))
        with parquet.ParquetWriter(place, schema) as parquet_writer:
            while part := list(islice(rows, WRITTEN_AT_ONCE)):
                parquet_writer.write_table(pa.Table.from_pylist(part, schema))
