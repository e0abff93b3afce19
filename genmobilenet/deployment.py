"""The form of a network for inference: folded batch norms, padded kernels, channels last.

On a CPU, at the size for which it was made, it runs through oneDNN's graph compiler, which PyTorch
reaches through TorchScript. The compiler joins convolutions with the operations after them,
rearranges their weights once, and dispatches nothing in a pass: that saves a third of the time of
a small network.
"""

from __future__ import annotations

import copy
import threading
import warnings
from collections.abc import Callable, Mapping
from operator import index
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genmobilenet.errors import DeployError
from genmobilenet.layers import (
    Conv2dSame,
    MixedConv2d,
    Normalise,
    conv2d_padded_in_graph,
    has_open_size,
    norms_of,
    same_padding,
)
from genmobilenet.network import GenMobileNet

Engine = Callable[[Tensor], Tensor]

GROUP = 4
"""Images that pass through an engine together: their activations fit the caches of a core, and
two threads have enough to share. ``make bench`` shows the effect.
"""

RUNS = 3
"""Passes until an engine is compiled: the first is profiled, the second compiled, and the third
shows that it works.
"""

HEAP_BLOCK = 32 * 2**20 - 4096
"""Bytes of the largest block for which glibc raises its threshold for the heap, less the block's
header; see mallopt(3), ``M_MMAP_THRESHOLD``. After a block of that size was freed, glibc takes
smaller ones from the heap. Otherwise each pass maps its activations anew, page by page: at a
batch of one that is a sixth of its time.
"""

_lock = threading.Lock()  # oneDNN's switch in PyTorch is global


def deploy(model: GenMobileNet, size: int | tuple[int, int] | None = None) -> DeployedNet:
    """The form of ``model`` for inference; ``model`` itself is not changed.

    ``size`` is the height and width in pixels, or one side, for which it is made fast; None
    means ``model.config.input_size``. Other sizes give results as exact, but slower.

    Raises:
        DeployError: ``model`` is not a network of this package, is deployed already, or has a
            batch norm that cannot be folded; or ``size`` is not a size.
    """
    if type(model) is not GenMobileNet:
        name = f"{type(model).__module__}.{type(model).__qualname__}"
        raise DeployError(f"deploy: expected a GenMobileNet as create_model makes it, found {name}")
    size = model.config.input_size if size is None else size
    sides: Any = (size, size) if isinstance(size, int) else size
    whole = isinstance(sides, tuple) and all(type(side) is int and side > 0 for side in sides)
    if not whole or len(sides) != 2:
        raise DeployError(f"deploy: size {size!r}: expected a side in pixels, or (height, width)")
    return DeployedNet(model, sides)


