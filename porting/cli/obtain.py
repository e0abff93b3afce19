"""Sources where none is named: those on disk, else downloads, else synthetic files.

Each network is looked for by itself, and whatever is left out is named on standard error.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from genmobilenet.zoo import tensorflow_form
from porting.catalog.downloads import DownloadFailed, check_recorded, fetch
from porting.catalog.local import search_folders
from porting.catalog.published import find_published
from porting.errors import BadInput, UnsupportedSource, WeightSetError
from porting.exits import say
from porting.folders import DOWNLOADED, SYNTHETIC
from porting.mapping.recognise import candidates
from porting.mapping.rules import choose_weight_set
from porting.reports.terminal import progress_bar
from porting.sources import open_source

DEFAULTS = {"tf_mnasnet_100": ("float",), "tf_semnasnet_100": ("checkpoint",)}
"""Networks that are ported where none is named -> which of their synthetic files."""


def obtain_sources(
    model: str | None,
    weights: str | None,
    *,
    downloads: Path = DOWNLOADED,
    synthetic: Path = SYNTHETIC,
    mirror: str | None = None,
) -> list[Path]:
    """The sources to port, at least one.

    Without ``model``, those are all in the folder of downloads that fit a network, and what it
    takes to have the networks of :data:`DEFAULTS`.

    Raises:
        BadInput: a file is damaged or not what it was, synthetic files cannot be made, or nothing
            has the weights asked for.
        UnknownModel: no network has the name asked for.
    """
    all_files = ("checkpoint", "float", "dynamic")
    wanted = {tensorflow_form(model): all_files} if model else DEFAULTS
    on_disk = _fitting(downloads)
    places = [place for place, fits in on_disk.items() if not model or fits & wanted.keys()]
    for name, files in wanted.items():
        if not any(name in fits for fits in on_disk.values()):
            try:
                if (entry := find_published(name)) is None:
                    raise DownloadFailed(f"nobody has published {name}")
                with progress_bar(f"downloading {entry.name}") as progress:
                    places.append(fetch(entry, downloads, mirror, progress).path)
            except DownloadFailed as error:
                say(f"{error}; synthetic files of {name} are ported instead")
                places += _synthetic(synthetic / name, name, files)
    chosen = [place for place in places if _has_weights(place, weights)]
    if not chosen:
        raise BadInput(f"nothing to port: no source has {weights} weights")
    return chosen


def _fitting(folder: Path) -> dict[Path, set[str]]:
    """Sources in a folder, with the networks that each fits; the others are named."""
    found = {}
    for place in search_folders([folder]):
        if place.is_file():
            check_recorded(place)
        try:
            source = open_source(place)
        except UnsupportedSource as error:
            say(f"{error}; left out")
            continue
        fits: set[str] = set()
        for weight_set in source.weight_sets:
            # Averages that are not whole do not keep the raw weights from being ported.
            with contextlib.suppress(WeightSetError):
                fits |= {match.model for match in candidates(source, weight_set)}
        if fits:
            found[place] = fits
        else:
            say(f"{place}: no known network fits it; left out")
    return found


def _has_weights(place: Path, weights: str | None) -> bool:
    try:
        choose_weight_set(open_source(place), weights)
    except WeightSetError as error:
        say(f"{error}; left out")
        return False
    return True


def _synthetic(folder: Path, model: str, files: tuple[str, ...]) -> list[Path]:
    from porting.judges.reference.synthesize import find_synthetic, synthesize

    network_files = find_synthetic(folder)
    if network_files is None:
        with progress_bar(f"synthesizing {model}"):
            network_files = synthesize(model, folder)
    return [getattr(network_files, file) for file in files]
