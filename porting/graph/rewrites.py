"""Rewrite rules that reduce different spellings of an operation to one.

Both sides of a comparison go through the same rules, operator by operator, so that a spelling
is taught once. Most are made simple by one idea: a product with a number changes no value but
says how many *times* the value flows on. The number goes through every operator that commutes
with it, and the weights of the next layer take it in. ``x * relu6(x + 3) * 0.16667``, its
factors in any order, or with the sixth in the kernel of the convolution behind it, then are all
some number times ``hard_swish(x)``.

Each rule is a function from an operator (kind, facts, inputs) to what it gives, or None where it
does not apply; :data:`RULES` are tried in order, and the first that applies decides, so that
rewriting ends whatever the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

from porting.graph.node import Node, SourceLayer, Value

TOLERANCE = 1e-4
"""How far a constant may lie from the one that it stands for: slim writes 0.16667 for 1/6."""

_LARGEST = 1e30
"""Largest number by which weights are multiplied, or divided: float32 ends at 3.4e38."""

_COMMUTING = (
    "mean over height and width", "max over height and width", "average pool", "max pool",
    "flatten", "pad",
)  # fmt: skip
_SUMS = ("add", "sub", "concatenation")
_GATE_PRODUCTS = {"hard_sigmoid": "hard_swish", "sigmoid": "silu"}


@dataclass(frozen=True)
class Operation:
    """An operator and its operands, before they become a node.

    ``gates_in_layers`` reads a clamp behind a layer as a hard sigmoid whose 3 (and 1/6) an exporter
    has added to the layer's bias (and weights); nothing in the graph tells the two apart.
    """

    kind: str
    facts: tuple[Hashable, ...]
    inputs: tuple[Value, ...]
    place: str = ""
    gates_in_layers: bool = False

    @property
    def number(self) -> float:
        """The number of a ``scale`` or a ``shift``."""
        (number,) = self.facts
        assert isinstance(number, float)
        return number

    def node(self, kind: str, *operands: Node, facts: tuple[Hashable, ...] = ()) -> Node:
        """A node at this place."""
        return Node(kind, facts, operands, self.place)


def rewrite(operation: Operation) -> Value:
    """The value of an operator, in canonical form."""
    for rule in RULES:
        value = rule(operation)
        if value is not None:
            return value
    operands = tuple(plain(value, operation.place) for value in operation.inputs)
    return Value(operation.node(operation.kind, *operands, facts=operation.facts))


def plain(value: Value, place: str) -> Node:
    """The value as a node, with a product behind it where its factor is not 1."""
    if abs(value.times - 1) <= TOLERANCE:
        return value.node
    return Node("scale", (float(f"{value.times:.6g}"),), (value.node,), place)


def _near(number: Hashable, other: float) -> bool:
    return isinstance(number, float) and abs(number - other) <= TOLERANCE * abs(other)


def _scale(operation: Operation) -> Value | None:
    """``x * c`` -> c times x."""
    if operation.kind != "scale":
        return None
    (x,) = operation.inputs
    times = x.times * operation.number
    if not _is_usable(times):
        return None
    if operation.gates_in_layers and _near(times, 1 / 6):
        # relu6(layer) / 6, the layer's bias being 3 larger -> hard_sigmoid(layer)
        gate = _gate_in_layer(x.node, operation)
        if gate is not None:
            return Value(gate, _snapped(6 * times))
    return Value(x.node, _snapped(times))


def _shift(operation: Operation) -> Value | None:
    """``t * x + c`` -> t times (x + c / t)."""
    if operation.kind != "shift":
        return None
    (x,) = operation.inputs
    return Value(operation.node("shift", x.node, facts=(operation.number / x.times,)), x.times)


_CLAMPS: dict[str, tuple[float | None, float | None]] = {
    "relu": (0.0, None), "relu6": (0.0, 6.0), "relu1": (0.0, 1.0),
    "relu_n1_to_1": (-1.0, 1.0),
}  # fmt: skip


def _clamp(operation: Operation) -> Value | None:
    """``clamp(t * x, a, b)`` -> t times clamp(x, a / t, b / t); a clamp of a clamp -> one.

    ``relu6(x + 3)`` -> 6 times hard_sigmoid(x), wherever the sixth stands.
    """
    low, high = _clamp_ends(operation.kind, operation.facts)
    if low is None and high is None:
        return None
    (x,) = operation.inputs
    if x.times <= 0:
        return None
    low, high = (None if end is None else end / x.times for end in (low, high))
    node = x.node
    inner = _clamp_ends(node.kind, node.facts)
    lows = [end for end in (low, inner[0]) if end is not None]
    highs = [end for end in (high, inner[1]) if end is not None]
    # Two ranges without a common number are no range: which is the outer one decides.
    if inner != (None, None) and (not lows or not highs or max(lows) <= min(highs)):
        low, high = max(lows, default=None), min(highs, default=None)
        node = node.inputs[0]
    if low == 0 and _near(high, 6.0) and node.kind == "shift" and _near(node.facts[0], 3.0):
        return Value(operation.node("hard_sigmoid", node.inputs[0]), _snapped(6 * x.times))
    if operation.gates_in_layers and low == 0 and _near(high, 1.0):
        # clamp(layer, 0, 1), the layer being a sixth as large and 1/2 larger -> hard_sigmoid(layer)
        gate = _of_layer(node, operation, 0.5, 1 / 6)
        if gate is not None:
            return Value(gate, x.times)
    if low == 0 and (high is None or _near(high, 6.0)):
        return Value(operation.node("relu" if high is None else "relu6", node), x.times)
    ends = tuple(None if end is None else float(f"{end:.6g}") for end in (low, high))
    return Value(operation.node("clamp", node, facts=ends), x.times)


def _clamp_ends(
    kind: str, facts: tuple[Hashable, ...]
) -> tuple[float | None, float | None]:  # fmt: skip
    if kind == "clamp":
        low, high = facts
        assert low is None or isinstance(low, float)
        assert high is None or isinstance(high, float)
        return low, high
    return _CLAMPS.get(kind, (None, None))


def _gate_in_layer(clamp: Node, operation: Operation) -> Node | None:
    """``relu6(layer)``, the layer's bias being 3 larger -> hard_sigmoid(layer), but for a sixth."""
    if clamp.kind != "relu6":
        return None
    return _of_layer(clamp.inputs[0], operation, 3.0, 1.0)


