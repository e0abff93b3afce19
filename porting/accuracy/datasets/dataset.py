"""A data set: labelled images under one interface, whatever form they are kept in."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from porting.accuracy.datasets.classes import class_list
from porting.accuracy.datasets.labelling import Asked
from porting.accuracy.datasets.opening import contents_of
from porting.accuracy.datasets.store import Contents
from porting.errors import BadExample, BadInput


@dataclass(frozen=True)
class Example:
    """One image as it is known before it is decoded.

    ``name`` is unique within the data set: the path relative to it, or
    ``shard.tar:member``, or ``shard:number:file name``. ``label`` is
    0..classes-1 in the data set's order, without background; None only where
    :attr:`DataSet.problems` names the example.
    """

    name: str
    label: int | None


@dataclass(frozen=True, eq=False, repr=False)
class DataSet:
    """Examples by number, 0..len-1. Names and labels are in memory, images are read on demand.

    Picklable: it holds no open file, and may be read in several processes and
    threads at once.

    ``path`` is where the examples were found, ``kind`` the form they are kept
    in, ``classes`` the number of labels without a background. ``label_order``
    says how labels are known and in which order they are; ``synsets`` are the
    classes' names in that order, None where they are known by number alone.
    ``problems`` are examples that are known to be unreadable or unlabelled
    (name, reason): they count as examples, and reading one raises. ``notes``
    tell what else a user should know, such as files that are no images.
    """

    contents: Contents

    @property
    def path(self) -> Path:
        return self.contents.path

    @property
    def kind(self) -> str:
        return self.contents.kind

    @property
    def notes(self) -> tuple[str, ...]:
        return self.contents.notes

    @property
    def classes(self) -> int:
        return self.contents.labels.classes

    @property
    def label_order(self) -> str:
        return self.contents.labels.order

    @property
    def synsets(self) -> tuple[str, ...] | None:
        return self.contents.labels.synsets

    @property
    def problems(self) -> list[tuple[str, str]]:
        return [(self._name(number), why) for number, why in sorted(self.contents.faults.items())]

    def __repr__(self) -> str:
        return f"DataSet({str(self.path)!r}, {self.kind}, {len(self):,} examples)"

    def __len__(self) -> int:
        return len(self.contents.store)

    def example(self, number: int) -> Example:
        """Name and label of an example.

        Raises:
            IndexError: there is none of that number.
        """
        self._check(number)
        return Example(self._name(number), self.contents.labels.numbers[number])

    def read(self, number: int) -> bytes:
        """The encoded image of an example.

        Raises:
            BadExample: it cannot be had; the message names its file.
            IndexError: there is none of that number.
        """
        self._check(number)
        reason = self.contents.faults.get(number)
        if reason is not None:
            raise BadExample(f"{self.path}: {self._name(number)}: {reason}")
        return self.contents.store.read(number)

    def _name(self, number: int) -> str:
        """A name as it can be shown: bytes that are no text, and controls, are spelled out."""
        name = self.contents.store.name(number)
        if name.isprintable():
            return name
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)

    def _check(self, number: int) -> None:
        if not 0 <= number < len(self):
            raise IndexError(f"{self.path}: has no example {number}, but 0..{len(self) - 1}")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, over the kind and each example's name, label and stored size."""
        digest = hashlib.sha256(self.kind.encode())
        store = self.contents.store
        for number, label in enumerate(self.contents.labels.numbers):
            digest.update(json.dumps([store.name(number), label, store.size(number)]).encode())
        return digest.hexdigest()


def open_dataset(
    path: Path | str,
    *,
    labels: Path | None = None,
    synsets: Path | None = None,
    classes: int | None = None,
) -> DataSet:
    """The data set at a path: a folder, a tar, a shard, or a brace pattern of shards.

    Told by what lies there: folders of images by class, a flat folder with a
    label file or with synsets in the files' names, the same in a tar,
    TFRecord shards, WebDataset shards. ``labels`` is a file of labels for
    images that have none with them, where it is not beside them under a
    well-known name; ``synsets`` a file that lists other classes than
    ImageNet's, in order; ``classes`` how many the network has, without a
    background.

    Raises:
        BadInput: there is no such data set, it is incomplete or damaged, or
            what its labels mean cannot be told.
    """
    asked = Asked(labels, classes, class_list(synsets, classes))
    dataset = DataSet(contents_of(Path(path), asked))
    if not len(dataset):
        raise BadInput(f"{path}: holds no example")
    if len(dataset.problems) == len(dataset):
        name, reason = dataset.problems[0]
        raise BadInput(
            f"{path}: not one of {len(dataset):,} examples can be used; {name}: {reason}"
        )
    return dataset
