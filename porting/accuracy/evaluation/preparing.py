"""What is evaluated: the sides of source and checkpoint, and all that the figures rest on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genmobilenet.zoo import get_config
from porting.accuracy.datasets import DataSet, open_dataset
from porting.accuracy.evaluation.side import Inputs, Side
from porting.accuracy.evaluation.told import versions
from porting.accuracy.packages import NEEDED, check_installed
from porting.accuracy.preprocessing import named_pipeline
from porting.catalog.at_hand import open_published, published_as
from porting.errors import BadInput
from porting.mapping.convention import InputConvention, convention_of
from porting.mapping.families import ROUNDED, family_of
from porting.sha256 import sha256_of

if TYPE_CHECKING:
    from porting.mapping.match import Match

IMAGENET_CLASSES = 1000
"""Its classes, without the background that TensorFlow's networks put before them."""


@dataclass(frozen=True)
class Prepared:
    """``told`` is, by topic, all that the figures rest on: plain data.

    ``stated`` is the top-1 in percent that the authors of a published source state.
    ``weight_set`` is that of the port, None where it is not known; ``anew`` has,
    by weight set, the network that can be ported anew from the source.
    ``variants`` answer beside the sides, to explain them.
    """

    inputs: Inputs
    sides: tuple[Side, ...]
    dataset: DataSet
    convention: InputConvention
    told: dict[str, Any]
    stated: float | None
    weight_set: str | None = None
    anew: Mapping[str, Side] = field(default_factory=dict)
    variants: tuple[Side, ...] = ()


@dataclass(frozen=True)
class _Known:
    """Of source and checkpoint: ``dropped`` classes are the judge's alone."""

    inputs: Inputs
    convention: InputConvention
    dropped: int
    normalises: bool
    told: dict[str, Any]
    stated: float | None
    weight_set: str | None
    weight_sets: tuple[str, ...] = ()


def prepare(
    inputs: Inputs, data: Path, labels: Path | None, synsets: Path | None, preprocessing: str | None
) -> Prepared:
    """Look at source, checkpoint and data set, and lay down who answers what.

    Raises:
        BadInput: one cannot be read, or they do not fit; nothing is given to evaluate.
        MissingPackage: what evaluating needs is not installed.
    """
    check_installed(*NEEDED)
    if inputs.source is None and inputs.checkpoint is None:
        raise BadInput("nothing to evaluate: give a source with --source, a network with "
                       "--checkpoint, or both")  # fmt: skip
    known = _from_card(inputs) if inputs.source is None else _from_source(inputs)
    convention = known.convention
    if convention.channels != 3:
        raise BadInput(f"the network takes {convention.channels} channels; images are evaluated in "
                       "RGB, three of them")  # fmt: skip
    if convention.classes + known.dropped < 2:
        raise BadInput("the network has one class: there is nothing that it could mistake it for")
    dataset = open_dataset(
        data, labels=labels, synsets=synsets, classes=_without_background(convention.classes)
    )
    steps = convention.preprocessing if preprocessing is None else preprocessing
    pipeline = _pipeline(steps, convention)
    sides = tuple(_sides(known, dataset, pipeline))
    told = {
        "data": {"kind": dataset.kind, "examples": len(dataset), "sha256": dataset.fingerprint},
        **known.told,
        "sides": {side.name: side.to_json() for side in sides},
        "versions": versions(),
    }
    return Prepared(
        known.inputs, sides, dataset, convention, told, known.stated, known.weight_set,
        _anew(known, dataset, pipeline),
    )  # fmt: skip


def _pipeline(text: str, convention: InputConvention) -> str:
    """The text of a named or described pipeline; of whole pixels where the source takes no other.

    Raises:
        BadInput: it is not understood, or gives images of no one size.
    """
    size, pipeline = convention.size, named_pipeline(text, convention.size)
    if pipeline.size is None:
        raise BadInput(
            f"preprocessing {text!r}: gives images of several sizes, and a network takes batches "
            f"of one; end with resize legacy bilinear {size}, or with crop centre {size}"
        )
    whole = pipeline.whole or not convention.takes_bytes
    return str(pipeline) + ("" if whole else ROUNDED)


def _sides(known: _Known, dataset: DataSet, pipeline: str) -> list[Side]:
    convention, sides = known.convention, []
    if known.inputs.source is not None:
        own = (convention.source_mean, convention.source_std)
        background = _background(convention.classes + known.dropped, dataset)
        sides.append(Side("judge", "judge", pipeline, *own, background))
    if known.inputs.checkpoint is not None:
        taken = convention.taken_in() if known.normalises else convention
        background = _background(convention.classes, dataset)
        sides.append(Side("port", "checkpoint", pipeline, taken.mean, taken.std, background))
    return sides


