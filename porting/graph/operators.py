"""What a source's operator computes: its constants, kernel, strides, channels and axes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from porting.graph.padding import Pads
from porting.sources.source import Operator, Source, slices_of

CASTS = ("QUANTIZE", "DEQUANTIZE", "CAST", "FAKE_QUANT")
"""Operators that pass the same real values on in another type, or rounded to its steps."""

AFFINE = ("ADD", "SUB", "MUL", "DIV")

NCHW_TO_NHWC = (0, 2, 3, 1)


@dataclass(frozen=True)
class OperatorFacts:
    """Sides are (height, width). ``weight`` and ``bias`` name stored tensors."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    in_channels: int
    out_channels: int
    padding: str
    activation: str
    weight: str
    bias: str | None


def stored_name(name: str, source: Source) -> str:
    """The stored constant behind a tensor: itself, or what a DEQUANTIZE makes it from."""
    if source.graph is None or name in source.tensors:
        return name
    return source.graph.dequantised.get(name, name)


def is_constant(name: str, source: Source) -> bool:
    """Whether the source stores the tensor, or dequantises it from one that it stores."""
    return stored_name(name, source) in source.tensors


def operand(operator: Operator, index: int, source: Source) -> str | None:
    """The stored constant at an operator's input ``index``; None where there is none."""
    name = operator.inputs[index] if index < len(operator.inputs) else None
    constant = None if name is None else stored_name(name, source)
    return constant if constant in source.tensors else None


def integers_of(operator: Operator, index: int, source: Source) -> np.ndarray | None:
    """The integers at an operator's input ``index``; None where there are none."""
    name = operand(operator, index, source)
    if name is None or "int" not in source.tensors[name].dtype:
        return None
    return source.read(name)


def constant_of(operator: Operator, source: Source) -> np.ndarray | None:
    """The values of the only stored operand, or None where there are two or none."""
    names = [name for name in operator.inputs if name and is_constant(name, source)]
    return source.read(stored_name(names[0], source)) if len(names) == 1 else None


def facts_of(operator: Operator, source: Source) -> OperatorFacts:
    """Kernel, stride, channels, padding and activation of a convolution or dense layer."""
    weight = operand(operator, 1, source) or ""
    bias = operator.inputs[2] if len(operator.inputs) > 2 else None
    shape = source.tensors[weight].shape if weight else ()
    options = operator.options
    sides = dict(zip(operator.weight_axes.split(), shape, strict=False))
    if len(shape) != len(operator.weight_axes.split()):
        kernel, channels = (0, 0), (0, 0)
    elif operator.kind == "DEPTHWISE_CONV_2D":
        # TFLite has a channel's multiples on the axis of the channels, TensorFlow on the last.
        kernel, outputs = (sides["h"], sides["w"]), sides["c"] * sides.get("m", 1)
        channels = outputs // (options["depth_multiplier"] or 1), outputs
    else:
        kernel, channels = (sides.get("h", 1), sides.get("w", 1)), (sides["i"], sides["o"])
    return OperatorFacts(
        kernel,
        (options.get("stride_h", 1), options.get("stride_w", 1)),
        (options.get("dilation_h", 1), options.get("dilation_w", 1)),
        *channels,
        options.get("padding", "SAME"),
        options.get("activation", "none"),
        weight,
        None if bias is None else stored_name(bias, source),
    )


def is_plain(operator: Operator) -> bool:
    """Whether no activation is fused into an operator."""
    return bool(operator.options.get("activation", "none") == "none")


def describe(operator: Operator, source: Source) -> str:
    """For messages: index, kind, output name and, for layers, what they compute."""
    text = f"operator {operator.index} {operator.kind} {operator.outputs[0]!r}"
    if operator.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        return text
    facts = facts_of(operator, source)
    if not facts.weight:
        return f"{text} (without a stored weight)"
    size = f"{facts.kernel[0]}x{facts.kernel[1]}, stride {facts.stride[0]}, "
    channels = f"{facts.in_channels} -> {facts.out_channels}"
    return f"{text} ({size}{channels}, activation {facts.activation})"


def reduces_space(operator: Operator, source: Source) -> bool:
    """Whether an operator takes the mean or the maximum over all of height and width (NHWC)."""
    data = source.activations.get(operator.inputs[0] or "")
    result = source.activations.get(operator.outputs[0])
    if data is None or result is None or len(data.shape) != 4:
        return False
    if operator.kind in ("MEAN", "REDUCE_MAX"):
        axes = integers_of(operator, 1, source)
        return axes is not None and axes.size == 2 and set((axes.ravel() % 4).tolist()) == {1, 2}
    options = operator.options
    window = (options["filter_h"], options["filter_w"])
    if not is_plain(operator):
        return False
    return data.shape[1:3] == window and result.shape[1:3] == (1, 1)


