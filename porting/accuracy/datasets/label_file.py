"""Files that say the labels of images: a label a line, names with labels, or CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from porting.accuracy.datasets.by_name import NUMBER, Labels
from porting.accuracy.datasets.classes import ClassList
from porting.accuracy.datasets.numbering import (
    FROM_0,
    IDS,
    labels_of_numbers,
    number_of_validation_image,
)
from porting.accuracy.datasets.text import lines_of
from porting.errors import BadInput

GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"

WELL_KNOWN: dict[str, str | None] = {
    "imagenet_2012_validation_synset_labels.txt": None,  # slim's: synsets
    "LOC_val_solution.csv": None,  # Kaggle's: names and synsets
    GROUND_TRUTH: IDS,  # of the challenge's development kit
    "val.txt": FROM_0,  # Caffe's: names and labels
}
"""Files that people keep labels in, the plainest first, and how their numbers are counted."""

_VALIDATED = 50_000
"""Images in the challenge's validation set: as many lines has its ground truth."""

_DEVELOPMENT_KIT = "ILSVRC2012_devkit_t12/data"
_LABEL_COLUMNS = ("label", "class", "synset", "wnid", "predictionstring")
_NAME_COLUMNS = ("name", "filename", "file", "file_name", "image", "imageid", "path")


@dataclass(frozen=True)
class LabelFile:
    """A label for each line, with the image's name where the lines have one."""

    path: Path
    names: tuple[str, ...] | None
    labels: tuple[str, ...]
    lines: tuple[int, ...]

    def where(self, row: int) -> str:
        """The place of a row, for messages."""
        return f"{self.path}, line {self.lines[row]}"


def find_label_file(*folders: Path) -> list[Path]:
    """The label files of well-known names in folders, or in a development kit there.

    The plainest comes first.
    """
    lying = [place for folder in folders for place in (folder, folder / _DEVELOPMENT_KIT)]
    places = [folder / name for name in WELL_KNOWN for folder in lying]
    return [place for place in places if place.is_file()]


def read_label_file(path: Path) -> LabelFile:
    """What a label file says.

    Raises:
        BadInput: it cannot be read, or its lines are of different forms.
    """
    lines = lines_of(path)
    if path.suffix.lower() == ".csv" or all("," in line for line in lines):
        return _read_csv(path, lines)
    columns = [line.rsplit(maxsplit=1) for line in lines]
    width = len(columns[0])
    for number, found in enumerate(columns, start=1):
        if len(found) != width:
            form = "a label" if width == 1 else "a name and a label"
            raise BadInput(
                f"{path}, line {number}: {lines[number - 1]!r}; expected {form}, as above"
            )
    names = None if width == 1 else tuple(name for name, _ in columns)
    labels = tuple(found[-1] for found in columns)
    return LabelFile(path, names, labels, tuple(range(1, len(lines) + 1)))


def _read_csv(path: Path, lines: list[str]) -> LabelFile:
    try:
        header, *rows = csv.reader(lines, strict=True)
    except csv.Error as error:
        raise BadInput(f"{path}: is no CSV: {error}") from error
    name, label = (_column(header, known, path) for known in (_NAME_COLUMNS, _LABEL_COLUMNS))
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header) or not row[label].strip():
            raise BadInput(f"{path}, line {number}: {row}; expected a value for each of {header}")
    if not rows:
        raise BadInput(f"{path}: has a header and no line behind it")
    # Kaggle's labels are followed by boxes: a synset, then numbers.
    boxed = header[label].strip().lower() == "predictionstring"
    labels = tuple(row[label].split()[0] if boxed else row[label].strip() for row in rows)
    names = tuple(row[name].strip() for row in rows)
    return LabelFile(path, names, labels, tuple(range(2, len(rows) + 2)))


def _column(header: list[str], known: Sequence[str], path: Path) -> int:
    found = [place for place, title in enumerate(header) if title.strip().lower() in known]
    if len(found) == 1:
        return found[0]
    raise BadInput(
        f"{path}: its first line is {','.join(header)!r}; expected a header with one column of "
        f"{', '.join(known)}, such as name,label"
    )


