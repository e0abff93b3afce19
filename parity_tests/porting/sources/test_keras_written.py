"""The Keras reader on files that Keras writes: every tensor as in Keras."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from parity_tests.building.keras_models import SMALL, build, write
from porting.sources import open_source

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("keras") is None, reason="Keras is not installed"),
]


def expected(model, depthwise="depthwise_kernel"):
    """Names and values of a model's variables, as Keras reports them."""
    made = {}
    for layer in model.layers:
        for variable, array in zip(layer.weights, layer.get_weights(), strict=True):
            kernel = type(layer).__name__ == "DepthwiseConv2D" and variable.name == "kernel"
            made[f"{layer.name}/{depthwise if kernel else variable.name}"] = array
    return made


def check(source, made):
    weights = {name for name in source.tensors if source.not_a_weight(name) is None}
    assert weights == set(made)
    for name, array in made.items():
        np.testing.assert_array_equal(source.read(name), array, err_msg=name)


@pytest.mark.parametrize("application", SMALL, ids=lambda a: a.family)
def test_every_layout(tmp_path, application):
    model = build(application)
    files = write(model, tmp_path)
    made = expected(model)
    for layout in ("archive", "h5", "numbered"):
        check(open_source(files[layout]), made)
    # Without a configuration depthwise kernels cannot be distinguished from others.
    check(open_source(files["legacy weights"]), expected(model, "kernel"))
    for layout in ("archive", "h5"):
        names = [layer.name for layer in model.layers]
        listed = open_source(files[layout]).layers
        assert [layer.name for layer in listed if layer.name in names] == names
        # An .h5 does not distinguish sums and products written in Python from layers.
        others = [layer for layer in listed if layer.name not in names]
        assert {layer.kind for layer in others} <= {"Add", "Multiply"}
        assert all(layer.operation == (layout == "archive") for layer in others)
    assert open_source(files["numbered"]).layers == ()


def test_what_the_layers_say(tmp_path):
    source = open_source(write(build(SMALL[2]), tmp_path)["h5"])
    layers = {layer.name: layer for layer in source.layers}
    scaling = layers["rescaling"].settings
    assert (scaling["scale"], scaling["offset"]) == (1 / 127.5, -1.0)
    stem = layers["conv"]
    assert (stem.kind, stem.settings["strides"], stem.settings["padding"]) == (
        "Conv2D", [2, 2], "same",
    )  # fmt: skip
    assert layers["conv_bn"].settings["epsilon"] == 1e-3
    assert layers["activation"].settings["activation"] == "hard_silu"


def test_a_trained_model_leaves_the_optimizer_out(tmp_path):
    model = build(SMALL[0])
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(np.random.default_rng(0).random((2, 64, 64, 3)), np.array([1, 2]), verbose=0)
    made = expected(model)
    files = write(model, tmp_path)
    for layout in ("archive", "h5", "numbered"):
        source = open_source(files[layout])
        check(source, made)
        reasons = {source.not_a_weight(name) for name in source.tensors}
        constants = set() if source.graph is None else {"constant of the configuration"}
        assert reasons == {None, "optimizer slot", *constants}
        stored = [name for name in source.tensors if source.not_a_weight(name) not in constants]
        assert len(stored) > 2 * len(made)


def test_a_model_inside_a_model(tmp_path):
    base = build(SMALL[1])
    import keras

    outer = keras.Sequential([keras.Input((64, 64, 3)), base, keras.layers.Dense(3, name="top")])
    files = write(outer, tmp_path)
    inner = {f"{base.name}/{name}": array for name, array in expected(base).items()}
    top = dict(zip(("top/kernel", "top/bias"), outer.layers[-1].get_weights(), strict=True))
    for layout in ("archive", "h5"):
        check(open_source(files[layout]), inner | top)
