"""Which of the ways to label images applies: a label file, folders, or the files' names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from porting.accuracy.datasets.by_name import Labels, labels_by_class, synset_in_name
from porting.accuracy.datasets.classes import SYNSET, ClassList
from porting.accuracy.datasets.label_file import (
    WELL_KNOWN,
    find_label_file,
    labels_from_file,
    read_label_file,
)
from porting.errors import BadInput

_IN_NAME = "the synset in the file's name"


@dataclass(frozen=True)
class Asked:
    """What a user said of a data set besides its path."""

    labels: Path | None
    classes: int | None
    known: ClassList


@dataclass(frozen=True)
class Labelling:
    """Labels, what makes the kind of the data set, and notes."""

    labels: Labels
    kind: str
    notes: tuple[str, ...] = ()


def labelling(
    images: Sequence[str], places: tuple[Path, ...], path: Path, asked: Asked
) -> Labelling:
    """Labels of images by their names below ``path``, folders included.

    ``places`` are folders in which a label file may lie.

    Raises:
        BadInput: nothing tells the labels, or what tells them does not fit.
    """
    if asked.labels is not None:
        found = _by_file(images, asked.labels, asked)
        _check_names(images, found.labels, asked)
        return found
    below = _below_common(images, asked.known)
    inside = [name.partition("/")[0] for name in below if "/" in name]
    if len(inside) == len(images):
        labels = labels_by_class(inside, asked.known, asked.classes, path)
        return Labelling(labels, "by synset" if SYNSET.fullmatch(inside[0]) else "by class")
    if inside:
        loose = next(name for name in below if "/" not in name)
        raise BadInput(
            f"{path}: holds images both in folders such as {inside[0]} and beside them, such as "
            f"{loose}; move those away that have no class, or give a label file for all"
        )
    return _flat(images, places, path, asked)


def _below_common(images: Sequence[str], known: ClassList) -> list[str]:
    """Names without the folders that all lie in, if those are no classes: ``val/...``."""
    parts = [name.split("/") for name in images]
    while min(map(len, parts)) > 1 and len({part[0] for part in parts}) == 1:
        folder = parts[0][0]
        if SYNSET.fullmatch(folder) or folder in known.numbers:
            break
        parts = [part[1:] for part in parts]
    return ["/".join(part) for part in parts]


def _flat(images: Sequence[str], places: tuple[Path, ...], path: Path, asked: Asked) -> Labelling:
    told = [synset_in_name(name) for name in images]
    synsets = [synset for synset in told if synset is not None]
    if len(synsets) == len(images):
        labels = labels_by_class(synsets, asked.known, asked.classes, path, _IN_NAME)
        return Labelling(labels, "of files named by synset")
    files = find_label_file(*places)
    if files:
        notes = tuple(f"not used for labels: {other}" for other in files[1:])
        return replace(_by_file(images, files[0], asked), notes=notes)
    raise BadInput(
        f"{path}: nothing tells the class of {images[told.index(None)]}: {len(synsets):,} of "
        f"{len(images):,} images have a synset in their name, and there is no label file; give "
        f"one with --labels, or lay it there under a known name: {', '.join(WELL_KNOWN)}"
    )


def _check_names(images: Sequence[str], labels: Labels, asked: Asked) -> None:
    """See that a label file says nothing else than the synsets in the images' own names.

    Raises:
        BadInput: it does.
    """
    for image, label in zip(images, labels.numbers, strict=True):
        parts = image.split("/")
        told = [part for part in parts[:-1] if SYNSET.fullmatch(part)]
        told = told or [synset_in_name(image) or ""]
        number = asked.known.numbers.get(told[-1])
        if number is not None and label is not None and number != label:
            named = asked.known.names[label] if asked.known.names else label
            raise BadInput(
                f"{asked.labels}: says {named} of {image}, whose name says {told[-1]}; one of the "
                "two is wrong: leave --labels out, or give the file that belongs to these images"
            )


def _by_file(images: Sequence[str], file: Path, asked: Asked) -> Labelling:
    labels = labels_from_file(read_label_file(file), images, asked.known)
    return Labelling(labels, f"with label file {file.name}")
