"""Each rewrite rule: its result, and that expression and result compute the same."""

from __future__ import annotations

import numpy as np
import pytest

from porting.graph.match import Fingerprints
from porting.graph.node import Graph, Node, SourceLayer, Value, in_order
from porting.graph.rewrites import RULES, Operation, plain, rewrite

X, Y = Node("input", place="x"), Node("other input", place="y")
VALUES = {X: np.linspace(-9, 9, 1001), Y: np.linspace(5, -4, 1001)}


def clip(low, high):
    return lambda x: np.clip(x, low, high)


COMPUTED = {
    "scale": lambda x, number: x * number,
    "shift": lambda x, number: x + number,
    "clamp": np.clip,
    "relu": clip(0, None),
    "relu6": clip(0, 6),
    "relu1": clip(0, 1),
    "relu_n1_to_1": clip(-1, 1),
    "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "sigmoid": lambda x: np.exp(-np.logaddexp(0, -x)),
    "silu": lambda x: x * np.exp(-np.logaddexp(0, -x)),
    "tanh": np.tanh,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max pool": lambda x: np.maximum(x[1:], x[:-1]),
}
"""What each kind means, apart from the rules."""


class Expression:
    """An operator on expressions, or an input; its value in canonical form, and its numbers."""

    def __init__(self, kind, *operands, facts=(), lifted=False):
        if isinstance(kind, Node):
            self.value, self.numbers = Value(kind), VALUES[kind]
            return
        values = tuple(operand.value for operand in operands)
        self.value = rewrite(Operation(kind, facts, values, "place", lifted))
        self.numbers = COMPUTED[kind](*(operand.numbers for operand in operands), *facts)


def computed(node):
    """A canonical node's numbers, by what its kind means."""
    numbers = {}
    for each in in_order(node):
        if not each.inputs:
            numbers[each] = VALUES[each]
            continue
        numbers[each] = COMPUTED[each.kind](*(numbers[n] for n in each.inputs), *each.facts)
    return numbers[node]


x, y = Expression(X), Expression(Y)


def times(number, operand):
    return Expression("scale", operand, facts=(float(number),))


def plus(number, operand):
    return Expression("shift", operand, facts=(float(number),))


def at_least(low, operand):
    return Expression("clamp", operand, facts=(float(low), None))


def at_most(high, operand):
    return Expression("clamp", operand, facts=(None, float(high)))


def op(kind):
    return lambda *operands: Expression(kind, *operands)


relu, relu6, relu1, mul, add, sub, div = map(
    op, ("relu", "relu6", "relu1", "mul", "add", "sub", "div")
)
sigmoid, hard_sigmoid, hard_swish, silu = map(op, ("sigmoid", "hard_sigmoid", "hard_swish", "silu"))

