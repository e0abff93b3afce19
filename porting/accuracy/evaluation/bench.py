"""The bench at which one process works: images of a batch in, answers of every side out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from porting.accuracy.datasets import DataSet
from porting.accuracy.evaluation.answers import BEST, best_of
from porting.accuracy.evaluation.predictors import Predictor, predictor_of
from porting.accuracy.evaluation.side import Inputs, Side
from porting.accuracy.preprocessing import Pipeline, parse_pipeline
from porting.errors import BadExample


@dataclass
class Batch:
    """A batch's answers: ``best`` (images, sides, 5), ``margin`` (images, sides), and what failed.

    ``failed`` says why, by number of the image in the data set.
    """

    number: int
    best: np.ndarray
    margin: np.ndarray
    failed: dict[int, str] = field(default_factory=dict)


@dataclass
class Pixels:
    """A batch's images, by pipeline: (usable, size, size, 3) float32."""

    number: int
    usable: list[int]
    by_pipeline: dict[str, np.ndarray]
    failed: dict[int, str]


@dataclass(frozen=True)
class Work:
    """Everything that a process needs in order to evaluate; picklable."""

    dataset: DataSet
    inputs: Inputs
    sides: tuple[Side, ...]
    batch: int
    device: str = "cpu"

    @property
    def batches(self) -> int:
        """How many batches there are; the last may be smaller."""
        return -(-len(self.dataset) // self.batch)

    def numbers(self, batch: int) -> range:
        """Numbers of a batch's images in the data set.

        Batches are cut the same however the work is shared out: what a network
        computes may depend in its last digits on the images beside.
        """
        return range(batch * self.batch, min((batch + 1) * self.batch, len(self.dataset)))


class Bench:
    """What a process evaluates with. Predictors are built when they are first needed."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._pipelines: dict[str, Pipeline] = {
            side.pipeline: parse_pipeline(side.pipeline) for side in work.sides
        }
        self._predictors: dict[int, Predictor] = {}

    def pixels(self, batch: int) -> Pixels:
        """Read, decode and preprocess a batch; every pipeline for every image."""
        usable, rows, failed = [], [], {}
        for number in self._work.numbers(batch):
            try:
                rows.append(self._made(number))
                usable.append(number)
            except BadExample as error:
                failed[number] = str(error)
        columns = zip(*rows, strict=True) if rows else ([] for _ in self._pipelines)
        stacked = [np.stack(column) if rows else np.empty(0) for column in columns]
        return Pixels(batch, usable, dict(zip(self._pipelines, stacked, strict=True)), failed)

    def _made(self, number: int) -> list[np.ndarray]:
        dataset = self._work.dataset
        data = dataset.read(number)
        try:
            return [pipeline(data) for pipeline in self._pipelines.values()]
        except BadExample as error:
            name = dataset.example(number).name
            raise BadExample(f"{dataset.path}: {name}: {error}") from error

    def answers(self, pixels: Pixels) -> Batch:
        """Have every side answer."""
        numbers = self._work.numbers(pixels.number)
        best = np.full((len(numbers), len(self._work.sides), BEST), -1, np.int16)
        margin = np.zeros((len(numbers), len(self._work.sides)), np.float32)
        rows = [number - numbers.start for number in pixels.usable]
        for column, side in enumerate(self._work.sides if rows else ()):
            scores = self._predictor(column)(pixels.by_pipeline[side.pipeline])
            best[rows, column], margin[rows, column] = best_of(scores, side.background)
        return Batch(pixels.number, best, margin, pixels.failed)

    def evaluate(self, batch: int) -> Batch:
        """A batch from its files to its answers."""
        return self.answers(self.pixels(batch))

    def _predictor(self, side: int) -> Predictor:
        if side not in self._predictors:
            work = self._work
            self._predictors[side] = predictor_of(work.inputs, work.sides[side], work.device)
        return self._predictors[side]


def to_line(batch: Batch) -> dict[str, Any]:
    """A batch as plain data."""
    return {
        "batch": batch.number,
        "best": batch.best.tolist(),
        "margin": batch.margin.tolist(),
        "failed": {str(number): why for number, why in batch.failed.items()},
    }


def from_line(data: dict[str, Any]) -> Batch:
    """A batch from plain data; any error means that the data are not what was written."""
    best, margin = np.array(data["best"], np.int16), np.array(data["margin"], np.float32)
    return Batch(
        int(data["batch"]), best, margin, {int(n): str(why) for n, why in data["failed"].items()}
    )
