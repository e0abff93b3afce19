"""What ``make port-mnasnet`` ports: files at hand, else downloads, else rehearsals.

Run as ``python -m porting.catalog.supply``; prints one source a line.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from genmobilenet.errors import GenMobileNetError
from genmobilenet.zoo import tensorflow_form
from porting.catalog.fetch import DownloadFailed, fetch
from porting.catalog.registry import find_published
from porting.errors import BadInput, PortingError
from porting.mapping.recognise import candidates
from porting.mapping.rules import choose_weight_set
from porting.reports.progress import progress_bar
from porting.sources import open_source

DEFAULTS = {"tf_mnasnet_100": "float", "tf_semnasnet_100": "checkpoint"}
"""Networks that are ported where none is named -> which file of their rehearsal."""

_HIDDEN = (".part", ".etag", ".json")


def lying_in(folder: Path, model: str | None, weights: str | None) -> list[Path]:
    """Sources in a folder that some network fits (``model``, where one is named)."""
    if not folder.is_dir():
        return []
    places = [p for p in sorted(folder.iterdir()) if p.suffix not in _HIDDEN]
    return [place for place in places if _fits(place, model, weights)]


def _fits(place: Path, model: str | None, weights: str | None) -> bool:
    try:
        source = open_source(place)
        found = candidates(source, choose_weight_set(source, weights))
        return any(model in (None, match.model) for match in found)
    except BadInput:
        return False


def supply(
    folder: Path, rehearsals: Path, model: str | None, weights: str | None, mirror: str | None
) -> list[Path]:
    """The sources to port.

    Raises:
        PortingError: a download is not what it was, or a rehearsal cannot be made.
        UnknownModel: no network has the name asked for.
    """
    wanted = {tensorflow_form(model): None} if model else DEFAULTS
    lying = lying_in(folder, next(iter(wanted)) if model else None, weights)
    if lying:
        return lying
    try:
        found = [_fetched(name, folder, mirror) for name in wanted]
    except DownloadFailed as error:
        sys.stderr.write(f"porting: {error}; rehearsals are ported instead\n")
        found = [p for name, which in wanted.items() for p in _rehearsed(rehearsals, name, which)]
    return [place for place in found if _fits(place, None, weights)]


def _fetched(model: str, folder: Path, mirror: str | None) -> Path:
    entry = find_published(model)
    if entry is None:
        raise DownloadFailed(f"nobody has published {model}")
    with progress_bar(f"downloading {entry.name}") as progress:
        return fetch(entry, folder, mirror, progress).path


def _rehearsed(folder: Path, model: str, which: str | None) -> list[Path]:
    from porting.judges.reference.rehearse import made_in, rehearse

    out = folder / model
    made = made_in(out) or rehearse(model, out)
    places = {"checkpoint": made.checkpoint, "float": made.float, "dynamic": made.dynamic}
    return [places[which]] if which else list(places.values())


def main() -> None:
    """Print the sources to port."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("checkpoints/google"))
    parser.add_argument("--rehearsals", type=Path, default=Path("checkpoints/rehearsal"))
    parser.add_argument("--model")
    parser.add_argument("--weights")
    parser.add_argument("--mirror")
    asked = parser.parse_args()
    try:
        found = supply(asked.folder, asked.rehearsals, asked.model, asked.weights, asked.mirror)
    except (PortingError, GenMobileNetError) as error:
        sys.stderr.write(f"porting: {error}\n")
        sys.exit(2)
    print(*found, sep="\n")


if __name__ == "__main__":
    main()
