"""The output of ``porting evaluate``: text of at most 80 columns, or JSON.

``evaluation_schema.json`` beside this file describes the JSON.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import typer

from porting.accuracy.datasets.classes import imagenet, imagenet_names
from porting.accuracy.evaluation.agreement import Counts, Quantisation, agreement_of, sentence_of
from porting.accuracy.evaluation.batch import UNREADABLE
from porting.accuracy.evaluation.explaining import Explanation
from porting.accuracy.evaluation.predictors import Side
from porting.accuracy.evaluation.provenance import Provenance
from porting.accuracy.evaluation.results import Evaluation
from porting.accuracy.evaluation.significance import (
    SIGNIFICANT,
    Difference,
    Share,
    difference,
    share,
)
from porting.accuracy.preprocessing import parse_pipeline
from porting.errors import BadExample
from porting.mapping.input_spec import InputConvention
from porting.parity.inputs import thumbnail
from porting.plain_json import encoded
from porting.reports.documents import EVALUATION, EVALUATION_VERSION, LISTED_IMAGES
from porting.reports.sources import input_lines
from porting.reports.terminal import print_lines, print_table

WIDTH = 80

PRINTED_IMAGES = 10
"""Images printed at most; the page lists more, the JSON and the rows have all."""

THUMBNAIL_SIDE = 160
"""Pixels."""


@dataclass(frozen=True)
class Verdict:
    """Whether port and judge agree, in a sentence; None where that cannot be known.

    ``p`` is McNemar's, and ``differs`` whether it is significant; None and False for one side.
    """

    sentence: str
    p: float | None
    differs: bool
    agrees: bool | None


@dataclass(frozen=True)
class DataSummary:
    """The data set and how many of its images are usable; ``failures`` are (name, reason)."""

    path: str
    kind: str
    label_order: str
    classes: int
    examples: int
    usable: int
    failures: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The data set as plain data."""
        return {
            "path": self.path,
            "kind": self.kind,
            "label_order": self.label_order,
            "classes": self.classes,
            "examples": self.examples,
            "used": self.usable,
            "failed": [{"name": name, "reason": reason} for name, reason in self.failures],
            "notes": self.notes,
        }


@dataclass(frozen=True)
class SideResult:
    """One side, and how often the label is its best class and among its five best."""

    side: Side
    top1: Share
    top5: Share


@dataclass(frozen=True)
class Answer:
    """One side's answer for an image: the class and its name, and its lead over the next class."""

    answer: int
    class_name: str
    margin: float
    right: bool

    def to_json(self) -> dict[str, Any]:
        """The answer as plain data."""
        return {"answer": self.answer, "called": self.class_name, "margin": self.margin,
                "right": self.right}  # fmt: skip


@dataclass(frozen=True)
class DifferingImage:
    """An image on which judge and port differ.

    ``label`` is -1 where it has none, and ``class_name`` that class's name. ``by_quantisation`` is
    whether quantisation alone makes them differ, None where that is not known. ``thumbnail`` is a
    JPEG as a data URI, for the first images.
    """

    number: int
    name: str
    label: int
    class_name: str
    near_tie: bool
    by_quantisation: bool | None
    judge: Answer
    port: Answer
    thumbnail: str | None

    def to_json(self) -> dict[str, Any]:
        """The image as plain data."""
        return {
            "number": self.number,
            "name": self.name,
            "label": self.label,
            "called": self.class_name,
            "near_tie": self.near_tie,
            "by_quantisation": self.by_quantisation,
            "judge": self.judge.to_json(),
            "port": self.port.to_json(),
            "thumbnail": self.thumbnail,
        }


@dataclass(frozen=True)
class Agreement:
    """How often judge and port give the same best class and the same set of five best.

    ``difference`` is the port's accuracy less the judge's; ``tie`` and ``quantisation`` are those
    of the evaluation.
    """

    top1: Share
    top5_sets: Share
    difference: Difference
    tie: float | None
    quantisation: Quantisation | None
    differing: tuple[DifferingImage, ...]

    def to_json(self) -> dict[str, Any]:
        """The agreement as plain data."""
        quantisation = self.quantisation
        return {
            "top1": _share_json(self.top1),
            "top5_sets": _share_json(self.top5_sets),
            "difference": {**asdict(self.difference), "points": self.difference.points},
            "tie": self.tie,
            "quantisation": quantisation and {
                "alone": len(quantisation.alone),
                "others": len(quantisation.others),
                "enough": quantisation.enough,
                "refused": quantisation.refusal,
            },
            "differing": [image.to_json() for image in self.differing],
        }  # fmt: skip


