"""What one process does with a batch of images, from the files to the answers of every side."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from porting.accuracy.datasets import DataSet
from porting.accuracy.evaluation.predictors import Files, Inputs, Predictor, Side, predictor_of
from porting.accuracy.preprocessing import Pipeline, parse_pipeline
from porting.accuracy.preprocessing.pipeline import StepCache
from porting.errors import BadExample, BadInput

BEST = 5
USABLE, UNREADABLE = 1, 2
NO_ANSWER = -3
"""In the place of a class: no answer, as where the image could not be made into pixels."""


@dataclass
class Answers:
    """The answers of all sides on all images.

    ``state`` (N,) is one of the two above, 0 before. ``best`` (N, sides, 5) are classes
    of the data set, the best first, -1 for a background, -3 for no answer; ``margin`` (N, sides)
    is the best score less the second. ``reasons`` says by number why an image failed.
    """

    state: np.ndarray
    best: np.ndarray
    margin: np.ndarray
    reasons: dict[int, str] = field(default_factory=dict)

    @classmethod
    def none_of(cls, images: int, sides: int) -> Answers:
        """Arrays without any answer yet."""
        return cls(
            np.zeros(images, np.uint8),
            np.full((images, sides, BEST), NO_ANSWER, np.int16),
            np.zeros((images, sides), np.float32),
        )


def labels_of(dataset: DataSet) -> np.ndarray:
    """The images' labels (N,), int32, -1 where one has none."""
    labels = dataset.labels.numbers
    return np.array([-1 if label is None else label for label in labels], np.int32)


def best_of(scores: np.ndarray, background: int) -> tuple[np.ndarray, np.ndarray]:
    """The five best classes (N, 5) and the margin of the first (N,) of scores (N, classes).

    Of equal scores the class with the lower number is first. A network of fewer
    classes has -2 in what is left over.
    """
    order = np.argsort(-scores, axis=1, kind="stable")[:, :BEST]
    best = np.full((len(scores), BEST), -2, np.int16)
    best[:, : order.shape[1]] = order - background
    first, second = np.take_along_axis(scores, order[:, :2], 1).T
    return best, (first - second).astype(np.float32)


@dataclass
class Batch:
    """A batch's answers: ``best`` (images, sides, 5) and ``margin`` (images, sides).

    ``failures`` says why an image has none, by its number in the data set.
    """

    number: int
    best: np.ndarray
    margin: np.ndarray
    failures: dict[int, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The batch as plain data, for the journal."""
        return {
            "batch": self.number,
            "best": self.best.tolist(),
            "margin": self.margin.tolist(),
            "failed": {str(number): why for number, why in self.failures.items()},
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Batch:
        """The inverse; any error means that the data are not what was written."""
        return cls(
            int(data["batch"]),
            np.array(data["best"], np.int16),
            np.array(data["margin"], np.float32),
            {int(number): str(why) for number, why in data["failed"].items()},
        )


@dataclass
class Pixels:
    """A batch's images, by pipeline: their numbers, and (usable, size, size, 3) float32."""

    number: int
    by_pipeline: dict[str, tuple[list[int], np.ndarray]]
    failures: dict[int, str]


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
        """Sides and variants, in the order of their answers."""
        return (*self.sides, *self.variants)

    @property
    def batches(self) -> int:
        """How many batches there are; the last may be smaller."""
        return -(-len(self.dataset) // self.batch)

    def check(self, batch: Batch) -> None:
        """Check that a batch read from a journal is one of this work.

        Raises:
            ValueError: its number, shapes or failures are not.
        """
        if not 0 <= batch.number < self.batches:
            raise ValueError(f"batch {batch.number:,} of {self.batches:,}")
        numbers = self.numbers(batch.number)
        shape = (len(numbers), len(self.answering))
        if batch.best.shape != (*shape, BEST) or batch.margin.shape != shape:
            raise ValueError(
                f"answers of shape {batch.best.shape} and margins of shape {batch.margin.shape}; "
                f"expected {(*shape, BEST)} and {shape}"
            )
        if not all(number in numbers for number in batch.failures):
            raise ValueError("it names images of another batch as unreadable")

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
        dataset, failures = self._work.dataset, {}
        by_text: dict[str, dict[int, np.ndarray]] = {text: {} for text in self._pipelines}
        for number in self._work.numbers(batch):
            try:
                data = dataset.read(number)
            except BadExample as error:
                failures[number] = str(error)
                continue
            cache = StepCache()  # steps with which several pipelines begin are done once
            for text, pipeline in self._pipelines.items():
                try:
                    by_text[text][number] = pipeline(data, cache)
                except BadExample as error:
                    if text in self._needed:
                        name = dataset.example(number).name
                        failures[number] = f"{dataset.path}: {name}: {error}"
                        break
        for images in by_text.values():
            for number in failures:
                images.pop(number, None)
        stacks = {
            text: (list(images), np.stack(list(images.values())) if images else np.empty(0))
            for text, images in by_text.items()
        }
        return Pixels(batch, stacks, failures)

    def evaluate(self, batch: int) -> Batch:
        """Read a batch's files and compute its answers."""
        pixels = self.pixels(batch)
        return self.answer(self._blank(pixels), pixels)

    def judged(self, batch: int) -> tuple[Batch, Pixels]:
        """The judge's answers, and the pixels for the networks that run on a device."""
        pixels = self.pixels(batch)
        answers = self.answer(self._blank(pixels), pixels, on_device=False)
        others = {side.pipeline for side in self._work.answering if side.on_device}
        by_pipeline = {text: pixels.by_pipeline[text] for text in others}
        return answers, replace(pixels, by_pipeline=by_pipeline)

    def answer(self, batch: Batch, pixels: Pixels, on_device: bool | None = None) -> Batch:
        """Fill in the answers of all sides, or only of those that can or cannot run on a device."""
        numbers = self._work.numbers(pixels.number)
        for column, side in enumerate(self._work.answering):
            if on_device not in (None, side.on_device):
                continue
            usable, images = pixels.by_pipeline[side.pipeline]
            if usable:
                rows = [number - numbers.start for number in usable]
                key = side.runs, side.weights
                if key not in self._predictors:
                    self._predictors[key] = predictor_of(self._files, side, self._work.device)
                scores = self._predictors[key](images, side)
                finite = np.isfinite(scores).all(1)
                if not finite.all():  # the order of classes would mean nothing
                    dataset, first = self._work.dataset, usable[int(np.argmin(finite))]
                    raise BadInput(
                        f"the {side.name} gives scores that are not finite on {dataset.path}: "
                        f"{dataset.example(first).name}; its weights are damaged, or not for this "
                        "network"
                    )
                batch.best[rows, column], batch.margin[rows, column] = best_of(
                    scores, side.background
                )
        return batch

    def _blank(self, pixels: Pixels) -> Batch:
        shape = len(self._work.numbers(pixels.number)), len(self._work.answering)
        best = np.full((*shape, BEST), NO_ANSWER, np.int16)
        return Batch(pixels.number, best, np.zeros(shape, np.float32), pixels.failures)
