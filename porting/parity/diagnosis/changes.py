"""Changes of a copy of a port: values of its state dict, modules, and calls inside its forward.

Code that a user wrote cannot be rewritten, but what it calls can be answered otherwise: while the
changed copy runs, :class:`_Calls` sees every call of a PyTorch function, recognises a convolution
or a batch norm by its weight, and an activation by the value that it is applied to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from porting.graph.padding import same_pad
from porting.parity.diagnosis.cause import Change

Sides = tuple[int, int]
Pad = Callable[[int, int, int], Sides]
"""From an image's side, a kernel's reach and a stride to the zeros before and behind."""


def fill(values: Mapping[str, np.ndarray]) -> Change:
    """Set keys of the state dict; what a batch norm lacks, as its epsilon, is :func:`epsilon`."""

    def change(network: nn.Module) -> None:
        state = network.state_dict(keep_vars=True)
        with torch.no_grad():
            for key, array in values.items():
                state[key].data = torch.from_numpy(np.array(array)).to(state[key].dtype)

    return change


def epsilon(path: str, value: float) -> Change:
    """Set the epsilon of the batch norm at a path."""

    def change(network: nn.Module) -> None:
        network.get_submodule(path).eps = value  # type: ignore[assignment]

    return change


def module(path: str, build: Callable[[], nn.Module]) -> Change:
    """Put another module in the place of the one at a path."""

    def change(network: nn.Module) -> None:
        parent, _, name = path.rpartition(".")
        setattr(network.get_submodule(parent), name, build().eval())

    return change


def attribute(path: str, name: str, value: Any) -> Change:
    """Set an attribute of the module at a path."""

    def change(network: nn.Module) -> None:
        setattr(network.get_submodule(path), name, value)

    return change


def every(*changes: Change) -> Change:
    """Several changes, one after the other."""

    def change(network: nn.Module) -> None:
        for part in changes:
            part(network)

    return change


# --- answering calls otherwise ---

Handler = Callable[["_Calls", Any, tuple[Any, ...], dict[str, Any]], Any]
"""Answers a call of a function with arguments, or returns :data:`PASS`."""

PASS = object()


class _Calls(TorchFunctionMode):
    """Answers calls of PyTorch functions while a network runs, by the first handler that does."""

    def __init__(self, network: nn.Module, handlers: Sequence[Handler]) -> None:
        super().__init__()
        self.network, self.handlers = network, handlers
        self.state = network.state_dict(keep_vars=True)
        # By identity: what was padded, what it was before, and by how much; all are kept alive.
        self.unpadded: dict[int, tuple[Tensor, Tensor, Any]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        for handler in self.handlers:
            answer = handler(self, func, args, kwargs)
            if answer is not PASS:
                return answer
        result = func(*args, **kwargs)
        if func in _PADS and isinstance(result, Tensor):
            amounts = args[1] if len(args) > 1 else kwargs["pad"]
            self.unpadded[id(result)] = result, args[0], amounts
        return result

    def is_of(self, weight: Any, key: str) -> bool:
        """Whether a tensor is the parameter under a key of the state dict."""
        own = self.state.get(key)
        return isinstance(weight, Tensor) and own is not None and weight is own

    def before_padding(self, x: Tensor) -> Tensor:
        """What a value was before the network padded it by a call of its own."""
        while id(x) in self.unpadded:
            x = self.unpadded[id(x)][1]
        return x


_PADS = (F.pad, torch.constant_pad_nd)


def calls(*handlers: Handler) -> Change:
    """Answer calls inside the network's forward by handlers, from now on.

    It is kept in hooks, which copies of the network have as well; its parts, run by themselves,
    are answered too.
    """

    def change(network: nn.Module) -> None:
        # One for the outermost module in progress; what it calls is inside already.
        modes: list[_Calls | None] = []

        def enter(module: nn.Module, _inputs: Any) -> None:
            mode = None if modes else _Calls(module, handlers)
            modes.append(mode)
            if mode is not None:
                mode.__enter__()  # type: ignore[no-untyped-call]

        def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
            mode = modes.pop() if modes else None
            if mode is not None:
                mode.__exit__(None, None, None)  # type: ignore[no-untyped-call]

        for part in network.modules():
            part.register_forward_pre_hook(enter)
            part.register_forward_hook(leave, always_call=True)

    return change


_CONVOLUTIONS = (F.conv2d, torch.conv2d)


def convolution(
    key: str, pad: Pad | None = None, stride: int | None = None,
    inputs: Callable[[Tensor], Tensor] | None = None,
) -> Change:  # fmt: skip
    """Compute the convolution with the weight under ``key`` otherwise.

    ``pad`` pads what flows into it before the network pads it itself; ``stride`` is another
    stride; ``inputs`` changes what flows into it.
    """

    def handler(state: _Calls, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func not in _CONVOLUTIONS:
            return PASS
        names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        operands = {**dict(zip(names, args, strict=False)), **kwargs}
        if not state.is_of(operands["weight"], key):
            return PASS
        x, kernel = operands["input"], operands["weight"]
        if inputs is not None and id(x) in state.unpadded:
            # The zeros of the padding are no inputs.
            _, before, amounts = state.unpadded[id(x)]
            x = F.pad(inputs(before), amounts)
        elif inputs is not None:
            x = inputs(x)
        steps = _pair(operands.get("stride", 1)) if stride is None else (stride, stride)
        dilation = _pair(operands.get("dilation", 1))
        padding = operands.get("padding", 0)
        if pad is not None:
            x, padding = state.before_padding(x), 0
            reach = [(n - 1) * step + 1 for n, step in zip(kernel.shape[2:], dilation, strict=True)]
            rows, columns = (
                pad(side, length, step)
                for side, length, step in zip(x.shape[2:], reach, steps, strict=True)
            )
            x = F.pad(x, [*columns, *rows])
        groups = operands.get("groups", 1)
        return F.conv2d(x, kernel, operands.get("bias"), steps, padding, dilation, groups)

    return calls(handler)


def same(side: int, reach: int, stride: int) -> Sides:
    """TensorFlow's SAME."""
    return same_pad(side, reach, stride)


