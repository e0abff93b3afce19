"""Decide what is evaluated: the sides of source and checkpoint, the data set, the pixels."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from genmobilenet.zoo import get_config
from porting.accuracy.datasets import DataSet, open_dataset
from porting.accuracy.evaluation.predictors import Inputs, Side
from porting.accuracy.evaluation.provenance import (
    CheckpointProvenance,
    DataProvenance,
    Provenance,
    SourceProvenance,
    versions,
)
from porting.accuracy.preprocessing import named_pipeline
from porting.card import read_card
from porting.catalog.local import open_published, published_as
from porting.errors import BadInput, MissingPackage
from porting.mapping.families import ASSUMED, ROUNDED, family_of
from porting.mapping.input_spec import Certainty, InputConvention, convention_of
from porting.sha256 import sha256_of

if TYPE_CHECKING:
    from porting.mapping.match import Match

PACKAGES = ("simplejpeg", "numba", "scipy")
"""The packages that evaluating needs beside those of porting."""

IMAGENET_CLASSES = 1000
"""Its classes, without the background that TensorFlow's networks put before them."""


@dataclass(frozen=True)
class Setup:
    """An evaluation that can be run.

    ``published_top1`` is what the authors of a published source state, in percent.
    ``weight_set`` is that of the port, None where it is not known; ``anew`` has,
    by weight set, the network that can be ported anew from the source.
    """

    inputs: Inputs
    sides: tuple[Side, ...]
    dataset: DataSet
    convention: InputConvention
    provenance: Provenance
    published_top1: float | None
    weight_set: str | None
    anew: Mapping[str, Side]


@dataclass(frozen=True)
class _Models:
    """What is known of source and checkpoint; the judge has ``first_class`` classes before ours."""

    inputs: Inputs
    convention: InputConvention
    source: SourceProvenance | None
    checkpoint: CheckpointProvenance | None
    published_top1: float | None
    weight_set: str | None
    weight_sets: tuple[str, ...] = ()
    first_class: int = 0
    normalises: bool = False


def prepare(
    inputs: Inputs, data: Path, labels: Path | None, synsets: Path | None, preprocessing: str | None
) -> Setup:
    """Read source, checkpoint and data set, and decide what answers on which pixels.

    Raises:
        BadInput: one cannot be read, or they do not fit; nothing is given to evaluate.
        MissingPackage: what evaluating needs is not installed.
    """
    check_installed(*PACKAGES)
    if inputs.source is None and inputs.checkpoint is None:
        raise BadInput("nothing to evaluate: give a source with --source, a network with "
                       "--checkpoint, or both")  # fmt: skip
    models = _from_card(inputs) if inputs.source is None else _from_source(inputs)
    inputs, convention = models.inputs, models.convention
    if convention.channels != 3:
        raise BadInput(f"the network takes {convention.channels} channels; images are evaluated in "
                       "RGB, three of them")  # fmt: skip
    of_judge = convention.classes + models.first_class
    if of_judge < 2:
        raise BadInput("the network has one class: there is nothing that it could mistake it for")
    of_imagenet = convention.classes in (IMAGENET_CLASSES, IMAGENET_CLASSES + 1)
    classes = IMAGENET_CLASSES if of_imagenet else convention.classes
    dataset = open_dataset(data, labels=labels, synsets=synsets, classes=classes)
    steps = convention.preprocessing if preprocessing is None else preprocessing
    pipeline = named_pipeline(steps, convention.size)
    if pipeline.size is None:
        raise BadInput(
            f"preprocessing {steps!r}: gives images of several sizes, and a network takes batches "
            f"of one; end with resize legacy bilinear {convention.size}, or with crop centre "
            f"{convention.size}"
        )
    text = str(pipeline)
    if convention.takes_bytes and not pipeline.whole:
        text += ROUNDED
    sides: list[Side] = []
    anew: dict[str, Side] = {}
    if inputs.source is not None:
        background = _background(of_judge, dataset)
        source_affine = convention.source_mean, convention.source_std
        sides.append(Side("judge", "judge", text, *source_affine, background))
        if inputs.onto is None:
            port = Side("port", "source", text, convention.mean, convention.std, background)
            anew = {name: replace(port, weights=name) for name in models.weight_sets}
    if inputs.checkpoint is not None:
        affine = convention.taken_in() if models.normalises else convention
        background = _background(convention.classes, dataset)
        sides.append(Side("port", "checkpoint", text, affine.mean, affine.std, background))
    provenance = Provenance(
        DataProvenance(dataset.kind, len(dataset), dataset.fingerprint),
        models.source, models.checkpoint, tuple(sides), versions(),
    )  # fmt: skip
    return Setup(
        inputs, tuple(sides), dataset, convention, provenance, models.published_top1,
        models.weight_set, anew,
    )  # fmt: skip