SAME = {
    "hard swish, the sixth last": (times(1 / 6, mul(x, relu6(plus(3, x)))), hard_swish(x)),
    "hard swish, the sixth first": (mul(times(1 / 6, x), relu6(plus(3, x))), hard_swish(x)),
    "hard swish, the sixth in the gate": (mul(times(1 / 6, relu6(plus(3, x))), x), hard_swish(x)),
    "hard swish of slim": (mul(x, times(0.16667, relu6(plus(3, x)))), hard_swish(x)),
    "hard swish without its sixth": (mul(x, relu6(plus(3, x))), hard_swish(x)),
    "hard swish by a hard sigmoid": (mul(hard_sigmoid(x), x), hard_swish(x)),
    "hard sigmoid": (times(1 / 6, relu6(plus(3, x))), hard_sigmoid(x)),
    "hard sigmoid, divided first": (relu1(plus(0.5, times(1 / 6, x))), hard_sigmoid(x)),
    "hard sigmoid by least and most": (
        times(1 / 6, at_most(6, at_least(0, plus(3, x)))), hard_sigmoid(x)
    ),
    "silu": (mul(x, sigmoid(x)), silu(x)),
    "silu of a product": (mul(times(3, x), sigmoid(x)), silu(x)),
    "relu6 by most and least": (at_least(0, at_most(6, x)), relu6(x)),
    "relu6 of a relu": (at_most(6, relu(x)), relu6(x)),
    "relu by a clamp": (at_least(0, x), relu(x)),
    "a clamp at one either way": (
        op("relu_n1_to_1")(x), at_least(-1, at_most(1, x))
    ),
    "relu6 of a product": (relu6(times(3, x)), Expression("clamp", x, facts=(0.0, 2.0))),
    "relu of a product": (relu(times(3, x)), relu(x)),
    "a sum of products": (add(times(2, x), times(2, y)), add(x, y)),
    "a difference of products": (sub(times(2, x), times(2, y)), sub(x, y)),
    "a product of products": (mul(times(2, x), times(3, y)), mul(x, y)),
    "a quotient of products": (div(times(2, x), times(4, y)), div(x, y)),
    "the largest of products": (
        Expression("max pool", times(2, x)), Expression("max pool", x)
    ),
    "products of products": (times(3, times(1 / 6, x)), x),
    "a product with a sum": (times(2, plus(3, x)), plus(3, x)),
    "a sum with a product": (plus(3, times(2, x)), plus(1.5, x)),
}  # fmt: skip
"""Name -> an expression before, and the one that its canonical form is a number times of."""

