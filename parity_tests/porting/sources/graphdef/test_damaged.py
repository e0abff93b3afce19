"""Damaged and hostile graphs."""

from __future__ import annotations

import os

import numpy as np
import pytest

from parity_tests.building.limits import within
from parity_tests.porting.sources.refusing import refused
from porting.errors import BadSource, PortingError
from porting.reports.sources import inspect_source
from porting.sources import open_source


@pytest.fixture
def network(tf, written):
    """A frozen graph of each kind of attribute."""

    def build(x):
        kernel = np.random.default_rng(0).standard_normal((3, 3, 3, 4)).astype(np.float32)
        x = tf.nn.bias_add(tf.nn.conv2d(x - [1.0, 2.0, 3.0], kernel, 2, "SAME"), kernel[0, 0, 0])
        x = tf.nn.batch_normalization(
            x, *(tf.constant(kernel[0, 0, i]) for i in (0, 1)), 0.0, 1.0, 1e-3
        )
        x = tf.reduce_mean(tf.nn.relu6(x), [1, 2], keepdims=True)
        tf.nn.softmax(tf.squeeze(tf.pad(x, [[0, 0]] * 4), [1, 2]), name="scores")

    return written(build)


def exercise(path):
    """Read everything; a refusal must name the file."""
    try:
        source = open_source(path)
        for name in source.tensors:
            source.read(name)
        inspect_source(source)
    except PortingError as error:
        assert path.name in str(error)


def test_cut_at_any_length(network):
    whole = network.read_bytes()
    assert open_source(network).graph.operators
    for end in range(0, len(whole), 7):
        network.write_bytes(whole[:end])
        with within(mebibytes=64, seconds=20):
            exercise(network)


def test_an_empty_file(tmp_path):
    path = tmp_path / "graph.pb"
    path.write_bytes(b"")
    refused(path, BadSource, "the file is empty")


def test_random_bytes(tmp_path):
    path = tmp_path / "graph.pb"
    for seed in range(200):
        path.write_bytes(b"\n" + np.random.default_rng(seed).bytes(500))
        with within(mebibytes=64, seconds=20):
            exercise(path)


@pytest.mark.parametrize("rounds", [50, pytest.param(1000, marks=pytest.mark.thorough)])
def test_random_damage(network, rounds):
    generator = np.random.default_rng(int(os.environ.get("FUZZ_SEED", "0")))
    good = network.read_bytes()
    for _ in range(rounds):
        raw = bytearray(good)
        for _ in range(int(generator.integers(1, 5))):
            value = int(generator.choice([0, 1, 255, generator.integers(256)]))
            raw[int(generator.integers(len(raw)))] = value
        network.write_bytes(raw)
        with within(mebibytes=64, seconds=20):
            exercise(network)


def alter(graph, generator):
    """One change that leaves a sound message: another operation, input, name or attribute."""
    node, other = (graph.node[int(generator.integers(len(graph.node)))] for _ in range(2))
    which = int(generator.integers(7))
    if which == 0:
        node.op = other.op
    elif which == 1 and node.input:
        del node.input[-1]
    elif which == 2:
        node.input.append(other.name)
    elif which == 3 and node.input:
        node.input[int(generator.integers(len(node.input)))] = (
            f"{other.name}:{generator.integers(3)}"
        )
    elif which == 4 and node.attr:
        del node.attr[sorted(node.attr)[int(generator.integers(len(node.attr)))]]
    elif which == 5:
        node.attr["value"].CopyFrom(other.attr["value"])
    else:
        node.name = other.name + "/x:"[: int(generator.integers(1, 4))]


@pytest.mark.parametrize("rounds", [100, pytest.param(2000, marks=pytest.mark.thorough)])
def test_random_changes(tf, network, rounds):
    generator = np.random.default_rng(int(os.environ.get("FUZZ_SEED", "0")))
    good = network.read_bytes()
    for _ in range(rounds):
        graph = tf.compat.v1.GraphDef.FromString(good)
        for _ in range(int(generator.integers(1, 4))):
            alter(graph, generator)
        network.write_bytes(graph.SerializeToString())
        with within(mebibytes=64, seconds=20):
            exercise(network)


