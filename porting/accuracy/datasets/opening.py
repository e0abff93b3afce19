"""Open a data set: tell by what lies at a path the form that it is kept in.

Folders of images, tars, and shards of TFRecords or of a WebDataset. A new form is a store of
:mod:`porting.accuracy.datasets.dataset`, and a line in :func:`_of_shards`.
"""

from __future__ import annotations

import itertools
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from porting.accuracy.datasets.classes import SYNSET, read_class_list
from porting.accuracy.datasets.dataset import DataSet
from porting.accuracy.datasets.labels import (
    WELL_KNOWN,
    LabelOptions,
    count_of,
    is_image,
    labelling,
    note_on_others,
)
from porting.accuracy.datasets.tars import (
    TarStore,
    is_tar,
    is_webdataset,
    members_of,
    read_webdataset,
)
from porting.accuracy.datasets.tfrecords import begins_as_records, read_tfrecords
from porting.errors import BadExample, BadInput

_VALIDATION_FOLDERS = ("val", "validation")
_RECORDS = (".tfrecord", ".tfrecords")

OF_N = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})")
"""The name of a shard as TensorFlow counts them."""

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_COUNTED = re.compile(r"(.*?)(\d+)(\D*)")
_VALIDATION_STEM = re.compile(r"(^|[^a-z])val(id(ation)?)?([^a-z]|$)")
_MOST = 100_000


def open_dataset(
    path: Path | str,
    *,
    labels: Path | None = None,
    synsets: Path | None = None,
    classes: int | None = None,
) -> DataSet:
    """Open the data set at a path: a folder, a tar, a shard, or a brace pattern of shards.

    Its form is told by what lies there: folders of images by class, a flat folder with a
    label file or with synsets in the files' names, the same in a tar,
    TFRecord shards, WebDataset shards. ``labels`` is a file of labels for
    images that have none with them, where it is not beside them under a
    well-known name; ``synsets`` a file that lists other classes than
    ImageNet's, in order; ``classes`` how many the network has, without a
    background.

    Raises:
        BadInput: there is no such data set, it is incomplete or damaged, or
            what its labels mean cannot be labelled.
    """
    options = LabelOptions(labels, classes, read_class_list(synsets, classes))
    dataset = _open(Path(path), options)
    if not len(dataset):
        raise BadInput(f"{path}: holds no example")
    if len(dataset.problems) == len(dataset):
        name, reason = dataset.problems[0]
        raise BadInput(
            f"{path}: not one of {len(dataset):,} examples can be used; {name}: {reason}"
        )
    return dataset


def _open(path: Path, options: LabelOptions) -> DataSet:
    if _BRACES.search(path.name) and not path.exists():
        return _of_shards(path, _files_of_pattern(path), options)
    if path.is_dir():
        return _of_folder(path, options)
    if path.is_file():
        return _of_shards(path, [path], options)
    raise BadInput(f"{path}: no such file or folder; expected a data set")


def _of_folder(folder: Path, options: LabelOptions) -> DataSet:
    below, files = _entries(folder)
    by_synset = any(SYNSET.fullmatch(name) for name in below)
    if by_synset or any(is_image(name) for name in files):
        return _of_images(folder, options)
    # The folder of validation images in one of a whole data set, if that is what this is.
    inner = [name for name in below if name in _VALIDATION_FOLDERS]
    if inner and len(below) != options.classes:
        if len(inner) > 1:
            raise BadInput(f"{folder}: holds both val and validation; name the one that is meant")
        return _of_folder(folder / inner[0], options)
    shards = [name for name in files if _named_as_records(name) or name.endswith(".tar")]
    if not shards:
        return _of_images(folder, options)
    if not all(SYNSET.fullmatch(name.removesuffix(".tar")) for name in shards):
        shards = _one_set(folder, shards)
    return _of_shards(folder, [folder / name for name in shards], options)


def _named_as_records(name: str) -> bool:
    return name.lower().endswith(_RECORDS) or OF_N.fullmatch(name) is not None


