"""Open a data set: a folder of images, a tar, or shards of TFRecords or of a WebDataset.

What lies at the path tells the form. A new form is a store of
:mod:`porting.accuracy.datasets.dataset`, and a line in :func:`_of_shards`. Nothing is unpacked:
headers are read once, and then each image where it lies.
"""

from __future__ import annotations

import itertools
import json
import mmap
import os
import re
import stat
import struct
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from porting.accuracy.datasets.classes import (
    SYNSET,
    ClassList,
    labels_of_numbers,
    labels_of_values,
    read_class_list,
)
from porting.accuracy.datasets.dataset import DataSet, bytes_at
from porting.accuracy.datasets.labels import (
    SUFFIXES,
    WELL_KNOWN,
    LabelOptions,
    Labels,
    count_of,
    is_image,
    labelling,
    note_on_others,
)
from porting.errors import BadExample, BadInput
from porting.sources.crc32c import masked_crc32c
from porting.sources.memory import mapped
from porting.sources.protobuf import Bytes, Malformed, fields, integer, message, varint

_VALIDATION_FOLDERS = ("val", "validation")
_RECORDS = (".tfrecord", ".tfrecords")

OF_N = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})")
"""The name of a shard as TensorFlow counts them."""

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_WITH_NUMBER = re.compile(r"(.*?)(\d+)(\D*)")
_VALIDATION_STEM = re.compile(r"(^|[^a-z])val(id(ation)?)?([^a-z]|$)")
_MOST = 100_000  # shards in one range of numbers


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
            what its labels mean cannot be told.
    """
    path, options = Path(path), LabelOptions(labels, classes, read_class_list(synsets, classes))
    if _BRACES.search(path.name) and not path.exists():
        dataset = _of_shards(path, _files_of_pattern(path), options)
    elif path.is_dir():
        dataset = _of_folder(path, options)
    elif path.is_file():
        dataset = _of_shards(path, [path], options)
    else:
        raise BadInput(f"{path}: no such file or folder; expected a data set")
    if not len(dataset):
        raise BadInput(f"{path}: holds no example")
    if len(dataset.problems) == len(dataset):
        name, reason = dataset.problems[0]
        raise BadInput(
            f"{path}: not one of {len(dataset):,} examples can be used; {name}: {reason}"
        )
    return dataset


# Folders of images.


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
            if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would block
                raise BadExample(f"{path}: is not a file that can be read as often as needed")
            return path.read_bytes()
        except OSError as error:
            raise BadExample(f"{path}: cannot be read: {error.strerror}") from error


def _of_folder(folder: Path, options: LabelOptions) -> DataSet:
    below, files = _entries(folder)
    by_synset = any(SYNSET.fullmatch(name) for name in below)
    if by_synset or any(is_image(name) for name in files):
        return _of_images(folder, options)
    # A whole data set has its validation images in a folder of their own.
    inner = [name for name in below if name in _VALIDATION_FOLDERS]
    if inner and len(below) != options.classes:
        if len(inner) > 1:
            raise BadInput(f"{folder}: holds both val and validation; name the one that is meant")
        return _of_folder(folder / inner[0], options)
    shards = [name for name in files if _has_record_name(name) or name.endswith(".tar")]
    if not shards:
        return _of_images(folder, options)
    if not all(SYNSET.fullmatch(name.removesuffix(".tar")) for name in shards):
        shards = _one_set(folder, shards)
    return _of_shards(folder, [folder / name for name in shards], options)


def _of_images(root: Path, options: LabelOptions) -> DataSet:
    images: list[str] = []
    others: list[str] = []
    pending: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while pending:
        below, above = pending.pop()
        folders, files = _entries(root / below)
        status = (root / below).stat()
        here = (status.st_dev, status.st_ino)
        if here in above:
            raise BadInput(f"{root / below}: is a link to a folder that it lies in; remove it")
        pending += [(f"{below}{name}/", above | {here}) for name in folders]
        for name in files:
            (images if is_image(name) else others).append(below + name)
    images.sort()
    others.sort()
    if not images:
        raise BadInput(
            f"{root}: holds no image and no shard in {count_of(others, 'file')}; expected "
            "folders of images by class, images with a label file, tars or TFRecord files"
        )
    result = labelling(images, (root, root.parent), root, options)
    strangers = [
        name for name in others if name not in WELL_KNOWN and root / name != options.labels
    ]
    notes = (*result.notes, *note_on_others(strangers))
    store = FolderStore(root, tuple(images))
    return DataSet(root, f"folder {result.kind}", store, result.labels, {}, notes)


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


# Shards, and which of them make up one data set.


def _of_shards(path: Path, shards: Sequence[Path], options: LabelOptions) -> DataSet:
    if is_tar(shards[0]):
        return _of_tars(path, shards, options)
    if is_image(shards[0].name):
        raise BadInput(f"{path}: is a single image; expected a folder of them, a tar or shards")
    if not _has_record_name(shards[0].name) and not begins_as_records(shards[0]):
        raise BadInput(
            f"{path}: is neither a tar nor a TFRecord file; expected one, or a folder of images"
        )
    _check_no_label_file(path, options)
    dataset = read_tfrecords(path, shards, options.listing)
    of_n = OF_N.fullmatch(shards[0].name)
    if of_n is None or len(shards) == int(of_n["count"]):
        return dataset
    note = f"{len(shards):,} of the {int(of_n['count']):,} shards of the whole data set"
    return replace(dataset, notes=(note,))


def _has_record_name(name: str) -> bool:
    return name.lower().endswith(_RECORDS) or OF_N.fullmatch(name) is not None


def _check_no_label_file(path: Path, options: LabelOptions) -> None:
    if options.labels is not None:
        raise BadInput(
            f"{path}: its images have their labels with them, and {options.labels} is not "
            "needed; leave out --labels"
        )


def _files_of_pattern(pattern: Path) -> list[Path]:
    """The files that a brace pattern names: ``val-{000000..000006}.tar``, ``{a,b}.tar``."""
    choices = []
    for place, piece in enumerate(_BRACES.split(pattern.name)):
        ends = _RANGE.fullmatch(piece)
        if place % 2 == 0:  # every second piece is what stood between braces
            choices.append([piece])
        elif ends is not None:
            first, last = int(ends[1]), int(ends[2])
            if not first <= last < first + _MOST:
                raise BadInput(f"{pattern}: {{{piece}}} runs over {last - first + 1:,} shards")
            width = len(ends[1])
            choices.append([f"{number:0{width}d}" for number in range(first, last + 1)])
        elif "," in piece:
            choices.append(piece.split(","))
        else:
            raise BadInput(
                f"{pattern}: {{{piece}}}; expected a range such as {{000..123}}, or a list"
            )
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


def _one_set(folder: Path, names: Sequence[str]) -> list[str]:
    """The shards of one data set among those of a folder: all, or those for validation."""
    by_stem: dict[str, list[str]] = {}  # by what the shards of one set have in common
    for name in sorted(names):
        of_n, match = OF_N.fullmatch(name), _WITH_NUMBER.fullmatch(name)
        stem = f"{match[1]}#{match[3]}" if match else name
        by_stem.setdefault(f"{of_n['stem']}-of-{of_n['count']}" if of_n else stem, []).append(name)
    sets = [stem for stem in by_stem if _VALIDATION_STEM.search(stem.lower())] or list(by_stem)
    if len(sets) > 1:
        raise BadInput(
            f"{folder}: holds shards of {len(sets)} data sets, such as {by_stem[sets[0]][0]} and "
            f"{by_stem[sets[1]][0]}; name those wanted with braces, as in val-{{000..006}}.tar"
        )
    shards = all_names = by_stem[sets[0]]
    if of_n := OF_N.fullmatch(shards[0]):
        stem, count = of_n["stem"], int(of_n["count"])
        all_names = [f"{stem}-{number:05d}-of-{count:05d}" for number in range(count)]
    elif matches := [match for name in shards if (match := _WITH_NUMBER.fullmatch(name))]:
        numbers = [int(match[2]) for match in matches]
        head, digits, tail = matches[0].groups()
        span = range(min(numbers), max(numbers) + 1)[:_MOST]
        all_names = [f"{head}{number:0{len(digits)}d}{tail}" for number in span]
    present = set(shards)
    missing = [name for name in all_names if name not in present]
    if missing:
        raise BadInput(
            f"{folder / missing[0]}: no such file; {len(missing):,} of {len(all_names):,} shards "
            "are missing; name those wanted alone, or with braces as in val-{000..006}.tar"
        )
    return shards


# Tar files.

_BLOCK, _MAGIC_AT = 512, 257
_PIECE = 1 << 20
_UNPACK_COMMANDS = {
    b"\x1f\x8b": "gzip -d",
    b"BZh": "bzip2 -d",
    b"\xfd7zXZ": "xz -d",
    b"\x28\xb5\x2f\xfd": "zstd -d",
}
"""How compressed files begin, and what unpacks them."""

_DAMAGE = (tarfile.TarError, OSError, ValueError, TypeError, LookupError, OverflowError,
           EOFError, RecursionError, MemoryError)  # fmt: skip
"""What tarfile raises over a damaged archive."""


@dataclass(frozen=True)
class Member:
    """A file in a tar: the bytes from ``offset`` on. ``reason`` is why it cannot be read."""

    name: str
    offset: int
    size: int
    reason: str = ""


@dataclass(frozen=True)
class TarStore:
    """Members of tar files, each named by shard and member: ``val-0.tar:a/b.jpg``.

    ``members`` have the number of the shard before the member.
    """

    shards: tuple[Path, ...]
    members: tuple[tuple[int, Member], ...]

    def __len__(self) -> int:
        return len(self.members)

    def name(self, number: int) -> str:
        shard, member = self.members[number]
        return f"{self.shards[shard].name}:{member.name}"

    def size(self, number: int) -> int:
        return self.members[number][1].size

    def read(self, number: int) -> bytes:
        shard, member = self.members[number]
        return bytes_at(self.shards[shard], member.offset, member.size)


def is_tar(path: Path) -> bool:
    """Whether a file is a tar, compressed or not, by its name or its first header."""
    if ".tar" in path.suffixes or path.suffix == ".tgz":
        return True
    return _head_of(path, _BLOCK)[_MAGIC_AT:].startswith(b"ustar")


def _head_of(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(size)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from error


def members_of(path: Path) -> list[Member]:
    """List the files in a tar, in its order, from their headers alone.

    Raises:
        BadInput: it is compressed, damaged or cut short, or holds two files of one name.
    """
    head = _head_of(path, _BLOCK)
    for magic, command in _UNPACK_COMMANDS.items():
        if head.startswith(magic):
            raise BadInput(
                f"{path}: is compressed, and images in the middle cannot be reached; run "
                f"{command} {path.name} first (images hardly shrink)"
            )
    members: dict[str, Member] = {}
    try:
        with tarfile.open(path, "r:", encoding="utf-8", errors="backslashreplace") as archive:
            while (info := archive.next()) is not None:
                # Else every header is kept; typeshed does not know the list.
                archive.members = []  # type: ignore[attr-defined]
                if archive.offset <= info.offset:
                    raise BadInput(f"{path}: the header at byte {info.offset:,} leads back")
                name = info.name.removeprefix("./")
                if info.isdir():
                    continue
                if info.size < 0 or info.offset_data < 0:
                    raise BadInput(f"{path}: the header of {name} gives it {info.size:,} bytes")
                regular = info.isreg() and not info.issparse()
                reason = "" if regular else "is a link or a sparse file, not an image"
                member = Member(name, info.offset_data, info.size, reason)
                first = members.setdefault(name, member)
                if first is not member:
                    raise BadInput(
                        f"{path}: holds {name} twice, at bytes {first.offset:,} and "
                        f"{member.offset:,}; nothing tells which is meant"
                    )
            end = archive.offset
        # tarfile takes any other end, or a damaged header, for the archive's end.
        with path.open("rb") as stream:
            stream.seek(end)
            if len(block := stream.read(_BLOCK)) < _BLOCK or any(block):
                raise BadInput(
                    f"{path}: is damaged or cut short at byte {end:,}: a header or the archive's "
                    "end belongs there"
                )
            while piece := stream.read(_PIECE):
                if piece.count(0) != len(piece):
                    raise BadInput(
                        f"{path}: has more behind the archive's end at byte {end:,}: tars put "
                        "together with cat must be joined with tar -A"
                    )
    except _DAMAGE as error:
        raise BadInput(f"{path}: is not a sound tar file: {error}") from error
    return list(members.values())


def _of_tars(path: Path, shards: Sequence[Path], options: LabelOptions) -> DataSet:
    members = [members_of(shard) for shard in shards]
    if any(is_webdataset(inside) for inside in members):
        _check_no_label_file(path, options)
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
    result = labelling([member.name for _, member in images], (shards[0].parent,), path, options)
    faults = {number: m.reason for number, (_, m) in enumerate(images) if m.reason}
    numbers = (None if n in faults else label for n, label in enumerate(result.labels.numbers))
    labels = replace(result.labels, numbers=tuple(numbers))
    notes = (*result.notes, *note_on_others(others))
    return DataSet(path, f"tar {result.kind}", store, labels, faults, notes)


# WebDataset shards: tars in which the files of one example share all before the first dot, as in
# the ``webdataset`` library's ``tariterators.base_plus_ext``.

_LABEL_EXTENSIONS = ("cls", "json")
_LONGEST = 1 << 20  # bytes of a label's file


def split(name: str) -> tuple[str, str]:
    """Key and extension of a member: ``a/b.seg.png`` is ``seg.png`` of ``a/b``."""
    folder, _, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return (f"{folder}/{stem}" if folder else stem), extension


def is_webdataset(members: Sequence[Member]) -> bool:
    """Whether a tar holds files of labels beside images, as WebDataset shards do."""
    return any(
        _label_of(files) is not None and any(map(_is_plain, files))
        for files in _by_key(members).values()
    )


def _by_key(members: Sequence[Member]) -> dict[str, list[Member]]:
    keys: dict[str, list[Member]] = {}
    for member in members:
        keys.setdefault(split(member.name)[0], []).append(member)
    return keys


def _is_plain(member: Member) -> bool:
    """Whether a member is its key's own image, ``key.png``, and not one such as ``key.seg.png``."""
    return is_image(member.name) and f".{split(member.name)[1].lower()}" in SUFFIXES


