"""Archives as Google ships them: what matters of one, unpacked into a temporary folder."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import tempfile
import weakref
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from porting.errors import BadSource
from porting.places import forget, stands_for

Wanted = Callable[[PurePosixPath, bytes], bool]
"""Says of a file, by its name and its first :data:`HEAD` bytes, whether to unpack it."""

HEAD = 32
_NAMES = (".tgz", ".tar.gz", ".tar")
_CHUNK = 1 << 20

UNPACKED_LIMIT = 8 << 30
"""Most bytes that an archive may unpack to; Google's take under 200 MiB."""


def is_archive(path: Path) -> bool:
    """Whether a file is a tar archive, by its name or by gzip's first bytes."""
    if not path.is_file():
        return False
    if path.name.endswith(_NAMES):
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(2) == b"\x1f\x8b"
    except OSError:
        return False


def unpack(archive: Path, wanted: Wanted) -> Path:
    """Unpack the wanted files, and nothing else, into a folder of their own.

    Raises:
        BadSource: the archive is damaged, or unpacks to more than any model takes.
    """
    folder = Path(tempfile.mkdtemp(prefix="porting-"))
    stands_for(folder, archive)
    try:
        _unpack_into(folder, archive, wanted)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        remove(folder)
        raise BadSource(f"{archive}: not a sound archive: {error}") from error
    except BaseException:
        remove(folder)
        raise
    return folder


def remove(folder: Path) -> None:
    """Remove what was unpacked."""
    shutil.rmtree(folder, ignore_errors=True)
    forget(folder)


def _unpack_into(folder: Path, archive: Path, wanted: Wanted) -> None:
    total = 0
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            name = PurePosixPath(member.name)
            # macOS puts a "._" file of its own beside each.
            outside = name.is_absolute() or ".." in name.parts or name.name.startswith("._")
            stream = None if outside or not member.isfile() else tar.extractfile(member)
            if stream is None:
                continue
            head = stream.read(HEAD)
            if not wanted(name, head):
                continue
            total += member.size
            if total > UNPACKED_LIMIT:
                raise BadSource(f"{archive}: unpacks to over {UNPACKED_LIMIT >> 30} GiB")
            target = folder.joinpath(*name.parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with stream, target.open("wb") as out:
                out.write(head)
                shutil.copyfileobj(stream, out)
        _read_to_the_end(tar)


def _read_to_the_end(tar: tarfile.TarFile) -> None:
    """A compressed archive's checksum stands at its end, behind all that tar reads."""
    while tar.fileobj is not None and tar.fileobj.read(_CHUNK):
        pass


def removed_with(owner: object, folder: Path) -> None:
    """Remove a folder when ``owner`` is gone, at the latest when the process ends."""
    weakref.finalize(owner, remove, folder)
