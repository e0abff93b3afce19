"""An evaluation as plain data: what ``porting evaluate --json`` writes.

The terminal's text and the page are made from it alone; ``evaluation_schema.json`` in
``porting/reports`` describes it. ``explanation`` is what
``porting.accuracy.evaluation.explaining`` says, or null.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import zip_longest
from typing import Any

import numpy as np

from porting.accuracy.datasets.classes import imagenet, imagenet_names
from porting.accuracy.evaluation.agreement import Counts, agreement_of, sentence_of
from porting.accuracy.evaluation.batch import FAILED
from porting.accuracy.evaluation.results import Evaluation
from porting.accuracy.evaluation.significance import SIGNIFICANT, Share, difference, share
from porting.accuracy.preprocessing import parse_pipeline
from porting.errors import BadExample
from porting.parity.inputs import thumbnail
from porting.plain_json import encoded
from porting.reports.html import SHOWN
from porting.reports.report_files import EVALUATION, EVALUATION_VERSION

THUMBNAIL_SIDE = 160
"""Pixels."""


def evaluation_report(evaluation: Evaluation) -> dict[str, Any]:
    """Everything that an evaluation says.

    Raises:
        BadExample: not one image could be used.
    """
    failures = np.flatnonzero(evaluation.answers.state == FAILED)
    if not evaluation.usable.any():
        raise BadExample(f"none of the {len(failures):,} images can be used; "
                         f"{evaluation.answers.reasons[int(failures[0])]}")  # fmt: skip
    dataset, explanation = evaluation.dataset, evaluation.explanation
    data = {
        "schema": EVALUATION,
        "version": EVALUATION_VERSION,
        "verdict": _verdict(evaluation),
        "data": {
            "path": str(dataset.path),
            "kind": dataset.kind,
            "label_order": dataset.label_order,
            "classes": dataset.classes,
            "examples": len(dataset),
            "used": int(evaluation.usable.sum()),
            "failed": [_failure_json(evaluation, int(number)) for number in failures],
            "notes": list(dataset.notes),
        },
        "sides": {side.name: _side(evaluation, n) for n, side in enumerate(evaluation.sides)},
        "stated": evaluation.stated,
        "agreement": _agreement(evaluation) if evaluation.compares else None,
        "explanation": None if explanation is None else explanation.to_json(),
        "convention": evaluation.convention.to_json(),
        "made_from": evaluation.provenance.to_json(),
    }
    return dict(encoded(data))


def class_name(evaluation: Evaluation, label: int) -> str:
    """What a class is called, as far as known."""
    synsets = evaluation.dataset.synsets
    if label < 0:
        return "background"
    if synsets is None or label >= len(synsets):
        return str(label)
    number = imagenet().numbers.get(synsets[label])
    return synsets[label] if number is None else imagenet_names()[number]


def _failure_json(evaluation: Evaluation, number: int) -> dict[str, str]:
    return {
        "name": evaluation.dataset.example(number).name,
        "reason": evaluation.answers.reasons[number],
    }


def _side(evaluation: Evaluation, number: int) -> dict[str, Any]:
    side = evaluation.sides[number]
    count = int(evaluation.usable.sum())
    shares = {
        f"top{among}": _share(share(int(evaluation.right(number, among).sum()), count))
        for among in (1, 5)
    }
    return {**side.to_json(), **shares}


def _share(value: Share) -> dict[str, Any]:
    return {**asdict(value), "percent": value.percent}


def _agreement(evaluation: Evaluation) -> dict[str, Any]:
    usable = evaluation.usable
    best = evaluation.answers.best[usable]
    count = len(best)
    same_sets = (np.sort(best[:, 0]) == np.sort(best[:, 1])).all(1)
    change = difference(evaluation.right(0), evaluation.right(1))
    return {
        "top1": _share(share(int((best[:, 0, 0] == best[:, 1, 0]).sum()), count)),
        "top5_sets": _share(share(int(same_sets.sum()), count)),
        "difference": {**asdict(change), "points": change.points},
        "tie": evaluation.tie,
        "quantisation": _quantisation(evaluation),
        "differing": [
            {**_differing(evaluation, number), "thumbnail": seen}
            for number, seen in _thumbnails(evaluation, evaluation.differing)
        ],
    }


def _thumbnails(evaluation: Evaluation, numbers: Sequence[int]) -> Iterator[tuple[int, str | None]]:
    """Images' numbers, each with its picture: of the first, as data URIs; of the others None.

    They are the first side's pixels before what normalises, read from the data set once more.
    One that cannot be read any more has none.
    """
    pipeline = parse_pipeline(evaluation.sides[0].pipeline)

    def seen(number: int) -> str | None:
        try:
            return thumbnail(pipeline(evaluation.dataset.read(number)), THUMBNAIL_SIDE)
        except BadExample:
            return None

    yield from zip_longest(numbers, map(seen, numbers[:SHOWN]))


def _differing(evaluation: Evaluation, number: int) -> dict[str, Any]:
    label, answers = int(evaluation.labels[number]), evaluation.answers
    sides = {
        side.name: {
            "answer": (answer := int(answers.best[number, n, 0])),
            "called": class_name(evaluation, answer),
            "margin": float(answers.margin[number, n]),
            "right": answer == label,
        }
        for n, side in enumerate(evaluation.sides[:2])
    }
    return {
        "number": number,
        "name": evaluation.dataset.example(number).name,
        "label": label,
        "called": class_name(evaluation, label),
        "near_tie": evaluation.near_tie(number),
        "by_quantisation": _by_quantisation(evaluation, number),
        **sides,
    }


def _verdict(evaluation: Evaluation) -> dict[str, Any]:
    """The sentence, and whether port and judge agree; images left out are told."""
    count, failures = int(evaluation.usable.sum()), len(evaluation.answers.reasons)
    if not evaluation.compares:
        side, right = evaluation.sides[0].name, int(evaluation.right(0).sum())
        sentence, p, agrees = f"the {side} is right on {right:,} of {count:,} images", None, None
    else:
        change = difference(evaluation.right(0), evaluation.right(1))
        counts = _counts(evaluation)
        sentence, p = sentence_of(counts, change), change.p
        agrees = agreement_of(counts, change)
    if failures:
        sentence += (
            f"; {failures:,} of {count + failures:,} images could not be read and are left out"
        )
    differs = p is not None and p < SIGNIFICANT
    return {"sentence": sentence, "p": p, "differs": differs, "agrees": agrees}


def _counts(evaluation: Evaluation) -> Counts:
    numbers = evaluation.differing
    counts = Counts(
        len(numbers), sum(map(evaluation.near_tie, numbers)), evaluation.tie is not None
    )
    quantisation = evaluation.quantisation
    if quantisation is None:
        return counts
    return replace(
        counts,
        quantised=len(quantisation.alone),
        others=len(quantisation.others),
        enough=quantisation.enough,
        refused=quantisation.refused,
    )


def _quantisation(evaluation: Evaluation) -> dict[str, Any] | None:
    quantisation = evaluation.quantisation
    if quantisation is None:
        return None
    return {
        "alone": len(quantisation.alone),
        "others": len(quantisation.others),
        "enough": quantisation.enough,
        "refused": quantisation.refused,
    }


def _by_quantisation(evaluation: Evaluation, number: int) -> bool | None:
    """Whether quantisation alone makes an image's answers differ; None where that is not known."""
    quantisation = evaluation.quantisation
    if quantisation is None or number not in quantisation.alone | quantisation.others:
        return None
    return number in quantisation.alone
