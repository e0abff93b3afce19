"""Checkpoints of ``tf.train.Checkpoint`` that hold a network of keras.applications."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

import porting
from parity_tests.building.keras_models import SMALL, build
from porting.errors import BadInput, MappingError
from porting.parity.inputs import seeded_pixels
from porting.parity.judge_set import judge_label

pytestmark = pytest.mark.skipif(find_spec("keras") is None, reason="Keras is not installed")

PIXELS = seeded_pixels(1, 64)


def written(path, root=None, **children):
    import tensorflow as tf

    checkpoint = tf.train.Checkpoint(**children) if children else tf.train.Checkpoint(root)
    return checkpoint.write(str(path))


@pytest.mark.parametrize("application", SMALL, ids=lambda a: f"{a.family}{a.alpha}")
def test_a_checkpoint_of_a_model_is_judged_by_keras(application, tmp_path):
    prefix = written(tmp_path / "checkpoint", build(application))
    result = porting.port(prefix, pixels=PIXELS)
    assert result.comparison, result.comparison.summary()
    assert result.comparison.judge == "Keras"
    assert judge_label(result.source, result.plan).startswith("Keras ")
    assert result.basis.structure == "Keras's own model, that of keras.applications"


def as_keras_2_names(model):
    """The model's variables under Keras 2's names, in a tree of objects of their own."""
    import tensorflow as tf

    root = tf.Module()
    for number, layer in enumerate(layer for layer in model.layers if layer.weights):
        node = tf.Module()
        for variable in layer.weights:
            depthwise = type(layer).__name__ == "DepthwiseConv2D" and variable.name == "kernel"
            name = "depthwise_kernel" if depthwise else variable.name
            tensor = tf.Variable(variable.numpy(), name=f"{layer.name}/{name}")
            setattr(node, name, tensor)
        setattr(root, f"layer_with_weights-{number}", node)
    return root


def test_names_of_keras_2_with_an_optimizer_beside_the_model(tmp_path):
    import tensorflow as tf

    model = as_keras_2_names(build(SMALL[1]))
    step = tf.Variable(7, dtype=tf.int64, name="Adam/iter")
    optimizer = tf.Module()
    optimizer._iterations, optimizer._learning_rate = step, tf.Variable(0.1, name="Adam/lr")
    prefix = written(tmp_path / "checkpoint", model=model, optimizer=optimizer)
    result = porting.port(prefix, pixels=PIXELS)
    assert result.comparison, result.comparison.summary()


def test_a_spoiled_port_of_one_is_seen(tmp_path):
    prefix = written(tmp_path / "checkpoint", build(SMALL[1]))
    result = porting.port(prefix, verify=False)
    from genmobilenet.factory import build as build_network

    network = build_network(result.config, result.state_dict)
    weight = network.blocks[2][1].conv_dw.weight.data
    weight[:2] = weight[[1, 0]]
    comparison = porting.compare(prefix, network, PIXELS)
    assert not comparison
    assert comparison.culprit.tap.startswith("blocks.2.1")


def test_a_variable_that_is_missing_is_named(tmp_path):
    model = as_keras_2_names(build(SMALL[1]))
    delattr(model, "layer_with_weights-0")
    prefix = written(tmp_path / "checkpoint", model=model)
    with pytest.raises(BadInput, match=r"Conv1|conv_stem") as raised:
        porting.port(prefix, "tf_mobilenetv2_035", pixels=PIXELS)
    assert isinstance(raised.value, MappingError)
