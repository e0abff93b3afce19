"""Archives of models, tar or zip, unpacked into a temporary folder."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import tarfile
import weakref
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from porting.errors import BadInput, BadSource, OutputError
from porting.sources.zip_archive import ZIP_MAGIC, copy_member, open_zip
from porting.temporary import temporary_folder

Display = Callable[[Path], Path]
"""Gives the path that messages call a file by; ``Path`` itself for a file of the user's."""

HEAD = 32
_NAMES = (".tgz", ".tar.gz", ".tar")
_CHUNK = 1 << 20

KERAS_NAMES = (".h5", ".hdf5", ".keras")
"""Endings of Keras's files."""

_MODEL_NAMES = (".tflite", ".pb", ".index", "model.json", *KERAS_NAMES)
"""Endings of the members by which a zip archive is recognised as that of a model."""

_PART_OF_KERAS = "model.weights.h5"
"""The member of a ``.keras`` file, which is a zip archive itself, that is no model alone."""
_EXPANSION, _LEAST_LIMIT = 100, 64 << 20
"""Most times its own size that a zip archive may unpack to, and bytes that are always allowed."""

UNPACKED_LIMIT = 8 << 30
"""Most bytes that an archive may unpack to; Google's take under 200 MiB."""

MOST_MEMBERS = 20_000
"""Most members of an archive: Google's have some twenty."""

_COMPRESSIONS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
"""First bytes of a compressed file -> what opens it."""

_DAMAGE = (
    tarfile.TarError, OSError, ValueError, TypeError, LookupError, OverflowError, EOFError,
    zlib.error, lzma.LZMAError,
)  # fmt: skip
"""What ``tarfile`` and the decompressors raise over a damaged archive."""


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
            names = [name for name in archive.namelist() if name != _PART_OF_KERAS]
            return any(name.endswith(_MODEL_NAMES) for name in names)
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


class _Bounded:
    """The decompressed bytes of an archive, within the limits of what is read of one.

    ``tarfile`` reads the header of a long name at once, however long it says that it is.
    """

    def __init__(self, stream: IO[bytes], file: Path) -> None:
        self._stream, self._file = stream, file
        self._most = min(UNPACKED_LIMIT, max(_EXPANSION * file.stat().st_size, _LEAST_LIMIT))

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _CHUNK:
            raise BadSource(f"{self._file}: a header of it states {size:,} bytes")
        content = self._stream.read(size)
        self._check(self._stream.tell())
        return content

    def seek(self, place: int) -> int:
        self._check(place)
        return self._stream.seek(place)

    def tell(self) -> int:
        return self._stream.tell()

    def _check(self, place: int) -> None:
        if place > self._most:
            raise BadSource(
                f"{self._file}: unpacks to over {self._most >> 20:,} MiB, which no model of a "
                f"file of {self._file.stat().st_size:,} bytes takes"
            )


def _decompressed(file: Path) -> IO[bytes]:
    with file.open("rb") as stream:
        head = stream.read(6)
    for magic, opening in _COMPRESSIONS.items():
        if head.startswith(magic):
            return cast("IO[bytes]", opening(file))
    return file.open("rb")


class UnpackedArchive:
    """Members of the archive ``file`` in a temporary ``folder``, which is removed with this object.

    ``is_member`` says, by name and first :data:`HEAD` bytes, which members to unpack. Links,
    devices, sparse members and names that lead out of the folder are passed over.

    Raises:
        BadSource: the archive is damaged, or unpacks to more than any model takes.
        OutputError: the temporary folder cannot be written to.
    """

    def __init__(self, file: Path, is_member: Callable[[PurePosixPath, bytes], bool]) -> None:
        self.file = file
        self.folder = temporary_folder()
        self.remove = remove_with(self, self.folder)
        try:
            with file.open("rb") as stream:
                is_zip = stream.read(4) == ZIP_MAGIC
            if is_zip:
                self._unpack_zip(is_member)
            else:
                self._unpack(is_member)
        except BaseException:
            self.remove()
            raise

    def _unpack(self, is_member: Callable[[PurePosixPath, bytes], bool]) -> None:
        file = self.file
        count = 0
        try:
            with _decompressed(file) as stream:
                content = _Bounded(stream, file)
                with tarfile.open(fileobj=cast("IO[bytes]", content), mode="r:") as tar:
                    for member in tar:
                        count += 1
                        if count > MOST_MEMBERS:
                            raise BadSource(f"{file}: holds over {MOST_MEMBERS:,} members")
                        name = PurePosixPath(member.name)
                        # macOS adds a "._" file beside each file.
                        outside = name.is_absolute() or ".." in name.parts
                        if outside or name.name.startswith("._"):
                            continue
                        data = None
                        if member.isreg() and not member.issparse():
                            data = tar.extractfile(member)
                        if data is None or not is_member(name, head := data.read(HEAD)):
                            continue
                        with data:
                            self._write(name, head, data)
                # A compressed archive's checksum is at its end, after all that tar reads.
                while content.read(_CHUNK):
                    pass
        except _DAMAGE as error:
            if isinstance(error, tarfile.ReadError) and count == 0 and _is_gzip_of_one_file(file):
                raise BadSource(
                    f"{file}: one file compressed by gzip, and no archive of several; unpack it "
                    "(gunzip), and give what comes out"
                ) from error
            raise BadSource(f"{file}: not a sound archive: {error}") from error

    def _write(self, name: PurePosixPath, head: bytes, data: IO[bytes]) -> None:
        target = self.folder.joinpath(*name.parts)
        chunk = head
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            out = target.open("wb")
        except OSError as error:
            raise self._unwritable(error) from error
        with out:
            while chunk:
                try:
                    out.write(chunk)
                    out.flush()
                except OSError as error:
                    raise self._unwritable(error) from error
                chunk = data.read(_CHUNK)

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self.file}: cannot be unpacked into {self.folder.parent}: "
            f"{error.strerror or error}; TMPDIR names another folder"
        )

    def _unpack_zip(self, is_member: Callable[[PurePosixPath, bytes], bool]) -> None:
        limit = min(UNPACKED_LIMIT, max(_EXPANSION * self.file.stat().st_size, _LEAST_LIMIT))
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
