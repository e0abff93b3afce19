"""The canonical graph of a PyTorch module, traced by ``torch.export``."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Hashable, Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from porting.errors import BadInput
from porting.graph.node import (
    NORM,
    Graph,
    ModuleLayer,
    ModuleNorm,
    Node,
    NodeTable,
    Value,
    layer_kind,
    takes,
)
from porting.graph.padding import NO_PADS, Padding, Pads
from porting.graph.rewrites import Operation, plain, rewrite

if TYPE_CHECKING:
    from torch import Tensor, fx, nn
    from torch.export import ExportedProgram

_MEANS = ("mean", "adaptive_avg_pool2d", "_adaptive_avg_pool2d", "avg_pool2d")
_AFFINE = ("add", "sub", "mul", "div")
_NORMS = ("batch_norm", "_native_batch_norm_legit_no_training", "native_batch_norm")
_IDENTITIES = (
    "dropout", "dropout_", "feature_dropout", "identity", "clone", "contiguous", "detach",
    "detach_", "alias", "lift_fresh_copy", "to", "_to_copy",
)  # fmt: skip
"""Operators that return their input unchanged in evaluation mode."""

_COPIES = ("clone", "_to_copy", "lift_fresh_copy", *_MEANS)
"""Operators whose result is a copy: changing their input in place later does not change it."""

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
"""Operators without weights -> the kind of node that they become."""

_SPLITS = ("split_with_sizes", "split", "chunk")
_FLATTENS = ("flatten", "view", "reshape", "_unsafe_view")
_POOLS = {"max_pool2d": "max pool", "avg_pool2d": "average pool"}
_CHANNELS_LAST = "channels last"


def graph_of_module(module: nn.Module, shape: tuple[int, ...]) -> Graph:
    """Trace a module in evaluation mode on an input of this shape (N, C, H, W).

    Raises:
        BadInput: ``torch.export`` cannot trace it, or it gives other than one tensor.
    """
    program = _exported(module, shape)
    tracer = _Tracer(program)
    for node in program.graph.nodes:
        tracer.read(node)
    return tracer.graph(type(module).__name__)


@dataclass
class _Tracer:
    """Builds the graph from traced nodes, one by one; ``values`` are by the node's name."""

    program: ExportedProgram
    values: dict[str, Value] = field(default_factory=dict)
    _pixels: bool = False
    _output: Value | None = None

    def __post_init__(self) -> None:
        self._nodes = NodeTable()
        signature = self.program.graph_signature
        self._keys: Mapping[str, str] = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }

    def graph(self, name: str) -> Graph:
        """The graph that was read.

        Raises:
            BadInput: the module gives other than one tensor made from its input.
        """
        if self._output is None:
            raise BadInput(f"{name}: gives other than one tensor made from its input")
        return Graph(plain(self._output, "the module's output"), normalises=self._pixels)

    def read(self, node: fx.Node) -> None:
        """Add the value of a traced node that computes from the module's input.

        Raises:
            BadInput: an operator in place writes into a part of a value, or into a view of it.
        """
        if node.op == "placeholder" and node.name not in self._keys:
            start = self._nodes.unique(Node("input", place="the input"))
            self.values[node.name] = Value(start)
        elif node.op == "output":
            results = nodes_in(node.args)
            self._output = self.values.get(results[0].name) if len(results) == 1 else None
        elif node.op == "call_function":
            inputs = tuple(
                self.values[arg.name] for arg in nodes_in(node.args) if arg.name in self.values
            )
            if inputs:
                value = self._value(node, inputs)
                unique = self._nodes.unique(value.node)
                if unique is not value.node:
                    value = replace(value, node=unique)
                self.values[node.name] = value
                if operator_of(node).endswith("_"):
                    # An operator in place: its result replaces its input from here on.
                    before = inputs[0]
                    kind = before.node.kind
                    if kind in ("flatten", _CHANNELS_LAST) or kind.startswith("PyTorch's"):
                        raise BadInput(
                            f"{value.node.place} writes into a part of a value, or into another "
                            "view of it; --onto cannot follow that: write it without the change "
                            "in place"
                        )
                    self.values.update({n: value for n, v in self.values.items() if v is before})

    def _value(self, node: fx.Node, inputs: tuple[Value, ...]) -> Value:
        name = operator_of(node)
        moves = name in (*_SHAPES, *_MEANS) and moves_ones(node)
        if moves or (name in _IDENTITIES and passes(node)):
            return replace(inputs[0]) if name in _COPIES else inputs[0]
        is_result = name == "getitem" and inputs[0].node.layer is not None and not is_part(node)
        if name in _SPLITS or is_result:
            # The parts of a split are its items; of a batch norm's results the first is the data.
            return inputs[0]
        layer = None
        if name == "conv2d":
            layer = self._convolution(node, inputs[0])
        elif name == "linear":
            layer = self._dense(node, inputs[0])
        elif name in _NORMS:
            layer = self._batch_norm(node, inputs[0])
        if layer is not None:
            return Value(layer)
        if name in _AFFINE and inputs[0].node.kind == "input":
            constant = self._constant(node)
            takers = [
                user
                for arg in nodes_in(node.args)
                if arg.name in self.values
                for user in arg.users
                if not operator_of(user).startswith("_assert")
            ]
            # It normalises pixels, for all that takes the input.
            if constant is not None and is_even(constant) and takers == [node]:
                self._pixels = True
                return replace(inputs[0])
        if name in ("slice", "getitem") and (channels := channels_of(node)) is not None:
            return rewrite(Operation("channels", channels, inputs, place_of(node)))
        kind, facts = self._kind(node, inputs)
        if kind == "flatten" and inputs[0].node.kind == _CHANNELS_LAST:
            (below,) = inputs[0].node.inputs
            inputs = (Value(below, inputs[0].times),)
        return rewrite(Operation(kind, facts, inputs, place_of(node)))

    def _convolution(self, node: fx.Node, x: Value) -> Node | None:
        """``conv2d(input, weight, bias, stride, padding, dilation, groups)``."""
        weight, bias = self._key(node.args[1]), self._key(argument(node, 2, None))
        if weight is None or len(shape_of(node.args[1])) != 4 or self._is_computed(node.args[2:3]):
            return None
        before, below = NO_PADS, x.node
        if below.kind == "pad" and isinstance(below.facts[0], Pads):
            before, below = below.facts[0], below.inputs[0]
        outputs, per_group, rows, columns = shape_of(node.args[1])
        stride, dilation = pair(argument(node, 3, 1)), pair(argument(node, 5, 1))
        groups = int(argument(node, 6, 1))
        sides = shape_of(node.args[0])[2:]
        reach = (rows - 1) * dilation[0] + 1, (columns - 1) * dilation[1] + 1
        pads = before + pads_inside(argument(node, 4, 0), reach)
        kind, facts = layer_kind(
            (rows, columns), stride, dilation, per_group * groups, outputs, groups,
            on_one_pixel=all(side == 1 for side in sides) and pads == NO_PADS,
        )  # fmt: skip
        padding = Padding("VALID", pads, sides, reach, stride)
        layer = ModuleLayer(weight, bias, 4)
        return Node(kind, facts, (below,), place_of(node), layer, padding, x.times)

    def _dense(self, node: fx.Node, x: Value) -> Node | None:
        """``linear(input, weight, bias)``."""
        weight, bias = self._key(node.args[1]), self._key(argument(node, 2, None))
        if weight is None or self._is_computed(node.args[2:3]):
            return None
        outputs, inputs = shape_of(node.args[1])
        layer = ModuleLayer(weight, bias, 2)
        return Node("dense", (inputs, outputs), (x.node,), place_of(node), layer, times=x.times)

    def _batch_norm(self, node: fx.Node, x: Value) -> Node | None:
        """``batch_norm(input, weight, bias, mean, variance, training, momentum, epsilon, ...)``.

        One that is the only one to look at a layer, and takes its running statistics, is a part
        of it; another is a node of its own.
        """
        layer = x.node.layer
        if x.times != 1:
            return None
        weight, bias, mean, variance = (self._key(arg) for arg in node.args[1:5])
        alone = len(getattr(node.args[0], "users", ())) == 1
        never_trains = "no_training" in str(node.target)
        if mean is None or variance is None or (not never_trains and node.args[5]):
            return None
        if self._is_computed(node.args[1:3]):
            return None
        epsilon = float(str(node.args[6 if never_trains else 7]))
        norm = ModuleNorm(weight, bias, mean, variance, epsilon)
        if alone and isinstance(layer, ModuleLayer) and layer.norm is None:
            return replace(x.node, layer=replace(layer, norm=norm))
        return Node(NORM, shape_of(node.args[0])[1:2], (x.node,), place_of(node), norm)

    def _kind(self, node: fx.Node, inputs: tuple[Value, ...]) -> tuple[str, tuple[Hashable, ...]]:
        """Kind and facts of an operator without weights."""
        name = operator_of(node)
        operation: tuple[str, tuple[Hashable, ...]] | None = None
        if name in _MEANS and averages_space(node):
            operation = "mean over height and width", ()
        elif name in ("pad", "constant_pad_nd") and (pads := pads_of(node)) is not None:
            operation = "pad", (pads,)
        elif name == "permute" and argument(node, 1, None) == [0, 2, 3, 1]:
            operation = _CHANNELS_LAST, ()
        elif name in _FLATTENS:
            operation = "flatten", flattening(node, inputs[0].node.kind == _CHANNELS_LAST)
        elif name in ("hardtanh", "hardtanh_", "clamp", "clamp_", "clamp_min", "clamp_max"):
            operation = clamp_of(node)
        elif name in _POOLS and (window := window_of(node)) is not None:
            operation = _POOLS[name], window
        elif name in ("cat", "concat") and len(inputs) == len(nodes_in(node.args)):
            operation = "concatenation", (axis_of(node),)
        elif name in ("softmax", "_softmax") and not is_over_the_last(node):
            operation = None
        elif (
            name in _PLAIN
            and not has_number(node)
            and len(inputs) == len(nodes_in(node.args)) == takes(_PLAIN[name])
            and are_aligned(node)
        ):
            operation = _PLAIN[name], ()
        elif name.rstrip("_") in _AFFINE and len(inputs) == 1 and not node.kwargs:
            constant, kind = self._constant(node), name.rstrip("_")
            number = None if constant is None or constant.numel() != 1 else float(constant)
            if number is not None and kind in ("add", "sub"):
                operation = "shift", (number if kind == "add" else -number,)
            elif number:
                operation = "scale", (number if kind == "mul" else 1.0 / number,)
        # Else of a kind that no source has: the first difference will show it.
        return operation or (f"PyTorch's {node.target}", (node.name,))

    def _constant(self, node: fx.Node) -> Tensor | None:
        """The number or stored tensor that an operator combines with data.

        Of a difference or quotient it must be the second operand.
        """
        import torch

        if len(node.args) < 2 or node.kwargs:
            return None
        has_order = operator_of(node).rstrip("_") in ("sub", "div")
        if has_order and str(getattr(node.args[0], "name", "")) not in self.values:
            return None
        for arg in node.args[:2]:
            if isinstance(arg, (int, float)):
                return torch.tensor(float(arg))
            if (key := self._key(arg)) is not None:
                return {**self.program.constants, **self.program.state_dict}.get(key)
        return None

    def _key(self, arg: Any) -> str | None:
        """The state-dict key of a traced parameter or buffer; None for data or no argument."""
        return self._keys.get(str(getattr(arg, "name", "")))

    def _is_computed(self, args: Any) -> bool:
        """Whether one of these operands is computed, and not a parameter or buffer itself."""
        return any(self._key(arg) is None for arg in nodes_in(args))


