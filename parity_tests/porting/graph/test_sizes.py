"""Graphs of unusual size and shape are read and compared in proportional time."""

from __future__ import annotations

import numpy as np
import pytest

from parity_tests.building.limits import within
from parity_tests.building.tflite_files import TFLiteBuilder
from porting.errors import MappingError
from porting.graph.from_source import graph_of_source
from porting.graph.match import Fingerprints, GraphMatcher, GraphMismatch
from porting.graph.node import Graph, Node, NodeTable, Value, in_order
from porting.graph.rewrites import RULES, Operation, rewrite
from porting.mapping.recognise import find_match
from porting.sources import open_source
from porting.sources.source import Graph as Operators
from porting.sources.source import Operator, Source, TensorInfo


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
        assert len(GraphMatcher(source, "path").match(network)) == len(source.nodes())


def test_long_graphs_that_differ_are_described_in_a_few_words():
    with within(mebibytes=512, seconds=20), pytest.raises(GraphMismatch) as raised:
        GraphMatcher(chain(100_000), "path").match(chain(99_999, "relu"))
    assert len(str(raised.value)) < 500


def test_rewriting_ends_however_long_a_graph_is():
    value = Value(Node("input"))
    with within(mebibytes=512, seconds=20):
        for number in range(100_000):
            kind, facts = (("shift", (3.0,)), ("relu6", ()), ("scale", (1 / 6,)))[number % 3]
            value = rewrite(Operation(kind, facts, (value,), "place", gates_in_layers=True))
    assert value.times == pytest.approx(1)


class Made(Source):
    """A graph of operators in memory, from ``x`` to the last operator's output."""

    format, files, path = "made", (), "made"

    def __init__(self, operators, constants=()):
        self.graph = Operators(tuple(operators), ("x",), (operators[-1].outputs[0],))
        self._constants = dict(constants)
        self.tensors = {name: TensorInfo(name, (), "float32", "") for name in self._constants}
        names = ["x", *(operator.outputs[0] for operator in operators)]
        self._activations = {
            name: TensorInfo(name, (1, 64, 64, 3), "float32", "float32") for name in names
        }

    @property
    def activations(self):
        return self._activations

    def read(self, name):
        return np.float32(self._constants[name])


def operators_in_turn(kinds, length):
    """Operators one behind the other, of these kinds in turn."""
    names = ["x", *(f"y{n}" for n in range(length))]
    return [Operator(n, kinds[n % len(kinds)], (names[n],), (names[n + 1],)) for n in range(length)]


def matched_with_itself(graph):
    pairs = GraphMatcher(graph, "path").match(graph)
    assert all(ours is theirs for ours, theirs in pairs)
    return len(pairs)


def test_a_chain_of_a_hundred_thousand_operators():
    operators = operators_in_turn(["TANH", "LOGISTIC", "RELU6"], 100_000)
    with within(mebibytes=512, seconds=60):
        graph = graph_of_source(Made(operators), 3).graph
        assert matched_with_itself(graph) == 100_001


def test_a_file_in_which_ten_thousand_operators_take_the_image(tmp_path):
    file = TFLiteBuilder()
    x = file.tensor("x", [1, 64, 64, 3])
    results = [file.operator("TANH", [x], file.tensor(f"y{i}", [1, 5])) for i in range(10_000)]
    path = tmp_path / "model.tflite"
    path.write_bytes(file.finish([x], results))
    with (
        within(mebibytes=512, seconds=60),
        pytest.raises(MappingError, match="operator 0 TANH") as error_info,
    ):
        find_match(open_source(path), "tf_mnasnet_small")
    assert len(str(error_info.value)) < 1000


