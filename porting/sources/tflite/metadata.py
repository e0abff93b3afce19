"""How an image becomes the input, as the metadata of a TFLite file state it.

The metadata are a flatbuffer of their own in a buffer of the model. For each input they may list
*process units*, one of which is the normalisation of an image.

Format: ``metadata_schema.fbs`` (schema version 1.5.0) of TensorFlow Lite Support:
``ModelMetadata``, ``SubGraphMetadata``, ``TensorMetadata``, ``ProcessUnit`` and
``NormalizationOptions``.
"""

from __future__ import annotations

from pathlib import Path

from porting.errors import BadSource
from porting.sources.source import Normalisation
from porting.sources.tflite.flatbuffer import Flatbuffer, Table

_SUBGRAPHS, _INPUTS, _PROCESS_UNITS, _KIND, _OPTIONS, _MEAN, _STD = 3, 2, 4, 0, 1, 0, 1
"""Slots in the tables on the way to a normalisation."""

_NORMALISES = 1
"""``NormalizationOptions`` in the union ``ProcessUnitOptions``."""

_MOST_CHANNELS = 64
"""Most numbers of a mean; an image has one or three channels."""


def metadata_normalisation(
    data: memoryview, metadata: tuple[int, int] | None, path: Path
) -> Normalisation | None:
    """Mean and deviation of pixels 0..255 for a model's first input; None where none are stated.

    ``metadata`` is where they lie in the file ``data``, (start, size).

    Raises:
        BadSource: the metadata are damaged, or claim more channels than an image has.
    """
    if metadata is None or not metadata[1]:
        return None
    start, size = metadata
    root = Flatbuffer(data[start : start + size], path).root()
    # The reader has seen to it that the model has one subgraph.
    for graph in root.tables(_SUBGRAPHS, "subgraph metadata"):
        for image in graph.tables(_INPUTS, "input metadata"):
            units = image.tables(_PROCESS_UNITS, "process units")
            return next((_normalisation(u, path) for u in units if _normalises(u)), None)
    return None


def _normalises(unit: Table) -> bool:
    return int(unit.scalar(_KIND, "B")) == _NORMALISES and unit.has(_OPTIONS)


def _normalisation(unit: Table, path: Path) -> Normalisation:
    options = unit.table(_OPTIONS, "normalisation options")
    assert options is not None  # the caller looked
    mean, std = (
        options.array(slot, "f4", what)
        for slot, what in ((_MEAN, "mean of the normalisation"), (_STD, "its deviation"))
    )
    if not (1 <= len(mean) <= _MOST_CHANNELS and 1 <= len(std) <= _MOST_CHANNELS):
        raise BadSource(
            f"{path}: its metadata normalise by {len(mean):,} means and {len(std):,} deviations; "
            "expected one number of each, or one a channel"
        )
    return tuple(mean.tolist()), tuple(std.tolist())
