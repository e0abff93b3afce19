"""The structure of a PyTorch module, traced by ``torch.export``."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from porting.errors import BadInput
from porting.mapping.padding import NO_PADS, Pads
from porting.mapping.structure.node import (
    ModuleLayer,
    ModuleNorm,
    Node,
    Structure,
    layer_kind,
    takes,
)
from porting.mapping.structure.spelled_out import simplified
from porting.mapping.structure.traced import (
    AFFINE,
    MEANS,
    argument,
    averages_space,
    clamp_of,
    has_number,
    moves_ones,
    nodes_in,
    operator_of,
    padded,
    pads_of,
    pair,
    place_of,
    shape_of,
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


def structure_of_module(module: nn.Module, shape: tuple[int, ...]) -> Structure:
    """Trace a module in evaluation mode on an input of this shape (N, C, H, W).

    Raises:
        BadInput: ``torch.export`` cannot trace it, or it gives other than one tensor.
    """
    program = _exported(module, shape)
    tracer = _Tracer(program)
    for node in program.graph.nodes:
        tracer.read(node)
    return tracer.structure(type(module).__name__)


def _exported(module: nn.Module, shape: tuple[int, ...]) -> ExportedProgram:
    import torch

    example = torch.zeros(shape)
    logger = logging.getLogger("torch")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(module.eval(), (example,))
    except Exception as error:
        # A user's code may raise anything; whatever it is, it is about this module.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise BadInput(
            f"{type(module).__name__}: torch.export cannot trace it on an input of shape {shape}: "
            f"{type(error).__name__}: {lines[0] if lines else ''}"
        ) from error
    finally:
        logger.setLevel(level)


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
                self.values[node.name] = self._node(node, given)

    def _node(self, node: fx.Node, given: tuple[Node, ...]) -> Node:
        name, place = operator_of(node), place_of(node)
        if name in _PASSED or (name in (*_SHAPES, *MEANS) and moves_ones(node)):
            return given[0]
        if name == "getitem":  # of operators that give several results, the first is the data
            return given[0]
        if name in _LAYERS:
            return _LAYERS[name](self, node, given[0])
        if name in _NORMS and isinstance(given[0].layer, ModuleLayer) and not given[0].layer.norm:
            return self._normed(node, given[0])
        if name in AFFINE and given[0].kind == "input" and self._constant(node) is not None:
            self._pixels = True  # the module normalises
            return given[0]
        kind, facts = self._kind(node, given)
        return simplified(Node(kind, facts, given, place))

    def _kind(self, node: fx.Node, given: tuple[Node, ...]) -> tuple[str, tuple[Hashable, ...]]:
        """Kind and facts of an operator without weights."""
        name, args = operator_of(node), node.args
        made: tuple[str, tuple[Hashable, ...]] | None = None
        if name in MEANS and averages_space(node):
            made = "mean over height and width", ()
        elif name in ("pad", "constant_pad_nd") and (pads := pads_of(node)) is not None:
            made = "pad", (pads,)
        elif name in _SHAPES:
            channels, *plane = shape_of(node.args[0])[1:]
            made = "flatten", ((*plane, channels),)
        elif name in ("hardtanh", "hardtanh_", "clamp", "clamp_", "clamp_min"):
            made = clamp_of(node), ()
        elif name in ("max_pool2d", "avg_pool2d"):
            made = ("max pool" if name == "max_pool2d" else "average pool"), window_of(node)
        elif name in ("cat", "concat"):
            made = "concatenation", ((args[1] if len(args) > 1 else 0) in (1, -3),)
        elif name in _PLAIN and not has_number(node) and _is_whole(node, given):
            made = _PLAIN[name], ()
        elif name.rstrip("_") in AFFINE and len(given) == 1:
            made = self._by_a_number(node)
        # Else of a kind that no source has: the first difference will show it.
        return made or (f"PyTorch's {node.target}", (node.name,))

    def _by_a_number(self, node: fx.Node) -> tuple[str, tuple[Hashable, ...]] | None:
        """A sum or product with one number."""
        name, constant = operator_of(node).rstrip("_"), self._constant(node)
        if constant is None or constant.numel() != 1 or not isinstance(node.args[0], type(node)):
            return None
        number = float(constant)
        if name in ("add", "sub"):
            return "shift", (number if name == "add" else -number,)
        return ("scale", (number if name == "mul" else 1.0 / number,)) if number else None

    def _constant(self, node: fx.Node) -> Tensor | None:
        """The number or the held tensor that data is added to or multiplied by."""
        import torch

        if len(node.args) < 2 or node.kwargs:
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

    def _convolution(self, node: fx.Node, given: Node) -> Node:
        """``conv2d(input, weight, bias, stride, padding, dilation, groups)``."""
        weight, bias = self._key(node.args[1]), self._key(argument(node, 2, None))
        place = place_of(node)
        if weight is None or len(shape_of(node.args[1])) != 4:
            return Node(
                f"PyTorch's {node.target} without a weight of its own",
                (node.name,),
                (given,),
                place,
            )
        pads: Pads | None = NO_PADS
        if given.kind == "pad" and isinstance(given.facts[0], Pads):
            pads, given = given.facts[0], given.inputs[0]
        outputs, per_group, *kernel = shape_of(node.args[1])
        stride, dilation = pair(argument(node, 3, 1)), pair(argument(node, 5, 1))
        groups = int(argument(node, 6, 1))
        shape = shape_of(node.args[0])
        kind, facts = layer_kind(
            (kernel[0], kernel[1]), stride, dilation, per_group * groups, outputs, groups,
            on_a_place=all(side == 1 for side in shape[2:]),
        )  # fmt: skip
        pads = padded(pads, argument(node, 4, 0), (kernel[0], kernel[1]), dilation)
        return Node(kind, facts, (given,), place, layer=ModuleLayer(weight, bias, 4), pads=pads)

    def _dense(self, node: fx.Node, given: Node) -> Node:
        """``linear(input, weight, bias)``."""
        weight, bias = self._key(node.args[1]), self._key(argument(node, 2, None))
        place = place_of(node)
        if weight is None:
            return Node(
                f"PyTorch's {node.target} without a weight of its own",
                (node.name,),
                (given,),
                place,
            )
        outputs, inputs = shape_of(node.args[1])
        layer = ModuleLayer(weight, bias, 2)
        return Node("dense", (inputs, outputs), (given,), place, layer=layer)

    def _normed(self, node: fx.Node, given: Node) -> Node:
        """``batch_norm(input, weight, bias, mean, variance, training, momentum, epsilon, ...)``."""
        weight, bias, mean, variance = (self._key(arg) for arg in node.args[1:5])
        alone = len(node.args[0].users) == 1  # type: ignore[union-attr]
        if mean is None or variance is None or not alone:
            return Node(f"PyTorch's {node.target}", (node.name,), (given,), place_of(node))
        epsilon = float(node.args[6 if "no_training" in str(node.target) else 7])  # type: ignore[arg-type]
        assert isinstance(given.layer, ModuleLayer)  # the caller looked
        norm = ModuleNorm(weight, bias, mean, variance, epsilon)
        return replace(given, layer=replace(given.layer, norm=norm))


def _is_whole(node: fx.Node, given: tuple[Node, ...]) -> bool:
    """Whether an operator of data alone has as many values as it takes, and nothing else."""
    return len(given) == len(nodes_in(node.args)) == takes(_PLAIN[operator_of(node)])


_LAYERS: Mapping[str, Callable[[_Tracer, fx.Node, Node], Node]] = {
    "conv2d": _Tracer._convolution,
    "linear": _Tracer._dense,
}
_NORMS = ("batch_norm", "_native_batch_norm_legit_no_training", "native_batch_norm")
