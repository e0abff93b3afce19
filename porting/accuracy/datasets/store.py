"""Where the bytes of examples lie, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from porting.accuracy.datasets.by_name import Labels
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
class Contents:
    """What lies at ``path``: a form, examples, their labels, and what is wrong with some.

    ``faults`` are reasons by the number of the example.
    """

    path: Path
    kind: str
    store: Store
    labels: Labels
    faults: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def bytes_at(path: Path, offset: int, length: int) -> bytes:
    """A stretch of a file.

    Raises:
        BadExample: the file cannot be read, or ends before.
    """
    try:
        with path.open("rb", buffering=0) as stream:
            stream.seek(offset)
            found = bytearray()
            while len(found) < length and (piece := stream.read(length - len(found))):
                found += piece
    except OSError as error:
        raise BadExample(f"{path}: cannot be read: {error.strerror}") from error
    if len(found) < length:
        raise BadExample(
            f"{path}: ends at byte {offset + len(found):,}, within the {length:,} bytes of an "
            f"example at {offset:,}; it was longer when the data set was opened"
        )
    return bytes(found)
