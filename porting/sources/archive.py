"""Archives of models, tar or zip, unpacked into a temporary folder."""

from __future__ import annotations

import gzip
import lzma
import shutil
import tarfile
import tempfile
import weakref
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from porting.errors import BadInput, BadSource
from porting.sources.zip_archive import ZIP_MAGIC, copy_member, open_zip

Display = Callable[[Path], Path]
"""Gives the path that messages call a file by; ``Path`` itself for a file of the user's."""

HEAD = 32
_NAMES = (".tgz", ".tar.gz", ".tar")
_CHUNK = 1 << 20

_MODEL_NAMES = (".tflite", ".pb", ".index", "model.json")
"""Ends of the names by which a zip archive is known to hold a model: many other files are one."""
_EXPANSION, _LEAST_LIMIT = 20, 64 << 20
"""Times its own size that a zip archive may unpack to, and bytes that every one may."""

UNPACKED_LIMIT = 8 << 30
"""Most bytes that an archive may unpack to; Google's take under 200 MiB."""


def is_archive(path: Path) -> bool:
    """Whether a file is a tar archive, by its name or gzip's first bytes, or a zip of a model."""
    if not path.is_file():
        return False
    if path.name.endswith(_NAMES):
        return True
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
        if head != ZIP_MAGIC:
            return head.startswith(b"\x1f\x8b")
        with open_zip(path) as archive:
            return any(name.endswith(_MODEL_NAMES) for name in archive.namelist())
    except (OSError, BadInput):
        return False


def remove_with(owner: object, folder: Path) -> Callable[[], object]:
    """Remove a folder when ``owner`` is gone, at the latest when the process ends.

    Returns a function that removes it at once.
    """
    return weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)


def _is_gzip_of_one_file(file: Path) -> bool:
    """Whether a file is compressed by gzip, and does not begin like a tar archive inside."""
    try:
        with gzip.open(file) as stream:
            head = stream.read(tarfile.BLOCKSIZE)
    except (OSError, EOFError, zlib.error):
        return False
    try:
        tarfile.TarInfo.frombuf(head, tarfile.ENCODING, "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return True
    return False


def _is_zip(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(4) == ZIP_MAGIC


class UnpackedArchive:
    """Members of the archive ``file`` in a temporary ``folder``, which is removed with this object.

    ``is_member`` says, by name and first :data:`HEAD` bytes, which members to unpack.

    Raises:
        BadSource: the archive is damaged, or unpacks to more than any model takes.
    """

    def __init__(self, file: Path, is_member: Callable[[PurePosixPath, bytes], bool]) -> None:
        self.file = file
        self.folder = Path(tempfile.mkdtemp(prefix="porting-"))
        self.remove = remove_with(self, self.folder)
        total = 0
        try:
            if _is_zip(file):
                self._unpack_zip(is_member)
                return
            with tarfile.open(file, "r:*") as tar:
                for member in tar:
                    name = PurePosixPath(member.name)
                    # macOS adds a "._" file of its own beside each.
                    outside = name.is_absolute() or ".." in name.parts or name.name.startswith("._")
                    stream = None if outside or not member.isfile() else tar.extractfile(member)
                    if stream is None or not is_member(name, head := stream.read(HEAD)):
                        continue
                    total += member.size
                    if total > UNPACKED_LIMIT:
                        raise BadSource(f"{file}: unpacks to over {UNPACKED_LIMIT >> 30} GiB")
                    target = self.folder.joinpath(*name.parts)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with stream, target.open("wb") as out:
                        out.write(head)
                        shutil.copyfileobj(stream, out)
                # A compressed archive's checksum is at its end, after all that tar reads.
                while tar.fileobj is not None and tar.fileobj.read(_CHUNK):
                    pass
        except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
            self.remove()
            if isinstance(error, tarfile.ReadError) and total == 0 and _is_gzip_of_one_file(file):
                raise BadSource(
                    f"{file}: one file compressed by gzip, and no archive of several; unpack it "
                    "(gunzip), and give what comes out"
                ) from error
            raise BadSource(f"{file}: not a sound archive: {error}") from error
        except BaseException:
            self.remove()
            raise

    def _unpack_zip(self, is_member: Callable[[PurePosixPath, bytes], bool]) -> None:
        limit = max(_EXPANSION * self.file.stat().st_size, _LEAST_LIMIT)
        with open_zip(self.file) as archive:
            for member in archive.infolist():
                name = PurePosixPath(member.filename)
                # macOS adds a folder of files of its own.
                if member.is_dir() or "__MACOSX" in name.parts or not is_member(name, b""):
                    continue
                target = self.folder.joinpath(*name.parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as out:
                    copy_member(archive, member, out, limit, self.file)
                limit -= member.file_size

    def display(self, path: Path) -> Path:
        """What messages call a file in the folder: ``archive, member``. No such path exists."""
        if not path.is_relative_to(self.folder):
            return path
        member = path.relative_to(self.folder)
        return Path(f"{self.file}, {member}") if member.parts else self.file
