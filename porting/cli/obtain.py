"""``porting port --obtain``: sources on disk, else downloads, else synthetic files.

Each network is looked for separately; sources that are left out are named on standard error.
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
from porting.folders import DOWNLOADS, SYNTHETIC
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
    downloads: Path = DOWNLOADS,
    synthetic: Path = SYNTHETIC,
    mirror: str | None = None,
) -> list[Path]:
    """The sources to port, at least one: of ``model``, or where that is None of all networks.

    The latter are all sources in the folder of downloads that fit a network, and sources of the
    networks in :data:`DEFAULTS`.

    Raises:
        BadInput: a file is damaged or has another checksum than recorded, synthetic files cannot
            be made, or no source has the weights ``weights``.
        UnknownModel: no network is called ``model``.
    """
    from porting.judges.reference.synthesize import find_synthetic, synthesize

    all_files = ("checkpoint", "float", "dynamic")
    networks = {tensorflow_form(model): all_files} if model else DEFAULTS
    on_disk = _models_by_source(downloads)
    places = [place for place, models in on_disk.items() if not model or models & networks.keys()]
    for name, files in networks.items():
        if not any(name in models for models in on_disk.values()):
            try:
                if (entry := find_published(name)) is None:
                    raise DownloadFailed(f"nobody has published {name}")
                with progress_bar(f"downloading {entry.name}") as progress:
                    places.append(fetch(entry, downloads, mirror, progress).path)
            except DownloadFailed as error:
                say(f"{error}; synthetic files of {name} are ported instead")
                network_files = find_synthetic(synthetic / name)
                if network_files is None:
                    with progress_bar(f"synthesizing {name}"):
                        network_files = synthesize(name, synthetic / name)
                places += [getattr(network_files, file) for file in files]
    with_weights = []
    for place in places:
        try:
            choose_weight_set(open_source(place), weights)
            with_weights.append(place)
        except WeightSetError as error:
            say(f"{error}; left out")
    if not with_weights:
        raise BadInput(f"nothing to port: no source has {weights} weights")
    return with_weights


def _models_by_source(folder: Path) -> dict[Path, set[str]]:
    """The networks that each source in a folder fits; sources that fit none are left out."""
    by_source = {}
    for place in search_folders([folder]):
        if place.is_file():
            check_recorded(place)
        try:
            source = open_source(place)
        except UnsupportedSource as error:
            say(f"{error}; left out")
            continue
        models: set[str] = set()
        for weight_set in source.weight_sets:
            # Where the averages are incomplete, the raw weights can still be ported.
            with contextlib.suppress(WeightSetError):
                models |= {match.model for match in candidates(source, weight_set)}
        if models:
            by_source[place] = models
        else:
            say(f"{place}: no known network fits it; left out")
    return by_source
