"""Labels that names tell: of folders, or of the images themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from porting.accuracy.datasets.classes import SYNSET, ClassList
from porting.accuracy.datasets.numbering import labels_of_numbers
from porting.errors import BadInput

SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
"""What the name of an image ends with, in small letters."""

_AT_AN_END = re.compile(r"^(n\d{8})[_.]|_(n\d{8})\.[^.]*$")
NUMBER = re.compile(r"[+-]?[0-9]{1,9}")
"""A label that is a number."""


@dataclass(frozen=True)
class Labels:
    """A label for each image (None where it has none), and what they mean.

    ``synsets`` are the names of the classes in the order of labels, where known.
    """

    numbers: tuple[int | None, ...]
    classes: int
    order: str
    synsets: tuple[str, ...] | None


def is_image(name: str) -> bool:
    """Whether a file is an image by its name; hidden ones (macOS leaves ``._x.jpg``) are not."""
    base = name.rpartition("/")[2]
    return base.lower().endswith(SUFFIXES) and not base.startswith(".")


def synset_in_name(name: str) -> str | None:
    """The synset that a file's name begins with, or ends with before its suffix."""
    match = _AT_AN_END.search(name.rpartition("/")[2])
    return match and (match[1] or match[2])


def left_out(names: Sequence[str]) -> tuple[str, ...]:
    """A note on files that are no images, if there are any."""
    if not names:
        return ()
    return (f"left out as no images by their names: {count_of(names, 'file')}, such as {names[0]}",)


def count_of(things: Sequence[object], word: str) -> str:
    """So many of them, in words."""
    return f"{len(things):,} {word}{'' if len(things) == 1 else 's'}"


def labels_by_class(
    of_images: Sequence[str],
    known: ClassList,
    classes: int | None,
    path: object,
    what: str = "the folder's name",
) -> Labels:
    """The labels of images by the name of the class that each is in.

    ``what`` says where these names come from. ``classes`` is the number of classes
    that the user stated, or None.

    Raises:
        BadInput: a name is no class, and nothing else orders the names.
    """
    names = sorted(set(of_images))
    if known.holds(names):
        order = f"by {what}: its place in {known.what}, from 0"
        return _looked_up(of_images, known.numbers, known, order)
    if all(NUMBER.fullmatch(name) for name in names):
        return _numbered(of_images, names, known, path, what)
    if known.names is None and len(names) == known.count:
        numbers = {name: number for number, name in enumerate(names)}
        order = (
            f"by {what}: its place, from 0, in the sorted {len(names):,}, as {known.what} are many"
        )
        listed = ClassList(known.count, tuple(names), known.what)
        return _looked_up(of_images, numbers, listed, order)
    raise _no_classes(names, known, classes, path, what)


def _looked_up(
    of_images: Sequence[str], numbers: dict[str, int], known: ClassList, order: str
) -> Labels:
    return Labels(tuple(numbers[name] for name in of_images), known.count, order, known.names)


def _numbered(
    of_images: Sequence[str], names: list[str], known: ClassList, path: object, what: str
) -> Labels:
    """Labels of classes whose names are plain numbers."""
    plain = [int(name) for name in names]
    found, order = labels_of_numbers(plain, names, known, lambda place: f"{path}/{names[place]}")
    return _looked_up(of_images, dict(zip(names, found, strict=True)), known, f"by {what}: {order}")


def _no_classes(
    names: list[str], known: ClassList, classes: int | None, path: object, what: str
) -> BadInput:
    if known.names is None:
        return BadInput(
            f"{path}: by {what} there are {len(names):,} classes ({names[0]} to {names[-1]}), but "
            f"the network has {known.count:,}; list its own in order in a file, and give that "
            "with --synsets"
        )
    other = next(name for name in names if name not in known.numbers)
    way = "give the set's own list of classes with --synsets"
    if classes is None and not SYNSET.fullmatch(other):
        way = f"{way}, or say how many classes the network has"
    return BadInput(
        f"{path}: {other}, {what}, is not one of {known.what}{known.nearest(other)}; {way}"
    )
