"""Which reader a path needs, decided by what the file holds."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from porting.errors import BadSource
from porting.sources.checkpoint import looks_like_checkpoint, open_checkpoint
from porting.sources.source import Source
from porting.sources.tflite import TFLiteSource, looks_like_tflite

_KNOWN = {
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"PK\x03\x04": "a zip archive",
    b"%PDF": "a PDF document",
}
"""First bytes of files that people hand in by mistake, to name them."""


def open_source(path: str | PathLike[str]) -> Source:
    """Open a TensorFlow-side model: a TFLite file or a checkpoint.

    A checkpoint may be given as its prefix, its ``.index`` file, a directory
    with a ``checkpoint`` file in it, or the ``.tgz`` that Google ships.

    Raises:
        BadSource: the path does not exist, or holds none of these, or is damaged.
        UnsupportedSource: it is sound but cannot be read.
    """
    place = Path(path)
    if looks_like_tflite(place):
        return TFLiteSource(place)
    if looks_like_checkpoint(place):
        return open_checkpoint(place)
    raise BadSource(
        f"{place}: {_found(place)}; expected a TFLite file or a TensorFlow checkpoint "
        "(a prefix, an .index file, a directory with a 'checkpoint' file, a .tgz)"
    )


def _found(path: Path) -> str:
    if path.is_dir():
        return "a directory without a checkpoint in it"
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
    except FileNotFoundError:
        return "no such file"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not head:
        return "the file is empty"
    known = next((what for start, what in _KNOWN.items() if head.startswith(start)), None)
    return known or f"a file that begins with {head!r}"
