"""Which reader a path needs, decided by what the file holds."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from porting.errors import BadSource
from porting.sources.archive import is_archive
from porting.sources.checkpoint import looks_like_checkpoint, open_checkpoint
from porting.sources.graphdef import looks_like_graph, looks_like_saved_model
from porting.sources.keras import KerasSource, looks_like_keras
from porting.sources.shipped import open_archive
from porting.sources.source import Source
from porting.sources.tflite import TFLiteSource, looks_like_tflite

_SHOWN = 200  # characters of a path that is too long

_KNOWN = {
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
    b"PK\x03\x04": "a zip archive",
    b"%PDF": "a PDF document",
    b"node {": "a graph as text (.pbtxt), of which only the binary form (.pb) is read",
    b"saved_model_schema_version": "a SavedModel as text, of which only the binary form is read",
}
"""First bytes of files that people hand in by mistake, to name them."""


def open_source(path: str | PathLike[str]) -> Source:
    """Open a TensorFlow-side model: a TFLite file, a checkpoint, a graph or a file of Keras.

    A checkpoint may be given as its prefix, its ``.index`` file, a file of format
    V1 or a directory with a ``checkpoint`` file in it; a graph as a frozen ``.pb``, or as
    a SavedModel's directory or its ``saved_model.pb``. All of these may lie in the ``.tgz`` that
    Google ships; :mod:`~porting.sources.shipped` says which is opened of several.

    Raises:
        BadSource: the path does not exist, or holds none of these, or is damaged.
        UnsupportedSource: it is sound but cannot be read.
    """
    place = Path(path)
    if "\0" in str(place):
        raise BadSource(f"{str(place)!r}: no path: it has a null character in it")
    try:
        return _opened(place)
    except OSError as error:
        # A name too long, or links in a circle: no reader gets as far as the file.
        shown = f"{str(place)[:_SHOWN]}..." if len(str(place)) > _SHOWN else place
        raise BadSource(f"{shown}: cannot be read: {error.strerror or error}") from error


def _opened(place: Path) -> Source:
    if looks_like_tflite(place):
        return TFLiteSource(place)
    if looks_like_keras(place):
        return KerasSource(place)
    if looks_like_checkpoint(place):
        return open_checkpoint(place)
    if is_archive(place):
        return open_archive(place)
    if place.is_dir() and len(files := sorted(place.glob("*.tflite"))) == 1:
        return TFLiteSource(files[0])
    if (graph := _opened_graph(place)) is not None:
        return graph
    raise BadSource(
        f"{place}: {_found(place)}; expected a TFLite file, a TensorFlow checkpoint "
        "(a prefix, an .index file, a file of format V1, a directory with a 'checkpoint' file, "
        "a .tgz), a SavedModel's directory, a frozen graph (.pb) or a file of Keras (.h5, .keras)"
    )


def _opened_graph(place: Path) -> Source | None:
    from porting.sources.graphdef.reader import FrozenGraphSource, SavedModelSource

    if looks_like_saved_model(place):
        return SavedModelSource(place, place if place.is_dir() else place.parent)
    files = sorted(place.glob("*.pb")) if place.is_dir() else [place]
    return FrozenGraphSource(files[0]) if len(files) == 1 and looks_like_graph(files[0]) else None


def claims_to_be_a_source(path: Path) -> bool:
    """Whether a path looks like a source, sound or damaged, by its content or its name."""
    return (
        looks_like_tflite(path)
        or looks_like_keras(path)
        or looks_like_checkpoint(path)
        or is_archive(path)
        or looks_like_saved_model(path)
        or looks_like_graph(path)
        or path.suffix == ".tflite"
        or (path.is_dir() and any(path.glob("*.tflite")))
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