def changed(tf, path, change):
    graph = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    change(graph)
    path.write_bytes(graph.SerializeToString())
    return path


def test_a_constant_of_few_values_and_a_vast_shape(tf, network):
    def vast(graph):
        tensor = next(n for n in graph.node if n.op == "Const").attr["value"].tensor
        tensor.tensor_shape.dim.add().size = 1 << 40

    path = changed(tf, network, vast)
    with (
        pytest.raises(BadSource, match=r"takes .* values, it has 3"),
        within(mebibytes=64, seconds=9),
    ):
        source = open_source(path)
        for name in source.tensors:
            source.read(name)


def test_nodes_in_a_circle(tf, network):
    def circle(graph):
        node = next(n for n in graph.node if n.op == "Relu6")
        node.input[0] = "Mean"

    refused(changed(tf, network, circle), BadSource, "depends on itself")


def test_what_stands_for_itself(tf, network):
    def circle(graph):
        next(n for n in graph.node if n.op == "Relu6").input[0] = "a"
        for name, other in (("a", "b"), ("b", "a")):
            node = graph.node.add(name=name, op="Identity")
            node.input.append(other)

    with within(mebibytes=64, seconds=20):
        refused(changed(tf, network, circle), BadSource, "stands for itself")


def test_an_input_that_is_not_there(tf, network):
    def gone(graph):
        next(n for n in graph.node if n.op == "Relu6").input[0] = "nowhere"

    refused(changed(tf, network, gone), BadSource, "no node is called 'nowhere'")


def test_two_nodes_of_one_name(tf, network):
    def twice(graph):
        graph.node.add().CopyFrom(graph.node[0])

    refused(changed(tf, network, twice), BadSource, "two nodes called 'input'")


def test_functions_that_call_themselves(tf, network):
    def endless(graph):
        function = graph.library.function.add()
        function.signature.name = "again"
        for name in ("one", "two"):
            function.node_def.add(name=name, op="again")
        graph.node.add(name="call", op="again")

    with within(mebibytes=64, seconds=60):
        refused(changed(tf, network, endless), BadSource, "functions that call each other 64 deep")


def test_calls_that_double(tf, network):
    def doubling(graph):
        for number in range(40):
            function = graph.library.function.add()
            function.signature.name = f"f{number}"
            for name in ("one", "two"):
                function.node_def.add(name=name, op=f"f{number + 1}")
        graph.node.add(name="call", op="f0")

    with within(mebibytes=128, seconds=60):
        refused(changed(tf, network, doubling), BadSource, "over 16,777,216 letters in the names")


def test_a_call_of_no_function(tf, network):
    def gone(graph):
        node = graph.node.add(name="call", op="PartitionedCall")
        node.attr["f"].func.name = "nothing"

    refused(
        changed(tf, network, gone), BadSource, "'call' calls 'nothing', which is not a function"
    )


def test_more_nodes_than_any_network_has(tmp_path):
    path = tmp_path / "graph.pb"
    first = b"\n\x0b\n\x01a\x12\x06Relu6x"
    path.write_bytes(first + b"\n\x00" * 2_000_000)
    with within(mebibytes=256, seconds=30), pytest.raises(BadSource, match="over 262,144 nodes"):
        open_source(path)


def test_a_long_chain_of_constants(tf, written):
    def build(x):
        constant = tf.constant([1.0, 2.0, 3.0])
        for _ in range(3000):
            constant = -constant
        tf.add(x, constant)

    source = open_source(written(build))
    assert source.graph.operators[0].kind == "ADD"


def test_a_long_chain_that_hands_on(tf, network):
    def chain(graph):
        before = "scores"
        for number in range(30_000):
            graph.node.add(name=f"i{number}", op="Identity").input.append(before)
            before = f"i{number}"

    with within(mebibytes=512, seconds=30):
        source = open_source(changed(tf, network, chain))
    assert source.graph.outputs == ("scores",)
