"""What a node that ``torch.export`` traced computes; data is NCHW."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from porting.graph.padding import Pads

if TYPE_CHECKING:
    from torch import Tensor, fx

MEANS = ("mean", "adaptive_avg_pool2d", "_adaptive_avg_pool2d", "avg_pool2d")
AFFINE = ("add", "sub", "mul", "div")


def operator_of(node: fx.Node) -> str:
    """``conv2d`` for ``aten.conv2d.default``."""
    packet = getattr(node.target, "overloadpacket", None)
    return str(getattr(packet, "__name__", None) or getattr(node.target, "__name__", node.target))


def place_of(node: fx.Node) -> str:
    """Where a traced operator stands, and what it is: for messages."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = stack[-1][0] if stack else ""
    return f"{path or 'the module itself'} ({operator_of(node)})"


def nodes_in(args: Any) -> list[fx.Node]:
    """Every traced node among arguments, those in lists too."""
    nodes = []
    for arg in args:
        if isinstance(arg, (list, tuple)):
            nodes += nodes_in(arg)
        elif hasattr(arg, "meta"):
            nodes.append(arg)
    return nodes


def has_number(node: fx.Node) -> bool:
    """Whether one of two operands is a number, or the operator multiplies one of them."""
    two = operator_of(node).rstrip("_") in AFFINE
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
    """Whether an operator adds and drops axes of 1 alone, and so passes its data on."""
    before, after = shape_of(node.args[0]), shape_of(node)
    if operator_of(node) in MEANS and not averages_space(node):
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
    padded, divisor = any(pair(argument(node, 3, 0))), argument(node, 6, None)
    return pair(node.args[1]) == before[2:] and not padded and divisor is None


def pads_of(node: fx.Node) -> Pads | None:
    """``pad(input, (left, right, top, bottom), mode, value)``; None where it is not with zeros."""
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
    """``hardtanh``, ``clamp`` and their like, with their ends; None where those are tensors."""
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
        counted = any(padding) and argument(node, 5, True)
        odd = argument(node, 4, False) or counted or argument(node, 6, None) is not None
    if odd:
        return None
    return window, stride, Pads((padding[0], padding[0]), (padding[1], padding[1]))


def axis_of(node: fx.Node) -> str:
    """Along what data is joined: ``cat(tensors, axis)``, NCHW."""
    axes = ("images", "channels", "height", "width")
    rank = len(shape_of(node))
    axis = int(argument(node, 1, 0)) % max(rank, 1)
    return axes[axis] if rank in (2, 4) else f"axis {axis}"  # (N, C) has the first two


def is_over_the_last(node: fx.Node) -> bool:
    """Whether a softmax is over the classes: ``softmax(input, axis)``, (N, classes)."""
    rank = len(shape_of(node))
    return rank == 2 and int(argument(node, 1, -1)) % rank == rank - 1


def is_even(constant: Tensor) -> bool:
    """Whether a constant beside images (N, C, H, W) is one number, or one for each channel."""
    shape = tuple(constant.shape)
    return constant.numel() == 1 or (shape[-2:] == (1, 1) and shape[-3] == constant.numel())


def are_aligned(node: fx.Node) -> bool:
    """Whether the operands of an operator of two stand axis against axis.

    Where one has fewer axes, PyTorch sets (N, C) against height and width.
    """
    return len({len(shape_of(arg)) for arg in nodes_in(node.args)}) <= 1


def passes(node: fx.Node) -> bool:
    """Whether an operator that may hand its data on does so.

    ``dropout(input, p, train)`` does in evaluation alone, and a cast among floats alone.
    """
    if "dropout" in operator_of(node):
        return not argument(node, 2, False)
    value = node.meta.get("val")
    return value is not None and bool(value.dtype.is_floating_point)


def flattening(node: fx.Node, turned: bool) -> tuple[Hashable, ...]:
    """The order in which places and channels become a vector, and their sides.

    ``turned`` says that the channels are the last axis already.
    """
    sides = shape_of(node.args[0])[1:]
    if turned or not sides:
        return "height, width, channels", sides, shape_of(node)[1:]
    channels, *plane = sides
    return "channels, height, width", (*plane, channels), shape_of(node)[1:]