OTHER = {
    "a clamp at 5": (relu6(plus(3, x)), at_most(5, relu(plus(3, x)))),
    "a gate of another value": (mul(y, hard_sigmoid(x)), hard_swish(x)),
    "a sum of unlike products": (add(times(2, x), y), add(x, y)),
    "a relu of what is turned round": (relu(times(-1, x)), relu(x)),
    "a sigmoid of a product": (sigmoid(times(2, x)), sigmoid(x)),
    "plus four": (relu6(plus(4, x)), relu6(plus(3, x))),
    "a relu6 of a product": (relu6(times(2, x)), relu6(x)),
    "a clamp in a clamp": (at_least(1, at_most(6, x)), relu6(x)),
    "two clamps that have no number in common": (
        at_least(7, at_most(6, x)),
        at_most(6, at_least(7, x)),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_spellings_of_one_value_have_one_form(name):
    before, after = SAME[name]
    fingerprints = Fingerprints()
    left = fingerprints.of(Graph(before.value.node))[before.value.node]
    assert left == fingerprints.of(Graph(after.value.node))[after.value.node]
    numbers = before.value.times * computed(before.value.node)
    np.testing.assert_allclose(numbers, before.numbers, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", OTHER)
def test_other_values_have_another_form(name):
    left, right = OTHER[name]
    fingerprints = Fingerprints()
    nodes = [plain(expression.value, "place") for expression in (left, right)]
    assert len({fingerprints.of(Graph(node))[node] for node in nodes}) == 2


def test_any_expression_computes_what_it_did():
    random = np.random.default_rng(0)
    numbers = (1 / 6, 6.0, 3.0, 0.5, 2.0, -1.0, 1.0)
    rewritten = 0
    for _ in range(3000):
        known = [x, y]
        for _ in range(random.integers(2, 9)):
            kind = random.choice([*COMPUTED])
            if kind in ("max pool", "div"):
                continue
            count = 2 if kind in ("add", "sub", "mul") else 1
            operands = [known[i] for i in random.integers(0, len(known), count)]
            facts = ()
            if kind in ("scale", "shift"):
                facts = (float(random.choice(numbers)),)
            elif kind == "clamp":
                low = None if random.random() < 0.3 else float(random.choice((0, 0, 2, 7)))
                facts = (low, float(random.choice((1, 5, 6))))
            known.append(Expression(str(kind), *operands, facts=facts))
        last = known[-1]
        canonical = last.value.times * computed(last.value.node)
        scale = max(1.0, np.abs(last.numbers).max())
        np.testing.assert_allclose(canonical / scale, last.numbers / scale, atol=2e-4)
        rewritten += last.value.times != 1
    assert rewritten > 200


@pytest.mark.parametrize("number", [1e-25, 1e25, float("inf"), float("nan")])
def test_numbers_that_no_weight_can_take_in_stay_where_they_are(number):
    tiny = Value(X)
    for _ in range(40):
        tiny = rewrite(Operation("scale", (number,), (tiny,), "place"))
    assert any(node.kind == "scale" for node in in_order(tiny.node))
    for last in (("shift", (3.0,)), ("relu6", ())):
        assert rewrite(Operation(*last, (tiny,), "place")).node.kind in (last[0], "clamp")
    for last in ("mul", "div"):
        assert rewrite(Operation(last, (), (tiny, tiny), "place")).node.kind == last


def layer(scale=1.0, offset=0.0, bias="bias"):
    stored = SourceLayer("weight", bias, "o i", scale=scale, offset=offset)
    return Value(Node("dense", (4, 4), (X,), "layer", stored))


@pytest.mark.parametrize("lifted", [False, True])
def test_what_was_moved_into_a_layer_comes_out_where_it_is_asked_for(lifted):
    def gate(*steps):
        value = layer()
        for kind, facts in steps:
            value = rewrite(Operation(kind, facts, (value,), "place", lifted))
        return value

    sixth = gate(("relu6", ()), ("scale", (1 / 6,)))
    unit = gate(("relu1", ()))
    product = rewrite(Operation("mul", (), (Value(Y), gate(("relu6", ()))), "place", lifted))
    gates = sixth.node, unit.node, product.node.inputs[1]
    if not lifted:
        assert [node.kind for node in gates] == ["relu6", "clamp", "relu6"]
        return
    assert [node.kind for node in gates] == ["hard_sigmoid"] * 3
    taken = [(node.inputs[0].layer.offset, node.inputs[0].layer.scale) for node in gates]
    assert taken == [(3.0, 1.0), (0.5, 1 / 6), (3.0, 1.0)]
    assert [sixth.times, unit.times, product.times] == [1.0, 1.0, 6.0]


def test_a_layer_without_a_bias_has_taken_nothing_in():
    value = rewrite(Operation("relu6", (), (layer(bias=None),), "place", gates_in_layers=True))
    value = rewrite(Operation("scale", (1 / 6,), (value,), "place", gates_in_layers=True))
    assert value.node.kind == "relu6"


@pytest.mark.parametrize(
    ("order", "steps"),
    [
        ((0, 3, 1, 2), [((3,), 4), ((2,), 3)]),  # NCHW: width, then height
        ((0, 3, 1, 2), [((2,), 4), ((2,), 3)]),
        ((0, 3, 1, 2), [((2, 3), 4)]),
        ((0, 2, 1, 3), [((1, 2), 4)]),
        (None, [((2,), 4), ((1,), 3)]),
    ],
)
def test_a_mean_by_steps_in_any_layout_is_one(order, steps):
    value = rewrite(Operation("scale", (2.0,), (Value(X),), "place"))
    if order is not None:
        value = Value(Node("transpose", order, (value.node,)), value.times)
    for axes, rank in steps:
        value = rewrite(Operation("mean over axes", (axes, rank, False), (value,), "place"))
    assert (value.node.kind, value.node.inputs) == ("mean over height and width", (X,))
    assert value.times == 2


@pytest.mark.parametrize(
    "steps",
    [
        [((1,), 4), ((2,), 3)],  # height, then the channels
        [((3,), 4), ((2,), 3)],
        [((1,), 4), ((1,), 4)],  # which says another rank than there is
        [((0,), 4), ((0,), 3)],
    ],
)
def test_other_means_stay_what_they_are(steps):
    value = Value(X)
    for axes, rank in steps:
        value = rewrite(Operation("mean over axes", (axes, rank, False), (value,), "place"))
    assert value.node.kind == "mean over axes"


def test_each_rule_says_what_it_does():
    assert all("->" in rule.__doc__ for rule in RULES)
