"""From what a user names to the files of a checkpoint.

A checkpoint is several files with one prefix, or, in format V1, one file or
several numbered ones. It may be named by the prefix, by one of the files, or by
its directory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from porting.errors import BadSource
from porting.sources.checkpoint.slice_tables import ends_like_a_table, looks_like_v1

_DATA = re.compile(r"(.+)\.data-(\d{5})-of-(\d{5})")
_PART = re.compile(r"(.+)-(?:\d{5}|\?{5})-of-(\d{5})")
_STATE = re.compile(r'^\s*model_checkpoint_path:\s*"((?:[^"\\]|\\.)*)"', re.MULTILINE)
_STATE_LIMIT = 1 << 20


@dataclass(frozen=True)
class Located:
    """``prefix`` is what ``tf.train.Saver.restore`` takes; ``tables`` the files of format V1."""

    prefix: Path
    tables: tuple[Path, ...] = ()


def looks_like_checkpoint(path: Path) -> bool:
    """Whether a path names a checkpoint in one of its forms, by what lies there."""
    if path.is_dir():
        return (path / "checkpoint").is_file() or any(_within(path))
    if _index_of(path).is_file() or _DATA.fullmatch(path.name) or _numbered(path):
        return True
    if not path.is_file():
        return False
    return path.suffix == ".index" or ends_like_a_table(path) or looks_like_v1(path)


def locate(path: Path) -> Located:
    """The checkpoint that a path names.

    Raises:
        BadSource: a directory holds no checkpoint, or more than one.
    """
    if path.is_dir():
        return _in_directory(path)
    if path.suffix == ".index":
        return Located(path.with_suffix(""))
    if shard := _DATA.fullmatch(path.name):
        return Located(path.with_name(shard[1]))
    return _at_prefix(path) or Located(path, (path,) if ends_like_a_table(path) else ())


def belongs_to_checkpoint(name: str) -> bool:
    """Whether a file of this name is part of a checkpoint, of format V2 or numbered."""
    return name == "checkpoint" or name.endswith(".index") or bool(_DATA.fullmatch(name))


def _index_of(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".index")


def _at_prefix(prefix: Path) -> Located | None:
    """The checkpoint whose files bear a prefix."""
    if _index_of(prefix).is_file():
        return Located(prefix)
    if numbered := _numbered(prefix):
        return numbered
    return Located(prefix, (prefix,)) if looks_like_v1(prefix) else None


def _numbered(path: Path) -> Located | None:
    """The files ``path-00000-of-00002`` and on, or those that ``path`` is one of."""
    named = _PART.fullmatch(path.name)
    stem = named[1] if named else path.name
    counts = {
        match[2]
        for file in _files_in(path.parent)
        if (match := _PART.fullmatch(file.name)) and match[1] == stem and looks_like_v1(file)
    }
    if named:
        counts &= {named[2]}
    if not counts:
        return None
    if len(counts) > 1:
        raise BadSource(f"{path}: files numbered of {' and of '.join(sorted(counts))}; name one")
    count = counts.pop()
    files = (path.with_name(f"{stem}-{i:05d}-of-{count}") for i in range(int(count)))
    return Located(path.with_name(f"{stem}-?????-of-{count}"), tuple(files))


def _files_in(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _within(folder: Path) -> Iterator[Located]:
    """The checkpoints in a directory, by name."""
    seen = set()
    for file in _files_in(folder):
        found = None
        if file.suffix == ".index":
            found = Located(file.with_suffix(""))
        elif looks_like_v1(file):
            found = _numbered(file) or Located(file, (file,))
        if found is not None and found.prefix not in seen:
            seen.add(found.prefix)
            yield found


def _in_directory(folder: Path) -> Located:
    state = folder / "checkpoint"
    if state.is_file() and not looks_like_v1(state):
        return _newest(state)
    found = list(_within(folder))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(place.prefix.name for place in found)
        raise BadSource(f"{folder}: holds several checkpoints; name one of {names}")
    raise BadSource(
        f"{folder}: no checkpoint in this directory: neither a file named 'checkpoint', "
        "nor an .index file, nor one of format V1"
    )


def _newest(state: Path) -> Located:
    """What a ``checkpoint`` file names, relative to its own folder."""
    with state.open("rb") as stream:
        text = stream.read(_STATE_LIMIT).decode("utf-8", errors="replace")
    found = _STATE.search(text)
    if found is None:
        raise BadSource(f"{state}: no line 'model_checkpoint_path: \"...\"' in it")
    # The name may be of the machine that trained it.
    beside = state.parent / PurePosixPath(found[1]).name
    for prefix in (state.parent / found[1], beside):
        if located := _at_prefix(prefix):
            return located
    raise BadSource(f"{state}: names {found[1]!r}, but {_index_of(beside)} does not exist")
