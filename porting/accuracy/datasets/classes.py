"""The classes of a data set and their order, and the class that a numeric label stands for.

ImageNet's thousand synsets, or another list. Numbers are counted from 0, from 1, or are ids of
the challenge.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from porting.errors import BadInput

SYNSET = re.compile(r"n\d{8}")
"""A WordNet id of a noun, as ImageNet names its classes."""

NUMBER = re.compile(r"[+-]?[0-9]{1,9}")
"""A label that is a number."""

_CLASSES_FILE = Path(__file__).with_name("imagenet_classes.txt")
_SIMILAR = 0.6  # of difflib's ratio: names less similar are not suggested

FROM_0, FROM_1, IDS = "counted from 0", "counted from 1", "ILSVRC2012 ids"
"""The interpretations of a numeric label."""

_VALIDATION = re.compile(r"ILSVRC2012_val_(\d{8})(?!\d)")
_FIRST_SYNSETS = (
    "n01751748", "n09193705", "n02105855", "n04263257", "n03125729",
    "n01735189", "n02346627", "n02776631", "n03794056", "n02328150",
)  # fmt: skip
"""The classes of the first ten validation images. Source: ``tensorflow/models``,
``research/slim/datasets/imagenet_2012_validation_synset_labels.txt``."""


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
        """Whether the classes are listed, and named by synset."""
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
        """``; the nearest is ...`` for a message, or nothing where no class has a similar name."""
        near = difflib.get_close_matches(name, self.numbers, n=1, cutoff=_SIMILAR)
        return f"; the nearest is {near[0]}" if near else ""


@lru_cache(maxsize=1)
def imagenet() -> ClassList:
    """The 1,000 classes of ILSVRC2012 in the order of their synsets' names."""
    names = tuple(synset for synset, _, _ in _listed())
    return ClassList(len(names), names, "ILSVRC2012's 1,000 synsets (sorted)")


@lru_cache(maxsize=1)
def imagenet_names() -> tuple[str, ...]:
    """The readable names of the classes of :func:`imagenet`, in its order: ``tench``, ..."""
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
    rows = (line.split(" ", 2) for line in _CLASSES_FILE.read_text("utf-8").splitlines())
    return [(synset, number, name) for synset, number, name in rows]


def read_class_list(synsets: Path | None, classes: int | None) -> ClassList:
    """The classes that a user's options name; ImageNet's by default.

    A line of ``synsets`` is a class's name, or a synset with its name behind it.

    Raises:
        BadInput: the file has another number of classes than ``classes``, or one twice.
    """
    if classes is not None and classes < 1:
        raise BadInput(f"classes is {classes}; expected the network's classes, 1 or more")
    if synsets is None:
        if classes in (None, imagenet().count):
            return imagenet()
        return ClassList(classes or 0, None, f"the network's {classes:,} classes")
    first_words = [(line, line.split(maxsplit=1)[0]) for line in lines_of(synsets)]
    names = tuple(first if SYNSET.fullmatch(first) else line for line, first in first_words)
    first_lines: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        first_line = first_lines.setdefault(name, number)
        if first_line != number:
            raise BadInput(f"{synsets}: lines {first_line} and {number} are the same class, {name}")
    if classes not in (None, len(names)):
        raise BadInput(
            f"{synsets}: lists {len(names):,} classes, but the network has {classes:,} "
            "(a background does not count, and belongs in neither)"
        )
    return ClassList(len(names), names, f"the {len(names):,} classes of {synsets} (in its order)")


