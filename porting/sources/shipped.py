"""Which model of an archive is opened: Google ships several of one network in each.

A checkpoint goes before a TFLite file, as it alone can hold both weight sets,
but where it was trained for quantisation: its float weights are the published
network's only with the rounding that its graph adds, and the TFLite file has
that in its numbers. Where there is neither, it is the SavedModel, then the
frozen graph.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from porting.errors import BadSource
from porting.sources.archive import remove, removed_with, unpack
from porting.sources.checkpoint import (
    CheckpointSource,
    begins_like_v1,
    belongs_to_checkpoint,
    locate,
    looks_like_v1,
)
from porting.sources.graphdef import SAVED_MODEL, looks_like_graph
from porting.sources.source import Source
from porting.sources.tflite import TFLiteSource

AVERAGES, TRAINED = "ema", "pristine"
"""Folders of MobileNet V3's archives: averages under the plain names, and training's checkpoint."""

MOST_BESIDE = 8
"""Graphs that are looked at beside a checkpoint: Google's archives have two."""

_ROUNDING = ("/weights_quant/", "/act_quant/")
"""In the names of variables that ``tensorflow/contrib/quantize/python/quant_ops.py`` adds."""


def open_archive(archive: Path) -> Source:
    """Open the model that an archive was shipped for; what is unpacked goes with the source.

    Raises:
        BadSource: the archive is damaged, or holds no model, or several that no
            rule chooses from.
    """
    folder = unpack(archive, _belongs)
    try:
        source = _open_unpacked(archive, folder)
    except BaseException:
        remove(folder)
        raise
    removed_with(source, folder)
    return source


def graphs_beside(source: CheckpointSource) -> tuple[Path, ...]:
    """TFLite files and graphs that lie beside a checkpoint, at most :data:`MOST_BESIDE`.

    Those of its archive, wherever they are in it; else those of its own folder and, for one of
    MobileNet V3's pair, of the folder around. What is in them is not looked into.
    """
    home = source.shipped_in or source.prefix.parent
    if source.shipped_in is None and home.name in (AVERAGES, TRAINED):
        home = home.parent
    try:
        files = sorted(home.rglob("*") if source.shipped_in else home.iterdir())
    except OSError:
        return ()
    lite = [file for file in files if file.suffix == ".tflite" and file.is_file()]
    graphs = [file for file in files if file.suffix == ".pb" and looks_like_graph(file)]
    return (*lite, *graphs)[:MOST_BESIDE]


def _belongs(name: PurePosixPath, head: bytes) -> bool:
    named = name.suffix in (".tflite", ".pb") or belongs_to_checkpoint(name.name)
    return named or begins_like_v1(head)


def _open_unpacked(archive: Path, folder: Path) -> Source:
    models = sorted(file.parent for file in folder.rglob(SAVED_MODEL))
    homes = _homes(folder, models)
    files = sorted(folder.rglob("*.tflite"))
    source = _checkpoint(archive, homes, folder)
    if len(files) == 1 and (not homes or (source is not None and _rounds(source))):
        return TFLiteSource(files[0])
    if source is not None:
        return source
    graphs = [file for file in sorted(folder.rglob("*.pb")) if looks_like_graph(file)]
    if not homes and not files:
        from porting.sources.graphdef.reader import FrozenGraphSource, SavedModelSource

        if len(models) == 1:
            return SavedModelSource(archive, models[0], archive)
        if len(graphs) == 1 and not models:
            return FrozenGraphSource(graphs[0])
    raise BadSource(f"{archive}: {_several(folder, homes, files, models, graphs)}")


def _several(folder: Path, *places: list[Path]) -> str:
    """What an archive holds that no rule chooses from."""
    kinds = ("checkpoints in several folders", "several TFLite files", "several SavedModels",
             "several frozen graphs")  # fmt: skip
    for what, found in zip(kinds, places, strict=True):
        if found:
            names = ", ".join(str(place.relative_to(folder)) for place in found)
            return f"holds {what}: {names}; unpack it and name one"
    return "neither a checkpoint nor a TFLite file, a SavedModel or a frozen graph in this archive"


def _checkpoint(archive: Path, homes: list[Path], folder: Path) -> CheckpointSource | None:
    """The only checkpoint, or the one that tells most of a pair of V3's; else None."""
    if len(homes) == 1:
        return CheckpointSource(archive, locate(homes[0]), archive, folder)
    if [home.name for home in homes] != [AVERAGES, TRAINED] or _scattered(homes):
        return None
    averages, trained = homes
    source = CheckpointSource(archive, locate(trained), archive, folder)
    if "ema" in source.weight_sets:
        return source
    source = CheckpointSource(archive, locate(averages), archive, folder)
    # They are no raw weights, and have not the names of averages either.
    source.weight_sets = ("as stored",)
    return source


def _scattered(homes: Iterable[Path]) -> bool:
    return len({home.parent for home in homes}) > 1


def _rounds(source: Source) -> bool:
    """Whether a checkpoint was trained for quantisation."""
    return any(part in name for name in source.tensors for part in _ROUNDING)


def _homes(folder: Path, models: list[Path]) -> list[Path]:
    """Folders of checkpoints, without the variables of SavedModels where there are others.

    Google ships the two side by side; the checkpoint alone can hold both weight sets.
    """
    found = {p.parent for p in folder.rglob("*") if p.suffix == ".index" or looks_like_v1(p)}
    saved = {home for home in found if home.name == "variables" and home.parent in models}
    named = {h for h in found if h.name == "variables" and (h / "variables.index").is_file()}
    return sorted(found - saved - named or found - saved)
