"""Models that Keras 2 wrote and that Keras 3 cannot load: the judge does, and ports agree."""

from __future__ import annotations

import json
from importlib.util import find_spec

import h5py
import numpy as np
import pytest

import porting
from parity_tests.building.keras_files import NORM, entry
from porting.errors import BadInput
from porting.judges.keras import KerasJudge
from porting.parity.inputs import seeded_pixels
from porting.sources.keras import KerasSource

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("keras") is None, reason="Keras is not installed"),
]
SIDE = 16


def called(name, call=0, **keywords):
    return [[[name, call, 0, keywords]]]


def function(name, function_name, data, **constants):
    """A function of TensorFlow as tf.keras writes it, its first operand not in a list."""
    call = [data, 0, 0, {**constants, "name": None}]
    return entry(name, "TFOpLambda", {"function": function_name}, inbound_nodes=[call])


def model(last="softmax"):
    """A network in a model of models, with the spellings of tf.keras 2.4 to 2.15."""
    image = {"batch_input_shape": [None, SIDE, SIDE, 3], "dtype": "float32", "ragged": False}
    conv = {"use_bias": False, "padding": "same"}
    base = [
        entry("input_1", "InputLayer", image, inbound_nodes=[]),
        entry("Conv", "Conv2D",
              {**conv, "filters": 8, "kernel_size": [3, 3], "strides": [2, 2]},
              inbound_nodes=called("input_1")),
        entry("Conv/BatchNorm", "BatchNormalization", {"axis": [3]}, inbound_nodes=called("Conv")),
        function("tf.__operators__.add", "__operators__.add", "Conv/BatchNorm", y=3.0),
        entry("re_lu", "ReLU", {"max_value": 6.0}, inbound_nodes=called("tf.__operators__.add")),
        function("tf.math.multiply", "math.multiply", "re_lu", y=1 / 6),
        entry("multiply", "Multiply", {},
              inbound_nodes=[[["Conv/BatchNorm", 0, 0, {}], ["tf.math.multiply", 0, 0, {}]]]),
        entry("block/depthwise", "DepthwiseConv2D",
              {**conv, "kernel_size": [3, 3], "groups": 1}, inbound_nodes=called("multiply")),
        entry("block/depthwise/BatchNorm", "BatchNormalization", {"axis": [3]},
              inbound_nodes=called("block/depthwise")),
        entry("block/relu", "Activation", {"activation": "relu"},
              inbound_nodes=called("block/depthwise/BatchNorm")),
        entry("block/project", "Conv2D", {**conv, "filters": 12, "kernel_size": [1, 1]},
              inbound_nodes=called("block/relu")),
        entry("block/project/BatchNorm", "BatchNormalization", {"axis": [3]},
              inbound_nodes=called("block/project")),
    ]  # fmt: skip
    ends = {
        "input_layers": [["input_1", 0, 0]],
        "output_layers": [["block/project/BatchNorm", 0, 0]],
    }
    flips = [entry("flip_input", "InputLayer", image),
             entry("flip", "RandomFlip", {"mode": "horizontal", "rng_type": "stateful"}),
             entry("height", "RandomHeight", {"factor": 0.1})]  # fmt: skip
    layers = [
        entry("photo", "InputLayer", image, inbound_nodes=[]),
        entry("flips", "Sequential", {"layers": flips}, inbound_nodes=called("photo")),
        function("tf.math.truediv", "math.truediv", "flips", y=127.5),
        function("tf.math.subtract", "math.subtract", "tf.math.truediv", y=1.0),
        entry("base", "Functional", {"layers": base, **ends},
              inbound_nodes=called("tf.math.subtract", training=False)),
        # Calls of models are counted from 1.
        entry("pool", "GlobalAveragePooling2D", {}, inbound_nodes=called("base", 1)),
        entry("drop", "Dropout", {"rate": 0.2}, inbound_nodes=called("pool")),
        entry("dense_5", "Dense", {"units": 3, "activation": last}, inbound_nodes=called("drop")),
    ]  # fmt: skip
    layers[2]["inbound_nodes"][0][1] = 1
    ends = {"input_layers": [["photo", 0, 0]], "output_layers": [["dense_5", 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "whole", "layers": layers, **ends}}


def write(path, config):
    """An ``.h5`` as Keras 2 writes it, with random weights."""
    random = np.random.default_rng(3)

    def norm(layer, channels):
        low, high = np.array([0.5, -0.1, -0.1, 0.5]), np.array([1.5, 0.1, 0.1, 1.5])
        return {
            f"{layer}/{name}": random.uniform(*ends, channels)
            for name, *ends in zip(NORM, low, high, strict=True)
        }

    base = {
        "Conv/kernel": random.standard_normal((3, 3, 3, 8)),
        **norm("Conv/BatchNorm", 8),
        "block/depthwise/depthwise_kernel": random.standard_normal((3, 3, 8, 1)),
        **norm("block/depthwise/BatchNorm", 8),
        "block/project/kernel": random.standard_normal((1, 1, 8, 12)),
        **norm("block/project/BatchNorm", 12),
    }
    dense = {"dense_5/kernel": random.standard_normal((12, 3)), "dense_5/bias": np.arange(3.0)}
    groups = {"photo": {}, "base": base, "drop": {}, "dense_5": dense}
    # Of the layers of a model, Keras 2 writes what is trained before what is not.
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"], file.attrs["backend"] = "2.15.0", "tensorflow"
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = [name.encode() for name in groups]
        root.attrs["keras_version"], root.attrs["backend"] = "2.15.0", "tensorflow"
        for name, arrays in groups.items():
            group = root.create_group(name)
            order = sorted(arrays, key=lambda each: "moving" in each)
            group.attrs.create(
                "weight_names", [f"{each}:0".encode() for each in order],
                dtype=None if order else "f",
            )  # fmt: skip
            for each in order:
                group[f"{each}:0"] = arrays[each].astype(np.float32)
    return path


def test_a_model_of_models(tmp_path):
    path = write(tmp_path / "m.h5", model())
    result = porting.port(path, pixels=seeded_pixels(2, SIDE))
    assert result.comparison, result.comparison.summary()
    assert result.pixels.agrees, result.pixels.summary()
    assert result.model == "stem_c8_nhs | ds_r1_k3_s1_c12_nre | pool fc"
    assert result.convention.mean == pytest.approx((127.5,) * 3)
    source = KerasSource(path)
    inside = set(source.activations)
    assert inside == set(KerasJudge(source).tap_names)
    assert {"photo", "base/block/depthwise/BatchNorm", "dense_5 (linear)", "dense_5"} <= inside


def test_a_function_that_is_not_known(tmp_path):
    config = model()
    config["config"]["layers"][2]["config"]["function"] = "io.write_file"
    source = KerasSource(write(tmp_path / "m.h5", config))
    with pytest.raises(BadInput, match=r"calls tf\.io\.write_file, which is not known"):
        KerasJudge(source)
    with pytest.raises(BadInput, match=r"TFOpLambda\(write_file\)"):
        porting.port(source.path, verify=False)
