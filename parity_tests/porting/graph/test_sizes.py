"""Graphs of unusual size and shape are read and compared in proportional time."""

from __future__ import annotations

import pytest

from parity_tests.building.limits import within
from porting.graph.match import GraphMismatch, match_graphs
from porting.graph.node import Graph, Node, Value
from porting.graph.rewrites import Operation, rewrite


def chain(length, kind="relu6"):
    node = Node("input")
    for _ in range(length):
        node = Node(kind, (), (node,))
    return Graph(node)


def doubling(depth):
    """Each level takes the one before twice: 2 ** depth paths lead to the input."""
    node = Node("input")
    for number in range(depth):
        node = Node("mul", (number,), (node, node))
    return Graph(node)


def ladder(height):
    """Each level computes one function of the one before twice, and adds the two."""
    node = Node("input")
    for _ in range(height):
        node = Node("add", (), (Node("relu", (), (node,)), Node("relu", (), (node,))))
    return Graph(node)


def fan(width):
    start = Node("input")
    total = Node("relu", (), (start,))
    for number in range(width):
        total = Node("add", (), (total, Node("clamp", (0.0, float(number)), (start,))))
    return Graph(total)


@pytest.mark.parametrize(
    "graph",
    [lambda: chain(100_000), lambda: doubling(2_000), lambda: ladder(20_000), lambda: fan(10_000)],
    ids=["a long chain", "shared parts that double", "twins", "a value that many take"],
)  # fmt: skip
def test_a_graph_is_matched_with_its_like(graph):
    with within(mebibytes=512, seconds=20):
        source, network = graph(), graph()
        assert len(match_graphs(source, network, "path")) == len(source.nodes())


def test_long_graphs_that_differ_are_described_in_a_few_words():
    with within(mebibytes=512, seconds=20), pytest.raises(GraphMismatch) as raised:
        match_graphs(chain(100_000), chain(99_999, "relu"), "path")
    assert len(str(raised.value)) < 500


def test_rewriting_ends_however_long_a_graph_is():
    value = Value(Node("input"))
    with within(mebibytes=512, seconds=20):
        for number in range(100_000):
            kind, facts = (("shift", (3.0,)), ("relu6", ()), ("scale", (1 / 6,)))[number % 3]
            value = rewrite(Operation(kind, facts, (value,), "place", lifted=True))
    assert value.times == pytest.approx(1)
