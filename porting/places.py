"""Folders of our own that stand for a file of the user's: an archive, unpacked.

A user knows the archive; the folder is gone when its message is read. So
messages and reports name a place as :func:`as_known` has it.
"""

from __future__ import annotations

from pathlib import Path

_STAND_FOR: dict[str, Path] = {}


def stands_for(folder: Path, archive: Path) -> None:
    """From now on, a place in ``folder`` is named as one in ``archive``."""
    _STAND_FOR[str(folder)] = archive


def forget(folder: Path) -> None:
    """The folder is gone."""
    _STAND_FOR.pop(str(folder), None)


def as_known(text: str) -> str:
    """A text with the user's names in it: ``archive, member`` for a place in a folder."""
    for folder, archive in list(_STAND_FOR.items()):
        text = text.replace(f"{folder}/", f"{archive}, ").replace(folder, str(archive))
    return text


def origin(path: Path) -> Path:
    """The user's file that a path lies in: the archive, or the path itself."""
    for folder, archive in list(_STAND_FOR.items()):
        if path.is_relative_to(folder):
            return archive
    return path
