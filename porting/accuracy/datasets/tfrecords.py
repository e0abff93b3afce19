"""ImageNet in TFRecord shards, as slim's and TensorFlow Datasets' scripts write it.

A shard frames examples of ``tf.train.Example`` with lengths and checksums.
Format: ``tensorflow/core/lib/io/record_writer.h``: the data's length (8 bytes),
the masked CRC32C of the length (4), the data, the masked CRC32C of the data (4);
``tensorflow/core/example/{example,feature}.proto`` for the data.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from porting.accuracy.datasets.classes import ClassList, labels_of_numbers
from porting.accuracy.datasets.dataset import DataSet, bytes_at
from porting.accuracy.datasets.labels import Labels
from porting.errors import BadExample, BadInput
from porting.sources.checkpoint.checksum import masked_crc32c
from porting.sources.checkpoint.wire import Bytes, Malformed, fields, integer, message, varint
from porting.sources.mapped import mapped

HEAD, TAIL = 12, 4
"""Bytes before the data, and behind."""

_LENGTH = struct.Struct("<QI")
_CRC = struct.Struct("<I")

IMAGE = (b"image/encoded", b"image")
LABEL = (b"image/class/label", b"label")
SYNSET = (b"image/class/synset",)
NAME = (b"image/filename", b"file_name")
"""Names of features: slim's (``research/slim/datasets/build_imagenet_data.py``), then those of
TensorFlow Datasets' ``imagenet2012``."""

_Value = TypeVar("_Value")
_COUNTED = {
    0: " (labels count from 0)",
    1: " (labels count from 1: 0 is the background, and never occurs)",
}
_ALL = frozenset((*IMAGE, *LABEL, *SYNSET, *NAME))


@dataclass(frozen=True)
class Frame:
    """One record of a shard: the bytes ``offset`` to ``offset + size`` hold its data."""

    number: int
    offset: int
    size: int


