"""Published sources on this machine: found by their name, and known again by their file."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from porting.catalog.entry import MEASURED, CatalogEntry
from porting.catalog.lock import check_first_seen, recorded_checksum
from porting.catalog.registry import BY_FILE, CATALOG, near_names
from porting.errors import BadInput, BadSource
from porting.places import origin
from porting.sha256 import sha256_of
from porting.sources import Source, open_source
from porting.sources.checkpoint import looks_like_checkpoint


@dataclass(frozen=True)
class OnDisk:
    """What is here of a published source: ``state`` is ``"yes"``, ``"partial"`` or ``"no"``."""

    state: str
    size: int = 0


def on_disk(entry: CatalogEntry, folder: Path) -> OnDisk:
    """What a folder of downloads has of an entry, and how many bytes."""
    part = folder / f"{entry.file_name}.part"
    for state, file in (("yes", folder / entry.file_name), ("partial", part)):
        if file.is_file():
            return OnDisk(state, file.stat().st_size)
    return OnDisk("no")


def source_path(path: Path, folder: Path) -> Path:
    """The file of a published source where ``path`` is the name of one; else ``path`` itself.

    What lies at the path goes before any name. A file that is asked for by name
    is held to its recorded checksum, or has it recorded.

    Raises:
        BadInput: the published source is not in ``folder``.
        BadSource: nothing lies there, and names come near; the message has both.
        ChecksumMismatch: the file is not what was first seen under its name.
    """
    if lies_there(path):
        return path
    entry = CATALOG.get(str(path))
    if entry is not None:
        return _file_of(entry, folder)
    if near := near_names(str(path)):
        try:
            open_source(path)
        except BadSource as error:
            raise BadSource(f"{error}. Published sources: {', '.join(near)}") from error
    return path


def open_published(path: str | PathLike[str]) -> Source:
    """Open any source; one known to be published learns what its authors say of its input.

    Weights alone, in a checkpoint or a file of Keras, do not say the size of their images.

    Raises:
        BadSource: it cannot be read.
    """
    source = open_source(path)
    if (entry := published_as(source)) is not None:
        source.documented_as = entry.name if entry.input != MEASURED else None
        if source.graph is None:
            source.trained_at = entry.size
    return source


def published_as(source: Source) -> CatalogEntry | None:
    """The entry whose file a source lies in, by its name and its recorded checksum; or None."""
    file = origin(source.path)
    entry = BY_FILE.get(file.name)
    if entry is None or not file.is_file():
        return None
    # Without a record that can be read nothing says that it is what was downloaded.
    with contextlib.suppress(BadInput):
        return entry if recorded_checksum(file) == sha256_of(file) else None
    return None


def lies_there(path: Path) -> bool:
    """Whether a path is of something on disk, or the prefix of a checkpoint."""
    try:
        return path.exists() or looks_like_checkpoint(path)
    except (OSError, ValueError):
        return True  # no path at all; the reader says why


def _file_of(entry: CatalogEntry, folder: Path) -> Path:
    file, here = folder / entry.file_name, on_disk(entry, folder)
    if here.state != "yes":
        some = f" ({here.size:,} bytes of it are)" if here.state == "partial" else ""
        raise BadInput(
            f"{entry.name}: is published, and not in {folder}{some}; download it with "
            f"porting fetch {entry.name}"
        )
    # A folder that cannot be written to keeps no record; what cannot be read, the reader says.
    with contextlib.suppress(OSError):
        check_first_seen(entry, file)
    return file
