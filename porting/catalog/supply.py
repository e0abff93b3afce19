"""What ``make port-mnasnet`` ports: files at hand, else downloads, else rehearsals.

Run as ``python -m porting.catalog.supply``; prints one source a line. Each
network that is wanted is looked for by itself, and whatever is left out is
named on standard error.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from genmobilenet.zoo import tensorflow_form
from porting.catalog.fetch import NO_SOURCES, DownloadFailed, fetch
from porting.catalog.lock import check_recorded
from porting.catalog.registry import find_published
from porting.errors import BadInput, UnsupportedSource, WeightSetError
from porting.exits import end_with, say
from porting.folders import DOWNLOADED, REHEARSED
from porting.mapping.recognise import candidates
from porting.mapping.rules import choose_weight_set
from porting.reports.progress import progress_bar
from porting.sources import Source, claims_to_be_a_source, open_source

DEFAULTS = {"tf_mnasnet_100": "float", "tf_semnasnet_100": "checkpoint"}
"""Networks that are ported where none is named -> which file of their rehearsal."""


@dataclass(frozen=True)
class Lying:
    """A source in a folder, and the networks that it fits."""

    place: Path
    models: frozenset[str]


def lying_in(folder: Path) -> Iterator[Lying]:
    """Sources in a folder; those that no network fits are named and left out.

    Raises:
        BadSource: one is damaged.
        ChecksumMismatch: one is not what was first seen under its name.
    """
    seen = set()
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        if place.suffix in NO_SOURCES or not claims_to_be_a_source(place):
            continue
        if place.is_file():
            check_recorded(place)
        try:
            source = open_source(place)
        except UnsupportedSource as error:
            say(f"{error}; left out")
            continue
        models = _models(source)
        if not models:
            say(f"{place}: no known network fits it; left out")
        elif source.sha256 not in seen:  # a checkpoint lies there by index and shards
            seen.add(source.sha256)
            yield Lying(place, models)


def _models(source: Source) -> frozenset[str]:
    found: set[str] = set()
    for weight_set in source.weight_sets:
        # Averages that are not whole do not keep the raw weights from being ported.
        with contextlib.suppress(WeightSetError):
            found |= {match.model for match in candidates(source, weight_set)}
    return frozenset(found)


def supply(
    folder: Path, rehearsals: Path, model: str | None, weights: str | None, mirror: str | None
) -> list[Path]:
    """The sources to port, at least one.

    Without ``model``, those are all that lie in the folder, and what it takes
    to have the networks of :data:`DEFAULTS`.

    Raises:
        BadInput: a file is damaged or not what it was, a rehearsal cannot be
            made, or nothing has the weights asked for.
        UnknownModel: no network has the name asked for.
    """
    wanted: dict[str, str | None] = {tensorflow_form(model): None} if model else {**DEFAULTS}
    lying = [found for found in lying_in(folder) if not model or found.models & wanted.keys()]
    places = [found.place for found in lying]
    for name, which in wanted.items():
        if not any(name in found.models for found in lying):
            places += _had(name, which, folder, rehearsals, mirror)
    return _with_weights(places, weights)


def _had(
    model: str, which: str | None, folder: Path, rehearsals: Path, mirror: str | None
) -> list[Path]:
    """One network's source downloaded, or rehearsed where that cannot be."""
    try:
        return [_fetched(model, folder, mirror)]
    except DownloadFailed as error:
        say(f"{error}; a rehearsal of {model} is ported instead")
        return _rehearsed(rehearsals, model, which)


def _with_weights(places: Iterable[Path], weights: str | None) -> list[Path]:
    """Those sources that have the weight set asked for; the others are named."""
    having = []
    for place in places:
        try:
            choose_weight_set(open_source(place), weights)
            having.append(place)
        except WeightSetError as error:
            say(f"{error}; left out")
    if not having:
        raise BadInput(f"nothing to port: no source has {weights} weights")
    return having


def _fetched(model: str, folder: Path, mirror: str | None) -> Path:
    entry = find_published(model)
    if entry is None:
        raise DownloadFailed(f"nobody has published {model}")
    with progress_bar(f"downloading {entry.name}") as progress:
        return fetch(entry, folder, mirror, progress).path


def _rehearsed(folder: Path, model: str, which: str | None) -> list[Path]:
    from porting.judges.reference.rehearse import find_rehearsal, rehearse

    out = folder / model
    made = find_rehearsal(out)
    if made is None:
        with progress_bar(f"rehearsing {model}"):
            made = rehearse(model, out)
    places = {"checkpoint": made.checkpoint, "float": made.float, "dynamic": made.dynamic}
    return [places[which]] if which else list(places.values())


def main() -> None:
    """Print the sources to port."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=DOWNLOADED)
    parser.add_argument("--rehearsals", type=Path, default=REHEARSED)
    parser.add_argument("--model")
    parser.add_argument("--weights")
    parser.add_argument("--mirror")
    asked = parser.parse_args()
    found = supply(asked.folder, asked.rehearsals, asked.model, asked.weights, asked.mirror)
    print(*found, sep="\n")


if __name__ == "__main__":
    end_with(main)
