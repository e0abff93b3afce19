"""A data set: labelled images under one interface, whatever form they are kept in."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from porting.accuracy.datasets.labels import Labels
from porting.errors import BadExample


class Store(Protocol):
    """Examples by number: their names, and their encoded images when asked for.

    Picklable: it holds places, and opens what it reads.
    """

    def __len__(self) -> int: ...

    def name(self, number: int) -> str:
        """The name of an example, unique among all."""

    def size(self, number: int) -> int:
        """Bytes of an example as stored; -1 where they cannot be told."""

    def read(self, number: int) -> bytes:
        """The encoded image.

        Raises:
            BadExample: it cannot be had; the message names the place.
        """


@dataclass(frozen=True)
class Example:
    """One image as it is known before it is decoded.

    ``name`` is unique within the data set: the path relative to it, or
    ``shard.tar:member``, or ``shard:number:file name``. ``label`` is
    0..classes-1 in the data set's order, without background; None only where
    :attr:`DataSet.problems` names the example.
    """

    name: str
    label: int | None


@dataclass(frozen=True, eq=False, repr=False)
class DataSet:
    """Examples by number, 0..len-1. Names and labels are in memory, images are read on demand.

    Picklable: it holds no open file, and may be read in several processes and
    threads at once.

    ``path`` is where the examples were found, ``kind`` the form they are kept
    in, ``classes`` the number of labels without a background. ``label_order``
    says how labels are known and in which order they are; ``synsets`` are the
    classes' names in that order, None where they are known by number alone.
    ``problems`` are examples that are known to be unreadable or unlabelled
    (name, reason): they count as examples, and reading one raises; ``faults`` has
    the reasons by number. ``notes`` tell what else a user should know, such as
    files that are not images.
    """

    path: Path
    kind: str
    store: Store
    labels: Labels
    faults: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        return self.labels.listing.count

    @property
    def label_order(self) -> str:
        return self.labels.order

    @property
    def synsets(self) -> tuple[str, ...] | None:
        return self.labels.listing.names

    @property
    def problems(self) -> list[tuple[str, str]]:
        return [(self._name(number), why) for number, why in sorted(self.faults.items())]

    def __repr__(self) -> str:
        return f"DataSet({str(self.path)!r}, {self.kind}, {len(self):,} examples)"

    def __len__(self) -> int:
        return len(self.store)

    def example(self, number: int) -> Example:
        """Name and label of an example.

        Raises:
            IndexError: there is none of that number.
        """
        self._check(number)
        return Example(self._name(number), self.labels.numbers[number])

    def read(self, number: int) -> bytes:
        """The encoded image of an example.

        Raises:
            BadExample: it cannot be had; the message names its file.
            IndexError: there is none of that number.
        """
        self._check(number)
        reason = self.faults.get(number)
        if reason is not None:
            raise BadExample(f"{self.path}: {self._name(number)}: {reason}")
        return self.store.read(number)

    def _name(self, number: int) -> str:
        """The name with unprintable characters escaped, as messages and reports show it."""
        name = self.store.name(number)
        if name.isprintable():
            return name
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)

    def _check(self, number: int) -> None:
        if not 0 <= number < len(self):
            raise IndexError(f"{self.path}: has no example {number}, but 0..{len(self) - 1}")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, over the kind and each example's name, label and stored size."""
        digest = hashlib.sha256(self.kind.encode())
        store = self.store
        for number, label in enumerate(self.labels.numbers):
            digest.update(json.dumps([store.name(number), label, store.size(number)]).encode())
        return digest.hexdigest()


def bytes_at(path: Path, offset: int, length: int) -> bytes:
    """Read ``length`` bytes of a file from ``offset`` on.

    Raises:
        BadExample: the file cannot be read, or ends before.
    """
    try:
        with path.open("rb", buffering=0) as stream:
            stream.seek(offset)
            data = bytearray()
            while len(data) < length and (piece := stream.read(length - len(data))):
                data += piece
    except OSError as error:
        raise BadExample(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) < length:
        raise BadExample(
            f"{path}: ends at byte {offset + len(data):,}, within the {length:,} bytes of an "
            f"example at {offset:,}; it was longer when the data set was opened"
        )
    return bytes(data)
