"""A ``.keras`` file: a zip archive with the configuration, and the weights as HDF5.

Format: ``save_model`` in Keras ``saving/saving_lib.py``. Keras stores both
members uncompressed; an archive that was packed anew may be deflated.
"""

from __future__ import annotations

import shutil
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from porting.errors import BadSource, UnsupportedSource
from porting.sources.keras.listing import MOST_TEXT

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
MAGIC = b"PK\x03\x04"
_LARGEST_DIRECTORY = 1 << 20
"""Bytes; zipfile takes about ten times as much memory, and Keras's has three entries."""
_EXPANSION = 20
"""Times its own size that an archive may unpack to: float weights shrink by a tenth."""
_DAMAGE = (zipfile.BadZipFile, OSError, ValueError, NotImplementedError)
"""What zipfile raises on archives that it cannot read."""
_END, _LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x07"
_END_SIZE, _LONGEST_COMMENT = 22, 0xFFFF


def is_keras_archive(path: Path) -> bool:
    """Whether a zip archive is Keras's, by its members, or by its name where it is damaged."""
    try:
        with _opened(path) as archive:
            return {CONFIG, WEIGHTS} <= set(archive.namelist())
    except (BadSource, UnsupportedSource):
        return path.suffix == ".keras"


def unpack_keras(path: Path) -> tuple[str, Path]:
    """The configuration's text, and the weights in a new temporary folder of their own.

    Raises:
        BadSource: the archive is damaged, lacks a member, has one that leads
            outside, or unpacks to more than any model takes.
        UnsupportedSource: it is encrypted, or packed unusually.
    """
    folder = Path(tempfile.mkdtemp(prefix="porting-"))
    try:
        with _opened(path) as archive:
            for member in archive.infolist():
                _check(member, path)
            with archive.open(CONFIG) as stream:
                config = stream.read()
            with archive.open(WEIGHTS) as stream, (folder / WEIGHTS).open("wb") as out:
                shutil.copyfileobj(stream, out)
        return config.decode("utf-8"), folder / WEIGHTS
    except KeyError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise BadSource(f"{path}: not a Keras archive: {error.args[0]}") from error
    except (*_DAMAGE, EOFError, zlib.error) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise BadSource(f"{path}: not a sound zip archive: {error}") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        _check_directory(path)
        return zipfile.ZipFile(path)
    except _DAMAGE as error:
        raise BadSource(f"{path}: not a sound zip archive: {error}") from error


def _check_directory(path: Path) -> None:
    """zipfile reads the directory whole, so its size is looked at first."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, size - _END_SIZE - _LONGEST_COMMENT - 20))
        tail = stream.read()
    at = tail.rfind(_END)
    if at < 0 or at + _END_SIZE > len(tail):
        raise BadSource(f"{path}: not a sound zip archive: cut short, its directory is missing")
    (directory,) = struct.unpack_from("<I", tail, at + 12)
    if directory > _LARGEST_DIRECTORY or tail[max(0, at - 20) : at].startswith(_LOCATOR_64):
        raise UnsupportedSource(
            f"{path}: a zip archive with more members or bytes than a mobile network's has"
        )


def _check(member: zipfile.ZipInfo, path: Path) -> None:
    name = PurePosixPath(member.filename)
    if name.is_absolute() or ".." in name.parts:
        raise BadSource(f"{path}: its member {member.filename!r} leads out of the archive")
    if member.filename not in (CONFIG, WEIGHTS):
        return
    if member.flag_bits & 1 or member.compress_type not in (
        zipfile.ZIP_STORED,
        zipfile.ZIP_DEFLATED,
    ):
        raise UnsupportedSource(
            f"{path}: its member {member.filename} is encrypted or neither stored nor deflated"
        )
    most = MOST_TEXT if member.filename == CONFIG else path.stat().st_size * _EXPANSION
    if member.file_size > most:
        raise BadSource(
            f"{path}: its member {member.filename} unpacks to {member.file_size:,} bytes; "
            f"up to {most:,} are read"
        )