def lines_of(path: Path) -> list[str]:
    """The lines of a UTF-8 file, stripped, without the empty ones at its end.

    Raises:
        BadInput: it cannot be read, is empty, or has an empty line before its end.
    """
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: is not UTF-8 text (byte {error.start})") from None
    lines = [line.strip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise BadInput(f"{path}: the file is empty; expected a line for each entry")
    if "" in lines:
        raise BadInput(f"{path}: line {lines.index('') + 1} is empty; expected an entry")
    return lines


def number_of_validation_image(name: str) -> int | None:
    """The number in the name of an ILSVRC2012 validation image, counted from 1; None for others."""
    match = _VALIDATION.search(name)
    return None if match is None else int(match[1])


def labels_of_values(
    values: Sequence[str],
    names: Sequence[str],
    listing: ClassList,
    where: Callable[[int], str],
    likely: str | None = None,
    ids: bool = False,
) -> tuple[list[int], str]:
    """Turn values, which are numbers or names of classes, into labels, and say how they were read.

    The other arguments are those of :func:`labels_of_numbers`.

    Raises:
        BadInput: a value is not a class, or nothing tells how to interpret numbers.
    """
    if listing.numbers.keys().isdisjoint(values) and NUMBER.fullmatch(values[0]):
        for place, value in enumerate(values):
            if not NUMBER.fullmatch(value):
                raise BadInput(
                    f"{where(place)}: {value!r} is not a number, as the labels above are"
                )
        return labels_of_numbers(list(map(int, values)), names, listing, where, likely, ids)
    if listing.names is None:
        raise BadInput(
            f"{where(0)}: {values[0]} is a class by name, and the network's {listing.count:,} "
            "classes are known by number alone; list them in order in a file, and give that with "
            "--synsets"
        )
    labels = [listing.label(value, where(place)) for place, value in enumerate(values)]
    return labels, f"classes by name, in {listing.what}"


def labels_of_numbers(
    numbers: Sequence[int],
    names: Sequence[str],
    listing: ClassList,
    where: Callable[[int], str],
    likely: str | None = None,
    ids: bool = False,
) -> tuple[list[int], str]:
    """Turn numbers into labels 0..classes-1, and say how the numbers were interpreted.

    ``names`` are the images' names: those whose class is public knowledge decide the reading
    where there are any; else ``likely``, the reading that a file's name stands for; else the
    presence of 0 or of the number of classes. ``ids``: whether the numbers may be
    ILSVRC2012 ids. ``where`` names the place of a number in messages.

    Raises:
        BadInput: a number is out of range, or nothing tells how to interpret them.
    """
    low, high = min(numbers), max(numbers)
    for number in (low, high):
        if not 0 <= number <= listing.count:
            raise BadInput(
                f"{where(numbers.index(number))}: the label {number} is not one of {listing.what}; "
                f"expected 0..{listing.count - 1} or 1..{listing.count}"
            )
    # The interpretations in which every number is a label.
    readings: dict[str, Callable[[int], int]] = {}
    if high < listing.count:
        readings[FROM_0] = int
    if low > 0:
        readings[FROM_1] = lambda number: number - 1
        if ids and listing.names == imagenet().names:
            readings[IDS] = lambda number: labels_by_ilsvrc_id()[number - 1]
    if not readings:
        first, last = where(numbers.index(low)), where(numbers.index(high))
        raise BadInput(
            f"{first}: the label is 0, and at {last} it is {listing.count}: one more than "
            f"{listing.what}; leave out images of a background, or name the classes the set has"
        )
    by_images = _reading_of_known_images(numbers, names, listing, readings)
    if by_images is not None:
        reading, why = by_images
    elif likely is not None and likely in readings:
        reading, why = likely, "as the file's name says"
    elif len(readings) == 1:
        (reading,) = readings
        why = "as " + ("0 occurs" if reading == FROM_0 else f"{listing.count} occurs")
    else:
        way = "give synsets or names of classes in place of numbers"
        if IDS in readings:
            way = (
                "name a file of ILSVRC2012 ids ILSVRC2012_validation_ground_truth.txt, give "
                "synsets in place of numbers"
            )
        other = "name a file of labels from 0 val.txt" if ids else "give all shards of the set"
        raise BadInput(
            f"{where(0)}: the labels {low}..{high} may be {' or '.join(readings)}, and nothing "
            f"tells which; {way}, or {other}"
        )
    words = {
        FROM_0: f"0..{listing.count - 1} in the order of {listing.what}",
        FROM_1: f"1..{listing.count} (0, the background of {listing.count + 1:,} classes, never "
        f"occurs) in the order of {listing.what}",
        IDS: f"1..{listing.count} that are ILSVRC2012 ids, turned into labels of {listing.what}",
    }
    return [readings[reading](number) for number in numbers], f"numbers {words[reading]}, {why}"


def _reading_of_known_images(
    numbers: Sequence[int],
    names: Sequence[str],
    listing: ClassList,
    readings: dict[str, Callable[[int], int]],
) -> tuple[str, str] | None:
    """The interpretation that gives most of the first ten validation images their known class."""
    if listing.names != imagenet().names:
        return None
    pairs = []
    for number, name in zip(numbers, names, strict=True):
        place = number_of_validation_image(name)
        if place is not None and 1 <= place <= len(_FIRST_SYNSETS):
            pairs.append((number, listing.numbers[_FIRST_SYNSETS[place - 1]]))
    right = {
        reading: sum(label(number) == true for number, true in pairs)
        for reading, label in readings.items()
    }
    best = max(right, key=right.__getitem__)
    if not pairs or 2 * right[best] <= len(pairs) or list(right.values()).count(right[best]) > 1:
        return None
    return best, f"as {right[best]} of {len(pairs)} images of known class have them"
