"""What bare numbers mean as labels: counted from 0, from 1, or ids of the challenge."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from porting.accuracy.datasets.classes import ClassList, imagenet, labels_by_ilsvrc_id
from porting.errors import BadInput

FROM_0, FROM_1, IDS = "counted from 0", "counted from 1", "ILSVRC2012 ids"
"""The readings of a number."""

_VALIDATION = re.compile(r"ILSVRC2012_val_(\d{8})(?!\d)")
_FIRST_SYNSETS = (
    "n01751748", "n09193705", "n02105855", "n04263257", "n03125729",
    "n01735189", "n02346627", "n02776631", "n03794056", "n02328150",
)  # fmt: skip
"""The classes of the first ten validation images. Source: ``tensorflow/models``,
``research/slim/datasets/imagenet_2012_validation_synset_labels.txt``."""


def number_of_validation_image(name: str) -> int | None:
    """That in the name of one of the challenge's validation images, counted from 1; else None."""
    match = _VALIDATION.search(name)
    return None if match is None else int(match[1])


def labels_of_numbers(
    numbers: Sequence[int],
    names: Sequence[str],
    known: ClassList,
    where: Callable[[int], str],
    likely: str | None = None,
    ids: bool = False,
) -> tuple[list[int], str]:
    """Labels 0..classes-1 of the images called ``names``, and how their numbers were read.

    Told by the images whose class is public knowledge, where those are among
    them; else by ``likely``, the reading that a file's name stands for; else by
    the presence of 0 or of the number of classes. ``ids``: whether they may be
    ILSVRC2012 ids. ``where`` names the place of a number in messages.

    Raises:
        BadInput: a number is out of range, or nothing tells the reading.
    """
    readings = _readings(numbers, known, where, ids)
    told = _told_by_known_images(numbers, names, known, readings)
    if told is not None:
        reading, why = told
    elif likely in readings:
        reading, why = likely or "", "as the file's name says"
    else:
        reading, why = _told_by_ends(numbers, known, readings, where, ids)
    labels = [readings[reading](number) for number in numbers]
    return labels, f"numbers {_described(reading, known)}, {why}"


def _described(reading: str, known: ClassList) -> str:
    if reading == FROM_1:
        return (
            f"1..{known.count} (0, the background of {known.count + 1:,} classes, never occurs) "
            f"in the order of {known.what}"
        )
    if reading == IDS:
        return f"1..{known.count} that are ILSVRC2012 ids, turned into labels of {known.what}"
    return f"0..{known.count - 1} in the order of {known.what}"


def _readings(
    numbers: Sequence[int], known: ClassList, where: Callable[[int], str], ids: bool
) -> dict[str, Callable[[int], int]]:
    """The readings in which every number is a label."""
    low, high = min(numbers), max(numbers)
    for wrong in (low, high):
        if not 0 <= wrong <= known.count:
            raise BadInput(
                f"{where(numbers.index(wrong))}: the label {wrong} is none of {known.what}; "
                f"expected 0..{known.count - 1} or 1..{known.count}"
            )
    readings: dict[str, Callable[[int], int]] = {}
    if high < known.count:
        readings[FROM_0] = int
    if low > 0:
        readings[FROM_1] = lambda number: number - 1
        if ids and known.names == imagenet().names:
            readings[IDS] = lambda number: labels_by_ilsvrc_id()[number - 1]
    if not readings:
        first, last = where(numbers.index(low)), where(numbers.index(high))
        raise BadInput(
            f"{first}: the label is 0, and at {last} it is {known.count}: one more than "
            f"{known.what}; leave out images of a background, or name the classes the set has"
        )
    return readings


def _told_by_known_images(
    numbers: Sequence[int],
    names: Sequence[str],
    known: ClassList,
    readings: dict[str, Callable[[int], int]],
) -> tuple[str, str] | None:
    """The reading in which most of the first ten validation images have their own class."""
    if known.names != imagenet().names:
        return None
    pairs = []
    for number, name in zip(numbers, names, strict=True):
        place = number_of_validation_image(name)
        if place is not None and 1 <= place <= len(_FIRST_SYNSETS):
            pairs.append((number, known.numbers[_FIRST_SYNSETS[place - 1]]))
    right = {
        reading: sum(label(number) == true for number, true in pairs)
        for reading, label in readings.items()
    }
    best = max(right, key=right.__getitem__)
    if not pairs or 2 * right[best] <= len(pairs) or list(right.values()).count(right[best]) > 1:
        return None
    return best, f"as {right[best]} of {len(pairs)} images of known class have them"


def _told_by_ends(
    numbers: Sequence[int],
    known: ClassList,
    readings: dict[str, Callable[[int], int]],
    where: Callable[[int], str],
    in_file: bool,
) -> tuple[str, str]:
    if len(readings) == 1:
        (reading,) = readings
        return reading, "as " + ("0 occurs" if reading == FROM_0 else f"{known.count} occurs")
    choices = " or ".join(readings)
    way = (
        "name a file of ILSVRC2012 ids ILSVRC2012_validation_ground_truth.txt, give synsets in "
        "place of numbers"
        if IDS in readings
        else "give synsets or names of classes in place of numbers"
    )
    other = "name a file of labels from 0 val.txt" if in_file else "give all shards of the set"
    raise BadInput(
        f"{where(0)}: the labels {min(numbers)}..{max(numbers)} may be {choices}, and nothing "
        f"tells which; {way}, or {other}"
    )
