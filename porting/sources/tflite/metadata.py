"""What is packed with a TFLite model: the normalisation of its images and its class labels.

The metadata are a flatbuffer of their own in a buffer of the model. For each input they may list
*process units*, one of which is the normalisation of an image; for each output, which text files
label it. Those are in a zip archive behind the model. Older files have the archive alone.

Format: ``metadata_schema.fbs`` (schema version 1.5.0) of TensorFlow Lite Support:
``ModelMetadata``, ``SubGraphMetadata``, ``TensorMetadata``, ``ProcessUnit``,
``NormalizationOptions`` and ``AssociatedFile``.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from porting.errors import BadSource
from porting.sources.source import Normalisation
from porting.sources.tflite.flatbuffer import Flatbuffer, Table
from porting.sources.zip_archive import copy_member, open_zip

_SUBGRAPHS, _INPUTS, _OUTPUTS = 3, 2, 3
_PROCESS_UNITS, _KIND, _OPTIONS, _MEAN, _STD = 4, 0, 1, 0, 1
_ASSOCIATED_FILES, _FILE_NAME, _FILE_TYPE = 6, 0, 2
"""Slots in the tables."""

_NORMALIZATION = 1
"""``NormalizationOptions`` in the union ``ProcessUnitOptions``."""

_AXIS_LABELS = 2
"""``AssociatedFileType.TENSOR_AXIS_LABELS``."""

_MOST_CHANNELS = 64
"""Most numbers of a mean; an image has one or three channels."""

_LARGEST = 8 << 20
"""Most bytes that labels may unpack to; the 21,843 of ImageNet-21k take under 1 MiB."""


def _subgraphs(data: memoryview, metadata: tuple[int, int] | None, path: Path) -> Iterator[Table]:
    if metadata is not None and metadata[1]:
        start, size = metadata
        root = Flatbuffer(data[start : start + size], path).root()
        yield from root.tables(_SUBGRAPHS, "subgraph metadata")


def metadata_normalisation(
    data: memoryview, metadata: tuple[int, int] | None, path: Path
) -> Normalisation | None:
    """Mean and deviation of pixels 0..255 for a model's first input; None where none are stated.

    ``metadata`` is where they lie in the file ``data``, (start, size).

    Raises:
        BadSource: the metadata are damaged, or claim more channels than an image has.
    """
    # A model that can be read has one subgraph.
    for graph in _subgraphs(data, metadata, path):
        for image in graph.tables(_INPUTS, "input metadata"):
            for unit in image.tables(_PROCESS_UNITS, "process units"):
                if int(unit.scalar(_KIND, "B")) != _NORMALIZATION:
                    continue
                options = unit.table(_OPTIONS, "normalisation options")
                if options is None:
                    continue
                mean = options.array(_MEAN, "f4", "mean of the normalisation")
                std = options.array(_STD, "f4", "its deviation")
                if not (1 <= len(mean) <= _MOST_CHANNELS and 1 <= len(std) <= _MOST_CHANNELS):
                    raise BadSource(
                        f"{path}: its metadata normalise by {len(mean):,} means and {len(std):,} "
                        "deviations; expected one number of each, or one a channel"
                    )
                return tuple(mean.tolist()), tuple(std.tolist())
            return None
    return None


def labels_of(
    data: memoryview, metadata: tuple[int, int] | None, path: Path
) -> tuple[str, ...] | None:
    """The labels in the file ``data``, one a class, or None where it holds none.

    They are the lines of the file that ``metadata`` (start, size) name as the labels of an
    output's axis; where they name none or several, of the one with the most lines.

    Raises:
        BadSource: metadata or archive are damaged, or a file in it is not what it claims.
        UnsupportedSource: the labels are encrypted, or packed by an unusual method.
    """
    label_files = set()
    for graph in _subgraphs(data, metadata, path):
        for output in graph.tables(_OUTPUTS, "output metadata"):
            for file in output.tables(_ASSOCIATED_FILES, "associated files"):
                name = file.text(_FILE_NAME, "associated file name")
                if file.scalar(_FILE_TYPE, "b") == _AXIS_LABELS:
                    label_files.add(name)
    if not zipfile.is_zipfile(path):
        return None
    with open_zip(path) as archive:
        members = archive.infolist()
        texts = [m for m in members if m.filename in label_files]
        texts = texts or [m for m in members if m.filename.endswith(".txt")]
        limit = _LARGEST
        candidates = []
        for member in texts:
            raw = io.BytesIO()
            copy_member(archive, member, raw, limit, path)
            limit -= raw.tell()
            try:
                text = raw.getvalue().decode("utf-8-sig")
            except UnicodeDecodeError:
                raise BadSource(
                    f"{path}: the labels {member.filename} are not UTF-8 text"
                ) from None
            lines = [line.strip() for line in text.split("\n")]
            while lines and not lines[-1]:
                lines.pop()
            candidates.append(tuple(lines))
    return max(candidates, key=len, default=None)