def _label_of(files: Sequence[Member]) -> Member | None:
    """The label file among the files of one key."""
    by_extension = {split(file.name)[1].lower(): file for file in files}
    return next((by_extension[name] for name in _LABEL_EXTENSIONS if name in by_extension), None)


def read_webdataset(
    path: Path, shards: Sequence[Path], members: Sequence[Sequence[Member]], listing: ClassList
) -> DataSet:
    """The images of shards with their labels.

    Raises:
        BadInput: a key has two images, or a label and no image; or a label is not a class.
    """
    images: list[tuple[int, Member]] = []
    values: dict[int, str] = {}
    faults: dict[int, str] = {}
    others: list[str] = []
    for shard, inside in enumerate(members):
        for key, files in _by_key(inside).items():
            of_key, label = list(filter(_is_plain, files)), _label_of(files)
            if len(of_key) > 1 or (label is not None and not of_key):
                extensions = ", ".join(sorted(split(file.name)[1] for file in files))
                raise BadInput(
                    f"{shards[shard]}: {key} has {len(of_key)} images ({extensions}); expected one "
                    f"of {', '.join(SUFFIXES)}"
                )
            others += [file.name for file in files if file is not label and file not in of_key]
            for image in of_key:
                try:
                    values[len(images)] = _read_label(shards[shard], image, label)
                except (ValueError, BadExample, RecursionError) as error:
                    faults[len(images)] = f"its label cannot be read: {error}"
                images.append((shard, image))
    store = TarStore(tuple(shards), tuple(images))

    readable = list(values)

    def where(place: int) -> str:
        shard, member = images[readable[place]]
        return f"{shards[shard]}:{member.name}"

    labels: list[int] = []
    order = "not one can be read"
    if values:
        names = [store.name(number) for number in readable]
        labels, order = labels_of_values(list(values.values()), names, listing, where)
    by_image = dict(zip(values, labels, strict=True))
    label_numbers = tuple(map(by_image.get, range(len(store))))
    all_labels = Labels(label_numbers, f".cls or .json beside images: {order}", listing)
    return DataSet(path, "WebDataset shards", store, all_labels, faults, note_on_others(others))