def labels_from_file(file: LabelFile, images: Sequence[str], known: ClassList) -> Labels:
    """The labels that a file gives to images, in sorted order of names where it has none itself.

    Raises:
        BadInput: images and lines are not the same, or a label is no class.
    """
    rows = _by_order(file, images) if file.names is None else _by_name(file, images)
    names = dict(zip(rows, images, strict=True))
    numbers, order = _numbers(file, [names.get(row, "") for row in range(len(file.labels))], known)
    by_image = tuple(numbers[row] for row in rows)
    lines = "by the image's name"
    if file.names is None:
        lines = "a line for each image in sorted order"
        if len(images) < len(file.labels):
            lines = "by the number in the image's name"
    return Labels(by_image, known.count, f"{file.path.name}, {lines}: {order}", known.names)


def _inverse(rows: Sequence[int]) -> list[int]:
    """The inverse of a permutation: for each row its image, and the other way round."""
    return sorted(range(len(rows)), key=rows.__getitem__)


def _numbers(file: LabelFile, names: Sequence[str], known: ClassList) -> tuple[list[int], str]:
    """A label for each row, whose image is called ``names[row]``."""
    if known.numbers.keys().isdisjoint(file.labels) and NUMBER.fullmatch(file.labels[0]):
        for row, label in enumerate(file.labels):
            if not NUMBER.fullmatch(label):
                raise BadInput(
                    f"{file.where(row)}: {label!r} is no number, as the labels above are"
                )
        numbers = [int(label) for label in file.labels]
        likely = WELL_KNOWN.get(file.path.name)
        return labels_of_numbers(numbers, names, known, file.where, likely, ids=True)
    if known.names is None:
        raise BadInput(
            f"{file.where(0)}: {file.labels[0]} is a class by name, and the network's "
            f"{known.count:,} classes are known by number alone; list them in order in a file, "
            "and give that with --synsets"
        )
    labels = [known.label(label, file.where(row)) for row, label in enumerate(file.labels)]
    return labels, f"classes by name, in {known.what}"


def _by_order(file: LabelFile, images: Sequence[str]) -> list[int]:
    """For each image its row: by the number in its name, as the challenge's have; else by order."""
    counted = [n for n in map(number_of_validation_image, images) if n is not None]
    if len(file.labels) == _VALIDATED and len(set(counted)) == len(images):
        if not 1 <= min(counted) <= max(counted) <= _VALIDATED:
            raise BadInput(f"{file.path}: has no line {max(counted):,}, for {images[0]} and others")
        return [number - 1 for number in counted]
    if len(file.labels) != len(images):
        raise BadInput(
            f"{file.path}: has {len(file.labels):,} labels for {len(images):,} images; without "
            "names in it, a label must stand on a line for each image, in the order of their names"
        )
    return _inverse(sorted(range(len(images)), key=images.__getitem__))


def _by_name(file: LabelFile, images: Sequence[str]) -> list[int]:
    """For each image the row that names it: whole, without folders, or without its suffix."""
    names = file.names or ()
    _check_unique(file, names)
    bases = [PurePosixPath(name).name for name in names]
    ways = (
        ([str(PurePosixPath(image)) for image in images], [str(PurePosixPath(n)) for n in names]),
        ([PurePosixPath(image).name for image in images], bases),
        ([PurePosixPath(image).stem for image in images], bases),
    )
    for keys, spelt in ways:
        rows = {key: row for row, key in enumerate(spelt)}
        unique = len(rows) == len(spelt) and len(set(keys)) == len(keys)
        if unique and not rows.keys().isdisjoint(keys):
            return _matched(file, images, keys, rows)
    raise BadInput(
        f"{file.path}: names none of the {len(images):,} images: {names[0]} is one of its names, "
        f"{images[0]} one of theirs"
    )


def _check_unique(file: LabelFile, names: Sequence[str]) -> None:
    rows: dict[str, int] = {}
    for row, name in enumerate(names):
        first = rows.setdefault(name, row)
        if first != row:
            raise BadInput(f"{file.where(row)}: {name} also stands on line {file.lines[first]}")


def _matched(
    file: LabelFile, images: Sequence[str], keys: Sequence[str], rows: dict[str, int]
) -> list[int]:
    bare = [image for image, key in zip(images, keys, strict=True) if key not in rows]
    if bare:
        raise BadInput(
            f"{file.path}: has no label for {len(bare):,} of {len(images):,} images, the first of "
            f"them {bare[0]}"
        )
    taken = set(keys)
    spare = [row for key, row in rows.items() if key not in taken]
    if spare:
        raise BadInput(
            f"{file.where(spare[0])}: there is no image {(file.names or ())[spare[0]]}; the file "
            f"names {len(rows):,}, and there are {len(images):,}"
        )
    return [rows[key] for key in keys]