@dataclass(frozen=True)
class EvaluationReport:
    """The results of an evaluation.

    ``stated_top1`` is in percent; ``agreement`` is None where only one side answered.
    """

    verdict: Verdict
    data: DataSummary
    sides: tuple[SideResult, ...]
    stated_top1: float | None
    agreement: Agreement | None
    explanation: Explanation | None
    convention: InputConvention
    provenance: Provenance

    def to_json(self) -> dict[str, Any]:
        """The report as plain data, by ``evaluation_schema.json``."""
        data = {
            "schema": EVALUATION,
            "version": EVALUATION_VERSION,
            "verdict": asdict(self.verdict),
            "data": self.data.to_json(),
            "sides": {
                result.side.name: {
                    **result.side.to_json(),
                    "top1": _share_json(result.top1),
                    "top5": _share_json(result.top5),
                }
                for result in self.sides
            },
            "stated": self.stated_top1,
            "agreement": None if self.agreement is None else self.agreement.to_json(),
            "explanation": None if self.explanation is None else self.explanation.to_json(),
            "convention": self.convention.to_json(),
            "made_from": self.provenance.to_json(),
        }
        return dict(encoded(data))


def _share_json(value: Share) -> dict[str, Any]:
    return {**asdict(value), "percent": value.percent}


def evaluation_report(evaluation: Evaluation) -> EvaluationReport:
    """Summarise an evaluation; the first differing images are read again for their thumbnails.

    Raises:
        BadExample: not one image could be used.
    """
    dataset, answers, usable = evaluation.dataset, evaluation.answers, evaluation.usable
    failures = tuple(
        (dataset.example(number).name, answers.reasons[number])
        for number in np.flatnonzero(answers.state == UNREADABLE).tolist()
    )
    count = int(usable.sum())
    if not count:
        raise BadExample(f"none of the {len(failures):,} images can be used; {failures[0][1]}")
    sides = tuple(
        SideResult(side, *(share(int(evaluation.right(n, among).sum()), count) for among in (1, 5)))
        for n, side in enumerate(evaluation.sides)
    )
    agreement = _agreement(evaluation) if evaluation.compares else None
    if agreement is None:
        side, p, agrees = sides[0], None, None
        sentence = f"the {side.side.name} is right on {side.top1.count:,} of {count:,} images"
    else:
        counts, p = _counts(agreement), agreement.difference.p
        sentence = sentence_of(counts, agreement.difference)
        agrees = agreement_of(counts, agreement.difference)
    if failures:
        total = count + len(failures)
        sentence += f"; {len(failures):,} of {total:,} images could not be read and are left out"
    return EvaluationReport(
        Verdict(sentence, p, p is not None and p < SIGNIFICANT, agrees),
        DataSummary(str(dataset.path), dataset.kind, dataset.label_order, dataset.classes,
                    len(dataset), count, failures, tuple(dataset.notes)),
        sides, evaluation.stated, agreement, evaluation.explanation, evaluation.convention,
        evaluation.provenance,
    )  # fmt: skip


def _agreement(evaluation: Evaluation) -> Agreement:
    best = evaluation.answers.best[evaluation.usable]
    same_sets = (np.sort(best[:, 0]) == np.sort(best[:, 1])).all(1)
    pipeline = parse_pipeline(evaluation.sides[0].pipeline)

    def picture(number: int) -> str | None:
        """The first side's pixels before normalisation; None where the image is gone."""
        try:
            return thumbnail(pipeline(evaluation.dataset.read(number)), THUMBNAIL_SIDE)
        except BadExample:
            return None

    return Agreement(
        share(int((best[:, 0, 0] == best[:, 1, 0]).sum()), len(best)),
        share(int(same_sets.sum()), len(best)),
        difference(evaluation.right(0), evaluation.right(1)), evaluation.tie,
        evaluation.quantisation,
        tuple(
            _differing_image(evaluation, number, picture(number) if n < LISTED_IMAGES else None)
            for n, number in enumerate(evaluation.differing)
        ),
    )  # fmt: skip


def _differing_image(evaluation: Evaluation, number: int, picture: str | None) -> DifferingImage:
    label, answers = int(evaluation.labels[number]), evaluation.answers
    quantisation, by_quantisation = evaluation.quantisation, None
    if quantisation is not None and number in quantisation.alone | quantisation.others:
        by_quantisation = number in quantisation.alone
    judge, port = (
        Answer(best, class_name(evaluation, best), float(margin), best == label)
        for best, margin in zip(
            answers.best[number, :2, 0].tolist(), answers.margin[number, :2], strict=True
        )
    )
    return DifferingImage(
        number, evaluation.dataset.example(number).name, label, class_name(evaluation, label),
        evaluation.near_tie(number), by_quantisation, judge, port, picture,
    )  # fmt: skip


def class_name(evaluation: Evaluation, label: int) -> str:
    """The name of a class, or its number where the data set does not name it."""
    synsets = evaluation.dataset.synsets
    if label < 0:
        return "background"
    if synsets is None or label >= len(synsets):
        return str(label)
    number = imagenet().numbers.get(synsets[label])
    return synsets[label] if number is None else imagenet_names()[number]


