"""Sources in folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from porting.catalog.at_hand import lies_there
from porting.catalog.fetch import NO_SOURCES
from porting.errors import BadInput, BadSource
from porting.folders import DOWNLOADED, SYNTHETIC
from porting.sources import claims_to_be_a_source
from porting.sources.checkpoint import locate, looks_like_checkpoint, looks_like_v1
from porting.sources.graphdef import looks_like_saved_model

_DEPTH = 3


def search_folders(folders: Iterable[Path], newest_alone: bool = True) -> list[Path]:
    """What claims to be a source in folders, each once; the usual folders may be absent.

    Raises:
        BadInput: another folder is absent, or one cannot be read.
    """
    found = {}
    for folder in folders:
        if lies_there(folder):
            try:
                places = list(sources_in(folder, newest_alone=newest_alone))
            except OSError as error:
                raise BadInput(f"{folder}: cannot be read: {error.strerror}") from error
            found.update({place.resolve(): place for place in places})
        elif folder not in (DOWNLOADED, SYNTHETIC):
            raise BadInput(f"{folder}: no such folder")
    return list(found.values())


def sources_in(folder: Path, depth: int = _DEPTH, newest_alone: bool = True) -> Iterator[Path]:
    """What claims to be a source in a folder and those below, or is the file named itself.

    Of a folder with a ``checkpoint`` file it is the newest checkpoint, unless all are asked for.
    """
    if not folder.is_dir():
        yield folder
        return
    if looks_like_saved_model(folder):
        yield folder  # and not its variables by themselves
        return
    state = folder / "checkpoint"
    newest = newest_alone and state.is_file() and not looks_like_v1(state)
    if newest:
        yield folder
    prefixes = set()
    for place in sorted(folder.iterdir()):
        if place.name.startswith(".") or place.suffix in NO_SOURCES:
            continue
        if place.is_dir():
            yield from sources_in(place, depth - 1, newest_alone) if depth else ()
        elif looks_like_checkpoint(place):
            try:
                prefix = locate(place).prefix  # its several files are one source
            except BadSource:
                prefix = place  # damage is for the port to tell
            if not newest and prefix not in prefixes:
                prefixes.add(prefix)
                yield prefix
        elif claims_to_be_a_source(place):
            yield place
