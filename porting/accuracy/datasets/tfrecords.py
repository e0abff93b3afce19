"""ImageNet in TFRecord shards, as slim's and TensorFlow Datasets' scripts write it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from porting.accuracy.datasets.by_name import Labels
from porting.accuracy.datasets.classes import ClassList
from porting.accuracy.datasets.numbering import labels_of_numbers
from porting.accuracy.datasets.records import (
    HEAD,
    TAIL,
    Frame,
    byte_strings,
    features,
    frames,
    integers,
    sound,
)
from porting.accuracy.datasets.store import Contents, bytes_at
from porting.errors import BadExample
from porting.sources.checkpoint.wire import Bytes, Malformed

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
        stated = f":{record.file_name}" if record.file_name else ""
        return f"{self.shards[record.shard].name}:{record.frame.number}{stated}"

    def size(self, number: int) -> int:
        return self.records[number].frame.size

    def read(self, number: int) -> bytes:
        record = self.records[number]
        path = self.shards[record.shard]
        data = bytes_at(path, record.frame.offset, record.frame.size + TAIL)
        try:
            found = features(sound(memoryview(data), path, record.frame), frozenset(IMAGE))
            return bytes(_one(byte_strings(_first(found, IMAGE)), IMAGE))
        except (Malformed, LookupError) as error:
            raise BadExample(f"{where(path, record.frame)}: {_told(error)}") from error


def where(path: Path, frame: Frame) -> str:
    """The place of a record, for messages."""
    return f"{path}: record {frame.number} at byte {frame.offset - HEAD:,}"


def records_of(shards: Sequence[Path]) -> list[Record]:
    """The records of shards, their images untouched.

    Raises:
        BadInput: a shard is cut short, or a length in it damaged.
    """
    return [
        _record(number, frame, data)
        for number, path in enumerate(shards)
        for frame, data in frames(path)
    ]


def _record(shard: int, frame: Frame, data: Bytes) -> Record:
    try:
        found = features(data, _ALL)
        _one(byte_strings(_first(found, IMAGE)), IMAGE)
        label = _one(integers(_first(found, LABEL)), LABEL)
        synset, name = (_text(found, names) for names in (SYNSET, NAME))
    except (Malformed, LookupError) as error:
        return Record(shard, frame, reason=_told(error))
    return Record(shard, frame, label, synset or None, name)


def _told(error: Exception) -> str:
    return str(error.args[0]) if isinstance(error, LookupError) else f"no tf.train.Example: {error}"


def _first(found: dict[bytes, Bytes], names: Sequence[bytes]) -> Bytes:
    for name in names:
        if name in found:
            return found[name]
    raise LookupError(f"the record has no feature {' or '.join(n.decode() for n in names)}")


def _one(values: Sequence[_Value], names: Sequence[bytes]) -> _Value:
    if len(values) != 1:
        raise LookupError(
            f"the record's {' or '.join(n.decode() for n in names)} has {len(values)} values of "
            "the kind that belongs there; expected one"
        )
    return values[0]


def _text(found: dict[bytes, Bytes], names: Sequence[bytes]) -> str:
    if found.keys().isdisjoint(names):
        return ""
    values = byte_strings(_first(found, names))
    return bytes(_one(values, names)).decode("utf-8", "replace") if values else ""


def read_shards(path: Path, shards: Sequence[Path], known: ClassList) -> Contents:
    """The records of shards with their labels.

    Raises:
        BadInput: a shard is empty, cut short or damaged in a length; or labels are no classes.
    """
    records = [_checked(shards[record.shard], record, known) for record in records_of(shards)]
    labels = labels_of_records(shards, records, known)
    faults = {number: record.reason for number, record in enumerate(records) if record.reason}
    store = RecordStore(tuple(shards), tuple(records))
    return Contents(path, "TFRecord shards", store, labels, faults)


def _checked(path: Path, record: Record, known: ClassList) -> Record:
    """The record, marked if its label is at an end or none and its data are damaged.

    What tells how labels count must not hang on a damaged record.
    """
    odd = record.label is None or not 0 < record.label < known.count
    stranger = known.are_synsets and record.synset and record.synset not in known.numbers
    if odd or stranger:
        data = bytes_at(path, record.frame.offset, record.frame.size + TAIL)
        try:
            sound(memoryview(data), path, record.frame)
        except BadExample:
            reason = "the checksum of its data is wrong: the record is damaged"
            return Record(record.shard, record.frame, reason=reason)
    return record


def labels_of_records(
    shards: Sequence[Path], records: Sequence[Record], known: ClassList
) -> Labels:
    """The labels of records: by synset where all have one and classes are synsets, else by number.

    Raises:
        BadInput: a synset or number is no class, or nothing tells how numbers count.
    """
    good = [place for place, record in enumerate(records) if not record.reason]
    if not good:
        return Labels((None,) * len(records), known.count, "no record has one", known.names)
    numbers: list[int | None] = [None] * len(records)
    told, order = _told_labels(shards, [records[place] for place in good], known)
    for place, label in zip(good, told, strict=True):
        numbers[place] = label
    return Labels(tuple(numbers), known.count, order, known.names)


def _told_labels(
    shards: Sequence[Path], records: Sequence[Record], known: ClassList
) -> tuple[list[int], str]:
    def place(number: int) -> str:
        return where(shards[records[number].shard], records[number].frame)

    if known.are_synsets and all(record.synset for record in records):
        found = [known.label(r.synset or "", place(n)) for n, r in enumerate(records)]
        shifts = {(r.label or 0) - label for r, label in zip(records, found, strict=True)}
        counted = _COUNTED.get(shifts.pop(), "") if len(shifts) == 1 else ""
        return found, f"image/class/synset{counted}, in {known.what}"
    labels = [record.label or 0 for record in records]
    names = [record.file_name for record in records]
    found, order = labels_of_numbers(labels, names, known, place)
    return found, f"the records' {order}"