def _read_label(path: Path, image: Member, member: Member | None) -> str:
    """Read a label's file: a number, or the name of a class.

    Raises:
        ValueError: it holds neither.
    """
    if image.reason:
        raise ValueError(f"the image {image.reason}")
    if member is None:
        raise ValueError("there is neither .cls nor .json with it")
    if member.reason or member.size > _LONGEST:
        raise ValueError(f"{member.name} {member.reason or f'has {member.size:,} bytes'}")
    text = bytes_at(path, member.offset, member.size).decode("utf-8").strip()
    if member.name.lower().endswith(".json"):
        data = json.loads(text)
        value = data.get("label") if isinstance(data, dict) else data
        valid = isinstance(value, (int, str)) and not isinstance(value, bool)
        text = str(value).strip() if valid else ""
    if not text:
        raise ValueError(f"{member.name} holds neither a number nor the name of a class")
    return text


# TFRecord shards, as slim's and TensorFlow Datasets' scripts write ImageNet: examples of
# ``tf.train.Example``, framed by lengths and checksums.
# Format: ``tensorflow/core/lib/io/record_writer.h``: the data's length (8 bytes), the masked CRC32C
# of the length (4), the data, the masked CRC32C of the data (4);
# ``tensorflow/core/example/{example,feature}.proto`` for the data.

