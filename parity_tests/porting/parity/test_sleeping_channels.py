"""Channels that the built-in images activate, and a fault that only photographs show."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
import torch

import porting
from genmobilenet.factory import build
from parity_tests.building.command import porting as run
from parity_tests.building.sampling import sampled
from porting.carry_out import Target
from porting.graph.layers import layers_of
from porting.mapping.input_spec import convention_of
from porting.mapping.recognise import find_match
from porting.parity.inputs import INPUTS, image_stream, photograph_images, seeded_images
from porting.parity.judge_set import judges_of
from porting.sources import open_source

pytestmark = pytest.mark.slow
V1 = "google/mobilenet_v1_0.25_224_float.tflite"
V2 = "mobilenet-v2-035-96/mobilenet-v2_float.tflite"
CHANNELS_ASLEEP = {
    V1: 0,
    "google/mobilenet_v2_1.0_224_quant.tflite": 45,
    "mnasnet-a1-050/mnasnet-a1_float.tflite": 23,
    "mnasnet-b1/mnasnet-b1_float.tflite": 0,
    V2: 34,
    "mobilenet-v3-small-minimalistic/v3-small-min.tflite": 67,
}
"""File -> channels that 63 photos of ImageNet wake and the photographs do not."""


def awake(source, images):
    """By tap of the judge, which of its channels an image (H, W, C) of ``images`` wakes."""
    match = find_match(source, None)
    judge_set, convention = judges_of(source, match), convention_of(source, match)
    masks = []
    for image in images:
        taps = judge_set.judges[0].run(convention.as_source_input(image[None])).taps
        masks.append({tap: _channels(values) for tap, values in taps.items()})
    return {tap: reduce(np.logical_or, (mask[tap] for mask in masks)) for tap in masks[0]}


def _channels(values):
    return (values != 0).reshape(-1, values.shape[-1]).any(0)


@pytest.mark.parametrize("file", sampled(CHANNELS_ASLEEP, [V1, V2]))
def test_the_photographs_wake_what_63_photos_wake(artifacts, file):
    source = open_source(artifacts / file)
    convention = convention_of(source, find_match(source, None))
    size, channels = convention.size, convention.channels
    ours = awake(source, photograph_images(size, channels))
    theirs = awake(source, image_stream(artifacts / "images", 0, size, channels).plain())
    asleep = sum(int((theirs[tap] & ~ours[tap]).sum()) for tap in theirs)
    assert asleep <= CHANNELS_ASLEEP[file]
    # The random images that a comparison ran on before there were photographs.
    random = awake(source, seeded_images(8, size, channels))
    assert asleep <= sum(int((theirs[tap] & ~random[tap]).sum()) for tap in theirs)


def zeroed(values, asleep):
    values[asleep] = 0


def doubled(values, asleep):
    values[asleep] *= 2


class Sound:
    """A source's port, and the channels of each layer that random images leave asleep."""

    def __init__(self, path):
        self.port = porting.port(path, verify=False)
        source, layers = self.port.source, layers_of(self.port.config)
        masks = awake(source, seeded_images(INPUTS, self.port.convention.size))
        self.asleep = {
            (f"{layer.path}.weight", f"{layer.norm or layer.path}.bias"): np.flatnonzero(asleep)
            for layer in layers
            # In a depthwise layer each channel has its own input.
            if layer.kind == "conv"
            and layer.activation in ("relu", "relu6")
            and (asleep := ~masks[layer.tap]).sum() > 1
        }

    def spoiled(self, change):
        """Its weights with the kernels and biases that make sleeping channels changed."""
        state = dict(self.port.state_dict)
        for keys, asleep in self.asleep.items():
            for key in keys:
                state[key] = state[key].clone()
                change(state[key], torch.from_numpy(asleep))
        return state


def exchanged(values, asleep):
    """Channels that sleep take each other's places."""
    values[asleep] = values[asleep.roll(1)].clone()


CHANGES = {change.__name__: change for change in (exchanged, zeroed, doubled)}
FILES = (V1, "google/mobilenet_v2_1.0_224_quant.tflite", "mnasnet-a1-050/mnasnet-a1_float.tflite")


@pytest.fixture(scope="module", params=sampled(FILES, [V1]))
def sound(request, artifacts):
    made = Sound(artifacts / request.param)
    assert sum(map(len, made.asleep.values())) > 20
    return made


def test_random_images_show_it_by_the_dense_values_alone(sound):
    network = build(sound.port.config, sound.spoiled(exchanged))
    images = np.stack(list(seeded_images(1, sound.port.convention.size)))
    comparison = porting.compare(sound.port.source, network, images)
    assert not comparison
    assert all(tap.accumulated.agrees and tap.isolated.agrees for tap in comparison.taps)


@pytest.mark.parametrize("change", CHANGES)
def test_the_default_inputs_of_compare_show_it(sound, change):
    network = build(sound.port.config, sound.spoiled(CHANGES[change]))
    comparison = porting.compare(sound.port.source, network)
    assert not comparison
    assert comparison.inputs == INPUTS
    assert comparison.first_bad is not None


def test_those_of_diff_show_it(sound, tmp_path):
    torch.save(sound.spoiled(exchanged), tmp_path / "exchanged.pth")
    result = run("diff", sound.port.source.path, tmp_path / "exchanged.pth")
    assert result.returncode == 1, result.stderr
    assert "NOT at parity" in result.stdout
    assert "8 photographs" in result.stdout


def test_those_of_port_show_it(sound, monkeypatch):
    monkeypatch.setattr(Target, "state_dict", lambda *_: sound.spoiled(exchanged))
    port = porting.port(sound.port.source)
    assert not port.comparison
    assert port.comparison.first_bad is not None
    assert port.inputs.startswith("8 photographs")
    monkeypatch.undo()
    assert porting.port(sound.port.source).comparison
