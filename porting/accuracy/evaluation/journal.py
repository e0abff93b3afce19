"""Finished batches on disk, from which a killed evaluation goes on.

A folder with ``run.json``, which says what is evaluated, and one file for each
process that has written batches: a line each, with its checksum before it. A
line that was cut off by the end of its process does not count.
"""

from __future__ import annotations

import json
import os
import platform
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from porting.accuracy.evaluation.batch import Batch
from porting.accuracy.evaluation.provenance import differences, plain
from porting.atomic_files import write_text
from porting.errors import BadInput, OutputError
from porting.folders import EVALUATIONS
from porting.temporary import is_temporary

RUN = "run.json"
COMBINATIONS = "combined"
"""Folder for the journals of what an explanation combines, by what it combines."""

_PARTS = "batches-*.jsonl"
JOURNAL_VERSION = 2
_NOT_WRITTEN_HERE = (
    ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip

MOST_DIFFERENCES = 4
"""Differences named at most."""


class Journal:
    """The journal of one evaluation in a folder; a context that closes its file.

    ``provenance`` says, by topic, what is evaluated and with what.

    Raises:
        BadInput: the folder holds the journal of another evaluation; the message
            says what has changed.
        OutputError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, provenance: Mapping[str, Any]) -> None:
        self.folder = folder
        run = plain({"journal": JOURNAL_VERSION, **provenance})
        _check_same(folder, run)
        write_text(folder / RUN, json.dumps(run, indent=1))
        self._stream: IO[bytes] | None = None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error: object) -> None:
        if self._stream is not None:
            self._stream.close()

    def batches(self, check: Callable[[Batch], None] | None = None) -> Iterator[Batch]:
        """Every batch that is whole on disk; one that several processes finished comes once.

        ``check`` raises ValueError for a batch that is none of this evaluation's.

        Raises:
            BadInput: a line has the right checksum and other contents than were written.
        """
        numbers: set[int] = set()
        for part in sorted(self.folder.glob(_PARTS)):
            with part.open("rb") as stream:
                for line in stream:
                    checksum, _, text = line.rstrip(b"\n").partition(b" ")
                    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
                        continue
                    try:
                        batch = Batch.from_json(json.loads(text))
                        if check is not None:
                            check(batch)
                    except _NOT_WRITTEN_HERE as error:
                        raise BadInput(
                            f"{part}: a line of it is not what an evaluation writes ({error}); "
                            "begin anew with --fresh"
                        ) from error
                    if batch.number not in numbers:
                        numbers.add(batch.number)
                        yield batch

    def add(self, batch: Batch) -> None:
        """Write a batch to the disk before returning.

        Raises:
            OutputError: the disk is full, or the folder is gone.
        """
        text = json.dumps(batch.to_json(), separators=(",", ":")).encode()
        try:
            if self._stream is None:
                name = f"batches-{platform.node()}-{uuid4().hex}.jsonl"
                self._stream = (self.folder / name).open("xb")
            self._stream.write(b"%08x %s\n" % (zlib.crc32(text), text))
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise OutputError(
                f"{self.folder}: cannot be written: {error.strerror or error}"
            ) from error


def check_apart(file: Path, folder: Path | None) -> None:
    """Check that a result does not replace a journal's own files.

    ``folder`` is the journal of the evaluation at hand, None for the default one.

    Raises:
        BadInput: it would.
    """
    where = file.resolve().parent
    journals = [EVALUATIONS.resolve() / where.name, *([folder.resolve()] if folder else [])]
    named_so = file.name == RUN or file.match(_PARTS)
    inside = any(journal in (where, where.parent.parent) for journal in journals)
    if named_so and (inside or _is_journal(where / RUN)):
        raise BadInput(f"{file}: is a file of the journal there; write the result elsewhere")


def discard(folder: Path) -> None:
    """Remove a journal and those in its folder ``combined``; anything else is left alone.

    Raises:
        OutputError: it cannot be removed.
    """
    try:
        for below in (folder / COMBINATIONS).glob("*/"):
            discard(below)
        if _is_journal(folder / RUN):
            # run.json goes last: what a kill in between leaves is still a journal.
            for file in (*folder.glob(_PARTS), folder / RUN):
                file.unlink(missing_ok=True)  # another machine may clear the same disk
    except OSError as error:
        raise OutputError(f"{folder}: cannot be removed: {error.strerror or error}") from error


def _is_journal(run: Path) -> bool:
    try:
        data = json.loads(run.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and "journal" in data


def _check_same(folder: Path, run: Mapping[str, Any]) -> None:
    try:
        before = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not folder.is_dir():
            return
        names = (entry.name for entry in folder.iterdir() if entry.name != COMBINATIONS)
        others = [name for name in names if not is_temporary(name)]
        if others and not (folder / RUN).exists():  # another rank may have begun meanwhile
            raise BadInput(
                f"{folder}: is not a journal, and holds other files, such as {min(others)}; name a "
                "new or an empty folder with --journal"
            ) from None
        return
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{folder / RUN}: cannot be read ({error}); remove it with its folder, or name another "
            "with --journal"
        ) from error
    changes = [f"{topic} was {was}, is {now}" for topic, was, now in differences(before, run)]
    if changes:
        words = "; ".join(changes[:MOST_DIFFERENCES])
        if len(changes) > MOST_DIFFERENCES:
            words += f"; and {len(changes) - MOST_DIFFERENCES:,} more"
        raise BadInput(
            f"{folder}: is the journal of another evaluation: {words}. Go on with that one, name "
            "another folder with --journal, or begin anew with --fresh"
        )