def _of_images(folder: Path, options: LabelOptions) -> DataSet:
    images, others = _files_below(folder)
    if not images:
        raise BadInput(
            f"{folder}: holds no image and no shard in {count_of(others, 'file')}; expected "
            "folders of images by class, images with a label file, tars or TFRecord files"
        )
    labelled = labelling(images, (folder, folder.parent), folder, options)
    strangers = [
        name for name in others if name not in WELL_KNOWN and folder / name != options.labels
    ]
    notes = (*labelled.notes, *note_on_others(strangers))
    store = FolderStore(folder, images)
    return DataSet(folder, f"folder {labelled.kind}", store, labelled.labels, {}, notes)


def _of_shards(path: Path, shards: Sequence[Path], options: LabelOptions) -> DataSet:
    if is_tar(shards[0]):
        return _of_tars(path, shards, options)
    if is_image(shards[0].name):
        raise BadInput(f"{path}: is a single image; expected a folder of them, a tar or shards")
    if not _named_as_records(shards[0].name) and not begins_as_records(shards[0]):
        raise BadInput(
            f"{path}: is neither a tar nor a TFRecord file; expected one, or a folder of images"
        )
    _check_own_labels(path, options)
    dataset = read_tfrecords(path, shards, options.listing)
    of_n = OF_N.fullmatch(shards[0].name)
    if of_n is None or len(shards) == int(of_n["count"]):
        return dataset
    note = f"{len(shards):,} of the {int(of_n['count']):,} shards of the whole data set"
    return replace(dataset, notes=(note,))


def _check_own_labels(path: Path, options: LabelOptions) -> None:
    if options.labels is not None:
        raise BadInput(
            f"{path}: its images have their labels with them, and {options.labels} would be a "
            "second word on them; leave out --labels"
        )


def _of_tars(path: Path, shards: Sequence[Path], options: LabelOptions) -> DataSet:
    members = [members_of(shard) for shard in shards]
    if any(is_webdataset(inside) for inside in members):
        _check_own_labels(path, options)
        return read_webdataset(path, shards, members, options.listing)
    everything = [(shard, member) for shard, inside in enumerate(members) for member in inside]
    images = [(shard, member) for shard, member in everything if is_image(member.name)]
    others = [member.name for _, member in everything if not is_image(member.name)]
    if not images and others and all(name.endswith(".tar") for name in others):
        raise BadInput(
            f"{path}: is a tar of {count_of(others, 'tar')}, such as {others[0]}; unpack it into a "
            "folder, and give that (the tars in it may stay as they are)"
        )
    if not images:
        raise BadInput(f"{path}: holds no image in {count_of(others, 'file')}")
    store = TarStore(tuple(shards), tuple(images))
    labelled = labelling([member.name for _, member in images], (shards[0].parent,), path, options)
    faults = {number: m.reason for number, (_, m) in enumerate(images) if m.reason}
    numbers = (None if n in faults else label for n, label in enumerate(labelled.labels.numbers))
    labels = replace(labelled.labels, numbers=tuple(numbers))
    notes = (*labelled.notes, *note_on_others(others))
    return DataSet(path, f"tar {labelled.kind}", store, labels, faults, notes)


@dataclass(frozen=True)
class FolderStore:
    """Files below a folder, named by their path relative to it."""

    root: Path
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    def name(self, number: int) -> str:
        return self.names[number]

    def size(self, number: int) -> int:
        try:
            return (self.root / self.names[number]).stat().st_size
        except OSError:
            return -1

    def read(self, number: int) -> bytes:
        path = self.root / self.names[number]
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
                raise BadExample(f"{path}: is not a file that can be read as often as needed")
            return path.read_bytes()
        except OSError as error:
            raise BadExample(f"{path}: cannot be read: {error.strerror}") from error


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the folders, hidden ones left out, and of the files in a folder, sorted."""
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(folder) as scan:
            for entry in scan:
                (folders if entry.is_dir() else files).append(entry.name)
    except OSError as error:
        raise BadInput(f"{folder}: cannot be listed: {error.strerror}") from error
    return sorted(name for name in folders if not name.startswith(".")), sorted(files)


def _files_below(root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Images and other files in a folder and those below, sorted."""
    images: list[str] = []
    others: list[str] = []
    pending: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while pending:
        below, above = pending.pop()
        folders, files = _entries(root / below)
        status = (root / below).stat()
        here = (status.st_dev, status.st_ino)
        if here in above:
            raise BadInput(f"{root / below}: is a link to a folder that it lies in; take it away")
        pending += [(f"{below}{name}/", above | {here}) for name in folders]
        for name in files:
            (images if is_image(name) else others).append(below + name)
    return tuple(sorted(images)), tuple(sorted(others))