def symmetric(side: int, reach: int, stride: int) -> Sides:
    """PyTorch's ``padding=(kernel - 1) // 2``."""
    return (reach - 1) // 2, (reach - 1) // 2


def shifted(side: int, reach: int, stride: int) -> Sides:
    """SAME with one element moved from the end to the front."""
    before, behind = same_pad(side, reach, stride)
    return before + min(behind, 1), behind - min(behind, 1)


def unpadded(side: int, reach: int, stride: int) -> Sides:
    """No padding."""
    return 0, 0


_ACTIVATION_CALLS = (
    F.relu, torch.relu, torch.relu_, F.relu_, Tensor.relu, Tensor.relu_, F.relu6, F.hardtanh,
    F.hardtanh_, F.hardswish, F.silu, F.gelu, F.elu, F.mish, F.leaky_relu, F.leaky_relu_,
    F.hardsigmoid, torch.sigmoid, F.sigmoid, Tensor.sigmoid, Tensor.sigmoid_, torch.tanh, F.tanh,
    Tensor.tanh, Tensor.clamp, torch.clamp, Tensor.clamp_, F.prelu, F.softplus,
)  # fmt: skip
"""Functions of PyTorch that are activations."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "hard_swish": F.hardswish,
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": F.hardsigmoid,
    "tanh": torch.tanh,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.01),
    "gelu": F.gelu,
    "elu": F.elu,
    "none": lambda x: x,
}
"""Activations by their names in :class:`~genmobilenet.config.NetworkConfig`, and some more."""


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """What the function gives."""
        return self.function(x)


def activation_behind(keys: Sequence[str], name: str) -> Change:
    """Answer the activation applied to what the layer with these weights gives by another one.

    ``keys`` are the weights of a convolution or dense layer and of the batch norm behind it.
    """

    def change(network: nn.Module) -> None:
        # Values of the layer in the run in progress, kept alive so that identities stay theirs.
        results: list[Tensor] = []

        def handler(state: _Calls, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if any(state.is_of(arg, key) for key in keys for arg in (*args, *kwargs.values())):
                result = func(*args, **kwargs)
                results.append(result)
                return result
            if func in _ACTIVATION_CALLS and args and any(args[0] is value for value in results):
                return ACTIVATIONS[name](args[0])
            return PASS

        calls(handler)(network)

    return change


# --- precision and randomness ---


def without_autocast(network: nn.Module) -> None:
    """Let autocast change nothing while the network runs."""
    autocast: Any = torch.amp.autocast_mode.autocast
    before: list[tuple[Any, Any]] = []

    def enter(_module: nn.Module, _inputs: Any) -> None:
        before.append((autocast.__enter__, autocast.__exit__))
        autocast.__enter__ = lambda self: self
        autocast.__exit__ = lambda self, *exc: None

    def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
        autocast.__enter__, autocast.__exit__ = before.pop()

    network.register_forward_pre_hook(enter)
    network.register_forward_hook(leave, always_call=True)


_DROPOUTS = (
    F.dropout, F.dropout2d, F.dropout1d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout,
    torch.dropout, torch.dropout_, torch.feature_dropout, torch.native_dropout,
)  # fmt: skip


def _no_dropout(state: _Calls, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if func not in _DROPOUTS:
        return PASS
    return args[0] if args else kwargs["input"]


without_dropout = calls(_no_dropout)
"""Let no dropout drop anything."""


def _no_noise(state: _Calls, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if func in (torch.randn_like, torch.rand_like, torch.randint_like):
        return torch.zeros_like(args[0])
    if func in (torch.randn, torch.rand, torch.normal):
        return torch.zeros_like(func(*args, **kwargs))
    if func is torch.bernoulli:
        return args[0]
    if func in (Tensor.normal_, Tensor.uniform_):
        return args[0].zero_()
    return PASS


without_noise = calls(_no_noise)
"""Let every random number be 0."""

_SHORT = (torch.float16, torch.bfloat16)


def _no_casts(state: _Calls, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if func in (Tensor.half, Tensor.bfloat16):
        return args[0]
    if func in (Tensor.to, Tensor.type) and any(
        value in _SHORT for value in (*args[1:], *kwargs.values()) if isinstance(value, torch.dtype)
    ):
        return args[0]
    if func is torch.fake_quantize_per_tensor_affine:
        return args[0]
    return PASS


without_casts = calls(_no_casts)
"""Let no cast to float16 or bfloat16 round anything."""


@dataclass(frozen=True)
class _RunningStatistics:
    """Answers batch norms that compute statistics of the batch by their running ones."""

    norms: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def __call__(
        self, state: _Calls, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if func is not F.batch_norm and func is not torch.batch_norm:
            return PASS
        names = ["input", "running_mean", "running_var", "weight", "bias", "training"]
        if func is torch.batch_norm:
            names = ["input", "weight", "bias", "running_mean", "running_var", "training"]
        operands = {**dict(zip(names, args, strict=False)), **kwargs}
        keys = [
            keys
            for weight, keys in self.norms.items()
            if state.is_of(operands.get("weight"), weight)
        ]
        if not keys:
            return PASS
        mean, variance = (state.state.get(key) for key in keys[0])
        if not operands.get("training") or mean is None or variance is None:
            return PASS
        eps = kwargs.get("eps", args[7] if func is F.batch_norm and len(args) > 7 else 1e-5)
        return F.batch_norm(
            operands["input"],
            mean,
            variance,
            operands.get("weight"),
            operands.get("bias"),
            False,
            0.0,
            eps,
        )


def with_running_statistics(norms: Mapping[str, tuple[str, str]]) -> Change:
    """Let batch norms use their running statistics; ``norms`` are keys: weight, mean, variance."""
    return calls(_RunningStatistics(norms))


def returning(path: str) -> Change:
    """Return what the module at a path gives, and not what is made of it."""

    def change(network: nn.Module) -> None:
        results: list[Tensor] = []
        network.get_submodule(path).register_forward_hook(
            lambda _m, _args, output: results.append(output)
        )
        network.register_forward_hook(lambda _m, _args, _output: results.pop())

    return change


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))