def _exported(module: nn.Module, shape: tuple[int, ...]) -> ExportedProgram:
    """Trace a module in evaluation mode on zeros of this shape (N, C, H, W).

    Raises:
        BadInput: its weights are not float32, or ``torch.export`` cannot trace it.
    """
    import torch

    name = type(module).__name__
    for key, values in (*module.named_parameters(), *module.named_buffers()):
        if values.is_floating_point() and values.dtype != torch.float32:
            raise BadInput(f"{name}: {key} is {values.dtype}; expected float32: call .float()")
    modes = {part: part.training for part in module.modules()}
    log_level = logging.root.manager.disable
    try:
        module.eval()
        # Of a failed trace PyTorch logs and prints pages.
        logging.disable(logging.CRITICAL)
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            return torch.export.export(module, (torch.zeros(shape, dtype=torch.float32),))
    except Exception as error:
        # A user's code may raise anything; whatever it is, it is about this module.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise BadInput(
            f"{name}: torch.export cannot trace it on an input of shape {shape}: "
            f"{type(error).__name__}: {lines[0] if lines else ''}"
        ) from error
    finally:
        logging.disable(log_level)
        # The module is its owner's, and some of its parts may be in another mode than others.
        for part, training in modes.items():
            part.training = training


def operator_of(node: fx.Node) -> str:
    """``conv2d`` for ``aten.conv2d.default``."""
    packet = getattr(node.target, "overloadpacket", None)
    return str(getattr(packet, "__name__", None) or getattr(node.target, "__name__", node.target))