HEAD, TAIL = 12, 4
"""Bytes before the data, and behind."""

_LENGTH = struct.Struct("<QI")
_CRC = struct.Struct("<I")

IMAGE = (b"image/encoded", b"image")
LABEL = (b"image/class/label", b"label")
SYNSET_FEATURE = (b"image/class/synset",)
NAME = (b"image/filename", b"file_name")
"""Names of features: slim's (``research/slim/datasets/build_imagenet_data.py``), then those of
TensorFlow Datasets' ``imagenet2012``."""

_FEATURES = frozenset((*IMAGE, *LABEL, *SYNSET_FEATURE, *NAME))
_Value = TypeVar("_Value")
_WORDS_FOR_SHIFT = {
    0: " (labels count from 0)",
    1: " (labels count from 1: 0 is the background, and never occurs)",
}


@dataclass(frozen=True)
class Record:
    """A record of a shard, whose data are the bytes ``offset`` to ``offset + size``.

    ``reason`` says what is wrong with it, if anything.
    """

    shard: int
    number: int
    offset: int
    size: int
    label: int | None = None
    synset: str | None = None
    file_name: str = ""
    reason: str = ""

    def place(self, path: Path) -> str:
        """The position in the shard of that path, for messages."""
        return f"{path}: record {self.number} at byte {self.offset - HEAD:,}"

    def checked_data(self, path: Path) -> Bytes:
        """Read the data and compare them with their checksum.

        Raises:
            BadExample: the checksum is wrong, or the file cannot be read.
        """
        data = memoryview(bytes_at(path, self.offset, self.size + TAIL))
        content, crc = data[: self.size], _CRC.unpack(data[self.size :])[0]
        if masked_crc32c(content) != crc:
            raise BadExample(
                f"{self.place(path)}: the checksum of its data is wrong: the record is damaged"
            )
        return content


