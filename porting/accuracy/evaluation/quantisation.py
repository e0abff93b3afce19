"""Whether quantisation alone makes judge and port differ: the source is asked again in float32.

The judge of an evaluation runs a file as it is. Where that computes with integers, its answers
may differ from those of a port that is right, and by more than a near tie. So a port is held
against the same file with everything in float32, as it is where taps are compared, on the
images on which the two differ.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from porting.accuracy.evaluation.answers import Answers, best_of
from porting.accuracy.evaluation.batch import Work
from porting.accuracy.evaluation.predictors import Files, judge_of
from porting.accuracy.preprocessing import parse_pipeline
from porting.errors import BadExample, BadInput, MissingJudge
from porting.sources.tflite import TFLiteSource

ENOUGH = 100
"""Images on which the source in float32 answers otherwise, after which no more are looked at."""


@dataclass(frozen=True)
class Quantisation:
    """What a quantised source answers in float32 on images on which judge and port differ.

    On those of ``alone`` it answers as the port does, or with a near tie: quantisation alone
    makes the difference. On those of ``others`` it answers otherwise. ``refused`` says why the
    source could not be run in float32, so that nothing is known.
    """

    alone: frozenset[int] = frozenset()
    others: frozenset[int] = frozenset()
    refused: str | None = None

    @property
    def enough(self) -> bool:
        """Whether there were so many others that not all images were looked at."""
        return len(self.others) >= ENOUGH


def quantisation_on(
    work: Work, answers: Answers, numbers: Iterable[int], tie: float | None
) -> Quantisation | None:
    """Ask the source in float32 on images of these numbers; None where it is not quantised.

    ``answers`` are those of judge and port, ``tie`` is the margin in logits up to which rounding
    may decide between classes. Images that cannot be read any more are in neither set.
    """
    files = Files(work.inputs)
    if not (isinstance(files.source, TFLiteSource) and files.source.quantised_weights):
        return None
    try:
        predict = judge_of(files, in_float=True)
    except MissingJudge:
        raise
    except BadInput as error:
        return Quantisation(refused=str(error))
    judge = work.sides[0]
    pipeline = parse_pipeline(judge.pipeline)
    alone: set[int] = set()
    others: set[int] = set()
    for number in numbers:
        if len(others) >= ENOUGH:
            break
        with suppress(BadExample):
            pixels = pipeline(work.dataset.read(number))
            best, margin = best_of(predict(pixels[None], judge), judge.background)
            same = best[0, 0] == answers.best[number, 1, 0]
            apart = np.maximum(margin[0], answers.margin[number, 1])
            (alone if same or (tie is not None and apart <= tie) else others).add(number)
    return Quantisation(frozenset(alone), frozenset(others))
