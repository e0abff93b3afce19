"""Source files to port."""

from __future__ import annotations

import pytest

from genmobilenet import zoo
from parity_tests.building import tflite_variants as variants
from parity_tests.building.networks import TINY
from parity_tests.building.tflite_networks import NetworkFile, network_file


@pytest.fixture
def written(tmp_path):
    def write(config, **options):
        path = tmp_path / "model.tflite"
        path.write_bytes(network_file(config, **options))
        return path

    return write


@pytest.fixture
def tiny_networks(monkeypatch):
    """Only these are known."""
    for name in list(zoo.NETWORKS):
        monkeypatch.delitem(zoo.NETWORKS, name)
    for name, config in TINY.items():
        monkeypatch.setitem(zoo.NETWORKS, name, config)
        monkeypatch.setitem(zoo.NETWORKS, f"tf_{name}", config.tensorflow_form())


NORMALISED = type("Normalised", (variants.Normalised, variants.Padded), {
    "steps": [("SUB", 127.5, 0), ("MUL", [[[[0.1, 0.2, 0.3]]]], 1)], "cast": True,
})  # fmt: skip
FILES = {
    "excited": (NetworkFile, {}),
    "excited, padded and normalised": (NORMALISED, {"softmax": True}),
    "excited, dense and pooled": (variants.DenseSqueezes, {"weights": "float16"}),
    "swished": (NetworkFile, {}),
    "swished, spelled out": (variants.Divisions, {"spelled_out": True}),
    "swished, of integers": (variants.IntegerEnds, {"weights": "int8_channels"}),
    "activated": (variants.OwnActivations, {}),
    "activated, pooled": (
        type("Kind", (variants.ConvolutionClassifier, variants.AveragePools), {}), {}
    ),
}  # fmt: skip


@pytest.fixture(params=FILES)
def tiny_model(request, tiny_networks):
    kind, options = FILES[request.param]
    file = kind(TINY[request.param.split(",")[0]].tensorflow_form(), size=32, **options)
    file.build()
    return file.file.model
