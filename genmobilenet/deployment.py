"""The same network for inference: batch norm folded, padding resolved, channels last."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from operator import index
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genmobilenet.engine import Engine, compiled
from genmobilenet.errors import DeployError
from genmobilenet.folded import norms_of
from genmobilenet.layers import Normalise
from genmobilenet.network import GenMobileNet
from genmobilenet.resolved import ResolvedConv, folded, frozen

GROUP = 4
"""Images that pass through an engine together: their activations stay in a core's caches, and
two threads have enough to share. ``make bench`` shows what it gives.
"""


def deploy(model: GenMobileNet, size: int | tuple[int, int] | None = None) -> DeployedNet:
    """The form of ``model`` for inference; ``model`` itself stays as it is.

    ``size`` is the height and width in pixels, or one side, for which it is made fast; None
    takes ``model.config.input_size``. Any other size is as exact, and slower.

    Raises:
        DeployError: ``model`` is no network of this package, is deployed already, or has a
            batch norm that cannot be folded; or ``size`` is no size.
    """
    if type(model) is not GenMobileNet:
        found = f"{type(model).__module__}.{type(model).__qualname__}"
        raise DeployError(
            f"deploy: expected a GenMobileNet as create_model makes it, found {found}"
        )
    return DeployedNet(model, _checked(model.config.input_size if size is None else size))


def _checked(size: Any) -> tuple[int, int]:
    sides = (size, size) if isinstance(size, int) else size
    whole = isinstance(sides, tuple) and all(type(side) is int and side > 0 for side in sides)
    if not whole or len(sides) != 2:
        raise DeployError(f"deploy: size {size!r}: expected a side in pixels, or (height, width)")
    return sides


class DeployedNet(GenMobileNet):
    """A network in evaluation mode, (N, in_chans, H, W) -> (N, num_classes) logits.

    On a CPU, in float32, at its ``size`` and without gradients it runs through
    :mod:`genmobilenet.engine`, compiled in the first pass for the number of threads; all else
    (another size or device, another type, ``torch.compile``, ``torch.export``, hooks on its
    parts) is plain PyTorch with the same numbers but for rounding.

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
        self._sound: bool | None = None
        self._fold()
        self.requires_grad_(False).eval()
        # PyTorch's own stubs leave this form of ``to`` out.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Looked at in each pass: no walk through the parts, which would take a twentieth of it.
        self._hooks = tuple(
            hooks
            for part in self.modules()
            for hooks in (part._forward_hooks, part._forward_pre_hooks)
        )
        self._resolve()

    def _fold(self) -> None:
        pairs = norms_of(self)
        for path, part in list(self.named_modules()):
            if isinstance(part, nn.BatchNorm2d) and part.running_var is None:
                raise DeployError(f"deploy: {path} keeps no statistics, and cannot be folded")
        for convolution, norm in pairs.items():
            # norms_of gives a convolution and a batch norm, whose paths say no type.
            made = folded(self.get_submodule(convolution), self.get_submodule(norm))  # type: ignore[arg-type]
            self.set_submodule(convolution, made)
            self.set_submodule(norm, nn.Identity())
        if isinstance(self.normalise, Normalise):
            std = self.normalise.std
            weight = self.conv_stem.weight.double() / std.double()[:, None, None]
            self.conv_stem.weight = frozen(weight.to(std))
            self.normalise.std = torch.ones_like(std)

    def _resolve(self) -> None:
        """Fit every kernel to ``size``, and forget what was compiled from others."""
        self._engines.clear()
        self._sound = None
        stem = self.conv_stem
        high, wide = stem.padding_of(*self.size) if isinstance(stem, ResolvedConv) else (2, 2)
        self._border = (wide // 2, wide - wide // 2, high // 2, high - high // 2)
        hooks = [
            part.register_forward_pre_hook(lambda part, args: part.resolve(*args[0].shape[2:]))
            for part in self.modules()
            if isinstance(part, ResolvedConv)
        ]
        try:
            super().forward(stem.weight.new_zeros(1, stem.in_channels, *self.size))
        finally:
            for hook in hooks:
                hook.remove()

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W) -> (N, num_classes)."""
        found = self._through_engines(x) if self._engines_take(x) else None
        if found is not None:
            return found
        x = x.contiguous(memory_format=torch.channels_last)
        # A compiler is to take the sides for numbers: every layer asks for the parity of its own,
        # which as a formula of an open one grows beyond what compilers solve.
        index(x.shape[2]), index(x.shape[3])
        return super().forward(x)

    def _engines_take(self, x: Tensor) -> bool:
        if torch.compiler.is_compiling() or torch._C._get_tracing_state():
            return False
        weight = self.conv_stem.weight
        return (
            type(x) is Tensor
            and x.dim() == 4
            and x.shape[1:] == (self.conv_stem.in_channels, *self.size)
            and len(x) > 0
            and x.device.type == weight.device.type == "cpu"
            and x.dtype == weight.dtype == torch.float32
            and not (x.requires_grad and torch.is_grad_enabled())
            and not torch.is_autocast_enabled("cpu")
            and not any(self._hooks)
            # oneDNN's clamps give a number for NaN; so that it shows, PyTorch is to see it.
            and self._weights_are_finite()
            and bool(x.sum().isfinite())
        )

    def _weights_are_finite(self) -> bool:
        if self._sound is None:
            self._sound = all(bool(held.isfinite().all()) for held in self.state_dict().values())
        return self._sound

    def _through_engines(self, x: Tensor) -> Tensor | None:
        """Logits of as many whole groups as there are, and of the rest one by one."""
        whole = len(x) - len(x) % GROUP
        starts = [*range(0, whole, GROUP), *range(whole, len(x))]
        groups = [x[at : at + (GROUP if at < whole else 1)] for at in starts]
        found = []
        with torch.no_grad():
            for group in groups:
                arranged = self._arranged(group)
                engine = self._engine(arranged)
                if engine is None:
                    return None
                found.append(engine(arranged))
            return torch.cat(found) if len(found) > 1 else found[0]

    def _engine(self, arranged: Tensor) -> Engine | None:
        # oneDNN shares a layer's work out among the threads when it compiles it.
        key = len(arranged), torch.get_num_threads()
        if key not in self._engines:
            self._engines[key] = compiled(_BehindPadding(self), arranged)
        return self._engines[key]

    def _arranged(self, x: Tensor) -> Tensor:
        """Normalised, channels last and padded for the stem, in one copy.

        (N, in_chans, H, W) -> (N, in_chans, H + padding, W + padding).
        """
        n, channels, height, width = x.shape
        left, right, top, bottom = self._border
        made = torch.empty(
            (n, channels, top + height + bottom, left + width + right),
            memory_format=torch.channels_last,
        )
        made[:, :, :top] = made[:, :, top + height :] = 0
        made[:, :, :, :left] = made[:, :, :, left + width :] = 0
        inner = made[:, :, top : top + height, left : left + width]
        if isinstance(self.normalise, Normalise):
            torch.sub(x, self.normalise.mean[:, None, None], out=inner)
        else:
            inner.copy_(x)
        return made

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Take other weights, folded as these are."""
        found = super().load_state_dict(state_dict, strict, assign)
        self._resolve()
        return found

    def train(self, mode: bool = True) -> DeployedNet:
        """Refuse training mode.

        Raises:
            DeployError: always, but for ``mode`` False.
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
        self._engines.clear()  # other values, another type or another device
        self._sound = None
        # PyTorch has no types for it.
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_engines": {}}  # they are made again where they are needed


class _BehindPadding(nn.Module):
    """A deployed network behind :meth:`DeployedNet._arranged`."""

    def __init__(self, network: DeployedNet) -> None:
        super().__init__()
        self.network = network
        self.training = False  # as the network is; what trains is not compiled

    def forward(self, arranged: Tensor) -> Tensor:
        stem = self.network.conv_stem
        x = F.conv2d(arranged, stem.weight, stem.bias, stem.stride)
        return self.network.forward_behind(x)
