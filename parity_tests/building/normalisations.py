"""Metadata of a TFLite file about the normalisation of its input.

Slots: ``metadata_schema.fbs`` of TensorFlow Lite Support.
"""

from __future__ import annotations

import flatbuffers
import numpy as np

from parity_tests.building.labels import table, vector

NORMALISATION, SCORES = 1, 2
"""``NormalizationOptions`` and ``ScoreCalibrationOptions`` among the kinds of process units."""


def normalising_metadata(mean, std, kinds=(NORMALISATION,), inputs=1) -> bytes:
    """Metadata of several inputs, the first of which has a process unit of each kind."""
    builder = flatbuffers.Builder(256)
    units = []
    for kind in kinds:
        numbers = [builder.CreateNumpyVector(np.asarray(v, np.float32)) for v in (mean, std)]
        options = table(builder, 2, dict(enumerate(numbers)))
        units.append(table(builder, 2, {1: options}, {0: kind}))
    processed = vector(builder, units)
    entries = [table(builder, 7, {4: processed})]
    entries += [table(builder, 7, {}) for _ in range(1, inputs)]
    graph = table(builder, 7, {2: vector(builder, entries)})
    builder.Finish(table(builder, 8, {3: vector(builder, [graph])}), b"M001")
    return bytes(builder.Output())