def _of_layer(layer: Node, operation: Operation, offset: float, scale: float) -> Node | None:
    """A hard sigmoid of the canonical layer, of which this one is ``scale`` times plus ``offset``.

    None where the node is not a layer that can have taken them in.
    """
    tensors = layer.layer
    if not isinstance(tensors, SourceLayer) or tensors.bias is None or tensors.norm is not None:
        return None
    return operation.node(
        "hard_sigmoid", replace(layer, layer=replace(tensors, offset=offset, scale=scale))
    )


def _unit_length(operation: Operation) -> Value | None:
    """``x / |x|``, by any root and with any smallest length -> l2_normalise(x)."""
    if operation.kind not in ("mul", "div") or len(operation.inputs) != 2:
        return None
    root = "rsqrt" if operation.kind == "mul" else "sqrt"
    x, length = operation.inputs
    if operation.kind == "mul" and x.node.kind in (root, "clamp"):
        x, length = length, x
    if x.times <= 0 or length.times != 1:
        return None
    node = length.node
    for kind in (root, "sum over channels", "square"):
        node = node.inputs[0] if node.kind == "clamp" else node
        if node.kind != kind:
            return None
        node = node.inputs[0]
    return Value(operation.node("l2_normalise", x.node)) if node is x.node else None


def _product(operation: Operation) -> Value | None:
    """``x * hard_sigmoid(x)`` -> hard_swish(x); ``x * sigmoid(x)`` -> silu(x)."""
    if operation.kind != "mul":
        return None
    one, other = operation.inputs
    times = _snapped(one.times * other.times)
    if not _is_usable(times):
        return None
    for x, gate in ((one, other), (other, one)):
        if gate.node.kind in _GATE_PRODUCTS and gate.node.inputs[0] is x.node:
            return Value(operation.node(_GATE_PRODUCTS[gate.node.kind], x.node), times)
        if (
            operation.gates_in_layers
            and gate.node.kind == "relu6"
            and gate.node.inputs[0].kind == "dense"
        ):
            # x * relu6(layer), the sixth being in the weights behind -> x * hard_sigmoid(layer)
            moved_gate = _gate_in_layer(gate.node, operation)
            if moved_gate is not None:
                return Value(operation.node("mul", x.node, moved_gate), _snapped(6 * times))
    return Value(operation.node("mul", one.node, other.node), times)