def frames(path: Path) -> Iterator[tuple[Frame, Bytes]]:
    """The records of a shard, with a view of the data of each, which is read when touched.

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
            if number == 0:
                packed = bytes(data[:2]) == b"\x1f\x8b"
                advice = "; it is no TFRecord file, or damaged"
                advice = "; the shard is compressed: run gzip -d on it first" if packed else advice
            raise BadInput(f"{where}: the checksum of its length is wrong{advice}")
        end = place + HEAD + size + TAIL
        if end > len(data):
            raise BadInput(f"{where} is cut short: {size:,} bytes of data go past the file's end")
        yield Frame(number, place + HEAD, size), data[place + HEAD : place + HEAD + size]
        place, number = end, number + 1


def begins_as_records(path: Path) -> bool:
    """Whether a file begins with a length and its checksum."""
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from error
    return len(head) == HEAD and masked_crc32c(head[:8]) == _LENGTH.unpack(head)[1]


def checked_data(data: Bytes, path: Path, frame: Frame) -> Bytes:
    """Return the data of a record after comparing them with their checksum.

    Raises:
        BadExample: the checksum is wrong.
    """
    content, crc = data[: frame.size], _CRC.unpack(data[frame.size : frame.size + TAIL])[0]
    if masked_crc32c(content) != crc:
        raise BadExample(
            f"{path}: record {frame.number} at byte {frame.offset - HEAD:,}: the checksum of its "
            "data is wrong: the record is damaged"
        )
    return content


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


@dataclass(frozen=True)
class Record:
    """What is known of a record besides its image; ``reason`` says what is wrong with it."""

    shard: int
    frame: Frame
    label: int | None = None
    synset: str | None = None
    file_name: str = ""
    reason: str = ""


@dataclass(frozen=True)
class RecordStore:
    """Records of TFRecord files, known by shard, number and the name that they state."""

    shards: tuple[Path, ...]
    records: tuple[Record, ...]

    def __len__(self) -> int:
        return len(self.records)

    def name(self, number: int) -> str:
        record = self.records[number]
        suffix = f":{record.file_name}" if record.file_name else ""
        return f"{self.shards[record.shard].name}:{record.frame.number}{suffix}"

    def size(self, number: int) -> int:
        return self.records[number].frame.size

    def read(self, number: int) -> bytes:
        record = self.records[number]
        path = self.shards[record.shard]
        data = bytes_at(path, record.frame.offset, record.frame.size + TAIL)
        try:
            content = checked_data(memoryview(data), path, record.frame)
            by_name = features(content, frozenset(IMAGE))
            return bytes(_one(byte_strings(_first(by_name, IMAGE)), IMAGE))
        except (Malformed, LookupError) as error:
            raise BadExample(f"{where(path, record.frame)}: {_reason(error)}") from error


def where(path: Path, frame: Frame) -> str:
    """The place of a record, for messages."""
    return f"{path}: record {frame.number} at byte {frame.offset - HEAD:,}"


def _record(shard: int, frame: Frame, data: Bytes) -> Record:
    """What a record says of its image, which stays untouched."""
    try:
        by_name = features(data, _ALL)
        _one(byte_strings(_first(by_name, IMAGE)), IMAGE)
        label = _one(integers(_first(by_name, LABEL)), LABEL)
        synset, name = (_text(by_name, names) for names in (SYNSET, NAME))
    except (Malformed, LookupError) as error:
        return Record(shard, frame, reason=_reason(error))
    return Record(shard, frame, label, synset or None, name)


def _reason(error: Exception) -> str:
    return str(error.args[0]) if isinstance(error, LookupError) else f"no tf.train.Example: {error}"


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


def read_tfrecords(path: Path, shards: Sequence[Path], listing: ClassList) -> DataSet:
    """The records of shards with their labels.

    Raises:
        BadInput: a shard is empty, cut short or damaged in a length; or labels are no classes.
    """
    records = [
        _checked(path, _record(number, frame, data), listing)
        for number, path in enumerate(shards)
        for frame, data in frames(path)
    ]
    labels = _labels(shards, records, listing)
    faults = {number: record.reason for number, record in enumerate(records) if record.reason}
    store = RecordStore(tuple(shards), tuple(records))
    return DataSet(path, "TFRecord shards", store, labels, faults)


def _checked(path: Path, record: Record, listing: ClassList) -> Record:
    """The record, marked if its label is at an end or none and its data are damaged.

    What tells how labels count must not hang on a damaged record.
    """
    odd = record.label is None or not 0 < record.label < listing.count
    stranger = listing.are_synsets and record.synset and record.synset not in listing.numbers
    if odd or stranger:
        data = bytes_at(path, record.frame.offset, record.frame.size + TAIL)
        try:
            checked_data(memoryview(data), path, record.frame)
        except BadExample:
            reason = "the checksum of its data is wrong: the record is damaged"
            return Record(record.shard, record.frame, reason=reason)
    return record


def _labels(shards: Sequence[Path], records: Sequence[Record], listing: ClassList) -> Labels:
    """The labels of records: by synset where all have one and classes are synsets, else by number.

    Raises:
        BadInput: a synset or number is no class, or nothing tells how numbers count.
    """
    good = [place for place, record in enumerate(records) if not record.reason]
    if not good:
        return Labels((None,) * len(records), "no record has one", listing)
    readable = [records[place] for place in good]

    def place_of(number: int) -> str:
        return where(shards[readable[number].shard], readable[number].frame)

    if listing.are_synsets and all(record.synset for record in readable):
        labels = [listing.label(r.synset or "", place_of(n)) for n, r in enumerate(readable)]
        shifts = {(r.label or 0) - label for r, label in zip(readable, labels, strict=True)}
        base = _COUNTED.get(shifts.pop(), "") if len(shifts) == 1 else ""
        order = f"image/class/synset{base}, in {listing.what}"
    else:
        numbers = [record.label or 0 for record in readable]
        names = [record.file_name for record in readable]
        labels, order = labels_of_numbers(numbers, names, listing, place_of)
        order = f"the records' {order}"
    by_record = dict(zip(good, labels, strict=True))
    return Labels(tuple(map(by_record.get, range(len(records)))), order, listing)