def _files_of_pattern(pattern: Path) -> list[Path]:
    """The files that a brace pattern names: ``val-{000000..000006}.tar``, ``{a,b}.tar``."""
    pieces = _BRACES.split(pattern.name)
    # Every second piece is what stood between braces.
    choices = [
        _choices(piece, pattern) if place % 2 else [piece] for place, piece in enumerate(pieces)
    ]
    paths = [pattern.with_name("".join(pieces)) for pieces in itertools.product(*choices)]
    if len(set(paths)) < len(paths):
        raise BadInput(f"{pattern}: names a shard twice; expected each once")
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise BadInput(
            f"{missing[0]}: no such file; {len(missing):,} of the {len(paths):,} shards of "
            f"{pattern.name} are missing"
        )
    return paths


def _choices(inside: str, pattern: Path) -> list[str]:
    ends = _RANGE.fullmatch(inside)
    if ends is None:
        if "," in inside:
            return inside.split(",")
        raise BadInput(f"{pattern}: {{{inside}}}; expected a range such as {{000..123}}, or a list")
    first, last = int(ends[1]), int(ends[2])
    if not first <= last < first + _MOST:
        raise BadInput(f"{pattern}: {{{inside}}} runs over {last - first + 1:,} shards")
    return [f"{number:0{len(ends[1])}d}" for number in range(first, last + 1)]


def _one_set(folder: Path, names: Sequence[str]) -> list[str]:
    """The shards of one data set among those of a folder: all, or those for validation."""
    stems: dict[str, list[str]] = {}
    for name in sorted(names):
        stems.setdefault(_stem(name), []).append(name)
    sets = [stem for stem in stems if _VALIDATION_STEM.search(stem.lower())] or list(stems)
    if len(sets) > 1:
        raise BadInput(
            f"{folder}: holds shards of {len(sets)} data sets, such as {stems[sets[0]][0]} and "
            f"{stems[sets[1]][0]}; name those wanted with braces, as in val-{{000..006}}.tar"
        )
    shards = stems[sets[0]]
    missing, count = _missing(shards)
    if missing:
        raise BadInput(
            f"{folder / missing[0]}: no such file; {len(missing):,} of {count:,} shards are "
            "missing; name those wanted alone, or with braces as in val-{000..006}.tar"
        )
    return shards


def _stem(name: str) -> str:
    """What the shards of one set have in common."""
    of_n = OF_N.fullmatch(name)
    if of_n:
        return f"{of_n['stem']}-of-{of_n['count']}"
    match = _COUNTED.fullmatch(name)
    return f"{match[1]}#{match[3]}" if match else name


def _missing(names: list[str]) -> tuple[list[str], int]:
    """Shards that the names count and that are not among them, and how many there should be."""
    expected = names
    of_n = OF_N.fullmatch(names[0])
    if of_n:
        stem, count = of_n["stem"], int(of_n["count"])
        expected = [f"{stem}-{number:05d}-of-{count:05d}" for number in range(count)]
    elif matches := [match for name in names if (match := _COUNTED.fullmatch(name))]:
        numbers = [int(match[2]) for match in matches]
        head, digits, tail = matches[0].groups()
        span = range(min(numbers), max(numbers) + 1)
        expected = [f"{head}{number:0{len(digits)}d}{tail}" for number in span[:_MOST]]
    present = set(names)
    return [name for name in expected if name not in present], len(expected)