def place_of(node: fx.Node) -> str:
    """For messages: the module path of a traced operator, and its name."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = stack[-1][0] if stack else ""
    return f"{path or 'the module itself'} ({operator_of(node)})"


def nodes_in(args: Any) -> list[fx.Node]:
    """Every traced node among arguments, including those in lists."""
    nodes = []
    for arg in args:
        if isinstance(arg, (list, tuple)):
            nodes += nodes_in(arg)
        elif hasattr(arg, "meta"):
            nodes.append(arg)
    return nodes


def has_number(node: fx.Node) -> bool:
    """Whether an operand is a number, or the operator scales one (``alpha``)."""
    two = operator_of(node).rstrip("_") in _AFFINE
    return two and (
        bool(node.kwargs) or any(isinstance(arg, (int, float)) for arg in node.args[:2])
    )


def argument(node: fx.Node, place: int, default: Any) -> Any:
    return node.args[place] if len(node.args) > place else default


def shape_of(arg: Any) -> tuple[int, ...]:
    value = getattr(arg, "meta", {}).get("val")
    return (
        () if value is None or not hasattr(value, "shape") else tuple(int(n) for n in value.shape)
    )


def pair(value: Any) -> tuple[int, int]:
    values = value if isinstance(value, (list, tuple)) else (value,)
    return int(values[0]), int(values[-1])


def moves_ones(node: fx.Node) -> bool:
    """Whether an operator only adds or drops axes of size 1, and so leaves its data as it is."""
    before, after = shape_of(node.args[0]), shape_of(node)
    if operator_of(node) in _MEANS and not averages_space(node):
        return False
    long = [n for n in before[1:] if n != 1]
    swaps = operator_of(node) == "permute" and len(long) > 1
    return not swaps and long == [n for n in after[1:] if n != 1]


def averages_space(node: fx.Node) -> bool:
    before, after = shape_of(node.args[0]), shape_of(node)
    if len(before) != 4 or after[:2] != before[:2] or any(n != 1 for n in after[2:]):
        return False
    if operator_of(node) == "mean":
        axes = argument(node, 1, None) or ()
        return {axis % 4 for axis in axes} == {2, 3}
    if operator_of(node) != "avg_pool2d":
        return True
    pads, divisor = any(pair(argument(node, 3, 0))), argument(node, 6, None)
    return pair(node.args[1]) == before[2:] and not pads and divisor is None


def pads_of(node: fx.Node) -> Pads | None:
    """``pad(input, (left, right, top, bottom), mode, value)``; None unless it pads with zeros."""
    amounts = argument(node, 1, ())
    rest = [arg for arg in node.args[2:] if arg not in ("constant", None)]
    if len(amounts) != 4 or any(rest):
        return None
    return Pads((int(amounts[2]), int(amounts[3])), (int(amounts[0]), int(amounts[1])))


def pads_inside(padding: Any, reach: tuple[int, int]) -> Pads:
    """The padding of a convolution whose kernel reaches over so many places."""
    if isinstance(padding, str):
        totals = [length - 1 if padding == "same" else 0 for length in reach]
        rows, columns = ((total // 2, total - total // 2) for total in totals)
    else:
        rows, columns = ((n, n) for n in pair(padding))
    return Pads(rows, columns)


def clamp_of(node: fx.Node) -> tuple[str, tuple[Hashable, ...]] | None:
    """The bounds of ``hardtanh``, ``clamp`` and the like; None where they are tensors."""
    name = operator_of(node).rstrip("_")
    low, high = (-1.0, 1.0) if name == "hardtanh" else (None, None)
    low, high = argument(node, 1, low), argument(node, 2, high)
    if name == "clamp_max":
        low, high = None, low
    if nodes_in((low, high)):
        return None
    return "clamp", tuple(None if end is None else float(end) for end in (low, high))


def window_of(node: fx.Node) -> tuple[Hashable, ...] | None:
    """Window, stride and padding of a pooling; None where it counts otherwise than TensorFlow.

    ``max_pool2d(input, kernel, stride, padding, dilation, ceil_mode)``,
    ``avg_pool2d(input, kernel, stride, padding, ceil_mode, count_include_pad, divisor)``.
    """
    window = pair(node.args[1])
    stride, padding = pair(argument(node, 2, None) or window), pair(argument(node, 3, 0))
    if operator_of(node) == "max_pool2d":
        odd = pair(argument(node, 4, 1)) != (1, 1) or argument(node, 5, False)
    else:
        # TensorFlow's mean is over what is there, without the padding.
        counts_padding = any(padding) and argument(node, 5, True)
        odd = argument(node, 4, False) or counts_padding or argument(node, 6, None) is not None
    if odd:
        return None
    return window, stride, Pads((padding[0], padding[0]), (padding[1], padding[1]))


def axis_of(node: fx.Node) -> str:
    """The axis of ``cat(tensors, axis)`` by name; data is NCHW."""
    axes = ("images", "channels", "height", "width")
    rank = len(shape_of(node))
    axis = int(argument(node, 1, 0)) % max(rank, 1)
    return axes[axis] if rank in (2, 4) else f"axis {axis}"  # (N, C) has the first two


def is_part(node: fx.Node) -> bool:
    """Whether an item is a part of a split."""
    return operator_of(node.args[0]) in _SPLITS  # type: ignore[arg-type]


def channels_of(node: fx.Node) -> tuple[int, int, int] | None:
    """The channels, of how many, that an item of a split or a slice takes; None for another axis.

    ``split_with_sizes(tensor, sizes, axis)`` and the like, ``slice(tensor, axis, start, end,
    step)``; data is NCHW.
    """
    if operator_of(node) == "getitem":
        if not is_part(node):
            return None
        split: Any = node.args[0]
        axis, total = int(argument(split, 2, 0)), shape_of(split.args[0])
        widths = [int(part.shape[axis]) for part in split.meta["val"]]
        number = int(str(node.args[1]))
        start = sum(widths[:number])
        stop = start + widths[number]
    else:
        axis, total = int(argument(node, 1, 0)), shape_of(node.args[0])
        start, stop, _ = slice(argument(node, 2, None), argument(node, 3, None)).indices(
            total[axis]
        )
        if argument(node, 4, 1) != 1:
            return None
    if len(total) not in (2, 4) or axis % len(total) != 1 or start >= stop:
        return None
    return start, stop, total[1]


def is_over_the_last(node: fx.Node) -> bool:
    """Whether a softmax is over the classes: ``softmax(input, axis)``, (N, classes)."""
    rank = len(shape_of(node))
    return rank == 2 and int(argument(node, 1, -1)) % rank == rank - 1


def is_even(constant: Tensor) -> bool:
    """Whether a constant beside images (N, C, H, W) is one number, or one for each channel."""
    shape = tuple(constant.shape)
    return constant.numel() == 1 or (shape[-2:] == (1, 1) and shape[-3] == constant.numel())


def are_aligned(node: fx.Node) -> bool:
    """Whether both operands have the same number of axes.

    Where one has fewer axes, PyTorch sets (N, C) against height and width.
    """
    return len({len(shape_of(arg)) for arg in nodes_in(node.args)}) <= 1


def passes(node: fx.Node) -> bool:
    """Whether an operator of :data:`_IDENTITIES` returns its input unchanged.

    ``dropout(input, p, train)`` does in evaluation alone, and a cast among floats alone.
    """
    if "dropout" in operator_of(node):
        return not argument(node, 2, False)
    value = node.meta.get("val")
    return value is not None and bool(value.dtype.is_floating_point)


def flattening(node: fx.Node, channels_last: bool) -> tuple[Hashable, ...]:
    """The axis order in which a flatten reads its data, and the shapes before and after.

    ``channels_last`` says that the channels are the last axis already.
    """
    sides = shape_of(node.args[0])[1:]
    if channels_last or not sides:
        return "height, width, channels", sides, shape_of(node)[1:]
    channels, *plane = sides
    return "channels, height, width", (*plane, channels), shape_of(node)[1:]
