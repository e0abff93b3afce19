"""Steps read from TensorFlow's operations: every property comes from the operation itself."""

from __future__ import annotations

import numpy as np
import pytest

from porting.judges.reference.graphs import ReferenceGraph
from porting.judges.reference.steps import SAME, Step, steps_of_graph


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


@pytest.fixture
def read(tf):
    """Steps of what a function makes of an image of 4 channels."""

    def steps(function, taps=None):
        graph = tf.Graph()
        with graph.as_default():
            image = tf.compat.v1.placeholder(tf.float32, (None, None, None, 4))
            logits = function(image)
        return steps_of_graph(ReferenceGraph(graph, image, logits, taps=taps or {}))[1:]

    return steps


def variable(tf, *shape):
    count = len(tf.compat.v1.get_default_graph().get_operations())
    return tf.compat.v1.get_variable(f"v{count}", shape, use_resource=False)


def test_convolutions(tf, read):
    def function(x):
        x = tf.nn.conv2d(x, variable(tf, 3, 5, 4, 8), [1, 2, 1, 1], "VALID")
        return tf.nn.depthwise_conv2d(x, variable(tf, 5, 5, 8, 1), [1, 2, 2, 1], "SAME")

    assert read(function) == (
        Step("conv", (0,), 8, (3, 5), (2, 1), "VALID"),
        Step("depthwise", (1,), 8, (5, 5), (2, 2), SAME),
    )


def test_weights_are_as_they_were_restored(tf, read):
    def function(x):
        return tf.nn.conv2d(x, variable(tf, 1, 1, 4, 4) * 2.0, 1, "SAME")

    assert read(function)[-1].kind == "TensorFlow's Conv2D"


def test_dilation_is_not_passed_over(tf, read):
    def function(x):
        return tf.nn.conv2d(x, variable(tf, 3, 3, 4, 4), 1, "SAME", dilations=2)

    assert read(function)[-1].kind == "conv with dilation"


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5])
def test_batch_norms(tf, read, epsilon):
    def function(x, training=False):
        vectors = [variable(tf, 4) for _ in range(4)]
        norm = tf.compat.v1.nn.fused_batch_norm
        statistics = (None, None) if training else vectors[2:]
        return norm(x, *vectors[:2], *statistics, epsilon=epsilon, is_training=training)[0]

    assert read(function)[0].number == pytest.approx(epsilon, rel=1e-6)
    assert read(function)[0].kind == "norm"
    assert read(lambda x: function(x, True))[0].kind.startswith("TensorFlow's FusedBatchNorm")


def test_activations(tf, read):
    def function(x):
        x = tf.nn.sigmoid(tf.nn.relu6(tf.nn.relu(x)))
        x = x * tf.nn.relu6(x + 3.0) * (1 / 6)
        return tf.nn.relu6(x + 3.0) * 0.16667

    steps = read(function)
    assert [step.kind for step in steps] == ["relu", "relu6", "sigmoid", "hard_swish",
                                             "hard_sigmoid"]  # fmt: skip
    assert [step.number for step in steps[-2:]] == pytest.approx([1 / 6, 0.16667], rel=1e-6)


@pytest.mark.parametrize(
    ("kinds", "function"),
    [
        (["TensorFlow's AddV2"], lambda tf, x: x + 2.0),
        (["x + 3"], lambda tf, x: x + 3.0),
        (["relu6(x + 3)"], lambda tf, x: tf.nn.relu6(x + 3.0)),
        (["x + 3", "relu"], lambda tf, x: tf.nn.relu(x + 3.0)),
        (["x * relu6(x + 3)"], lambda tf, x: x * tf.nn.relu6(x + 3.0)),
        (["relu", "relu6(x + 3)", "multiply"], lambda tf, x: tf.nn.relu(x) * tf.nn.relu6(x + 3.0)),
        (["TensorFlow's Mul"], lambda tf, x: x * 0.5),
        (["TensorFlow's LeakyRelu"], lambda tf, x: tf.nn.leaky_relu(x)),
        (["TensorFlow's Mean"], lambda tf, x: tf.reduce_mean(x, [1])),
        (["TensorFlow's MaxPool"], lambda tf, x: tf.nn.max_pool2d(x, 2, 2, "SAME")),
    ],
)
def test_what_is_nearly_an_activation_is_not_taken_for_one(tf, read, kinds, function):
    assert [step.kind for step in read(lambda x: function(tf, x))] == kinds


def test_means_dense_layers_and_sums(tf, read):
    def function(x):
        x = tf.add(tf.nn.relu(x), x)
        x = tf.squeeze(tf.reduce_mean(x, [2, 1], keepdims=True), [1, 2])
        x = tf.matmul(x, variable(tf, 4, 7))
        return tf.identity(tf.nn.bias_add(x, variable(tf, 7)), "logits")

    _, total, mean, dense, bias = read(function)
    assert (total.kind, set(total.inputs)) == ("add", {0, 1})
    assert mean.kind == "mean"
    assert dense == Step("conv", (3,), 7, (1, 1), (1, 1), SAME)
    assert (bias.kind, bias.channels) == ("bias", 7)


def test_taps_give_places_and_what_is_not_needed_is_left_out(tf, read):
    taps = {}

    def function(x):
        taps["act"] = tf.nn.relu(x)
        tf.nn.sigmoid(taps["act"])
        taps["classifier"] = tf.identity(tf.nn.relu6(taps["act"]))
        return taps["classifier"]

    assert [(s.kind, s.place) for s in read(function, taps)] == [
        ("relu", "act"), ("relu6", "classifier"),
    ]  # fmt: skip


def test_a_network_on_a_constant_is_seen_as_one(tf, read):
    def function(x):
        return tf.nn.relu(x) + tf.constant(np.ones((1, 1, 1, 4), np.float32))

    assert [step.kind for step in read(function)] == ["relu", "TensorFlow's AddV2"]