def _quotient(operation: Operation) -> Value | None:
    """``(s * x) / (t * y)`` -> s / t times x / y."""
    if operation.kind != "div":
        return None
    dividend, divisor = operation.inputs
    times = _snapped(dividend.times / divisor.times)
    if not _is_usable(times):
        return None
    return Value(operation.node("div", dividend.node, divisor.node), times)


def _mean_by_steps(operation: Operation) -> Value | None:
    """``mean(mean(transpose(x), w), h)`` -> mean(x, (h, w)), in whatever order and layout."""
    if operation.kind != "mean over axes":
        return None
    (x,) = operation.inputs
    axes, rank, keeps = operation.facts
    below, labels, done = x.node, "NHWC", ""
    if below.kind == "transpose" and len(below.facts) == 4:
        labels = "".join(labels[int(str(place))] for place in below.facts)
        below = below.inputs[0]
    elif below.kind == "partial mean":
        labels, done = map(str, below.facts)
        below = below.inputs[0]
    assert isinstance(axes, tuple)
    if rank != len(labels):
        return None
    means = "".join(sorted({*done, *(labels[axis] for axis in axes)}))
    axis_left = "1" if keeps else ""
    remaining = "".join(axis_left if n in axes else label for n, label in enumerate(labels))
    if means == "HW" and remaining.replace("1", "") == "NC":
        return Value(operation.node("mean over height and width", below), x.times)
    if means in ("H", "W"):
        return Value(operation.node("partial mean", below, facts=(remaining, means)), x.times)
    return None


def _commuting(operation: Operation) -> Value | None:
    """``mean(t * x)`` -> t times mean(x), and so for all that a positive number goes through."""
    if operation.kind not in _COMMUTING or operation.inputs[0].times <= 0:
        return None
    (x,) = operation.inputs
    return Value(operation.node(operation.kind, x.node, facts=operation.facts), x.times)


def _channels(operation: Operation) -> Value | None:
    """``(t * x)[a:b][c:d]`` -> t times x[a + c:a + d]."""
    if operation.kind != "channels":
        return None
    (x,) = operation.inputs
    node, (start, stop, total) = x.node, operation.facts
    if node.kind == "channels":
        first, _, total = node.facts
        assert isinstance(first, int) and isinstance(start, int) and isinstance(stop, int)
        node, start, stop = node.inputs[0], first + start, first + stop
    return Value(operation.node("channels", node, facts=(start, stop, total)), x.times)


def _sum(operation: Operation) -> Value | None:
    """``t * x + t * y`` -> t times (x + y)."""
    if operation.kind not in _SUMS:
        return None
    times = {value.times for value in operation.inputs}
    if len(times) > 1:
        return None
    nodes = (value.node for value in operation.inputs)
    return Value(operation.node(operation.kind, *nodes, facts=operation.facts), times.pop())


def _snapped(times: float) -> float:
    """``times``, or exactly 1 where it differs by a float32 rounding alone."""
    return 1.0 if abs(times - 1) < 2e-7 else times


def _is_usable(times: float) -> bool:
    """Whether weights can be multiplied by a number without leaving float32's range."""
    return 1 / _LARGEST < abs(times) < _LARGEST


Rule = Callable[[Operation], "Value | None"]

RULES: tuple[Rule, ...] = (
    _scale, _shift, _clamp, _unit_length, _product, _quotient, _mean_by_steps, _commuting,
    _channels, _sum,
)  # fmt: skip
"""Tried in order; the docstring of each has its before and after."""
