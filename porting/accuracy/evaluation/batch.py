"""A batch of images and what one process does with it: from files to the answers of every side."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from porting.accuracy.datasets import DataSet
from porting.accuracy.evaluation.answers import BEST, UNANSWERED, best_of
from porting.accuracy.evaluation.predictors import Files, Predictor, predictor_of
from porting.accuracy.evaluation.side import Inputs, Side
from porting.accuracy.preprocessing import Pipeline, parse_pipeline
from porting.accuracy.preprocessing.pipeline import StepCache
from porting.errors import BadExample, BadInput


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
    """A batch's images, by pipeline: their numbers, and (usable, size, size, 3) float32."""

    number: int
    by_pipeline: dict[str, tuple[list[int], np.ndarray]]
    failed: dict[int, str]


@dataclass(frozen=True)
class Work:
    """Everything that a process needs in order to evaluate; picklable.

    An image that cannot be made into pixels for one of ``sides`` has failed; for
    one of ``variants`` it stays without that one's answer.
    """

    dataset: DataSet
    inputs: Inputs
    sides: tuple[Side, ...]
    batch: int
    device: str = "cpu"
    variants: tuple[Side, ...] = ()

    @property
    def answering(self) -> tuple[Side, ...]:
        """All that answer, in the order of their answers."""
        return (*self.sides, *self.variants)

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


class Evaluator:
    """What one process evaluates with. Predictors are built when they are first needed."""

    def __init__(self, work: Work) -> None:
        self._work, self._files = work, Files(work.inputs)
        self._pipelines: dict[str, Pipeline] = {
            side.pipeline: parse_pipeline(side.pipeline) for side in work.answering
        }
        self._needed = {side.pipeline for side in work.sides}
        self._predictors: dict[tuple[str, str | None], Predictor] = {}

    def pixels(self, batch: int) -> Pixels:
        """Read, decode and preprocess a batch; every pipeline for every image."""
        made: dict[str, dict[int, np.ndarray]] = {text: {} for text in self._pipelines}
        failed = {}
        for number in self._work.numbers(batch):
            try:
                for text, image in self._made(number).items():
                    made[text][number] = image
            except BadExample as error:
                failed[number] = str(error)
        stacked = {
            text: (list(images), np.stack(list(images.values())) if images else np.empty(0))
            for text, images in made.items()
        }
        return Pixels(batch, stacked, failed)

    def _made(self, number: int) -> dict[str, np.ndarray]:
        """An image by pipeline; steps with which several of them begin are done once."""
        dataset, made = self._work.dataset, {}
        data, done = dataset.read(number), StepCache()
        for text, pipeline in self._pipelines.items():
            try:
                made[text] = pipeline(data, done)
            except BadExample as error:
                if text in self._needed:
                    name = dataset.example(number).name
                    raise BadExample(f"{dataset.path}: {name}: {error}") from error
        return made

    def evaluate(self, batch: int) -> Batch:
        """A batch from its files to its answers."""
        pixels = self.pixels(batch)
        return self.answer(self._blank(pixels), pixels)

    def judged(self, batch: int) -> tuple[Batch, Pixels]:
        """The judge's answers, and the pixels that are left for a device to answer."""
        pixels = self.pixels(batch)
        answers = self.answer(self._blank(pixels), pixels, on_device=False)
        others = {side.pipeline for side in self._work.answering if side.on_device}
        left = {text: pixels.by_pipeline[text] for text in others}
        return answers, replace(pixels, by_pipeline=left)

    def answer(self, batch: Batch, pixels: Pixels, on_device: bool | None = None) -> Batch:
        """The batch with the answers of all, or of those alone that run on a device, or do not."""
        numbers = self._work.numbers(pixels.number)
        for column, side in enumerate(self._work.answering):
            if on_device not in (None, side.on_device):
                continue
            usable, images = pixels.by_pipeline[side.pipeline]
            if usable:
                rows = [number - numbers.start for number in usable]
                scores = self._predictor(side)(images, side)
                self._check_finite(scores, side, usable)
                batch.best[rows, column], batch.margin[rows, column] = best_of(
                    scores, side.background
                )
        return batch

    def _blank(self, pixels: Pixels) -> Batch:
        shape = len(self._work.numbers(pixels.number)), len(self._work.answering)
        best = np.full((*shape, BEST), UNANSWERED, np.int16)
        return Batch(pixels.number, best, np.zeros(shape, np.float32), pixels.failed)

    def _check_finite(self, scores: np.ndarray, side: Side, numbers: list[int]) -> None:
        """See that scores can be compared: of numbers that are none, any class would be best."""
        sound = np.isfinite(scores).all(1)
        if not sound.all():
            dataset, first = self._work.dataset, numbers[int(np.argmin(sound))]
            raise BadInput(
                f"the {side.name} gives scores that are not finite on "
                f"{dataset.path}: {dataset.example(first).name}; its weights are damaged, or not "
                "for this network"
            )

    def _predictor(self, side: Side) -> Predictor:
        key = side.runs, side.weights
        if key not in self._predictors:
            self._predictors[key] = predictor_of(self._files, side, self._work.device)
        return self._predictors[key]


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
