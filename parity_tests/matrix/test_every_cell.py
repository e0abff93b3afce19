"""Every cell of the table in docs/networks.md: network, source kind, judge.

Each cell makes a file with seeded weights for images of 64 pixels and ports it
without naming a network: each leaves one that fits. The judge of that kind is
to find it at parity, having compared something of every block; the source's
numbers are to be in the port bit for bit; and the released file is to load by
itself, and to answer as the source's own framework does.

All networks are taken from TFLite in float32, and all MobileNets from every
file of Keras, whose names and shapes alone tell one width from another. Other
kinds are read alike at every width; of them there is one width a family
(:data:`~parity_tests.matrix.cells.FAMILIES`). What needs TensorFlow takes
seconds a cell and is marked slow; of that, CI runs a sample
(:attr:`~parity_tests.matrix.cells.Cell.thorough`).
"""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec

import numpy as np
import pytest
import torch

import porting
from genmobilenet import create_model
from parity_tests.matrix.cells import CELLS
from parity_tests.matrix.files import PIXELS
from porting.release import write_release


def marks(cell):
    absent = find_spec("tensorflow") is None
    missing = pytest.mark.skipif(absent, reason="TensorFlow is not installed")
    slow = [pytest.mark.slow, missing] if cell.kind.slow else []
    return [*slow, pytest.mark.thorough] if cell.thorough else slow


@pytest.mark.parametrize(
    "cell", [pytest.param(cell, id=str(cell), marks=marks(cell)) for cell in CELLS]
)
def test_cell(cell, tmp_path):
    result = cell.kind.make(cell.model, tmp_path)
    ported = porting.port(result.path, weights=cell.kind.weights, pixels=PIXELS)
    assert ported.model == cell.model
    old_runtime = ported.comparison.judge.startswith("tflite-runtime")
    if cell.kind.name == "tflite-int8-channels" and old_runtime and not ported.comparison:
        # tflite-runtime 2.14 computes a dense layer with a scale a channel by the first of them.
        # Where what it makes of the file is far from what the file says, it is refused.
        assert all(tap.agrees for tap in ported.comparison.taps)
        assert "the source's integers lie" in ported.comparison.summary()
        return
    assert ported.comparison, ported.comparison.summary()
    asked = [c.judge for c in (ported.comparison, ported.quantised) if c is not None]
    assert asked == list(cell.kind.judges)
    assert uncompared(ported) == []
    check_numbers(ported, result.weights)
    weights = write_release(ported, tmp_path / "released").weights
    answer = released(ported, weights, result.softmax)
    scale = np.abs(result.answer).max()
    np.testing.assert_allclose(answer, result.answer, rtol=0, atol=1e-4 * scale)


def uncompared(ported):
    """Blocks, stem and last layer without a compared tap."""
    taps = [tap.tap for tap in ported.comparison.taps]
    places = [block.path for block in ported.config.resolve()]
    missing = [p for p in places if not any(f"{tap}.".startswith(f"{p}.") for tap in taps)]
    ends = {"stem": ("bn1", "act1"), "last layer": ("classifier", "softmax")}
    return missing + [end for end, names in ends.items() if not set(names) & set(taps)]


def check_numbers(ported, weights):
    """Each array of the source is in the port bit for bit, whatever its layout.

    Only what takes in a constant of a gate may differ; the plan says which.
    """
    fills = [fill for fill in ported.plan.fills if fill.source is not None]
    adjusted = [fill for fill in fills if (fill.factor, fill.offset) != (1, 0)]
    assert not adjusted or ported.config.gate == "hard_sigmoid"
    carried = Counter(
        numbers(ported.state_dict[fill.target].numpy()) for fill in fills if fill not in adjusted
    )
    held = Counter(map(numbers, weights))
    assert (carried - held).total() == 0
    assert (held - carried).total() == len(adjusted)


def numbers(array):
    """An array without its layout: its numbers in order."""
    return np.sort(array, axis=None).tobytes()


def released(ported, weights, softmax):
    """The output of the network loaded from the released file, on the same pixels."""
    classes = ported.config.num_classes
    network = create_model(ported.model, num_classes=classes, checkpoint_path=weights).eval()
    images = ported.convention.normalise(PIXELS)
    with torch.inference_mode():
        # NHWC -> NCHW
        logits = network(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous())
    return (logits.softmax(-1) if softmax else logits).numpy()
