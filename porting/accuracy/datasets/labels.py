"""Labels of images: from the names of their folders, from their own names, or from a label file."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from porting.accuracy.datasets.classes import (
    FROM_0,
    IDS,
    NUMBER,
    SYNSET,
    ClassList,
    labels_of_numbers,
    labels_of_values,
    lines_of,
    number_of_validation_image,
)
from porting.errors import BadInput

SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".webp", ".avif", ".heic",
    ".heif", ".jp2",
)  # fmt: skip
"""What the name of an image ends with, in small letters, whether its kind is read or not."""

_AT_AN_END = re.compile(r"^(n\d{8})[_.]|_(n\d{8})\.[^.]*$")
GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"

WELL_KNOWN: dict[str, str | None] = {
    "imagenet_2012_validation_synset_labels.txt": None,  # slim's: synsets
    "LOC_val_solution.csv": None,  # Kaggle's: names and synsets
    GROUND_TRUTH: IDS,  # of the challenge's development kit
    "val.txt": FROM_0,  # Caffe's: names and labels
}
"""Files that people keep labels in, the plainest first, and how their numbers are counted."""

_VALIDATION_IMAGES = 50_000
"""Images in the challenge's validation set: as many lines has its ground truth."""

_DEVELOPMENT_KIT = "ILSVRC2012_devkit_t12/data"
_LABEL_COLUMNS = ("label", "class", "synset", "wnid", "predictionstring")
_NAME_COLUMNS = ("name", "filename", "file", "file_name", "image", "imageid", "path")


@dataclass(frozen=True)
class Labels:
    """A label for each image (None where it has none), and what they mean.

    ``order`` says how they are known, and in which order of classes they are.
    """

    numbers: tuple[int | None, ...]
    order: str
    listing: ClassList


def is_image(name: str) -> bool:
    """Whether a file is an image by its name; hidden ones (macOS leaves ``._x.jpg``) are not."""
    base = name.rpartition("/")[2]
    return base.lower().endswith(SUFFIXES) and not base.startswith(".")


def synset_in_name(name: str) -> str | None:
    """The synset that a file's name begins with, or ends with before its suffix."""
    match = _AT_AN_END.search(name.rpartition("/")[2])
    return match and (match[1] or match[2])


def note_on_others(names: Sequence[str]) -> tuple[str, ...]:
    """A note that names the count of files that are not images, if there are any."""
    if not names:
        return ()
    return (f"left out as no images by their names: {count_of(names, 'file')}, such as {names[0]}",)


def count_of(things: Sequence[object], word: str) -> str:
    """The count of things with its noun: ``1 file``, ``2 files``."""
    return f"{len(things):,} {word}{'' if len(things) == 1 else 's'}"


def labels_by_class(
    of_images: Sequence[str],
    listing: ClassList,
    classes: int | None,
    path: object,
    what: str = "the folder's name",
) -> Labels:
    """Label images by the name of the class that each is in.

    ``what`` says where these names come from. ``classes`` is the number of classes
    that the user stated, or None.

    Raises:
        BadInput: a name is not a class, and nothing else orders the names.
    """
    names = sorted(set(of_images))
    if listing.numbers.keys() >= set(names):
        numbers, order = listing.numbers, f"its place in {listing.what}, from 0"
    elif all(NUMBER.fullmatch(name) for name in names):
        labels, order = labels_of_numbers(
            [int(name) for name in names], names, listing, lambda place: f"{path}/{names[place]}"
        )
        numbers = dict(zip(names, labels, strict=True))
    elif listing.names is None and len(names) == listing.count:
        listing = ClassList(listing.count, tuple(names), listing.what)
        numbers = listing.numbers
        order = f"its place, from 0, in the sorted {len(names):,}, as {listing.what} are many"
    elif listing.names is None:
        raise BadInput(
            f"{path}: by {what} there are {len(names):,} classes ({names[0]} to {names[-1]}), but "
            f"the network has {listing.count:,}; list its own in order in a file, and give that "
            "with --synsets"
        )
    else:
        other = next(name for name in names if name not in listing.numbers)
        way = "give the set's own list of classes with --synsets"
        if classes is None and not SYNSET.fullmatch(other):
            way = f"{way}, or say how many classes the network has"
        raise BadInput(
            f"{path}: {other}, {what}, is not one of {listing.what}{listing.nearest(other)}; {way}"
        )
    return Labels(tuple(numbers[name] for name in of_images), f"by {what}: {order}", listing)


@dataclass(frozen=True)
class LabelOptions:
    """What a user states about labels: a file, the number of classes, and the list of them."""

    labels: Path | None
    classes: int | None
    listing: ClassList


