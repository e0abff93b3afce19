"""Data sets in several files: which belong together, and whether all are there."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from porting.errors import BadInput

OF_N = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})")
"""The name of a shard as TensorFlow counts them."""

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_COUNTED = re.compile(r"(.*?)(\d+)(\D*)")
_VALIDATION = re.compile(r"(^|[^a-z])val(id(ation)?)?([^a-z]|$)")
_MOST = 100_000


def is_pattern(path: Path) -> bool:
    """Whether a path is a brace pattern, and no file of that very name."""
    return _BRACES.search(path.name) is not None and not path.exists()


def expanded(pattern: Path) -> list[Path]:
    """The files that a brace pattern names: ``val-{000000..000006}.tar``, ``{a,b}.tar``.

    Raises:
        BadInput: one does not exist, or the braces are no range and no list.
    """
    pieces = _BRACES.split(pattern.name)
    # Every second piece is what stood between braces.
    choices = [
        _choices(piece, pattern) if place % 2 else [piece] for place, piece in enumerate(pieces)
    ]
    paths = [pattern.with_name("".join(chosen)) for chosen in itertools.product(*choices)]
    if len(set(paths)) < len(paths):
        raise BadInput(f"{pattern}: names a shard twice; expected each once")
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise BadInput(
            f"{missing[0]}: no such file; {len(missing):,} of the {len(paths):,} shards of "
            f"{pattern.name} are missing"
        )
    return paths


def _choices(inside: str, pattern: Path) -> list[str]:
    found = _RANGE.fullmatch(inside)
    if found is None:
        if "," in inside:
            return inside.split(",")
        raise BadInput(f"{pattern}: {{{inside}}}; expected a range such as {{000..123}}, or a list")
    first, last = int(found[1]), int(found[2])
    if not first <= last < first + _MOST:
        raise BadInput(f"{pattern}: {{{inside}}} runs over {last - first + 1:,} shards")
    return [f"{number:0{len(found[1])}d}" for number in range(first, last + 1)]


def one_set(folder: Path, names: Sequence[str]) -> list[str]:
    """The shards of one data set among those of a folder: all, or those for validation.

    Raises:
        BadInput: there are several sets; or some are missing by their own count or numbers.
    """
    stems: dict[str, list[str]] = {}
    for name in sorted(names):
        stems.setdefault(_stem(name), []).append(name)
    chosen = [stem for stem in stems if _VALIDATION.search(stem.lower())] or list(stems)
    if len(chosen) > 1:
        raise BadInput(
            f"{folder}: holds shards of {len(chosen)} data sets, such as {stems[chosen[0]][0]} and "
            f"{stems[chosen[1]][0]}; name those wanted with braces, as in val-{{000..006}}.tar"
        )
    found = stems[chosen[0]]
    _check_complete(folder, found)
    return found


def _stem(name: str) -> str:
    """What the shards of one set have in common."""
    of_n = OF_N.fullmatch(name)
    if of_n:
        return f"{of_n['stem']}-of-{of_n['count']}"
    counted = _COUNTED.fullmatch(name)
    return f"{counted[1]}#{counted[3]}" if counted else name


def _check_complete(folder: Path, names: list[str]) -> None:
    of_n = OF_N.fullmatch(names[0])
    if of_n:
        stem, count = of_n["stem"], int(of_n["count"])
        wanted = [f"{stem}-{number:05d}-of-{count:05d}" for number in range(count)]
    else:
        counted = [found for name in names if (found := _COUNTED.fullmatch(name))]
        numbers = [int(found[2]) for found in counted]
        wanted = names
        if numbers:
            head, digits, tail = counted[0].groups()
            span = range(min(numbers), max(numbers) + 1)
            wanted = [f"{head}{number:0{len(digits)}d}{tail}" for number in span[:_MOST]]
    missing = [name for name in wanted if name not in set(names)]
    if missing:
        raise BadInput(
            f"{folder / missing[0]}: no such file; {len(missing):,} of {len(wanted):,} shards are "
            "missing; name those wanted alone, or with braces as in val-{000..006}.tar"
        )
