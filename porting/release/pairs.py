"""Which ported file came from which source on disk: what ``make parity`` compares.

Run as ``python -m porting.release.pairs PORTED FOLDER...``; prints source and
ported file, a tab between them, one pair a line. The card beside a ported file
has its source's checksum, and by that the source is found: where the card says
that it lay, or in the folders. Exits with 2 where one is not found, after
printing the others.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from porting.catalog.fetch import NO_SOURCES
from porting.errors import BadInput
from porting.exits import end_with, say
from porting.sources import open_source

_DEPTH = 3
_PASSED = (".pth", *NO_SOURCES)  # each would be opened, to be refused


def pairs(ported: Path, folders: Iterable[Path]) -> Iterator[tuple[Path | None, Path]]:
    """Each ported file in a folder with its source, None where that lies nowhere."""
    cards = {weights: _source_of(weights) for weights in sorted(ported.glob("*.pth"))}
    wanted = {digest for digest, _ in cards.values()}
    found = _sources((hint for _, hint in cards.values() if hint), wanted, depth=0)
    # What lies in the folders by purpose goes before what a card remembers.
    found |= _sources(folders, wanted, _DEPTH)
    for weights, (digest, _) in cards.items():
        yield found.get(digest), weights


def _card(weights: Path) -> dict[str, Any]:
    """The card beside a ported file; nothing where there is none that can be read."""
    try:
        return dict(json.loads(weights.with_suffix(".json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _source_of(weights: Path) -> tuple[str, Path | None]:
    """Checksum of the source, and where it lay, as the card has them."""
    try:
        card = _card(weights)
        lay_at = card["source"].get("lay_at")
        return str(card["source"]["sha256"]), Path(lay_at) if isinstance(lay_at, str) else None
    except (KeyError, TypeError, AttributeError):
        return "", None


def _sources(folders: Iterable[Path], digests: set[str], depth: int) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in folders:
        for place in _places(folder, depth):
            try:
                digest = open_source(place).sha256
            except BadInput:
                continue
            if digest in digests:
                found.setdefault(digest, place)
    return found


def _places(folder: Path, depth: int) -> Iterator[Path]:
    """What may be a source: a file itself, or files and folders some levels down."""
    yield folder
    if folder.is_dir() and depth:
        for place in sorted(folder.iterdir()):
            if not place.name.startswith(".") and place.suffix not in _PASSED:
                yield from _places(place, depth - 1)


def main() -> None:
    """Print the pairs.

    Raises:
        BadInput: nothing was ported, or the source of a ported file is not found.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ported", type=Path)
    parser.add_argument("folders", type=Path, nargs="*")
    asked = parser.parse_args()
    found = list(pairs(asked.ported, asked.folders))
    if not found:
        raise BadInput(f"{asked.ported}: no ported file in it; port something first")
    lost = 0
    for source, weights in found:
        if (built_by := _card(weights).get("onto")) is not None:
            say(f"{weights}: left out: porting diff SOURCE {weights} --onto MODULE ({built_by})")
        elif source is None:
            lost += 1
            say(f"{weights}: its source is neither where it lay nor in the folders given")
        else:
            print(f"{source}\t{weights}")
    if lost:
        raise BadInput(
            f"{lost} of {len(found)} ported files cannot be compared: name their source "
            "(make parity SOURCE=file), or remove them"
        )


if __name__ == "__main__":
    end_with(main)
