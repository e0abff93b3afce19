"""A PyTorch network read into steps, from the functions that it calls and not from its modules.

The network runs once on a small image, and each function of PyTorch is recorded with the
arguments that it is called with: padding is what is really padded, an epsilon what batch norm
really gets, a residual a sum that is really computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from porting.graph.padding import same_pad
from porting.judges.reference.steps import SAME, SIXTH, Step, Steps, required_steps
from porting.parity.summation_order import pair

SIDES = (64, 67)
"""Height and width of the image: halved at each stride, the one is even each time and the other
odd (67, 17, 9, 5) but for once (34), so that every kernel and stride meets both."""

_PASSED = ("view", "reshape", "flatten", "contiguous", "__getitem__", "__get__")
_CASTS = ("float", "to", "type")
_SIMPLE = {"relu": "relu", "relu6": "relu6", "sigmoid": "sigmoid", "hardswish": "hard_swish",
           "hardsigmoid": "hard_sigmoid", "silu": "silu", "add": "add",
           "mul": "multiply"}  # fmt: skip
_SIXTHS = ("hardswish", "hardsigmoid")

Amounts = tuple[tuple[int, int], tuple[int, int]]
"""Padding before and after, of height and of width."""


def steps_of_network(network: nn.Module, channels: int) -> Steps:
    """The steps of a network for images (1, ``channels``, H, W), each layer's path at its step.

    The network is in evaluation mode; nothing of it is changed. Its normalisation, where it has
    one, is no step: the image is what comes behind.
    """
    image = torch.zeros((1, channels, *SIDES))
    tensors = (*network.named_parameters(), *network.named_buffers())
    recorder = _Recorder({id(tensor): key for key, tensor in tensors}, image)
    with torch.inference_mode(), recorder:
        output = network(image)
    return required_steps(recorder.steps, recorder.data(output))


@dataclass(frozen=True)
class _PaddedValue:
    """A padded value: the step that it is of, by how much, and the sides before."""

    step: int
    amounts: Amounts
    sides: tuple[int, int]


class _Recorder(TorchFunctionMode):
    """Records each function that is called on data as a step."""

    def __init__(self, names: dict[int, str], image: Tensor) -> None:
        super().__init__()
        self.names = names
        self.steps = [Step("image", (), image.shape[1])]
        self.values: dict[int, int | _PaddedValue] = {id(image): 0}
        self.references: list[Any] = [image]  # an identity is another tensor's once its own is gone

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run ``func``, and record it where data goes through it."""
        result = func(*args, **(kwargs or {}))
        # A cast to the type that a value has already gives the value itself, and is no step.
        is_idle = func.__name__ in _CASTS and bool(args) and result is args[0]
        if isinstance(result, Tensor) and not is_idle:
            self.references.append(result)
            self.record(_Call(func.__name__, args, kwargs or {}), result)
        return result

    def data(self, tensor: Tensor) -> int:
        """The step whose value a tensor is; a padding that no convolution takes is one itself."""
        value = self.values[id(tensor)]
        if isinstance(value, int):
            return value
        return self.step(f"padding by {value.amounts}", (value.step,), tensor.shape[1])

    def step(self, kind: str, inputs: tuple[int, ...], channels: int, **facts: Any) -> int:
        self.steps.append(Step(kind, inputs, channels, **facts))
        return len(self.steps) - 1

    def record(self, call: _Call, result: Tensor) -> None:
        flowing = [tensor for tensor in call.tensors if id(tensor) in self.values]
        if flowing:
            self.values[id(result)] = self.value_of(call, flowing, result)
        elif call.tensors and id(call.tensors[0]) in self.names:
            # A view of a parameter, or of a buffer, is still that parameter.
            self.names[id(result)] = self.names[id(call.tensors[0])]

    def value_of(self, call: _Call, flowing: list[Tensor], result: Tensor) -> int | _PaddedValue:
        if call.name == "pad" and call.get(2, "mode", "constant") == "constant":
            left, right, top, bottom = call.get(1, "pad")
            sides = flowing[0].shape[2], flowing[0].shape[3]
            return _PaddedValue(self.data(flowing[0]), ((top, bottom), (left, right)), sides)
        if call.name == "conv2d":
            return self.convolution(call)
        inputs = tuple(self.data(tensor) for tensor in flowing)
        channels = result.shape[1] if result.ndim > 1 else 0
        if call.name in _PASSED or self.leaves_alone(call):
            return inputs[0]
        if call.name == "linear":
            layer = {"kernel": (1, 1), "stride": (1, 1), "padding": SAME}
            return self.layer("conv", inputs[0], call, channels, **layer)
        if call.name == "batch_norm":
            kind = "norm by the batch" if call.get(5, "training", False) else "norm"
            path, epsilon = self.path_of(call.get(3, "weight")), float(call.get(7, "eps", 1e-5))
            return self.step(kind, inputs, channels, number=epsilon, place=path)
        return self.step(self.kind_of(call, len(inputs), result), inputs, channels,
                         number=SIXTH if call.name in _SIXTHS else 0.0)  # fmt: skip

    def kind_of(self, call: _Call, inputs: int, result: Tensor) -> str:
        """What a function without parameters computes; its own name where no description has it."""
        name = call.name
        if name == "hardtanh" and (call.get(1, "min_val"), call.get(2, "max_val")) == (0, 6):
            return "relu6"
        if name in ("clamp", "clamp_"):
            kinds = {(0, 6): "relu6", (0, None): "relu"}
            return kinds.get((call.get(1, "min"), call.get(2, "max")), f"PyTorch's {name}")
        if name == "mean" and {axis % 4 for axis in call.get(1, "dim", ())} == {2, 3}:
            return "mean"
        if name == "adaptive_avg_pool2d" and tuple(result.shape[2:]) == (1, 1):
            return "mean"
        binary = name in ("add", "mul")
        if name in _SIMPLE and inputs == 1 + binary and call.get(None, "alpha", 1) == 1:
            return _SIMPLE[name]
        return f"PyTorch's {name}"

    def convolution(self, call: _Call) -> int:
        image, weight = call.get(0, "input"), call.get(1, "weight")
        stride, padding, dilation = (
            pair(call.get(number, name, default))
            for number, name, default in ((3, "stride", 1), (4, "padding", 0), (5, "dilation", 1))
        )
        groups = call.get(6, "groups", 1)
        value = self.values[id(image)]
        if isinstance(value, int):
            value = _PaddedValue(value, ((0, 0), (0, 0)), (image.shape[2], image.shape[3]))
        kernel = weight.shape[2], weight.shape[3]
        amounts = tuple(
            (before + own, after + own)
            for (before, after), own in zip(value.amounts, padding, strict=True)
        )
        same = amounts == tuple(map(same_pad, value.sides, kernel, stride))
        kind = "depthwise" if groups == weight.shape[0] > 1 else "conv"
        if kind == "conv" and groups > 1:
            kind = f"conv in {groups} groups"
        if dilation != (1, 1):
            kind = f"{kind} with dilation"
        return self.layer(
            kind, value.step, call, weight.shape[0], kernel=kernel, stride=stride,
            padding=SAME if same else f"{amounts} of sides {value.sides}",
        )  # fmt: skip

    def layer(self, kind: str, source: int, call: _Call, channels: int, **facts: Any) -> int:
        """A convolution or a dense layer, and its bias where it has one."""
        path = self.path_of(call.get(1, "weight"))
        step = self.step(kind, (source,), channels, place=path, **facts)
        if call.get(2, "bias", None) is None:
            return step
        return self.step("bias", (step,), channels, place=path)

    def leaves_alone(self, call: _Call) -> bool:
        """Whether it is dropout outside training, or a part of the network's normalisation."""
        if call.name == "dropout":
            return not call.get(2, "training", True)
        constant = self.names.get(id(call.get(1, "other")), "")
        return call.name in ("sub", "div") and constant.startswith("normalise.")

    def path_of(self, parameter: Tensor | None) -> str:
        return self.names.get(id(parameter), "").rpartition(".")[0]


@dataclass(frozen=True)
class _Call:
    """A function's name and what it is called with."""

    name: str
    args: Sequence[Any]
    kwargs: dict[str, Any]

    @property
    def tensors(self) -> list[Tensor]:
        return [arg for arg in (*self.args, *self.kwargs.values()) if isinstance(arg, Tensor)]

    def get(self, place: int | None, name: str, default: Any = None) -> Any:
        """An argument by its place among the positional ones, None for a keyword, or its name."""
        if place is not None and place < len(self.args):
            return self.args[place]
        return self.kwargs.get(name, default)
