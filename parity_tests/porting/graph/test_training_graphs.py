"""What training leaves in a graph: rounding to the steps of integers, and dropout."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import porting
from parity_tests.building.frozen_graphs import classified, frozen, seeded
from parity_tests.building.graphs import Network
from parity_tests.building.small_modules import Middle
from porting.errors import UnsupportedSource
from porting.graph.match import GraphMismatch
from porting.judges.reference.graphs import Builder
from porting.parity.inputs import seeded_pixels
from porting.sources import open_source

pytest.importorskip("tensorflow")

KERNEL, BIAS = seeded(3, 3, 3, 8), seeded(8)


def by_range(tf, values, low, high, **options):
    return tf.quantization.fake_quant_with_min_max_vars(values, low, high, **options)


def by_arguments(tf, values, low, high, **options):
    return tf.quantization.fake_quant_with_min_max_args(values, low, high, **options)


def by_channel(tf, values, low, high, **options):
    channels = int(values.shape[-1])
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(
        values, np.full(channels, low, np.float32), np.full(channels, high, np.float32), **options
    )


ROUNDINGS = [by_range, by_arguments, by_channel]


def rounded_network(rounding, ends, activation=None):
    """A convolution whose kernel and result are rounded, to [-1, 1] and ``ends``."""

    def build(tf, x):
        kernel = rounding(tf, tf.constant(KERNEL), -1.0, 1.0, narrow_range=True)
        x = tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME"), BIAS)
        x = activation(tf)(x) if activation else x
        low, high = ends
        classified(tf, rounding(tf, x, low, high))

    return build


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(
    ("ends", "activation", "function"),
    [
        ((-3.0, 5.0), None, nn.Identity()),
        ((0.0, 6.0), lambda tf: tf.nn.relu6, nn.ReLU6()),
        ((0.0, 4.5), lambda tf: tf.nn.relu, nn.ReLU()),
    ],
)
def test_rounded_activations_pass_and_rounded_weights_are_the_layers(
    tmp_path, rounding, ends, activation, function
):
    path = frozen(tmp_path / "graph.pb", rounded_network(rounding, ends, activation))
    port = porting.port(path, onto=Middle(function))
    assert port.comparison, port.comparison.summary()
    assert port.comparison.judge == "TensorFlow without rounding"
    weights = port.state_dict["conv.weight"].numpy()
    step = np.float32(2 / 254)
    assert len(np.unique(weights)) > 50
    np.testing.assert_allclose(weights / step, np.rint(weights / step), atol=1e-4)
    assert np.abs(weights - KERNEL.transpose(3, 2, 0, 1)).max() <= step * 0.51


@pytest.mark.parametrize(
    ("ends", "function"),
    [((0.0, 6.0), nn.ReLU6()), ((0.0, 5.99), nn.ReLU6()), ((0.0, 4.5), nn.ReLU())],
)
def test_a_range_that_begins_at_0_is_an_activation_as_in_a_quantised_file(tmp_path, ends, function):
    path = frozen(tmp_path / "graph.pb", rounded_network(by_range, ends))
    port = porting.port(path, onto=Middle(function))
    assert port.comparison, port.comparison.summary()
    assert port.pixels.share < 0.1


def test_a_range_about_0_is_no_activation(tmp_path):
    path = frozen(tmp_path / "graph.pb", rounded_network(by_range, (-6.0, 6.0)))
    with pytest.raises(GraphMismatch, match="relu6"):
        porting.port(path, onto=Middle(nn.ReLU6()), verify=False)


class Rounded(Builder):
    """A network as quantisation-aware training leaves it: kernels and results are rounded."""

    def variable(self, scope, name, shape):
        variable = super().variable(scope, name, shape)
        if len(shape) < 4:
            return variable
        return by_range(self.tf, variable, -2.0, 2.0, narrow_range=True)

    def tap(self, path, tensor):
        ends = (0.0, 6.0) if path.endswith(("act1", "act2")) else (-30.0, 30.0)
        return by_range(self.tf, super().tap(path, tensor), *ends)


def test_a_network_of_quantisation_aware_training_is_recognised(tmp_path):
    model = "tf_mobilenetv1_025"
    path = Network(model, Rounded).write_frozen(tmp_path / "graph.pb")
    port = porting.port(path, pixels=seeded_pixels(2, 64))
    assert port.model == model
    assert port.comparison, port.comparison.summary()
    step = 4 / 254
    weights = port.state_dict["blocks.0.0.conv_pw.weight"]
    torch.testing.assert_close(weights / step, (weights / step).round(), rtol=0, atol=1e-3)


def dropout_of_2016(tf, x, keep):
    """``tf.nn.dropout`` as TensorFlow 1 wrote it until version 1.12."""
    with tf.name_scope("dropout"):
        shape = tf.shape(x, name="Shape")
        uniform = tf.random.uniform(shape, dtype=tf.float32, name="random_uniform")
        mask = tf.floor(keep + uniform, name="Floor")
        return tf.multiply(tf.realdiv(x, keep, name="div"), mask, name="mul")


def dropout_of_2019(tf, x, keep):
    """``tf.nn.dropout`` as TensorFlow 1.13 wrote it, by the rate of what is dropped."""
    with tf.name_scope("dropout"):
        rate = tf.subtract(1.0, keep, name="rate")
        uniform = tf.random.uniform(tf.shape(x), dtype=tf.float32)
        scaled = x * (1.0 / (1.0 - rate))
        return scaled * tf.cast(uniform >= rate, tf.float32)


def dropout_of_2024(tf, x, keep):
    """``tf.nn.dropout`` as TensorFlow 2 writes it."""
    rate = tf.subtract(1.0, keep)
    uniform = tf.random.uniform(tf.shape(x), dtype=tf.float32)
    return tf.where(uniform >= rate, x * (1.0 / (1.0 - rate)), tf.constant(0.0))


DROPOUTS = [dropout_of_2016, dropout_of_2019, dropout_of_2024]


def with_dropout(dropout, keep):
    """A network with a dropout before its dense layer; ``keep`` makes its probability."""

    def build(tf, x):
        x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, KERNEL, 1, "SAME"), BIAS))
        classified(tf, dropout(tf, x, keep(tf)))

    return build


def one(tf):
    return tf.constant(1.0, name="keep_prob")


def one_by_default(tf):
    return tf.compat.v1.placeholder_with_default(1.0, (), "keep_prob")


@pytest.mark.parametrize("dropout", DROPOUTS)
@pytest.mark.parametrize("keep", [one, one_by_default])
def test_a_dropout_that_drops_nothing_passes_its_values_on(tmp_path, dropout, keep):
    path = frozen(tmp_path / "graph.pb", with_dropout(dropout, keep))
    port = porting.port(path, onto=Middle(nn.ReLU()))
    assert port.comparison, port.comparison.summary()


@pytest.mark.parametrize("dropout", DROPOUTS)
@pytest.mark.parametrize(
    ("keep", "how"),
    [
        (lambda tf: tf.constant(0.8), "with a probability of 0.8: export the graph for inference"),
        (
            lambda tf: tf.compat.v1.placeholder_with_default(0.5, (), "keep_prob"),
            "with a probability of 0.5: export",
        ),
        (
            lambda tf: tf.compat.v1.placeholder(tf.float32, (), "keep_prob"),
            "with a probability that '(keep_prob|.*rate|Sub)' gives: export",
        ),
    ],
)
def test_an_active_dropout_is_refused(tmp_path, dropout, keep, how):
    path = frozen(tmp_path / "graph.pb", with_dropout(dropout, keep))
    with pytest.raises(UnsupportedSource, match=f"is a dropout left from training, which .*{how}"):
        porting.port(path, onto=Middle(nn.ReLU()), verify=False)


def test_a_product_with_other_random_numbers_is_named(tmp_path):
    def build(tf, x):
        x = tf.nn.bias_add(tf.nn.conv2d(x, KERNEL, 1, "SAME"), BIAS)
        classified(tf, tf.multiply(x, tf.random.uniform(tf.shape(x)), name="noise"))

    with pytest.raises(UnsupportedSource, match="Mul 'noise' changes values at random each time"):
        open_source(frozen(tmp_path / "graph.pb", build))


def test_ranges_that_a_saved_model_keeps_in_variables(tmp_path):
    import tensorflow as tf

    class Rounding(tf.Module):
        def __init__(self):
            super().__init__()
            self.ends = [tf.Variable(0.0), tf.Variable(6.0)]

        @tf.function(input_signature=[tf.TensorSpec((None, 32, 32, 3))])
        def serve(self, x):
            x = tf.nn.bias_add(tf.nn.conv2d(x, KERNEL, 1, "SAME"), BIAS)
            return {"scores": classified(tf, by_range(tf, x, *self.ends))}

    module = Rounding()
    tf.saved_model.save(
        module, str(tmp_path / "saved"), signatures={"serving_default": module.serve}
    )
    port = porting.port(tmp_path / "saved", onto=Middle(nn.ReLU6()))
    assert port.comparison, port.comparison.summary()
