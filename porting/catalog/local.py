"""Sources on this machine: by a published name, recognised by their checksum, or in folders."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from porting.catalog.downloads import NOT_SOURCES, check_first_seen, recorded_checksum
from porting.catalog.published import BY_FILE, CATALOG, CONTRADICTORY, CatalogEntry, near_names
from porting.errors import BadInput, BadSource
from porting.folders import DOWNLOADS, SYNTHETIC
from porting.sha256 import sha256_of
from porting.sources import Source, claims_to_be_a_source, open_source
from porting.sources.checkpoint import locate, looks_like_checkpoint, looks_like_v1
from porting.sources.graphdef import looks_like_saved_model
from porting.sources.tfjs import looks_like_tfjs

_DEPTH = 3


@dataclass(frozen=True)
class OnDisk:
    """How much of a published source is here: ``state`` is ``"yes"``, ``"partial"`` or ``"no"``."""

    state: str
    size: int = 0


def on_disk(entry: CatalogEntry, folder: Path) -> OnDisk:
    """How much of an entry a folder of downloads has, and how many bytes."""
    part = folder / f"{entry.file_name}.part"
    for state, file in (("yes", folder / entry.file_name), ("partial", part)):
        if file.is_file():
            return OnDisk(state, file.stat().st_size)
    return OnDisk("no")


def source_path(path: Path, folder: Path) -> Path:
    """The file of a published source where ``path`` is the name of one; else ``path`` itself.

    What exists at the path goes before any name. The checksum of a published
    file is compared with its record, or recorded.

    Raises:
        BadInput: the published source is not in ``folder``.
        BadSource: nothing exists there, but there are similar names; the message has both.
        ChecksumMismatch: the file is not what was first seen under its name.
    """
    if source_exists(path):
        return path
    entry = CATALOG.get(str(path))
    if entry is None:
        if near := near_names(str(path)):
            try:
                open_source(path)
            except BadSource as error:
                raise BadSource(f"{error}. Published sources: {', '.join(near)}") from error
        return path
    here = on_disk(entry, folder)
    if here.state != "yes":
        part = f" ({here.size:,} bytes of it are)" if here.state == "partial" else ""
        raise BadInput(
            f"{entry.name}: is published, and not in {folder}{part}; download it with "
            f"porting fetch {entry.name}"
        )
    file = folder / entry.file_name
    # A folder that cannot be written to keeps no record; what cannot be read, the reader says.
    with contextlib.suppress(OSError):
        check_first_seen(entry, file)
    return file


def open_published(path: str | PathLike[str], signature: str | None = None) -> Source:
    """Open any source; add what its authors say of its input where it is a published one.

    Weights alone, in a checkpoint or a Keras file, do not say the size of their images.
    ``signature`` is as for :func:`porting.sources.open_source`.

    Raises:
        BadSource: it cannot be read.
        BadInput: it has no signature of that name, or several to choose from.
    """
    source = open_source(path, signature)
    if (entry := published_as(source)) is not None:
        source.documented_as = entry.name if entry.input != CONTRADICTORY else None
        if source.graph is None:
            source.trained_at = entry.size
    return source


def published_as(source: Source) -> CatalogEntry | None:
    """The entry that a source is from, by its file's name and recorded checksum; or None."""
    file = source.user_file
    entry = BY_FILE.get(file.name)
    if entry is None or not file.is_file():
        return None
    # Without a readable record nothing says that it is what was downloaded.
    with contextlib.suppress(BadInput):
        return entry if recorded_checksum(file) == sha256_of(file) else None
    return None


def source_exists(path: Path) -> bool:
    """Whether a path is of something on disk, or the prefix of a checkpoint."""
    try:
        return path.exists() or looks_like_checkpoint(path)
    except (OSError, ValueError):
        return True  # not a possible path; the reader says why


def search_folders(folders: Iterable[Path], newest_alone: bool = True) -> list[Path]:
    """What looks like a source in folders, each once; the usual folders may be absent.

    Raises:
        BadInput: another folder is absent, or one cannot be read.
    """
    places = {}
    for folder in folders:
        if source_exists(folder):
            try:
                for place in sources_in(folder, newest_alone=newest_alone):
                    places[place.resolve()] = place
            except OSError as error:
                raise BadInput(f"{folder}: cannot be read: {error.strerror}") from error
        elif folder not in (DOWNLOADS, SYNTHETIC):
            raise BadInput(f"{folder}: no such folder")
    return list(places.values())


def sources_in(folder: Path, depth: int = _DEPTH, newest_alone: bool = True) -> Iterator[Path]:
    """What looks like a source in a folder and those below; a file is returned as it is.

    Of a folder with a ``checkpoint`` file only the newest checkpoint, unless all are asked for.
    """
    if not folder.is_dir():
        yield folder
        return
    if looks_like_saved_model(folder):
        yield folder  # and not its variables by themselves
        return
    if looks_like_tfjs(folder):
        yield folder
    state = folder / "checkpoint"
    newest = newest_alone and state.is_file() and not looks_like_v1(state)
    if newest:
        yield folder
    prefixes = set()
    for place in sorted(folder.iterdir()):
        if place.name.startswith(".") or place.suffix in NOT_SOURCES:
            continue
        if place.is_dir():
            yield from sources_in(place, depth - 1, newest_alone) if depth else ()
        elif looks_like_checkpoint(place):
            try:
                prefix = locate(place).prefix  # its several files are one source
            except BadSource:
                prefix = place  # the port reports the damage
            if not newest and prefix not in prefixes:
                prefixes.add(prefix)
                yield prefix
        elif claims_to_be_a_source(place):
            yield place