def _counts(agreement: Agreement) -> Counts:
    images, quantisation = agreement.differing, agreement.quantisation
    counts = Counts(len(images), sum(image.near_tie for image in images), agreement.tie is not None)
    if quantisation is None:
        return counts
    return replace(
        counts, by_quantisation=len(quantisation.alone), others=len(quantisation.others),
        enough=quantisation.enough, refusal=quantisation.refusal,
    )  # fmt: skip


def print_evaluation(report: EvaluationReport) -> None:
    """Print the report as text, its explanation as a table."""
    data, provenance = report.data, report.provenance
    pairs = [
        ("data", f"{data.path}: {data.examples:,} images, {data.kind}"),
        ("labels", data.label_order),
        *(("note", note) for note in data.notes),
    ]
    if (source := provenance.source) is not None:
        pairs.append(("source", f"{source.file} ({source.weights}), run by {source.judge}"))
    if (checkpoint := provenance.checkpoint) is not None:
        weights = f" ({checkpoint.weights})" if checkpoint.weights else ""
        pairs.append(("network", f"{checkpoint.model}, {checkpoint.file}{weights}"))
    authors = report.convention.preprocessing
    pipelines = list(dict.fromkeys(result.side.pipeline for result in report.sides))
    same = pipelines == [authors]  # then it is named once
    model = "" if checkpoint is None else checkpoint.model
    pairs += input_lines(report.convention, model, with_preprocessing=not same)
    pairs.append(
        ("pixels", f"as its authors made them: {authors}" if same else "; ".join(pipelines))
    )
    for result in report.sides:
        shares = (("top-1", result.top1), ("top-5", result.top5))
        text = "; ".join(f"{name} {s.percent:.2f} % ({s.low:.2f} to {s.high:.2f})"
                         for name, s in shares)  # fmt: skip
        pairs.append((result.side.name, text))
    if report.stated_top1 is not None:
        pairs.append(("stated", f"top-1 {report.stated_top1:.2f} %"))
    if report.agreement is not None:
        pairs += _agreement_lines(report.agreement)
    failures = [reason if name in reason else f"{name}: {reason}" for name, reason in data.failures]
    pairs += [*_first_entries("left out", failures), ("verdict", report.verdict.sentence)]
    print_lines(pairs)
    if report.explanation is not None:
        _print_explanation(report.explanation)


def _agreement_lines(agreement: Agreement) -> list[tuple[str, str]]:
    top1, sets, change = agreement.top1, agreement.top5_sets, agreement.difference
    images = []
    for image in agreement.differing:
        answers = ", ".join(
            f"{name} {answer.class_name} by {answer.margin:.3g}"
            for name, answer in (("judge", image.judge), ("port", image.port))
        )
        reason = "; a near tie" if image.near_tie else ""
        if image.by_quantisation:
            reason = "; by quantisation"
        images.append(f"{Path(image.name).name}, {image.class_name}:\n  {answers}{reason}")
    return [
        ("agree", f"on {top1.count:,} of {top1.of:,} answers, on {sets.count:,} "
         f"set{'' if sets.count == 1 else 's'} of five"),
        ("port - judge", f"{change.points:+.2f} points ({change.low:+.2f} to "
         f"{change.high:+.2f}); right alone: port {change.gained:,}, judge "
         f"{change.lost:,}; McNemar p = {change.p:.2g}"),
        *_first_entries("differ", images),
    ]  # fmt: skip


def _first_entries(label: str, entries: list[str]) -> list[tuple[str, str]]:
    """Lines for the first entries under one label, and the number of those left out."""
    lines = entries[:PRINTED_IMAGES]
    if len(entries) > PRINTED_IMAGES:
        lines = [*lines, f"and {len(entries) - PRINTED_IMAGES:,} more"]
    return [(label if not number else "", line) for number, line in enumerate(lines)]


def _print_explanation(explanation: Explanation) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    helps = [effect.helps(explanation.target) for effect in explanation.effects]
    table.add_column("changed", no_wrap=True)
    table.add_column(
        f"to what, for what{' (* helps)' if any(helps) else ''}", overflow="fold", ratio=1
    )
    for name in ("top-1", "points", "95 %", "p, Holm"):
        table.add_column(name, justify="right", no_wrap=True)
    for effect, mark in zip(explanation.effects, helps, strict=True):
        (change,), gap = effect.changes, effect.difference
        table.add_row(
            change.topic, change.words + (" *" if mark else ""), f"{effect.top1:.2f}",
            f"{gap.points:+.2f}", f"{gap.low:+.2f} to {gap.high:+.2f}", f"{effect.p:.1g}",
            style="green" if mark else None,
        )  # fmt: skip
    print_table(table, WIDTH)
    typer.echo()
    left_out = [("left out", f"{topic.topic}: {topic.why}") for topic in explanation.left_out]
    print_lines([*left_out, ("explained", explanation.sentence)])
