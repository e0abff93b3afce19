"""Activations and gates that are another function than the source's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import torch
from torch import Tensor

from genmobilenet.network import GenMobileNet
from porting.parity.diagnosis import changes
from porting.parity.diagnosis.cause import Change, Family, Hypothesis
from porting.parity.diagnosis.evidence import Piece
from porting.parity.port_runner import inference_copy

_TRIED = ("relu", "relu6", "hard_swish", "silu", "none", "sigmoid", "hard_sigmoid", "tanh")
"""Activations that sources have, where the piece does not say which it is."""

_GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": changes.ACTIVATIONS["hard_sigmoid"],
}
_WRONG_GATES: dict[str, Callable[[Tensor], Tensor]] = {
    **_GATES,
    "hard sigmoid that is not clipped": lambda x: (x + 3) / 6,
    "a gate that is always open": torch.ones_like,
    "no gate function": lambda x: x,
}


def hypotheses(piece: Piece) -> Iterator[Hypothesis]:
    """Proposes the source's activation, or gate, in place of the port's."""
    around = piece.around
    if around.layers is not None and (gate := _gate_path(piece)) is not None:
        yield from _gate_hypotheses(piece, gate, around.layers.gate)
        return
    flow, layer = piece.flow, piece.layer
    if flow is None or not piece.step.parts & {"activation", "norm", "weight"}:
        return
    if layer is not None and "activation" not in piece.step.parts:
        names: tuple[str, ...] = ()
        if layer.activation == "none":
            names = ("none",)
    else:
        names = _TRIED if layer is None else (layer.activation,)
    if not _is_elementwise(piece):
        return
    change = _change_at(piece)
    place = _path(piece)
    for name in names:
        yield Hypothesis(
            "activation", f"other than the source's {name}", place, change(name),
            f"{place} is another function than the source's {_TITLES.get(name, name)}",
            f"{place}: {_CALLS.get(name, name)}",
            emulations={
                f"{_TITLES.get(other, other)} for {_TITLES.get(name, name)}": change(other)
                for other in changes.ACTIVATIONS
                if other != name
            },
        )  # fmt: skip


def _change_at(piece: Piece) -> Callable[[str], Change]:
    """What puts an activation, by name, into the piece."""
    flow, network = piece.flow, piece.around.network
    assert flow is not None  # the caller looked
    path = _path(piece)
    parts = dict(network.named_modules())
    own_modules = {flow.weight.removesuffix(".weight")}
    if flow.norm is not None:
        own_modules.add(flow.norm.variance.rpartition(".")[0])
    own = isinstance(network, GenMobileNet)
    if path in parts and path not in own_modules and (own or not list(parts[path].children())):
        return lambda name: changes.module(
            path, partial(changes.Function, changes.ACTIVATIONS[name])
        )
    keys = [flow.weight]
    if flow.norm is not None and flow.norm.weight is not None:
        keys.append(flow.norm.weight)
    return lambda name: changes.activation_behind(keys, name)


def _is_elementwise(piece: Piece) -> bool:
    """Whether a module in the place of the activation maps each value by itself.

    What moves values about, in a hook or in the module, is no activation.
    """
    part = dict(piece.around.network.named_modules()).get(_path(piece))
    values = piece.around.runner.choosing[0].judge.get(piece.tap)
    if part is None or values is None or part.training or list(part.children()):
        return True
    part = inference_copy(part)
    axes = (1, values.ndim - 1) if values.ndim > 2 else (1,)  # one of the plane's: a turn shows
    with torch.inference_mode(), suppress(Exception):  # a user's code may raise anything
        plain, mirrored = part(values.clone()), part(values.flip(axes))
        if isinstance(plain, Tensor) and plain.shape == values.shape:
            return bool(torch.allclose(plain.flip(axes), mirrored, equal_nan=True))
    return True


def _path(piece: Piece) -> str:
    """The path of the activation: a network of this package has a module for it."""
    own = piece.layer is not None and isinstance(piece.around.network, GenMobileNet)
    return piece.layer.tap if own and piece.layer is not None else piece.tap


def _gate_path(piece: Piece) -> str | None:
    """The path of the gate that a piece ends in."""
    if piece.tap.endswith(".se.gate"):
        return piece.tap
    return f"{piece.tap}.gate" if piece.tap.endswith(".se") else None


def _gate_hypotheses(piece: Piece, path: str, name: str) -> Iterator[Hypothesis]:
    if path not in dict(piece.around.network.named_modules()):
        return
    yield Hypothesis(
        "squeeze-excite gate", f"other than the source's {name}", path,
        changes.module(path, partial(changes.Function, _GATES[name])),
        f"{path} is another function than the source's {_TITLES.get(name, name)}",
        f"{path}: {_CALLS.get(name, name)}",
        emulations={
            f"{_TITLES.get(other, other)} for {_TITLES.get(name, name)}": changes.module(
                path, partial(changes.Function, function)
            )
            for other, function in _WRONG_GATES.items()
            if other != name
        },
    )  # fmt: skip


_TITLES = {
    "relu": "ReLU", "relu6": "ReLU6", "hard_swish": "hard-swish", "silu": "swish (SiLU)",
    "none": "no activation", "hard_sigmoid": "hard sigmoid", "leaky_relu": "leaky ReLU",
    "gelu": "GELU", "elu": "ELU",
}  # fmt: skip
_CALLS = {
    "relu": "nn.ReLU()", "relu6": "nn.ReLU6()", "hard_swish": "nn.Hardswish()",
    "silu": "nn.SiLU()", "none": "nn.Identity()", "sigmoid": "nn.Sigmoid()",
    "hard_sigmoid": "nn.Hardsigmoid()", "tanh": "nn.Tanh()",
}  # fmt: skip

ACTIVATIONS = Family(
    {
        "activation": "MobileNet V1 and V2 have ReLU6, MNASNet ReLU, MobileNet V3 ReLU and "
        "hard-swish, EfficientNet swish and its Lite form ReLU6. Where no value exceeds 6 on an "
        "image, ReLU and ReLU6 are one.",
        "squeeze-excite gate": "MobileNet V3 gates by the hard sigmoid relu6(x + 3) / 6, MNASNet "
        "and EfficientNet by the sigmoid.",
    },
    hypotheses,
)
