"""Layers that occur once in one graph and twice in the other, or in another role."""

from __future__ import annotations

import pytest

from porting.errors import MappingError
from porting.graph.match import AmbiguousAlignment, GraphMatcher
from porting.graph.node import Graph, Node


def layers():
    """Two layers of one shape on one input, each after an activation."""
    start = Node("input")
    return [op("relu", Node("dense", (4, 4), (start,), name)) for name in "AB"]


def op(kind, *operands):
    return Node(kind, (), operands, kind)


def places(left, right):
    """The places of the layers that are paired."""
    pairs = GraphMatcher(Graph(left), "path").match(Graph(right))
    return [(ours.place, theirs.place) for ours, theirs in pairs if ours.weighted]


def test_two_differences_of_one_sign_are_not_two_of_both_signs():
    (a, b), (c, d) = layers(), layers()
    twice = op("add", op("sub", a, b), op("sub", a, b))
    with pytest.raises(MappingError, match=r"the source computes . once, the network twice"):
        places(twice, op("add", op("sub", c, d), op("sub", d, c)))
    assert sorted(places(twice, op("add", op("sub", c, d), op("sub", c, d)))) == [
        ("A", "A"), ("B", "B"),
    ]  # fmt: skip


def test_a_layer_behind_an_activation_that_the_network_has_twice():
    (a, _), (c, d) = layers(), layers()
    with pytest.raises(MappingError, match=r"computes A once, the network twice, at . and at ."):
        places(op("add", a, a), op("add", c, d))


def test_an_activation_that_the_network_computes_twice():
    (a, _), (c, _) = layers(), layers()
    again = op("relu", c.inputs[0])
    assert places(op("add", a, a), op("add", c, again)) == [("A", "A")]


def test_layers_that_both_operands_share_are_not_the_ones_in_question():
    def graph():
        start = Node("input")
        stem = Node("dense", (4, 4), (start,), "stem")
        a, b = (Node("dense", (4, 4), (stem,), name) for name in "AB")
        return op("add", op("add", op("relu", a), stem), op("add", op("relu", b), stem))

    with pytest.raises(AmbiguousAlignment) as error_info:
        places(graph(), graph())
    assert [line.split()[-1] for line in str(error_info.value).splitlines()[1:5]] == ["A", "B"] * 2


def test_operands_that_share_all_their_layers_are_paired_either_way():
    (a, _), (c, _) = layers(), layers()
    twins = [op("add", op("tanh", n), op("tanh", n)) for n in (a, c)]
    assert places(*twins) == [("A", "A")]