def moves_channels_last(operator: Operator, source: Source) -> bool:
    """Whether an operator turns NCHW into NHWC."""
    order = integers_of(operator, 1, source) if operator.kind == "TRANSPOSE" else None
    return order is not None and tuple(order.ravel().tolist()) == NCHW_TO_NHWC


@dataclass(frozen=True)
class ChannelSlices:
    """Slices of the channels of ``data``, (start, stop) for each output of an operator."""

    data: str
    channels: int
    ranges: tuple[tuple[int, int], ...]


def channel_slices(operator: Operator, source: Source) -> ChannelSlices | None:
    """The slices that an operator takes of the channels alone, whole elsewhere; None for others.

    ``SPLIT`` (axis, data), ``SPLIT_V`` (data, sizes, axis), ``SLICE`` (data, begin, size) and
    ``STRIDED_SLICE`` (data, begin, end, strides).
    """
    place = 1 if operator.kind == "SPLIT" else 0
    data = operator.inputs[place] if len(operator.inputs) > place else None
    info = source.activations.get(data or "")
    shape = () if info is None else info.shape
    if data is None or len(shape) not in (2, 4) or shape[-1] < 1:
        return None
    split = operator.kind in ("SPLIT", "SPLIT_V")
    ranges = (_parts_of if split else _slice_of)(operator, shape, source)
    if ranges is None or len(ranges) != len(operator.outputs):
        return None
    return ChannelSlices(data, shape[-1], ranges)


def _parts_of(
    operator: Operator, shape: tuple[int, ...], source: Source
) -> tuple[tuple[int, int], ...] | None:
    """The parts into which a SPLIT or a SPLIT_V divides the last axis; None for another axis."""
    equal = operator.kind == "SPLIT"
    axes = integers_of(operator, 0 if equal else 2, source)
    sizes = None if equal else integers_of(operator, 1, source)
    if axes is None or axes.size != 1 or int(axes.ravel()[0]) % len(shape) != len(shape) - 1:
        return None
    channels, count = shape[-1], len(operator.outputs)
    widths = [channels // count] * count if sizes is None else sizes.ravel().tolist()
    if widths.count(-1) == 1:
        widths[widths.index(-1)] = channels - sum(widths) - 1
    if min(widths, default=0) < 1 or sum(widths) != channels:
        return None
    ends = list(accumulate(widths))
    return tuple((end - width, end) for end, width in zip(ends, widths, strict=True))


def _slice_of(
    operator: Operator, shape: tuple[int, ...], source: Source
) -> tuple[tuple[int, int], ...] | None:
    """What a SLICE or a STRIDED_SLICE takes of the last axis; None if it cuts another too."""
    slices = _slices_of(operator, shape, source)
    if slices is None:
        return None
    for side, part in zip(shape[:-1], slices[:-1], strict=True):
        if part != slice(None) and (side < 1 or part.indices(side) != (0, side, 1)):
            return None
    start, stop, step = slices[-1].indices(shape[-1])
    return ((start, stop),) if step == 1 and start < stop else None


def _slices_of(
    operator: Operator, shape: tuple[int, ...], source: Source
) -> tuple[slice, ...] | None:
    """What a SLICE or a STRIDED_SLICE takes along each axis; None where that is not stored."""
    arrays = [integers_of(operator, place, source) for place in range(1, len(operator.inputs))]
    numbers = [array.ravel().tolist() for array in arrays if array is not None]
    if len(numbers) != len(arrays):
        return None
    return slices_of(operator.kind, numbers, operator.options, len(shape))


def takes_channels_first(source: Source) -> bool:
    """Whether the graph takes NCHW, and transposes it to NHWC before its first layer."""
    graph = source.graph
    name, history = graph.inputs[0] if graph is not None and graph.inputs else "", set()
    while graph is not None and name not in history:
        history.add(name)
        takers = graph.consumers.get(name, ())
        if len(takers) != 1:
            return False
        if moves_channels_last(takers[0], source):
            return True
        if takers[0].kind not in (*CASTS, *AFFINE):
            return False
        name = takers[0].outputs[0]
    return False


def pads_of(operator: Operator, source: Source) -> Pads | None:
    """What a PAD or PADV2 adds to height and width; None if it pads other axes or not with 0."""
    amounts = integers_of(operator, 1, source)
    if amounts is None or amounts.shape != (4, 2) or amounts[[0, 3]].any():
        return None
    if len(operator.inputs) > 2:
        name = operand(operator, 2, source)
        if name is None or source.read(name).any():
            return None
    rows, columns = amounts[1:3].tolist()
    return Pads(tuple(rows), tuple(columns))
