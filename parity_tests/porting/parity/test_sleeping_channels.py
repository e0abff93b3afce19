"""What the built-in images wake of real networks, and a fault that only photographs show."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
import torch
from torch import nn

import porting
from genmobilenet.factory import build
from parity_tests.building.command import porting as run
from porting.mapping.convention import convention_of
from porting.mapping.recognise import find_match
from porting.parity.inputs import INPUTS, image_stream, photograph_images, seeded_images
from porting.parity.panel import panel_of
from porting.sources import open_source
from porting.target import Target

pytestmark = pytest.mark.slow
V1 = "google/mobilenet_v1_0.25_224_float.tflite"
CHANNELS_ASLEEP = {
    V1: 0,
    "google/mobilenet_v2_1.0_224_quant.tflite": 45,
    "mnasnet-a1-050/mnasnet-a1_float.tflite": 23,
    "mnasnet-b1/mnasnet-b1_float.tflite": 0,
    "mobilenet-v2-035-96/mobilenet-v2_float.tflite": 34,
    "mobilenet-v3-small-minimalistic/v3-small-min.tflite": 67,
}
"""File -> channels that 63 photos of ImageNet wake and the photographs do not."""


def awake(source, images):
    """By tap of the judge, which of its channels an image (H, W, C) of ``images`` wakes."""
    match = find_match(source, None)
    panel, convention = panel_of(source, match), convention_of(source, match)
    masks = []
    for image in images:
        taps = panel.judges[0].run(convention.as_source_input(image[None])).taps
        masks.append({tap: _channels(values) for tap, values in taps.items()})
    return {tap: reduce(np.logical_or, (mask[tap] for mask in masks)) for tap in masks[0]}


def _channels(values):
    return (values != 0).reshape(-1, values.shape[-1]).any(0)


@pytest.mark.parametrize(("file", "most"), CHANNELS_ASLEEP.items())
def test_the_photographs_wake_what_63_photos_wake(artifacts, file, most):
    source = open_source(artifacts / file)
    convention = convention_of(source, find_match(source, None))
    size, channels = convention.size, convention.channels
    ours = awake(source, photograph_images(size, channels))
    theirs = awake(source, image_stream(artifacts / "images", 0, size, channels).plain())
    asleep = sum(int((theirs[tap] & ~ours[tap]).sum()) for tap in theirs)
    assert asleep <= most
    # The random images that a comparison ran on before there were photographs.
    random = awake(source, seeded_images(8, size, channels))
    assert asleep <= sum(int((theirs[tap] & ~random[tap]).sum()) for tap in theirs)


@pytest.fixture(scope="module")
def exchanged(artifacts):
    """MobileNet V1's port, and its weights with channels exchanged that random images leave asleep.

    Within each pointwise layer they take each other's places: a wrong port, but on random
    images those channels are zero wherever they stand.
    """
    source = open_source(artifacts / V1)
    ported = porting.port(source, verify=False)
    size = ported.convention.size
    masks = awake(source, seeded_images(INPUTS, size))
    state, moved = dict(ported.state_dict), 0
    for tap, layers in pointwise(build(ported.config, state)):
        (asleep,) = np.nonzero(~masks[tap])
        moved += len(asleep)
        for key, values in state.items():
            if key.rpartition(".")[0] in layers and values.ndim:
                order = np.arange(len(values))
                order[asleep] = np.roll(asleep, 1)
                state[key] = values[order]
    assert moved > 50
    return ported, state


def pointwise(model):
    """The activations behind pointwise convolutions, each with that convolution and its norm."""
    for name, module in model.named_modules():
        if name.endswith("conv_pw") and isinstance(module, nn.Conv2d):
            block = name.removesuffix("conv_pw")
            yield f"{block}act2", (name, f"{block}bn2")


def test_random_images_show_it_by_the_dense_values_alone(exchanged):
    ported, state = exchanged
    network = build(ported.config, state)
    images = np.stack(list(seeded_images(2, ported.convention.size)))
    comparison = porting.compare(ported.source, network, images)
    assert not comparison
    assert all(tap.accumulated.agrees and tap.isolated.agrees for tap in comparison.taps)


def test_the_default_inputs_of_compare_show_it(exchanged):
    ported, state = exchanged
    network = build(ported.config, state)
    comparison = porting.compare(ported.source, network, mode="accumulated")
    assert not comparison
    assert comparison.inputs == INPUTS
    assert comparison.first_bad is not None


def test_those_of_diff_show_it(exchanged, tmp_path):
    ported, state = exchanged
    torch.save(state, tmp_path / "exchanged.pth")
    done = run("diff", ported.source.path, tmp_path / "exchanged.pth")
    assert done.returncode == 1, done.stderr
    assert "NOT at parity" in done.stdout
    assert "8 photographs" in done.stdout


def test_those_of_port_show_it(exchanged, monkeypatch):
    ported, state = exchanged
    monkeypatch.setattr(Target, "state_dict", lambda *_: state)
    port = porting.port(ported.source)
    assert not port.comparison
    assert port.comparison.first_bad is not None
    assert port.inputs.startswith("8 photographs")
    monkeypatch.undo()
    assert porting.port(ported.source).comparison