@dataclass(frozen=True)
class RecordStore:
    """Records of TFRecord files, each named by shard, number and the name that it states."""

    shards: tuple[Path, ...]
    records: tuple[Record, ...]

    def __len__(self) -> int:
        return len(self.records)

    def name(self, number: int) -> str:
        record = self.records[number]
        suffix = f":{record.file_name}" if record.file_name else ""
        return f"{self.shards[record.shard].name}:{record.number}{suffix}"

    def size(self, number: int) -> int:
        return self.records[number].size

    def read(self, number: int) -> bytes:
        record = self.records[number]
        path = self.shards[record.shard]
        try:
            by_name = features(record.checked_data(path), frozenset(IMAGE))
            return bytes(_one(byte_strings(_first(by_name, IMAGE)), IMAGE))
        except (Malformed, LookupError) as error:
            raise BadExample(f"{record.place(path)}: {_reason(error)}") from error


def begins_as_records(path: Path) -> bool:
    """Whether a file begins with a length and its checksum."""
    head = _head_of(path, HEAD)
    return len(head) == HEAD and masked_crc32c(head[:8]) == _LENGTH.unpack(head)[1]


def read_tfrecords(path: Path, shards: Sequence[Path], listing: ClassList) -> DataSet:
    """The records of shards with their labels: by synset where all have one, else by number.

    Raises:
        BadInput: a shard is empty, cut short or damaged in a length; a synset or a number is not
            a class, or nothing tells how numbers count.
    """
    records = [record for n in range(len(shards)) for record in _records_of(shards[n], n, listing)]
    good = [place for place, record in enumerate(records) if not record.reason]
    readable = [records[place] for place in good]

    def place_of(number: int) -> str:
        return readable[number].place(shards[readable[number].shard])

    labels: list[int] = []
    if not good:
        order = "no record has one"
    elif listing.are_synsets and all(record.synset for record in readable):
        labels = [listing.label(r.synset or "", place_of(n)) for n, r in enumerate(readable)]
        shifts = {(r.label or 0) - label for r, label in zip(readable, labels, strict=True)}
        base = _WORDS_FOR_SHIFT.get(shifts.pop(), "") if len(shifts) == 1 else ""
        order = f"image/class/synset{base}, in {listing.what}"
    else:
        numbers = [record.label or 0 for record in readable]
        names = [record.file_name for record in readable]
        labels, order = labels_of_numbers(numbers, names, listing, place_of)
        order = f"the records' {order}"
    by_record = dict(zip(good, labels, strict=True))
    all_labels = Labels(tuple(map(by_record.get, range(len(records)))), order, listing)
    faults = {number: record.reason for number, record in enumerate(records) if record.reason}
    store = RecordStore(tuple(shards), tuple(records))
    return DataSet(path, "TFRecord shards", store, all_labels, faults)


