"""The structure of a PyTorch module, traced by ``torch.export``."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from porting.errors import BadInput
from porting.mapping.structure.exported import exported
from porting.mapping.structure.module_layers import layer_of
from porting.mapping.structure.node import (
    Node,
    Structure,
    takes,
)
from porting.mapping.structure.spelled_out import simplified
from porting.mapping.structure.traced import (
    AFFINE,
    MEANS,
    argument,
    averages_space,
    axis_of,
    clamp_of,
    flattening,
    has_number,
    is_over_the_last,
    moves_ones,
    nodes_in,
    operator_of,
    pads_of,
    passes,
    place_of,
    window_of,
)

if TYPE_CHECKING:
    from torch import Tensor, fx, nn
    from torch.export import ExportedProgram

_PASSED = (
    "dropout", "dropout_", "feature_dropout", "identity", "clone", "contiguous", "detach",
    "detach_", "alias", "lift_fresh_copy", "to", "_to_copy",
)  # fmt: skip
"""Operators that hand the same values on in evaluation mode."""

_SHAPES = (
    "flatten", "view", "reshape", "_unsafe_view", "squeeze", "squeeze_", "unsqueeze", "unsqueeze_",
    "permute",
)  # fmt: skip
_PLAIN = {
    "add": "add", "add_": "add", "sub": "sub", "mul": "mul", "mul_": "mul", "div": "div",
    "relu": "relu", "relu_": "relu", "relu6": "relu6", "relu6_": "relu6", "sigmoid": "sigmoid",
    "sigmoid_": "sigmoid", "hardswish": "hard_swish", "hardswish_": "hard_swish",
    "hardsigmoid": "hard_sigmoid", "hardsigmoid_": "hard_sigmoid", "silu": "silu",
    "silu_": "silu", "tanh": "tanh", "tanh_": "tanh", "softmax": "softmax", "_softmax": "softmax",
}  # fmt: skip
"""Operators of data alone -> the kind of node that they make."""

_FLATTENS = ("flatten", "view", "reshape", "_unsafe_view")
_POOLS = {"max_pool2d": "max pool", "avg_pool2d": "average pool"}
_CHANNELS_LAST = "channels last"


def structure_of_module(module: nn.Module, shape: tuple[int, ...]) -> Structure:
    """Trace a module in evaluation mode on an input of this shape (N, C, H, W).

    Raises:
        BadInput: ``torch.export`` cannot trace it, or it gives other than one tensor.
    """
    program = exported(module, shape)
    tracer = _Tracer(program)
    for node in program.graph.nodes:
        tracer.read(node)
    return tracer.structure(type(module).__name__)


@dataclass
class _Tracer:
    """Values by the name of the traced node that gives them, operator by operator."""

    program: ExportedProgram
    values: dict[str, Node] = field(default_factory=dict)
    _pixels: bool = False
    _output: Node | None = None

    def __post_init__(self) -> None:
        signature = self.program.graph_signature
        held = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        self._keys: Mapping[str, str] = held

    def structure(self, name: str) -> Structure:
        """What was read.

        Raises:
            BadInput: the module gives other than one tensor made from its input.
        """
        if self._output is None:
            raise BadInput(f"{name}: gives other than one tensor made from its input")
        return Structure(self._output, self._pixels)

    def read(self, node: fx.Node) -> None:
        """Add what a traced node gives, where it works on data."""
        if node.op == "placeholder" and node.name not in self._keys:
            self.values[node.name] = Node("input", place="the input")
        elif node.op == "output":
            results = nodes_in(node.args)
            self._output = self.values.get(results[0].name) if len(results) == 1 else None
        elif node.op == "call_function":
            given = tuple(
                self.values[arg.name] for arg in nodes_in(node.args) if arg.name in self.values
            )
            if given:
                self.values[node.name] = made = self._node(node, given)
                if operator_of(node).endswith("_"):
                    self._overwrite(given[0], made)

    def _overwrite(self, before: Node, after: Node) -> None:
        """An operator in place: whoever looks at its input from here on sees what it gave.

        Raises:
            BadInput: it writes into a part of a value, which others see whole.
        """
        if before.kind in ("flatten", _CHANNELS_LAST) or before.kind.startswith("PyTorch's"):
            raise BadInput(
                f"{after.place} writes into a part of a value, or into another view of it; "
                "--onto cannot follow that: write it without the change in place"
            )
        self.values.update({name: after for name, node in self.values.items() if node is before})

    def _node(self, node: fx.Node, given: tuple[Node, ...]) -> Node:
        name = operator_of(node)
        moves = name in (*_SHAPES, *MEANS) and moves_ones(node)
        if moves or (name in _PASSED and passes(node)):
            return given[0]
        if name == "getitem" and given[0].layer is not None:
            return given[0]  # of a batch norm that gives several results, the first is the data
        if (layer := layer_of(node, given[0], self._key)) is not None:
            return layer
        if name in AFFINE and given[0].kind == "input" and self._constant(node) is not None:
            self._pixels = True  # the module normalises
            return given[0]
        kind, facts = self._kind(node, given)
        if kind == "flatten" and given[0].kind == _CHANNELS_LAST:
            given = given[0].inputs
        return simplified(Node(kind, facts, given, place_of(node)))

    def _kind(self, node: fx.Node, given: tuple[Node, ...]) -> tuple[str, tuple[Hashable, ...]]:
        """Kind and facts of an operator without weights."""
        name = operator_of(node)
        made: tuple[str, tuple[Hashable, ...]] | None = None
        if name in MEANS and averages_space(node):
            made = "mean over height and width", ()
        elif name in ("pad", "constant_pad_nd") and (pads := pads_of(node)) is not None:
            made = "pad", (pads,)
        elif name == "permute" and argument(node, 1, None) == [0, 2, 3, 1]:
            made = _CHANNELS_LAST, ()
        elif name in _FLATTENS:
            made = "flatten", flattening(node, turned=given[0].kind == _CHANNELS_LAST)
        elif name in ("hardtanh", "hardtanh_", "clamp", "clamp_", "clamp_min"):
            made = clamp_of(node), ()
        elif name in _POOLS and (window := window_of(node)) is not None:
            made = _POOLS[name], window
        elif name in ("cat", "concat"):
            made = "concatenation", (axis_of(node),)
        elif name in ("softmax", "_softmax") and not is_over_the_last(node):
            made = None
        elif name in _PLAIN and not has_number(node) and _is_whole(node, given):
            made = _PLAIN[name], ()
        elif name.rstrip("_") in AFFINE and len(given) == 1:
            made = self._by_a_number(node)
        # Else of a kind that no source has: the first difference will show it.
        return made or (f"PyTorch's {node.target}", (node.name,))

    def _by_a_number(self, node: fx.Node) -> tuple[str, tuple[Hashable, ...]] | None:
        """A sum or product with one number."""
        name, constant = operator_of(node).rstrip("_"), self._constant(node)
        if constant is None or constant.numel() != 1 or node.kwargs:
            return None
        number = float(constant)
        if name in ("add", "sub"):
            return "shift", (number if name == "add" else -number,)
        return ("scale", (number if name == "mul" else 1.0 / number,)) if number else None

    def _constant(self, node: fx.Node) -> Tensor | None:
        """The number or the held tensor beside data; the second of a difference or quotient."""
        import torch

        if len(node.args) < 2 or node.kwargs:
            return None
        turned = operator_of(node).rstrip("_") in ("sub", "div")
        if turned and str(getattr(node.args[0], "name", "")) not in self.values:
            return None
        for arg in node.args[:2]:
            if isinstance(arg, (int, float)):
                return torch.tensor(float(arg))
            if (key := self._key(arg)) is not None:
                return {**self.program.constants, **self.program.state_dict}.get(key)
        return None

    def _key(self, arg: Any) -> str | None:
        """The state-dict key of what a traced node holds, None where it is data or nothing."""
        return self._keys.get(str(getattr(arg, "name", "")))


def _is_whole(node: fx.Node, given: tuple[Node, ...]) -> bool:
    """Whether an operator of data alone has as many values as it takes, and nothing else."""
    return len(given) == len(nodes_in(node.args)) == takes(_PLAIN[operator_of(node)])
