"""Steps: how two sequences differ, what is counted of one, and those of TensorFlow's operations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from porting.judges.reference.graphs import ReferenceGraph
from porting.judges.reference.steps import (
    SAME,
    Step,
    first_difference,
    multiply_adds,
    parameters,
    required_steps,
    steps_of_graph,
)

NETWORK = (
    Step("image", (), 3),
    Step("conv", (0,), 8, (3, 3), (2, 2), SAME, place="conv_stem"),
    Step("norm", (1,), 8, number=1e-3, place="bn1"),
    Step("relu", (2,), 8, place="act1"),
    Step("depthwise", (3,), 8, (5, 5), (1, 1), SAME, place="conv_dw"),
    Step("add", (4, 3), 8, place="block"),
    Step("mean", (5,), 8, place="global_pool"),
    Step("conv", (6,), 4, (1, 1), (1, 1), SAME, place="classifier"),
    Step("bias", (7,), 4, place="classifier"),
)

CHANGES = {
    "kind": (3, {"kind": "relu6"}, "described relu, 8 channels"),
    "channels": (4, {"channels": 16}, "found depthwise 5x5, stride 1, padding SAME, 16 channels"),
    "kernel": (4, {"kernel": (3, 3)}, "found depthwise 3x3"),
    "stride": (1, {"stride": (1, 1)}, "described conv 3x3, stride 2, padding SAME"),
    "uneven stride": (1, {"stride": (2, 1)}, r"stride \(2, 1\)"),
    "padding": (1, {"padding": "VALID"}, "padding VALID"),
    "epsilon": (2, {"number": 1e-5}, r"described norm \(epsilon 0.001\).* epsilon 1e-05"),
    "operand": (5, {"inputs": (4, 2)}, "of step 4 and 2"),
    "place": (2, {"place": "bn2"}, "at bn2"),
}


@pytest.mark.parametrize(("number", "change", "told"), CHANGES.values(), ids=CHANGES)
def test_each_fact_of_a_step_counts(number, change, told):
    import re

    changed = list(NETWORK)
    changed[number] = replace(changed[number], **change)
    difference = first_difference(NETWORK, tuple(changed))
    assert difference.startswith(f"step {number}, {NETWORK[number].place}: described ")
    assert re.search(told.replace(".* ", ".*"), difference), difference


def test_what_does_not_count():
    unknown = tuple(replace(step, place="") for step in NETWORK)
    turned = tuple(
        replace(step, inputs=step.inputs[::-1]) if step.kind == "add" else step for step in NETWORK
    )
    in_float32 = (*NETWORK[:2], replace(NETWORK[2], number=0.0010000000474974513), *NETWORK[3:])
    for other in (unknown, turned, in_float32):
        assert first_difference(NETWORK, other) is None


def test_a_step_too_few_or_too_many_is_named():
    assert first_difference(NETWORK, NETWORK[:-1]).endswith("is described and not there")
    more = (*NETWORK, Step("softmax", (8,), 4))
    assert first_difference(NETWORK, more).startswith("step 9, at no known path: softmax")
    assert first_difference(NETWORK, more).endswith("is there and not described")


def test_what_the_output_does_not_need_is_left_out():
    steps = (*NETWORK[:3], Step("sigmoid", (2,), 8), Step("relu", (2,), 8), Step("bias", (4,), 8))
    assert [step.kind for step in required_steps(steps, 5)] == [
        "image",
        "conv",
        "norm",
        "relu",
        "bias",
    ]
    assert required_steps(steps, 5)[-1].inputs == (3,)


def test_counts():
    stem, depthwise, classifier = 27 * 8, 25 * 8, 8 * 4
    assert multiply_adds(NETWORK, 9) == (stem + depthwise) * 5 * 5 + classifier
    assert parameters(NETWORK) == stem + 2 * 8 + depthwise + classifier + 4


# --- steps of a TensorFlow graph ---


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
