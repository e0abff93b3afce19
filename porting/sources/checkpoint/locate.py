"""From what a user names to the prefix of a checkpoint.

A checkpoint is several files with one prefix. It may be named by the prefix,
by one of the files, by its directory, or by the archive it came in.
"""

from __future__ import annotations

import re
import shutil
import tarfile
import tempfile
import weakref
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from porting.errors import BadSource
from porting.sources.checkpoint.table import FOOTER, MAGIC

_DATA = re.compile(r"(.+)\.data-(\d{5})-of-(\d{5})")
_STATE = re.compile(r'^\s*model_checkpoint_path:\s*"((?:[^"\\]|\\.)*)"', re.MULTILINE)
_STATE_LIMIT = 1 << 20
_ARCHIVES = (".tgz", ".tar.gz", ".tar")
UNPACKED_LIMIT = 8 << 30
"""Most bytes that an archive may unpack to; Google's take under 200 MiB."""


@dataclass
class Location:
    """A checkpoint's prefix; ``folder`` holds what an archive unpacked to."""

    prefix: Path
    folder: Path | None = None


def looks_like_checkpoint(path: Path) -> bool:
    """Whether a path names a checkpoint in one of its forms, by what lies there."""
    if path.is_dir():
        return (path / "checkpoint").is_file() or any(path.glob("*.index"))
    if _index_of(path).is_file() or _DATA.fullmatch(path.name):
        return True
    if not path.is_file():
        return False
    return _ends_like_a_table(path) or path.suffix == ".index" or _is_archive(path)


def locate(path: Path) -> Location:
    """Find the prefix, unpacking an archive into a temporary folder.

    Raises:
        BadSource: there is no checkpoint, or more than one.
    """
    if path.is_dir():
        return Location(_in_directory(path))
    if path.is_file() and _is_archive(path):
        folder = _unpack(path)
        return Location(_in_archive(path, folder), folder)
    if path.suffix == ".index":
        return Location(path.with_suffix(""))
    shard = _DATA.fullmatch(path.name)
    if shard:
        return Location(path.with_name(shard[1]))
    return Location(path)


def _index_of(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".index")


def _ends_like_a_table(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            if path.stat().st_size < FOOTER:
                return False
            stream.seek(-8, 2)
            return int.from_bytes(stream.read(8), "little") == MAGIC
    except OSError:
        return False


def _is_archive(path: Path) -> bool:
    if path.name.endswith(_ARCHIVES):
        return True
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def _in_directory(folder: Path) -> Path:
    state = folder / "checkpoint"
    if state.is_file():
        return _newest(state)
    prefixes = sorted(folder.glob("*.index"))
    if len(prefixes) == 1:
        return prefixes[0].with_suffix("")
    if prefixes:
        names = ", ".join(place.stem for place in prefixes)
        raise BadSource(f"{folder}: holds several checkpoints; name one of {names}")
    raise BadSource(
        f"{folder}: no checkpoint in this directory: neither a file named "
        "'checkpoint' nor an .index file"
    )


def _newest(state: Path) -> Path:
    """The prefix that a ``checkpoint`` file names, relative to its own folder."""
    with state.open("rb") as stream:
        text = stream.read(_STATE_LIMIT).decode("utf-8", errors="replace")
    found = _STATE.search(text)
    if found is None:
        raise BadSource(f"{state}: no line 'model_checkpoint_path: \"...\"' in it")
    prefix = state.parent / found[1]
    if _index_of(prefix).is_file():
        return prefix
    # The name may be of the machine that trained it.
    beside = state.parent / PurePosixPath(found[1]).name
    if _index_of(beside).is_file():
        return beside
    raise BadSource(f"{state}: names {found[1]!r}, but {_index_of(beside)} does not exist")


def _unpack(archive: Path) -> Path:
    """Unpack the files of checkpoints, and nothing else, into a folder of their own."""
    folder = Path(tempfile.mkdtemp(prefix="porting-"))
    try:
        with tarfile.open(archive, "r:*") as tar:
            total = 0
            for member in tar:
                name = PurePosixPath(member.name)
                if not member.isfile() or not _belongs(name):
                    continue
                total += member.size
                if total > UNPACKED_LIMIT:
                    raise BadSource(f"{archive}: unpacks to over {UNPACKED_LIMIT >> 30} GiB")
                _unpack_member(tar, member, folder.joinpath(*name.parts))
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise BadSource(f"{archive}: not a sound archive: {error}") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _belongs(name: PurePosixPath) -> bool:
    if name.is_absolute() or ".." in name.parts:
        return False
    return name.name == "checkpoint" or name.suffix == ".index" or bool(_DATA.fullmatch(name.name))


def _unpack_member(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    stream = tar.extractfile(member)
    if stream is None:
        return
    with stream, target.open("wb") as out:
        shutil.copyfileobj(stream, out)


def _in_archive(archive: Path, folder: Path) -> Path:
    try:
        homes = sorted({place.parent for place in folder.rglob("*.index")})
        if not homes:
            raise BadSource(f"{archive}: no checkpoint in this archive")
        if len(homes) > 1:
            names = ", ".join(str(home.relative_to(folder)) for home in homes)
            raise BadSource(
                f"{archive}: holds checkpoints in several folders: {names}; unpack it and name one"
            )
        return _in_directory(homes[0])
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def removed_with(owner: object, folder: Path) -> None:
    """Remove a folder when ``owner`` is gone, at the latest when the process ends."""
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
