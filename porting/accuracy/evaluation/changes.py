"""What may be changed in an evaluation, one thing at a time: a table of topics.

Each topic has its changes laid down for the evaluation at hand, or says why it has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from porting.accuracy.evaluation.pixel_changes import (
    CHANNEL_ORDER,
    PARTS,
    PixelChange,
    PixelTopic,
    changed_pipelines,
)
from porting.accuracy.evaluation.preparing import Prepared
from porting.accuracy.evaluation.side import Side
from porting.accuracy.preprocessing import NAMED, named_pipeline, parse_pipeline
from porting.mapping.convention import InputConvention
from porting.mapping.families import FAMILIES, ROUNDED, Affine

Edit = Callable[[Side], Side | None]
"""A side with one thing changed; None where that means nothing for it."""


@dataclass(frozen=True)
class Change:
    """One thing changed: ``side`` is the port with it, None where it is of the labels alone.

    ``words`` say what stands for what. ``shift`` is added to every label.
    """

    topic: str
    words: str
    edit: Edit
    side: Side | None
    shift: int = 0


@dataclass(frozen=True)
class LeftOut:
    """A topic of which there is no change here, and why."""

    topic: str
    why: str


@dataclass(frozen=True)
class Changes:
    """Every change of the port ``base``, in the table's order, and the topics without one."""

    base: Side
    changes: tuple[Change, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def variants(self) -> tuple[Side, ...]:
        """Those that answer for the changes; equal ones once."""
        sides = (change.side for change in self.changes if change.side is not None)
        return tuple({answers_as(side): side for side in sides}.values())


@dataclass(frozen=True)
class Run:
    """What changes are laid down for.

    ``anew`` has, by weight set, the port as it would be made anew of the source;
    ``no_other`` says why it may not be changed to another.
    """

    base: Side
    convention: InputConvention
    weight_set: str | None
    anew: Mapping[str, Side]
    no_other: str


Laid = Iterable[tuple[str, Edit, int]] | str
"""Words, edit and shift of labels of each change, or why there is none."""


@dataclass(frozen=True)
class Topic:
    """One thing that may be changed: ``what`` it is, in words."""

    name: str
    what: str
    lay_down: Callable[[Run], Laid]


def answers_as(side: Side) -> Side:
    """What a side's answers hang on: all of it but its name."""
    return replace(side, name="")


def run_of(prepared: Prepared) -> Run:
    """What is explained: the port, or, of a source alone, the network ported anew from it."""
    base = next((side for side in prepared.sides if side.name == "port"), None)
    inputs, weight_set = prepared.inputs, prepared.weight_set
    if base is None:
        assert weight_set is not None  # without a checkpoint, that of the source's match
        base = prepared.anew[weight_set]
    no_other = "the source holds one set of weights"
    if inputs.source is None:
        no_other = "other weights would come from the source: give it with --source"
    elif inputs.onto is not None:
        no_other = "the port is a module of its own, and other weights would be in another network"
    return Run(base, prepared.convention, weight_set, prepared.anew, no_other)


def changes_of(run: Run) -> Changes:
    """Lay down the changes of every topic."""
    changes: list[Change] = []
    left_out = []
    for topic in TOPICS:
        laid = topic.lay_down(run)
        if isinstance(laid, str):
            left_out.append(LeftOut(topic.name, laid))
            continue
        for words, edit, shift in laid:
            side = None if shift else edit(run.base)
            if side is not None:
                side = replace(side, name=f"{topic.name}: {words}")
            changes.append(Change(topic.name, words, edit, side, shift))
    return Changes(run.base, tuple(changes), tuple(left_out))


def combined(base: Side, changes: Iterable[Change]) -> tuple[Side, int] | None:
    """A side with several changes at once, in the table's order, and the shift of its labels.

    None where one of them means nothing beside the others.
    """
    chosen = sorted(changes, key=lambda change: _ORDER[change.topic])
    side: Side | None = base
    for change in chosen:
        side = None if side is None else change.edit(side)
    if side is None:
        return None
    named = replace(side, name=" and ".join(f"{c.topic}: {c.words}" for c in chosen))
    return named, sum(change.shift for change in chosen)


def _weights(run: Run) -> Laid:
    """Every weight set that the port is not known to be of."""
    others = [name for name in run.anew if name != run.weight_set]
    if len(run.anew) < 2:
        return run.no_other
    now = run.weight_set or "the file's"
    return [(f"{name} for {now}", partial(_ported_anew, run.anew[name]), 0) for name in others]


def _ported_anew(anew: Side, side: Side) -> Side:
    return replace(
        side, runs=anew.runs, weights=anew.weights, mean=anew.mean, std=anew.std,
        background=anew.background,
    )  # fmt: skip


def _preprocessing(run: Run) -> Laid:
    """The authors', where the run goes by another; Pillow's, where it goes by theirs."""
    size = parse_pipeline(run.base.pipeline).size or run.convention.size
    authors, pillow = _of_authors(run.convention, size), NAMED["pillow"](size)
    names = {authors: "the authors'", pillow: "Pillow's"}
    text = pillow if run.base.pipeline == authors else authors
    now = names.get(run.base.pipeline, "the given steps")
    return [(f"{names[text]} for {now}", lambda side: replace(side, pipeline=text), 0)]


def _of_authors(convention: InputConvention, size: int) -> str:
    """The pipeline of a network's authors, at the size of the run's pixels."""
    text = convention.preprocessing.removesuffix(ROUNDED)
    named = (make for make in NAMED.values() if make(convention.size) == text)
    steps = str(named_pipeline(next((make(size) for make in named), text), size))
    return steps + (ROUNDED if convention.takes_bytes else "")


def _pixels(topic: PixelTopic, run: Run) -> Laid:
    found = changed_pipelines(topic, run.base.pipeline)
    return [(words, partial(_with_pixels, change), 0) for words, change in found] or topic.without


def _with_pixels(change: PixelChange, side: Side) -> Side | None:
    pipeline = change(parse_pipeline(side.pipeline))
    return None if pipeline is None else replace(side, pipeline=str(pipeline))


def _normalisation(run: Run) -> Laid:
    """The mean and deviation of each family that normalises otherwise."""
    base = run.base
    if not any(base.mean) and set(base.std) == {1.0}:
        return "the network normalises by itself"
    known = [family.affine for family in FAMILIES.values()]
    others = [a for a in known if not np.allclose(a, (base.mean, base.std), rtol=1e-3)]
    now = _affine_said((base.mean, base.std))
    return [(f"{_affine_said(a)} for {now}", partial(_normalised, a), 0) for a in others]


def _normalised(affine: Affine, side: Side) -> Side:
    return replace(side, mean=affine[0], std=affine[1])


def _affine_said(affine: Affine) -> str:
    mean, std = (" ".join(f"{v:.4g}" for v in dict.fromkeys(values)) for values in affine)
    return f"mean {mean} std {std}"


def _label_offset(run: Run) -> Laid:
    return [("labels one up", lambda side: side, 1), ("labels one down", lambda side: side, -1)]


def _pixel_topic(topic: PixelTopic) -> Topic:
    return Topic(topic.name, topic.what, partial(_pixels, topic))


PREPROCESSING = "preprocessing"

TOPICS = (
    Topic("weights", "the source's other weight set: averages or raw weights", _weights),
    Topic(PREPROCESSING, "all steps from a file to pixels at once", _preprocessing),
    *map(_pixel_topic, PARTS),
    Topic("normalisation", "the mean and deviation of another family", _normalisation),
    _pixel_topic(CHANNEL_ORDER),
    Topic("label offset", "classes counted with a background, or without", _label_offset),
)
"""In the order in which several at once are applied."""

_ORDER = {topic.name: place for place, topic in enumerate(TOPICS)}

PARTS_OF_PREPROCESSING = frozenset(topic.name for topic in PARTS)