def _records_of(path: Path, shard: int, listing: ClassList) -> Iterator[Record]:
    """The records of a shard with their labels and names; the images are not read.

    Raises:
        BadInput: the shard is cut short, or a length is damaged: no later record can be found.
    """
    data = mapped(path)
    if data and isinstance(data.obj, mmap.mmap):
        # Only labels are read, between images: reading ahead would read the whole file.
        data.obj.madvise(mmap.MADV_RANDOM)
    place = number = 0
    while place < len(data):
        where = f"{path}: record {number} at byte {place:,}"
        if place + HEAD > len(data):
            raise BadInput(f"{where} is cut short: its length has {HEAD} bytes")
        size, crc = _LENGTH.unpack_from(data, place)
        if masked_crc32c(data[place : place + 8]) != crc:
            advice = "; the file is damaged from there on"
            if number == 0 and bytes(data[:2]) == b"\x1f\x8b":
                advice = "; the shard is compressed: run gzip -d on it first"
            elif number == 0:
                advice = "; it is not a TFRecord file, or damaged"
            raise BadInput(f"{where}: the checksum of its length is wrong{advice}")
        end = place + HEAD + size + TAIL
        if end > len(data):
            raise BadInput(f"{where} is cut short: {size:,} bytes of data go past the file's end")
        record = Record(shard, number, place + HEAD, size)
        try:
            by_name = features(data[place + HEAD : end - TAIL], _FEATURES)
            _one(byte_strings(_first(by_name, IMAGE)), IMAGE)
            label = _one(integers(_first(by_name, LABEL)), LABEL)
            synset, name = (_text(by_name, names) for names in (SYNSET_FEATURE, NAME))
            record = replace(record, label=label, synset=synset or None, file_name=name)
        except (Malformed, LookupError) as error:
            record = replace(record, reason=_reason(error))
        # What tells how labels count must not depend on a damaged record.
        odd = record.label is None or not 0 < record.label < listing.count
        stranger = listing.are_synsets and record.synset and record.synset not in listing.numbers
        if odd or stranger:
            try:
                record.checked_data(path)
            except BadExample:
                reason = "the checksum of its data is wrong: the record is damaged"
                record = Record(shard, number, place + HEAD, size, reason=reason)
        yield record
        place, number = end, number + 1


