"""Which classes there are, in which order: ImageNet's thousand synsets, or another list."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from porting.accuracy.datasets.text import lines_of
from porting.errors import BadInput

SYNSET = re.compile(r"n\d{8}")
"""A WordNet id of a noun, as ImageNet names its classes."""

_LISTED = Path(__file__).with_name("imagenet_classes.txt")
_LIKE = 0.6  # of difflib's ratio: below, no name is worth naming


@dataclass(frozen=True)
class ClassList:
    """The classes of a data set without a background: label k is that of ``names[k]``.

    ``names`` are None where only their number is known. ``what`` says what the
    list is, for messages and for :attr:`DataSet.label_order`.
    """

    count: int
    names: tuple[str, ...] | None
    what: str

    @cached_property
    def numbers(self) -> dict[str, int]:
        """From a class's name to its label."""
        return {name: number for number, name in enumerate(self.names or ())}

    @cached_property
    def are_synsets(self) -> bool:
        """Whether the classes are known, and named by synset."""
        return all(map(SYNSET.fullmatch, self.names or ("",)))

    def label(self, name: str, where: str) -> int:
        """The label of a class.

        Raises:
            BadInput: it is not in the list; ``where`` opens the message.
        """
        label = self.numbers.get(name)
        if label is None:
            raise BadInput(f"{where}: {name} is not one of {self.what}{self.nearest(name)}")
        return label

    def nearest(self, name: str) -> str:
        """``; the nearest is ...``, or nothing where none is like it."""
        near = difflib.get_close_matches(name, self.numbers, n=1, cutoff=_LIKE)
        return f"; the nearest is {near[0]}" if near else ""

    def holds(self, names: Iterable[str]) -> bool:
        """Whether every name is a class."""
        return self.numbers.keys() >= set(names)


@lru_cache(maxsize=1)
def imagenet() -> ClassList:
    """The 1,000 classes of ILSVRC2012 in the order of their synsets' names."""
    names = tuple(synset for synset, _, _ in _listed())
    return ClassList(len(names), names, "ILSVRC2012's 1,000 synsets (sorted)")


@lru_cache(maxsize=1)
def imagenet_names() -> tuple[str, ...]:
    """What the classes of :func:`imagenet` are called, in its order: ``tench``, ``goldfish``."""
    return tuple(name for _, _, name in _listed())


@lru_cache(maxsize=1)
def labels_by_ilsvrc_id() -> tuple[int, ...]:
    """The label of the class with ILSVRC2012 id k + 1, for k from 0 to 999.

    The challenge's own ground truth counts classes by these ids, which are not
    in the order of the synsets.
    """
    ids = [int(number) for _, number, _ in _listed()]
    return tuple(sorted(range(len(ids)), key=ids.__getitem__))


def _listed() -> list[tuple[str, str, str]]:
    """Synset, ILSVRC2012 id and name of each class, a line each in the package's file.

    Sources: synsets and the first lemma of each from timm 1.0.31
    (``timm/data/_info/imagenet_synsets.txt`` and ``imagenet_synset_to_lemma.txt``,
    Apache-2.0; the lemmas are WordNet's). Ids from ``map_clsloc.txt`` of the
    ILSVRC development kit, which hold ``ILSVRC2012_ID`` of its ``meta.mat``;
    ``data/imagenet.labels.list`` of darknet lists the synsets in the same order.
    """
    rows = (line.split(" ", 2) for line in _LISTED.read_text("utf-8").splitlines())
    return [(synset, number, name) for synset, number, name in rows]


def class_list(synsets: Path | None, classes: int | None) -> ClassList:
    """The classes that a user's options stand for; ImageNet's without any.

    A line of ``synsets`` is a class's name, or a synset with its name behind it.

    Raises:
        BadInput: the file has another number of classes than ``classes``, or one twice.
    """
    if classes is not None and classes < 1:
        raise BadInput(f"classes is {classes}; expected the network's classes, 1 or more")
    if synsets is None:
        known = imagenet()
        if classes in (None, known.count):
            return known
        return ClassList(classes or 0, None, f"the network's {classes:,} classes")
    names = tuple(_class_name(line) for line in lines_of(synsets))
    _check_unique(names, synsets)
    if classes not in (None, len(names)):
        raise BadInput(
            f"{synsets}: lists {len(names):,} classes, but the network has {classes:,} "
            "(a background does not count, and belongs in neither)"
        )
    return ClassList(len(names), names, f"the {len(names):,} classes of {synsets} (in its order)")


def _class_name(line: str) -> str:
    first = line.split(maxsplit=1)[0]
    return first if SYNSET.fullmatch(first) else line


def _check_unique(names: tuple[str, ...], path: Path) -> None:
    seen: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        first = seen.setdefault(name, number)
        if first != number:
            raise BadInput(f"{path}: lines {first} and {number} are the same class, {name}")
