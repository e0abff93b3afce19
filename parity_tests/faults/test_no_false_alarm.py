"""Correct ports are at parity for any images, memory format and number of threads."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import porting
from genmobilenet import get_config
from genmobilenet.factory import build
from parity_tests.building.tflite_networks import network_file
from porting.parity.inputs import seeded_pixels

V2, CHECKPOINT = "mobilenet-v2-035-96/mobilenet-v2_float.tflite", "mnasnet-a1-050"
FILES = (
    "google/mobilenet_v1_0.25_224_float.tflite",
    "google/mobilenet_v2_1.0_224_quant.tflite",
    "mnasnet-a1-050/mnasnet-a1_float.tflite",
    "mnasnet-b1/mnasnet-b1_float.tflite",
    V2,
    "mobilenet-v3-small-minimalistic/v3-small-min.tflite",
    CHECKPOINT,
)
MADE_UP = {
    "squeeze-excite": "tf_semnasnet_035",
    "hard-swish": "tf_mobilenetv3_small_075",
    "V1": "tf_mobilenetv1_025",
}


def odd_images(size):
    """Extreme images: black, white, grey, noise, and a single bright pixel."""
    black = np.zeros((size, size, 3), np.uint8)
    pixel = black.copy()
    pixel[size // 3, size // 2] = 255
    noise = np.random.default_rng(0).integers(0, 256, black.shape, np.uint8)
    return {
        "black": black, "white": black + np.uint8(255), "grey": black + np.uint8(128),
        "pixel": pixel, "noise": noise,
    }  # fmt: skip


@pytest.fixture(scope="module")
def ported(request, tmp_path_factory):
    if request.param in MADE_UP:
        path = tmp_path_factory.mktemp("sound") / "sound.tflite"
        path.write_bytes(network_file(get_config(MADE_UP[request.param]), seed=4))
    else:
        path = request.getfixturevalue("artifacts") / request.param
    port = porting.port(path, verify=False)
    return port.source, build(port.config, port.state_dict), port.convention.size


def sources(*sample):
    """All of them as parameters; of the real files CI runs a sample, each takes half a minute."""
    return [
        *MADE_UP,
        *(
            pytest.param(
                file, marks=[pytest.mark.slow, *[pytest.mark.thorough] * (file not in sample)]
            )
            for file in FILES
        ),
    ]


@pytest.mark.parametrize("ported", sources(V2, CHECKPOINT), indirect=True)
def test_odd_images(ported):
    source, network, size = ported
    for name, image in odd_images(size).items():
        comparison = porting.compare(source, network, image[None])
        assert comparison, f"{name}: {comparison.summary()}"


@pytest.mark.parametrize("ported", sources(V2), indirect=True)
def test_twenty_seeds(ported):
    source, network, size = ported
    pixels = np.concatenate([seeded_pixels(1, size, seed=seed) for seed in range(20)])
    comparison = porting.compare(source, network, pixels)
    assert comparison
    assert comparison.noise_share < 1e-4
    assert comparison.spread is None


@pytest.mark.parametrize("ported", sources(V2), indirect=True)
def test_channels_last_and_threads(ported):
    source, network, size = ported
    channels_last = copy.deepcopy(network).to(memory_format=torch.channels_last)
    threads_before = torch.get_num_threads()
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            for model in (network, channels_last):
                assert porting.compare(source, model, seeded_pixels(1, size))
    finally:
        torch.set_num_threads(threads_before)