@dataclass(frozen=True)
class Labelling:
    """Labels, the words for where they come from, and notes."""

    labels: Labels
    kind: str
    notes: tuple[str, ...] = ()


def labelling(
    images: Sequence[str], places: tuple[Path, ...], path: Path, options: LabelOptions
) -> Labelling:
    """Label images by their names below ``path``, folders included.

    ``places`` are folders in which a label file may lie.

    Raises:
        BadInput: no labels can be found, or they do not fit the images.
    """
    if options.labels is not None:
        result = _by_file(images, options.labels, options)
        # The file must agree with the synsets in the images' own names.
        for image, label in zip(images, result.labels.numbers, strict=True):
            folders = image.split("/")[:-1]
            synsets = [folder for folder in folders if SYNSET.fullmatch(folder)]
            synset = synsets[-1] if synsets else synset_in_name(image)
            number = options.listing.numbers.get(synset or "")
            if number is not None and label is not None and number != label:
                name = options.listing.names[label] if options.listing.names else label
                raise BadInput(
                    f"{options.labels}: says {name} of {image}, whose name says {synset}; one of "
                    "the two is wrong: leave --labels out, or give the file that belongs to these "
                    "images"
                )
        return result
    # Folders that hold all images, such as ``val/``, say nothing unless they are classes.
    parts = [name.split("/") for name in images]
    while min(map(len, parts)) > 1 and len({part[0] for part in parts}) == 1:
        if SYNSET.fullmatch(parts[0][0]) or parts[0][0] in options.listing.numbers:
            break
        parts = [part[1:] for part in parts]
    inside = [part[0] for part in parts if len(part) > 1]
    if len(inside) == len(images):
        labels = labels_by_class(inside, options.listing, options.classes, path)
        return Labelling(labels, "by synset" if SYNSET.fullmatch(inside[0]) else "by class")
    if inside:
        loose = next(part[0] for part in parts if len(part) == 1)
        raise BadInput(
            f"{path}: holds images both in folders such as {inside[0]} and beside them, such as "
            f"{loose}; move those away that have no class, or give a label file for all"
        )
    of_images = [synset_in_name(name) for name in images]
    in_names = [synset for synset in of_images if synset is not None]
    if len(in_names) == len(images):
        labels = labels_by_class(
            in_names, options.listing, options.classes, path, "the synset in the file's name"
        )
        return Labelling(labels, "of files named by synset")
    files = find_label_file(*places)
    if files:
        notes = tuple(f"not used for labels: {other}" for other in files[1:])
        return replace(_by_file(images, files[0], options), notes=notes)
    raise BadInput(
        f"{path}: nothing tells the class of {images[of_images.index(None)]}: {len(in_names):,} of "
        f"{len(images):,} images have a synset in their name, and there is no label file; give "
        f"one with --labels, or lay it there under a known name: {', '.join(WELL_KNOWN)}"
    )


def _by_file(images: Sequence[str], file: Path, options: LabelOptions) -> Labelling:
    labels = labels_from_file(read_label_file(file), images, options.listing)
    return Labelling(labels, f"with label file {file.name}")


@dataclass(frozen=True)
class LabelFile:
    """A label for each line from ``first_line`` on, with the image's name where lines have one."""

    path: Path
    names: tuple[str, ...] | None
    labels: tuple[str, ...]
    first_line: int

    def where(self, row: int) -> str:
        """The place of a row, for messages."""
        return f"{self.path}, line {self.first_line + row}"


def find_label_file(*folders: Path) -> list[Path]:
    """The label files of well-known names in folders, or in a development kit there.

    The plainest comes first.
    """
    all_folders = [place for folder in folders for place in (folder, folder / _DEVELOPMENT_KIT)]
    places = [folder / name for name in WELL_KNOWN for folder in all_folders]
    return [place for place in places if place.is_file()]


def read_label_file(path: Path) -> LabelFile:
    """Read a label file.

    Raises:
        BadInput: it cannot be read, or its lines are of different forms.
    """
    lines = lines_of(path)
    if path.suffix.lower() == ".csv" or all("," in line for line in lines):
        return _read_csv(path, lines)
    columns = [line.rsplit(maxsplit=1) for line in lines]
    width = len(columns[0])
    for number, column in enumerate(columns, start=1):
        if len(column) != width:
            form = "a label" if width == 1 else "a name and a label"
            raise BadInput(
                f"{path}, line {number}: {lines[number - 1]!r}; expected {form}, as above"
            )
    names = None if width == 1 else tuple(name for name, _ in columns)
    labels = tuple(column[-1] for column in columns)
    return LabelFile(path, names, labels, first_line=1)