def features(data: Bytes, names: frozenset[bytes]) -> dict[bytes, Bytes]:
    """The features of a ``tf.train.Example`` by name, as messages; of those ``names`` alone.

    Raises:
        Malformed: it is no such message.
    """
    by_name: dict[bytes, Bytes] = {}
    maps = (message(value) for number, value in fields(data) if number == 1)
    entries = (message(entry) for each in maps for kind, entry in fields(each) if kind == 1)
    for entry in entries:
        key, feature = b"", memoryview(b"")
        for number, value in fields(entry):
            if number == 1:
                key = bytes(message(value))
            elif number == 2:
                feature = memoryview(message(value))
        if key in names:
            by_name[key] = feature
    return by_name


def byte_strings(feature: Bytes) -> list[Bytes]:
    """The values of a feature that is a list of byte strings.

    Raises:
        Malformed: it is no such message.
    """
    lists = [message(value) for number, value in fields(feature) if number == 1]
    return [message(value) for each in lists for number, value in fields(each) if number == 1]


def integers(feature: Bytes) -> list[int]:
    """The values of a feature that is a list of whole numbers, packed or not.

    Raises:
        Malformed: it is no such message.
    """
    values: list[int] = []
    lists = (message(value) for number, value in fields(feature) if number == 3)
    for value in (value for each in lists for number, value in fields(each) if number == 1):
        if isinstance(value, int):
            values.append(integer(value))
            continue
        place = 0
        while place < len(value):
            number, place = varint(value, place)
            values.append(number)
    return [number - (1 << 64) if number >> 63 else number for number in values]


def _reason(error: Exception) -> str:
    if isinstance(error, LookupError):
        return str(error.args[0])
    return f"not a tf.train.Example: {error}"


def _first(by_name: dict[bytes, Bytes], names: Sequence[bytes]) -> Bytes:
    for name in names:
        if name in by_name:
            return by_name[name]
    raise LookupError(f"the record has no feature {' or '.join(n.decode() for n in names)}")


def _one(values: Sequence[_Value], names: Sequence[bytes]) -> _Value:
    if len(values) != 1:
        raise LookupError(
            f"the record's {' or '.join(n.decode() for n in names)} has {len(values)} values of "
            "the kind that belongs there; expected one"
        )
    return values[0]


def _text(by_name: dict[bytes, Bytes], names: Sequence[bytes]) -> str:
    if by_name.keys().isdisjoint(names):
        return ""
    values = byte_strings(_first(by_name, names))
    return bytes(_one(values, names)).decode("utf-8", "replace") if values else ""