def _from_source(inputs: Inputs) -> _Models:
    """From the source, and the checkpoint in its network where there is one."""
    from porting.mapping.recognise import find_match
    from porting.parity.judge_set import judge_label
    from porting.subject import subject_from_file

    assert inputs.source is not None  # asked for
    source = open_published(inputs.source, inputs.signature)
    match: Match
    weight_set: str | None
    checkpoint = None
    if inputs.checkpoint is None:
        match, normalises = find_match(source, inputs.model, inputs.weights), False
        inputs, weight_set = replace(inputs, model=match.model), match.plan.weight_set
    else:
        subject = subject_from_file(
            source, inputs.checkpoint, inputs.model, inputs.weights, inputs.onto
        )
        match, normalises = subject.match, subject.match.normalises
        # --weights chooses the judge's; which the file has, its card alone knows.
        weight_set = None if subject.card is None else subject.card.source.weight_set
        checkpoint = CheckpointProvenance(
            inputs.checkpoint.name, subject.sha256, subject.model, weight_set
        )
        if inputs.onto is None:
            inputs = replace(inputs, model=subject.model)
    convention = convention_of(source, match, inputs.normalisation)
    entry = published_as(source)
    provenance = SourceProvenance(
        source.name,
        source.sha256,
        match.plan.weight_set,
        judge_label(source, match.plan),
        source.signature,
    )
    return _Models(
        inputs, convention, provenance, checkpoint, None if entry is None else entry.top1,
        weight_set, source.weight_sets, match.first_class, normalises,
    )  # fmt: skip


def _from_card(inputs: Inputs) -> _Models:
    """From the checkpoint alone: its card tells, or its network's name."""
    from genmobilenet.factory import read_state_dict

    path = inputs.checkpoint
    assert path is not None  # asked for
    for name, value in (
        ("weights", inputs.weights),
        ("onto", inputs.onto),
        ("signature", inputs.signature),
    ):
        if value is not None:
            raise BadInput(f"--{name} says how a source is ported: give it with --source")
    state = read_state_dict(path)
    digest = sha256_of(path)
    card = read_card(path, digest)
    model = inputs.model or (None if card is None else card.model)
    if model is None or (card is not None and card.onto is not None):
        raise BadInput(
            f"{path}: has no card beside it that names a network of this package; name its network "
            "with --model, or give its source with --source"
        )
    if card is not None and card.input is not None:
        convention = card.input
    else:  # that of the network's family
        config, known_family = get_config(model), family_of(model)
        family = known_family or ASSUMED
        size, bias = config.input_size, state.get("classifier.bias")
        classes = config.num_classes if bias is None else int(bias.numel())
        certainty: Certainty = "assumed"
        evidence = "assumed as in the family's training code; there is no card to say so"
        if known_family is None:
            certainty = "unknown"
            evidence = "neither a card nor a known network says what it takes; [-1, 1] is taken"
        convention = InputConvention(
            size, config.in_chans, classes, *family.affine, evidence, family.preprocessing(size),
            certainty,
        )  # fmt: skip
        if "normalise.mean" in state:
            convention = convention.taken_in()
    if inputs.normalisation is not None:
        convention = convention.restated(inputs.normalisation, str(path))
    weight_set = None if card is None else card.source.weight_set
    publication = None if card is None else card.source.publication
    return _Models(
        replace(inputs, model=model), convention, None,
        CheckpointProvenance(path.name, digest, model, weight_set),
        None if publication is None else publication.top1, weight_set,
    )  # fmt: skip


def _background(classes: int, dataset: DataSet) -> int:
    """1 where the network has one class more than the data set, before all others; else 0."""
    more = classes - dataset.classes
    if more not in (0, 1):
        raise BadInput(
            f"{dataset.path}: has {dataset.classes:,} classes, the network {classes:,}; expected "
            "as many, or one more for a background"
        )
    return more


def check_installed(*packages: str) -> None:
    """Check that packages are installed, before the work that needs them.

    Raises:
        MissingPackage: one is not; the message names all that are not.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingPackage(
            f"evaluating needs {', '.join(missing)}, not installed here: "
            f"pip install {' '.join(missing)}"
        )
