"""Images as files in folders."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from porting.accuracy.datasets.by_name import is_image
from porting.errors import BadExample, BadInput


@dataclass(frozen=True)
class FolderStore:
    """Files below a folder, named by their path relative to it."""

    root: Path
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    def name(self, number: int) -> str:
        return self.names[number]

    def size(self, number: int) -> int:
        try:
            return (self.root / self.names[number]).stat().st_size
        except OSError:
            return -1

    def read(self, number: int) -> bytes:
        path = self.root / self.names[number]
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
                raise BadExample(f"{path}: is not a file that can be read as often as needed")
            return path.read_bytes()
        except OSError as error:
            raise BadExample(f"{path}: cannot be read: {error.strerror}") from error


@dataclass(frozen=True)
class Listing:
    """What lies in a folder and those below: images in sorted order, and other files."""

    images: tuple[str, ...]
    others: tuple[str, ...]


def entries(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the folders, hidden ones left out, and of the files in a folder, sorted.

    Raises:
        BadInput: it cannot be listed.
    """
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(folder) as found:
            for entry in found:
                (folders if entry.is_dir() else files).append(entry.name)
    except OSError as error:
        raise BadInput(f"{folder}: cannot be listed: {error.strerror}") from error
    return sorted(name for name in folders if not name.startswith(".")), sorted(files)


def listing(root: Path) -> Listing:
    """All files below a folder.

    Raises:
        BadInput: a folder cannot be listed, or is a link to one that it lies in.
    """
    images: list[str] = []
    others: list[str] = []
    pending: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while pending:
        below, above = pending.pop()
        folders, files = entries(root / below)
        status = (root / below).stat()
        here = (status.st_dev, status.st_ino)
        if here in above:
            raise BadInput(f"{root / below}: is a link to a folder that it lies in; take it away")
        pending += [(f"{below}{name}/", above | {here}) for name in folders]
        for name in files:
            (images if is_image(name) else others).append(below + name)
    return Listing(tuple(sorted(images)), tuple(sorted(others)))