def _anew(known: _Known, dataset: DataSet, pipeline: str) -> dict[str, Side]:
    """The source's network with each of its weight sets; none beside a module of somebody's own."""
    convention = known.convention
    if known.inputs.source is None or known.inputs.onto is not None:
        return {}
    background = _background(convention.classes + known.dropped, dataset)
    made = Side("port", "source", pipeline, convention.mean, convention.std, background)
    return {name: replace(made, weights=name) for name in known.weight_sets}


def _from_source(inputs: Inputs) -> _Known:
    """From the source, and the checkpoint in its network where there is one."""
    from porting.mapping.recognise import find_match
    from porting.parity.logits_judge import judge_label
    from porting.subject import card_beside, subject_from_file

    assert inputs.source is not None  # asked for
    source = open_published(inputs.source)
    match: Match
    told: dict[str, Any] = {"source": {"file": source.path.name, "sha256": source.sha256}}
    if inputs.checkpoint is None:
        match, normalises = find_match(source, inputs.model, inputs.weights), False
        inputs, weight_set = replace(inputs, model=match.model), match.plan.weight_set
    else:
        subject = subject_from_file(
            source, inputs.checkpoint, inputs.model, inputs.weights, inputs.onto
        )
        match, normalises = subject.match, subject.match.normalises
        card = card_beside(inputs.checkpoint, subject.sha256)
        # --weights chooses the judge's; which the file has, its card alone knows.
        weight_set = card.get("source", {}).get("weight_set")
        told["checkpoint"] = _checkpoint(
            inputs.checkpoint, subject.model, subject.sha256, weight_set
        )
        if inputs.onto is None:
            inputs = replace(inputs, model=subject.model)
    told["source"] |= {"weights": match.plan.weight_set, "judge": judge_label(source)}
    convention = convention_of(source, match, inputs.normalisation)
    entry = published_as(source)
    stated = None if entry is None else entry.top1
    return _Known(
        inputs, convention, match.first_class, normalises, told, stated, weight_set,
        source.weight_sets,
    )  # fmt: skip


def _from_card(inputs: Inputs) -> _Known:
    """From the checkpoint alone: its card tells, or its network's name."""
    from genmobilenet.factory import read_state_dict
    from porting.subject import card_beside

    path = inputs.checkpoint
    assert path is not None  # asked for
    for name, given in (("weights", inputs.weights), ("onto", inputs.onto)):
        if given is not None:
            raise BadInput(f"--{name} says how a source is ported: give it with --source")
    state = read_state_dict(path)
    digest = sha256_of(path)
    card = card_beside(path, digest)
    model = inputs.model or card.get("model")
    onto = inputs.onto or card.get("onto")
    if model is None or onto is not None:
        raise BadInput(
            f"{path}: has no card beside it that names a network of this package; name its network "
            "with --model, or give its source with --source"
        )
    convention = _convention(card.get("input"), model, state)
    if inputs.normalisation is not None:
        convention = convention.restated(inputs.normalisation, str(path))
    weight_set = card.get("source", {}).get("weight_set")
    told = {"checkpoint": _checkpoint(path, model, digest, weight_set)}
    stated = card.get("source", {}).get("published", {}).get("top1")
    return _Known(replace(inputs, model=model), convention, 0, False, told, stated, weight_set)


def _convention(stated: Any, model: str, state: dict[str, Any]) -> InputConvention:
    """A card's convention; without one, that of the network's family."""
    plain, config = model.removeprefix("tf_"), get_config(model)
    if isinstance(stated, dict):
        try:
            steps = family_of(plain).preprocessing(stated["size"])
            return InputConvention.from_json({"preprocessing": steps, **stated})
        except (KeyError, TypeError) as error:
            raise BadInput(f"its card's input is not one of this package's: {error}") from error
    family = family_of(plain)
    size, bias = config.input_size, state.get("classifier.bias")
    classes = config.num_classes if bias is None else int(bias.numel())
    evidence = "assumed as in the family's training code; there is no card to say so"
    steps = family.preprocessing(size)
    found = InputConvention(size, config.in_chans, classes, *family.affine, evidence, steps)
    return found.taken_in() if "normalise.mean" in state else found


def _checkpoint(
    path: Path, model: str, digest: str | None, weight_set: str | None
) -> dict[str, Any]:
    return {"file": path.name, "sha256": digest, "model": model, "weights": weight_set}


def _without_background(classes: int) -> int:
    return IMAGENET_CLASSES if classes in (IMAGENET_CLASSES, IMAGENET_CLASSES + 1) else classes


def _background(classes: int, dataset: DataSet) -> int:
    """1 where the network has one class more than the data set, before all others; else 0."""
    more = classes - dataset.classes
    if more not in (0, 1):
        raise BadInput(
            f"{dataset.path}: has {dataset.classes:,} classes, the network {classes:,}; expected "
            "as many, or one more for a background"
        )
    return more