class DeployedNet(GenMobileNet):
    """A network in evaluation mode, (N, in_chans, H, W) -> (N, num_classes) logits.

    On a CPU, in float32, at its ``size`` and without gradients it runs through engines, which
    :func:`compile_engine` compiles in the first pass for the number of threads. In all other cases
    (another size, device or type, ``torch.compile``, ``torch.export``, hooks on its parts) it is
    plain PyTorch, with the same numbers but for rounding.

    Its weights are fixed. Its state dict is that of the network with batch norms folded into
    biases, which ``create_model(name, checkpoint_path=...)`` reads.
    """

    def __init__(self, model: GenMobileNet, size: tuple[int, int]) -> None:
        with torch.device("meta"):  # no weights are drawn: its parts are copies of the model's
            super().__init__(model.config)
        for name, part in copy.deepcopy(model).named_children():
            setattr(self, name, part)
        self.size = size
        self._engines: dict[tuple[int, int], Engine | None] = {}
        self._weights_finite: bool | None = None
        for path, part in list(self.named_modules()):
            if isinstance(part, nn.BatchNorm2d) and part.running_var is None:
                raise DeployError(f"deploy: {path} keeps no statistics, and cannot be folded")
        for convolution, norm in norms_of(self).items():
            part, batch_norm = self.get_submodule(convolution), self.get_submodule(norm)
            assert isinstance(batch_norm, nn.BatchNorm2d)  # norms_of selected it
            start = 0
            for path, conv in part.items() if isinstance(part, MixedConv2d) else [("", part)]:
                assert isinstance(conv, nn.Conv2d)
                stop = start + conv.out_channels
                replacement = fold(conv, batch_norm, slice(start, stop))
                self.set_submodule(f"{convolution}.{path}".removesuffix("."), replacement)
                start = stop
            self.set_submodule(norm, nn.Identity())
        if isinstance(self.normalise, Normalise):
            std = self.normalise.std
            weight = self.conv_stem.weight.double() / std.double()[:, None, None]
            self.conv_stem.weight = _fixed(weight.to(std))
            self.normalise.std = torch.ones_like(std)
        self.requires_grad_(False).eval()
        # PyTorch's own stubs lack this form of ``to``.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Walking through the modules in each pass would take a twentieth of its time.
        self._hooks = tuple(
            hooks
            for part in self.modules()
            for hooks in (part._forward_hooks, part._forward_pre_hooks)
        )
        self._fit_kernels()

    def _fit_kernels(self) -> None:
        """Pad every kernel for ``size``, and discard what was compiled with other kernels."""
        self._engines.clear()
        self._weights_finite = None
        stem = self.conv_stem
        high, wide = (2 * int(side) for side in stem.padding)
        if isinstance(stem, KernelPaddedConv):
            high, wide = stem.padding_of(*self.size)
        self._border = (wide // 2, wide - wide // 2, high // 2, high - high // 2)
        hooks = [
            part.register_forward_pre_hook(lambda part, args: part.fit(*args[0].shape[2:]))
            for part in self.modules()
            if isinstance(part, KernelPaddedConv)
        ]
        try:
            super().forward(stem.weight.new_zeros(1, stem.in_channels, *self.size))
        finally:
            for hook in hooks:
                hook.remove()

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W) -> (N, num_classes)."""
        logits = self._forward_engines(x) if self._engines_apply(x) else None
        if logits is not None:
            return logits
        x = x.contiguous(memory_format=torch.channels_last)
        if not has_open_size(x):
            # Compilers must take the sides as constants: each layer asks for the parity of its
            # own, and for a symbolic side these formulas grow beyond what compilers solve.
            index(x.shape[2]), index(x.shape[3])
        return super().forward(x)

    def _engines_apply(self, x: Tensor) -> bool:
        """Whether engines give the same logits for ``x`` as plain PyTorch."""
        if torch.compiler.is_compiling() or torch._C._get_tracing_state():
            return False
        weight = self.conv_stem.weight
        if not (
            type(x) is Tensor
            and x.dim() == 4
            and x.shape[1:] == (self.conv_stem.in_channels, *self.size)
            and len(x) > 0
            and x.device.type == weight.device.type == "cpu"
            and x.dtype == weight.dtype == torch.float32
            and not (x.requires_grad and torch.is_grad_enabled())
            and not torch.is_autocast_enabled("cpu")
            and not any(self._hooks)
        ):
            return False
        # oneDNN's clamps turn NaN into a number; PyTorch's keep it.
        if self._weights_finite is None:
            self._weights_finite = all(
                bool(values.isfinite().all()) for values in self.state_dict().values()
            )
        return self._weights_finite and bool(x.sum().isfinite())

    @torch.no_grad()
    def _forward_engines(self, x: Tensor) -> Tensor | None:
        """Logits, in groups of GROUP images and the rest one by one; None without a compiler."""
        in_groups = len(x) - len(x) % GROUP
        sizes = [GROUP] * (len(x) // GROUP) + [1] * (len(x) - in_groups)
        logits = []
        for group in torch.split(x, sizes):
            batch = self._pad(group)
            # oneDNN divides the work of a layer among the threads when it compiles.
            key = len(batch), torch.get_num_threads()
            if key not in self._engines:
                self._engines[key] = compile_engine(_AfterPadding(self), batch)
            engine = self._engines[key]
            if engine is None:
                return None
            logits.append(engine(batch))
        return torch.cat(logits) if len(logits) > 1 else logits[0]

    def _pad(self, x: Tensor) -> Tensor:
        """Normalise, pad for the stem and make channels last, in one copy.

        (N, in_chans, H, W) -> (N, in_chans, H + padding, W + padding).
        """
        n, channels, height, width = x.shape
        left, right, top, bottom = self._border
        out = torch.empty(
            (n, channels, top + height + bottom, left + width + right),
            memory_format=torch.channels_last,
        )
        out[:, :, :top] = out[:, :, top + height :] = 0
        out[:, :, :, :left] = out[:, :, :, left + width :] = 0
        inner = out[:, :, top : top + height, left : left + width]
        if isinstance(self.normalise, Normalise):
            torch.sub(x, self.normalise.mean[:, None, None], out=inner)
        else:
            inner.copy_(x)
        return out

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load other weights, with batch norms folded."""
        keys = super().load_state_dict(state_dict, strict, assign)
        self._fit_kernels()
        return keys

    def train(self, mode: bool = True) -> DeployedNet:
        """Refuse training mode.

        Raises:
            DeployError: always, except with ``mode`` False.
        """
        if mode:
            raise DeployError(
                "a deployed network has no batch norms to train: train the network that it was "
                "made from, and deploy it again"
            )
        return super().train(False)

    def reset_classifier(self, num_classes: int) -> None:
        """Refuse another classifier.

        Raises:
            DeployError: always.
        """
        raise DeployError(
            f"reset_classifier({num_classes}): the weights of a deployed network are fixed; "
            "reset the classifier of the network that it was made from, and deploy it again"
        )

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._engines.clear()  # ``fn`` changes values, type or device
        self._weights_finite = None
        # PyTorch has no types for it.
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_engines": {}}  # engines cannot be pickled; they are recompiled