@pytest.mark.parametrize("kind", ["ADD", "MUL", "SUB"])
@pytest.mark.parametrize("between", [(), ("TANH",), ("TANH", "LOGISTIC")])
def test_a_value_that_doubles_at_each_of_three_hundred_levels(kind, between):
    operators, last = [], "x"
    for level in range(300):
        sides = [f"{level}/{n}" if n < len(between) else last for n in range(2)]
        for side, activation in zip(sides, between, strict=False):
            operators.append(Operator(len(operators), activation, (last,), (side,)))
        last = f"{level}/both"
        operators.append(Operator(len(operators), kind, tuple(sides), (last,)))
    with within(mebibytes=256, seconds=20):
        graph = graph_of_source(Made(operators), 3).graph
        assert matched_with_itself(graph) == 1 + 300 * (1 + len(between))


NUMBERS = {"two": 2.0, "half": 0.5, "three": 3.0, "minus three": -3.0, "six": 6.0, "zero": 0.0}
UNDOING = [
    [("MUL", "two"), ("MUL", "half")],
    [("ADD", "three"), ("ADD", "minus three")],
    [("MUL", "two"), ("ADD", "three"), ("MUL", "half"), ("ADD", "minus three")],
    [("MINIMUM", "six"), ("MAXIMUM", "zero")],
    [("MINIMUM", "six"), ("MUL", "two"), ("MAXIMUM", "zero"), ("MUL", "half")],
    [("ADD", "three"), ("MINIMUM", "six"), ("MAXIMUM", "zero")],
]


@pytest.mark.parametrize("steps", UNDOING)
def test_rules_that_could_undo_each_other_end(steps):
    operators, last = [], "x"
    for n in range(2_000):
        kind, constant = steps[n % len(steps)]
        operators.append(Operator(n, kind, (last, constant), (f"y{n}",)))
        last = f"y{n}"
    with within(mebibytes=256, seconds=20):
        graph = graph_of_source(Made(operators, NUMBERS), 3).graph
    assert len(graph.nodes()) <= 2_001


def test_each_operator_is_rewritten_once(monkeypatch):
    applied = []

    def counting(rule):
        def count(operation):
            value = rule(operation)
            applied.append(value is not None)
            return value

        return count

    monkeypatch.setattr("porting.graph.rewrites.RULES", tuple(map(counting, RULES)))
    value = Value(Node("input"))
    steps = [("scale", (2.0,)), ("shift", (3.0,)), ("relu6", ()), ("scale", (1 / 6,))]
    for kind, facts in steps * 100:
        value = rewrite(Operation(kind, facts, (value,)))
    assert sum(applied) <= 400 and len(applied) <= 400 * len(RULES)


def test_canonical_form_is_not_rewritten_again():
    random = np.random.default_rng(0)
    kinds = ("scale", "shift", "clamp", "relu", "relu6", "sigmoid", "add", "sub", "mul", "tanh")
    for _ in range(500):
        values = [Value(Node("input")), Value(Node("other input"))]
        for _ in range(random.integers(2, 9)):
            kind = str(random.choice(kinds))
            operands = random.integers(0, len(values), 2 if kind in ("add", "sub", "mul") else 1)
            number = float(random.choice((1 / 6, 6.0, 3.0, 0.5)))
            facts = {"scale": (number,), "shift": (number,), "clamp": (0.0, number)}.get(kind, ())
            operation = Operation(kind, facts, tuple(values[i] for i in operands))
            values.append(rewrite(operation))
        again: dict[Node, Value] = {}
        for node in in_order(values[-1].node):
            operands = tuple(again[operand] for operand in node.inputs)
            again[node] = (
                rewrite(Operation(node.kind, node.facts, operands)) if operands else Value(node)
            )
        fingerprints = Fingerprints()
        last = values[-1].node
        after = again[last]
        assert after.times == 1
        assert fingerprints.of(Graph(last))[last] == fingerprints.of(Graph(after.node))[after.node]


def test_nodes_that_compute_alike_are_one():
    table = NodeTable()
    start = table.unique(Node("input"))
    deep = [Node("tanh", (), (Node("relu", (), (start,)),)) for _ in range(2)]
    first, second = map(table.unique, deep)
    assert first is second and first.inputs[0].inputs[0] is start
    assert table.unique(Node("tanh", (), (start,))) is not first
    assert table.unique(first) is first
