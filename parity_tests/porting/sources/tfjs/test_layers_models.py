"""Layers models of TensorFlow.js, judged by Keras on weights that the judge decodes itself."""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import pytest

import porting
from parity_tests.building.tfjs_files import write_layers_model
from porting.parity.inputs import seeded_pixels
from porting.sources import open_source

pytestmark = pytest.mark.skipif(find_spec("keras") is None, reason="Keras is not installed")

METADATA = {
    "packageName": "@teachablemachine/image", "labels": ["Cat", "Dog", "Bird"], "imageSize": 64,
}  # fmt: skip


@pytest.fixture(scope="module")
def teachable():
    """A classifier as Teachable Machine trains it: a Sequential of two."""
    import keras

    keras.utils.set_random_seed(3)
    base = keras.applications.MobileNetV2((64, 64, 3), alpha=0.35, weights=None, include_top=False)
    features = keras.Sequential([base, keras.layers.GlobalAveragePooling2D()], name="features")
    head = keras.Sequential(
        [
            keras.layers.Input((1280,)),
            keras.layers.Dense(10, activation="relu", name="dense_Dense1"),
            keras.layers.Dense(3, activation="softmax", use_bias=False, name="dense_Dense2"),
        ],
        name="head",
    )
    model = keras.Sequential([keras.layers.Input((64, 64, 3)), features, head], name="joint")
    random = np.random.default_rng(3)
    for variable in model.weights:
        if len(variable.shape) == 1:
            variable.assign(variable.numpy() + 0.1 * random.random(variable.shape))
    return model


def test_teachable_machine(teachable, tmp_path):
    folder = write_layers_model(tmp_path / "model", teachable, shard_size=100_003)
    (folder / "metadata.json").write_text(json.dumps(METADATA))
    port = porting.port(folder, pixels=seeded_pixels(2, 64))
    assert port.comparison, port.comparison.summary()
    assert port.comparison.judge.startswith("Keras")
    assert port.comparison.coverage.complete
    assert port.labels == ("Cat", "Dog", "Bird")
    assert port.convention.mean == port.convention.std == (127.0,) * 3
    dense = next(layer for layer in teachable.layers if layer.name == "head").layers[-1]
    weights = [values.numpy() for values in port.state_dict.values()]
    assert any(np.array_equal(values, dense.kernel.numpy().T) for values in weights)


def test_names_of_the_converter_and_of_tensorflow_js(teachable, tmp_path):
    """With the path that Keras knew, or by the layer alone, and the topology as either has it."""
    plain = open_source(write_layers_model(tmp_path / "plain", teachable))
    paths = open_source(
        write_layers_model(tmp_path / "paths", teachable, with_paths=True, wrapped=True)
    )
    assert "dense_Dense1/kernel" in plain.tensors
    assert "joint/head/dense_Dense1/kernel" in paths.tensors
    assert [o.kind for o in plain.graph.operators] == [o.kind for o in paths.graph.operators]
    last = [source.graph.operators[-2].inputs[1] for source in (plain, paths)]
    np.testing.assert_array_equal(plain.read(last[0]), paths.read(last[1]))