class _AfterPadding(nn.Module):
    """A deployed network that takes the output of :meth:`DeployedNet._pad`."""

    def __init__(self, network: DeployedNet) -> None:
        super().__init__()
        self.network = network
        self.training = False  # as the network; a module in training mode is not compiled

    def forward(self, x: Tensor) -> Tensor:
        stem = self.network.conv_stem
        convs = [part for part in self.network.modules() if isinstance(part, KernelPaddedConv)]
        for conv in convs:
            conv.for_engine = True
        try:
            return self.network.forward_after_stem(F.conv2d(x, stem.weight, stem.bias, stem.stride))
        finally:
            for conv in convs:
                conv.for_engine = False


class KernelPaddedConv(Conv2dSame):
    """A :class:`Conv2dSame` of dilation 1 that never copies its input to pad it.

    Where TensorFlow pads one row more at the bottom than at the top, a kernel with one more row
    of zeros at its top gives the same sums under even padding. That kernel, ``padded_weight``, is
    kept for the size given to :meth:`fit`; for other sizes it is computed in each pass. A pass
    that is recorded for any size pads the input, but where it is recorded ``for_engine``.
    ``state_dict`` has the kernel without zeros.
    """

    padded_weight: Tensor

    def __init__(self, conv: Conv2dSame, weight: Tensor, bias: Tensor) -> None:
        kernel = conv.kernel_size[0], conv.kernel_size[1]
        stride = conv.stride[0], conv.stride[1]
        with torch.device("meta"):  # no weights are drawn
            super().__init__(conv.in_channels, conv.out_channels, kernel, stride, 1, conv.groups)
        self.weight, self.bias = _fixed(weight), _fixed(bias)
        self.odd = (0, 0)
        self.for_engine = False
        self.register_buffer("padded_weight", self.weight.detach(), persistent=False)

    def padding_of(self, height: int, width: int) -> tuple[int, int]:
        """Total padding of both axes, in elements, for an input of that size."""
        return (
            same_padding(height, self.kernel_size[0], self.stride[0], 1),
            same_padding(width, self.kernel_size[1], self.stride[1], 1),
        )

    def fit(self, height: int, width: int) -> None:
        """Keep the kernel that inputs of that size need."""
        high, wide = self.padding_of(height, width)
        self.odd = high % 2, wide % 2
        self.padded_weight = _pad_kernel(self.weight.detach(), *self.odd)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``input`` (N, in_channels, H, W)."""
        if has_open_size(input) and not self.for_engine:
            return conv2d_padded_in_graph(self, input)
        high, wide = self.padding_of(input.shape[2], input.shape[3])
        odd = high % 2, wide % 2
        weight = self.padded_weight if odd == self.odd else _pad_kernel(self.weight, *odd)
        padding = high // 2 + odd[0], wide // 2 + odd[1]
        return F.conv2d(input, weight, self.bias, self.stride, padding, 1, self.groups)


def _pad_kernel(weight: Tensor, rows: int, columns: int) -> Tensor:
    """A kernel (O, I, H, W) with that many rows of zeros at its top and columns at its left."""
    return F.pad(weight, (columns, 0, rows, 0)) if rows or columns else weight


def _fixed(values: Tensor) -> nn.Parameter:
    """A parameter that is not trained."""
    return nn.Parameter(values, requires_grad=False)


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d, channels: slice = slice(None)) -> nn.Conv2d:
    """One convolution with a bias that computes a convolution and its batch norm.

    The convolution gives these ``channels`` of what the batch norm takes. Computed in float64, so
    that folding costs one rounding per weight.
    """

    def exact(values: Tensor) -> Tensor:
        return values.detach().to("cpu", torch.float64)

    assert norm.running_mean is not None and norm.running_var is not None  # DeployedNet checked
    mean, variance = exact(norm.running_mean), exact(norm.running_var)
    factor = exact(norm.weight) / (variance + norm.eps).sqrt()
    shift = exact(norm.bias) - mean * factor
    weight = (exact(conv.weight) * factor[channels].reshape(-1, 1, 1, 1)).to(conv.weight)
    bias = shift[channels].to(conv.weight)
    if isinstance(conv, Conv2dSame) and conv.dilation == (1, 1):
        return KernelPaddedConv(conv, weight, bias)
    result = copy.deepcopy(conv)
    result.weight, result.bias = _fixed(weight), _fixed(bias)
    return result


def compile_engine(module: nn.Module, example: Tensor) -> Engine | None:
    """Compile ``module`` for inputs of the size and strides of ``example``.

    Returns None if oneDNN's graph compiler is missing, with a warning that says why.
    """
    with _lock, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; shapes become constants
        try:
            return _trace(module, example)
        except (AttributeError, RuntimeError) as error:
            # TorchScript puts its own traceback before the reason.
            lines = [line for line in str(error).splitlines() if line.strip()] or [repr(error)]
            prefix = "RuntimeError: "
            reasons = (line.removeprefix(prefix) for line in lines if line.startswith(prefix))
            reason = next(reasons, lines[0])
    warnings.warn(f"oneDNN's graph compiler is not available ({reason}): slower", stacklevel=2)
    return None


def _trace(module: nn.Module, example: Tensor) -> Engine:
    torch.empty(HEAP_BLOCK, dtype=torch.uint8)  # freed at once
    previous = torch._C._jit_llga_enabled()
    torch.jit.enable_onednn_fusion(True)
    try:
        # PyTorch has no types for tracing.
        engine: Engine = torch.jit.freeze(
            torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
        )
        for _ in range(RUNS):
            engine(example)
    finally:
        torch.jit.enable_onednn_fusion(previous)
    return engine