def _read_csv(path: Path, lines: list[str]) -> LabelFile:
    try:
        header, *rows = csv.reader(lines, strict=True)
    except csv.Error as error:
        raise BadInput(f"{path}: is not CSV: {error}") from error
    titles = [title.strip().lower() for title in header]
    columns = []
    for choices in (_NAME_COLUMNS, _LABEL_COLUMNS):
        places = [place for place, title in enumerate(titles) if title in choices]
        if len(places) != 1:
            raise BadInput(
                f"{path}: its first line is {','.join(header)!r}; expected a header with one "
                f"column of {', '.join(choices)}, such as name,label"
            )
        columns += places
    name, label = columns
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header) or not row[label].strip():
            raise BadInput(f"{path}, line {number}: {row}; expected a value for each of {header}")
    if not rows:
        raise BadInput(f"{path}: has a header and no line behind it")
    # Kaggle's labels are followed by boxes: a synset, then numbers.
    with_boxes = titles[label] == "predictionstring"
    labels = tuple(row[label].split()[0] if with_boxes else row[label].strip() for row in rows)
    names = tuple(row[name].strip() for row in rows)
    return LabelFile(path, names, labels, first_line=2)


def labels_from_file(file: LabelFile, images: Sequence[str], listing: ClassList) -> Labels:
    """The labels that a file gives to images, in sorted order of names where it has none itself.

    Raises:
        BadInput: images and lines are not the same, or a label is not a class.
    """
    if file.names is not None:
        rows, lines = _by_name(file, images), "by the image's name"
    else:
        rows, lines = _by_order(file, images), "a line for each image in sorted order"
        if len(images) < len(file.labels):
            lines = "by the number in the image's name"
    by_row = dict(zip(rows, images, strict=True))
    names = [by_row.get(row, "") for row in range(len(file.labels))]
    numbers, order = labels_of_values(
        file.labels, names, listing, file.where, WELL_KNOWN.get(file.path.name), ids=True
    )
    in_order = tuple(numbers[row] for row in rows)
    return Labels(in_order, f"{file.path.name}, {lines}: {order}", listing)


def _by_order(file: LabelFile, images: Sequence[str]) -> list[int]:
    """For each image its row: by the number in its name, as the challenge's have; else by order."""
    numbers = [n for n in map(number_of_validation_image, images) if n is not None]
    if len(file.labels) == _VALIDATION_IMAGES and len(set(numbers)) == len(images):
        if not 1 <= min(numbers) <= max(numbers) <= _VALIDATION_IMAGES:
            raise BadInput(f"{file.path}: has no line {max(numbers):,}, for {images[0]} and others")
        return [number - 1 for number in numbers]
    if len(file.labels) != len(images):
        raise BadInput(
            f"{file.path}: has {len(file.labels):,} labels for {len(images):,} images; without "
            "names in it, a label must stand on a line for each image, in the order of their names"
        )
    in_order = sorted(range(len(images)), key=images.__getitem__)
    return sorted(range(len(images)), key=in_order.__getitem__)  # the inverse of that


def _by_name(file: LabelFile, images: Sequence[str]) -> list[int]:
    """For each image the row that names it: whole, without folders, or without its suffix."""
    names = file.names or ()
    first_rows: dict[str, int] = {}
    for row, name in enumerate(names):
        first = first_rows.setdefault(name, row)
        if first != row:
            raise BadInput(
                f"{file.where(row)}: {name} also stands on line {file.first_line + first}"
            )
    bases = [PurePosixPath(name).name for name in names]
    ways = (
        ([str(PurePosixPath(image)) for image in images], [str(PurePosixPath(n)) for n in names]),
        ([PurePosixPath(image).name for image in images], bases),
        ([PurePosixPath(image).stem for image in images], bases),
    )
    for keys, row_keys in ways:
        rows = {key: row for row, key in enumerate(row_keys)}
        unique = len(rows) == len(row_keys) and len(set(keys)) == len(keys)
        if unique and not rows.keys().isdisjoint(keys):
            break
    else:
        raise BadInput(
            f"{file.path}: names none of the {len(images):,} images: {names[0]} is one of its "
            f"names, {images[0]} one of theirs"
        )
    bare = [image for image, key in zip(images, keys, strict=True) if key not in rows]
    if bare:
        raise BadInput(
            f"{file.path}: has no label for {len(bare):,} of {len(images):,} images, the first of "
            f"them {bare[0]}"
        )
    image_keys = set(keys)
    spare = [row for key, row in rows.items() if key not in image_keys]
    if spare:
        raise BadInput(
            f"{file.where(spare[0])}: there is no image {names[spare[0]]}; the file "
            f"names {len(rows):,}, and there are {len(images):,}"
        )
    return [rows[key] for key in keys]
