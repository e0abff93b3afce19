"""Which ported file came from which source on disk: what ``make parity`` compares.

Run as ``python -m porting.release.pairs PORTED FOLDER...``; prints source and
ported file, a tab between them, one pair a line. The card beside a ported file
has its source's checksum, and by that the source is found, wherever it lies.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from porting.errors import BadInput
from porting.sources import open_source

_DEPTH = 3


def pairs(ported: Path, folders: Iterable[Path]) -> Iterator[tuple[Path | None, Path]]:
    """Each ported file in a folder with its source, None where that lies nowhere."""
    wanted = {weights: _source_of(weights) for weights in sorted(ported.glob("*.pth"))}
    found = _sources(folders, set(wanted.values()))
    for weights, digest in wanted.items():
        yield found.get(digest), weights


def _source_of(weights: Path) -> str:
    try:
        card = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
        return str(card["source"]["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _sources(folders: Iterable[Path], digests: set[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in folders:
        for place in _places(folder):
            try:
                digest = open_source(place).sha256
            except BadInput:
                continue
            if digest in digests:
                found.setdefault(digest, place)
    return found


def _places(folder: Path, depth: int = _DEPTH) -> Iterator[Path]:
    """What may be a source: a file itself, or files and folders some levels down."""
    yield folder
    if folder.is_dir() and depth:
        for place in sorted(folder.iterdir()):
            if not place.name.startswith(".") and place.suffix not in (".json", ".pth"):
                yield from _places(place, depth - 1)


def main() -> None:
    """Print the pairs; complain of ported files whose source is gone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ported", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    asked = parser.parse_args()
    found = list(pairs(asked.ported, asked.folders))
    if not found:
        sys.stderr.write(f"porting: {asked.ported}: no ported file in it; port something first\n")
        sys.exit(2)
    for source, weights in found:
        if source is None:
            sys.stderr.write(f"porting: {weights}: its source lies in none of the folders given\n")
        else:
            print(f"{source}\t{weights}")


if __name__ == "__main__":
    main()
