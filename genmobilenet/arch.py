"""Block strings: one line of text for one stage of a mobile network.

The notation is that of Google's MnasNet code and of timm: tokens joined by
underscores, the block type first. A stage of different blocks is several block
strings separated by spaces.

====== =======================================================================
token  meaning
====== =======================================================================
``ds`` block type: depthwise-separable convolution, no expansion
``dsa`` the same, with an activation after the pointwise convolution too
``ir`` block type: inverted residual (expansion, depthwise, projection)
``cn`` block type: one convolution with batch norm and activation
``er`` block type: fused inverted residual (one convolution expands, projection)
``erp`` the same, with the stride in the projection
``su`` block type: ShuffleNetV2's unit (split, convolve a half, shuffle)
``uir`` block type: universal inverted residual (inverted residual with a
       depthwise convolution before the expansion or behind the projection)
``r``  repeats; only the first block has the stride
``k``  kernel size (of the depthwise convolution, where there is one); several,
       as ``k3.5.7``, for a mixed one, whose channels are shared out among them;
       0 in ``uir`` for no depthwise convolution between expansion and projection
``a``  in ``ir`` the kernels of the expansion, as ``a1.1``: all 1, one for each
       share of the channels; in ``uir`` that of a depthwise convolution before it
``p``  the same of the projection; in ``uir`` that of one behind it
``s``  stride
``e``  expansion: the depthwise width over the block's input channels
``i``  *declared* input channels, where they differ from the actual ones;
       the residual rule compares these (see :class:`BlockSpec`)
``c``  output channels at a width multiplier of 1
``se`` squeeze-excite width, over the input channels or over the expansion
       (``NetworkConfig.squeeze_from``)
``g``  groups of the pointwise convolutions, whose channels are then shuffled
``nre`` ``nr6`` ``nhs`` ``nsw`` ``nsg`` ``nth`` ``nno`` activation of the block:
       ReLU, ReLU6, hard-swish, SiLU, sigmoid, tanh, none; the network's by default
``noskip`` no residual connection
====== =======================================================================

Sources: ``MnasNetDecoder`` in tensorflow/tpu
``models/official/mnasnet/mnasnet_models.py`` (there ``o`` for output channels,
and a stride a side); timm ``_efficientnet_builder.py``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from genmobilenet.errors import ArchitectureError

BLOCK_TYPES = {
    "ds": "depthwise separable",
    "dsa": "depthwise separable, pointwise activated",
    "ir": "inverted residual",
    "cn": "convolution",
    "er": "fused inverted residual",
    "erp": "fused inverted residual, projection strided",
    "su": "shuffle unit",
    "uir": "universal inverted residual",
}

ACTIVATIONS = {
    "nre": "relu", "nr6": "relu6", "nhs": "hard_swish", "nsw": "silu", "nsg": "sigmoid",
    "nth": "tanh", "nno": "none",
}  # fmt: skip
"""Token -> activation; timm's tokens where timm has one."""

NUMBER_LIMIT = 1_000_000
"""Numbers in the strings are below this: far above those of any network that can be trained."""

CHANNELS = r"c[1-9][0-9]{0,5}"
"""Channels below :data:`NUMBER_LIMIT`, in the strings of the stem, the head and dense layers."""

MOST_KERNELS = 16
"""Most kernels in one mixed convolution; MixNet's have up to five."""

_TOKEN = re.compile(r"(se|[rseicg])([0-9]+(?:\.[0-9]+)?)|([kap])([0-9]+(?:\.[0-9]+)*)")
_FIELDS = {
    "r": ("repeats", int),
    "s": ("stride", int),
    "e": ("expansion", float),
    "i": ("declared_in", int),
    "c": ("channels", int),
    "se": ("se_ratio", float),
    "g": ("groups", int),
}
WITHOUT_EXPANSION = ("ds", "dsa", "cn", "su")
WITH_RESIDUAL = ("ds", "ir", "er", "erp", "uir")
"""Block types that add their input if the shapes allow it."""
_KERNELS = {"k": "kernels", "a": "start_kernels", "p": "end_kernels"}
"""Token of one or several kernels -> field."""
MIXED_TYPES = ("ds", "dsa", "ir")
"""Block types with mixed depthwise convolutions, and projections in shares."""


@dataclass(frozen=True)
class BlockSpec:
    """One stage: ``repeats`` blocks of one type.

    ``activation`` None means the network's, ``declared_in`` None the actual input
    width. Google's code adds a residual if the stride is 1 and the *declared*
    input width equals the output width; mnasnet-small declares 16 for a stage
    that gets 8, and so has no residual although the shapes would allow one.
    ``kernels`` are several for a mixed depthwise convolution. ``start_kernels`` and
    ``end_kernels`` are those of the tokens ``a`` and ``p``, empty where the block has nothing
    there but a plain pointwise convolution.
    """

    type: str
    repeats: int
    kernels: tuple[int, ...]
    stride: int
    expansion: float
    channels: int
    se_ratio: float = 0.0
    declared_in: int | None = None
    groups: int = 1
    activation: str | None = None
    skip: bool = True
    start_kernels: tuple[int, ...] = ()
    end_kernels: tuple[int, ...] = ()

    @property
    def kernel(self) -> int:
        """The kernel of a convolution that mixes none, or the first."""
        return self.kernels[0]

    def format(self) -> str:
        """The block string, which :func:`parse_block` turns back into this spec."""
        tokens = [self.type, f"r{self.repeats}"]
        # timm writes the kernels of a universal block in the order of its convolutions.
        for token in "akp" if self.type == "uir" else "kap":
            if kernels := getattr(self, _KERNELS[token]):
                tokens.append(token + ".".join(map(str, kernels)))
        tokens.append(f"s{self.stride}")
        if self.type not in WITHOUT_EXPANSION:
            tokens.append(f"e{_shortest(self.expansion)}")
        if self.declared_in is not None:
            tokens.append(f"i{self.declared_in}")
        tokens.append(f"c{self.channels}")
        if self.se_ratio:
            tokens.append(f"se{_shortest(self.se_ratio)}")
        if self.groups > 1:
            tokens.append(f"g{self.groups}")
        tokens += [token for token, name in ACTIVATIONS.items() if name == self.activation]
        if not self.skip:
            tokens.append("noskip")
        return "_".join(tokens)


def _shortest(value: float) -> str:
    """The shortest digits that parse to the same number."""
    return repr(value).removesuffix(".0")


def parse_block(text: str) -> BlockSpec:
    """Parse one block string.

    Raises:
        ArchitectureError: a token is unknown, repeated or missing, or a value
            makes no sense; the message quotes the token and the string.
    """
    head, *tokens = text.split("_")
    if head not in BLOCK_TYPES:
        types = ", ".join(f"{name} ({what})" for name, what in BLOCK_TYPES.items())
        raise ArchitectureError(f"{text!r}: unknown block type {head!r}; known are {types}")
    values: dict[str, Any] = {}
    for token in tokens:
        name, value = _parse_token(token, text)
        if name in values:
            raise ArchitectureError(f"{text!r}: {name} is given twice, again by {token!r}")
        values[name] = value
    if head in WITHOUT_EXPANSION:
        values.setdefault("expansion", 1.0)
    missing = {"repeats", "kernels", "stride", "expansion", "channels"} - set(values)
    if missing:
        raise ArchitectureError(f"{text!r}: no token for {', '.join(sorted(missing))}")
    for name, _ in _FIELDS.values():
        if name in values and values[name] <= 0:
            raise ArchitectureError(f"{text!r}: {name} must be above zero")
    if head in WITHOUT_EXPANSION and values["expansion"] != 1:
        raise ArchitectureError(f"{text!r}: a {BLOCK_TYPES[head]} block has no expansion; use ir")
    for name in ("start_kernels", "end_kernels"):
        if values.get(name) == ((0,) if head == "uir" else (1,)):
            del values[name]  # that of a block without the token
    spec = BlockSpec(type=head, **values)
    problem = _problem_of_kernels(spec)
    if problem:
        raise ArchitectureError(f"{text!r}: {problem}")
    return spec


def _problem_of_kernels(spec: BlockSpec) -> str | None:
    """Why a block of its type cannot have the kernels of a spec; None where it can."""
    kind, universal = BLOCK_TYPES[spec.type], spec.type == "uir"
    tokens = (spec.kernels, spec.start_kernels, spec.end_kernels)
    problems = [
        (
            len(spec.kernels) > 1 and spec.type not in MIXED_TYPES,
            f"a {kind} block mixes no kernels",
        ),
        (universal and max(map(len, tokens)) > 1, f"a {kind} block mixes no kernels"),
        (
            universal and spec.stride > 1 and not any(map(any, tokens)),
            f"a {kind} block without a depthwise convolution has no stride",
        ),
        (not universal and 0 in spec.kernels, "kernels must be above zero"),
    ]
    for token, kernels, types in (("a", spec.start_kernels, ("ir",)),
                                  ("p", spec.end_kernels, MIXED_TYPES)):  # fmt: skip
        names = " and ".join((*types, "uir"))
        problems += [
            (bool(kernels) and reason, text)
            for reason, text in (
                (spec.type not in (*types, "uir"), f"{token} is of {names} blocks"),
                (
                    not universal and set(kernels) != {1},
                    f"the kernels of {token} are 1 for each share of the channels",
                ),
                (spec.groups > 1, f"shares of the channels ({token}) or shuffled groups (g)"),
            )
        ]
    return next((text for applies, text in problems if applies), None)


def parse_stage(text: str) -> tuple[BlockSpec, ...]:
    """Parse the block strings of one stage, separated by spaces.

    Raises:
        ArchitectureError: see :func:`parse_block`; or there is no block.
    """
    specs = tuple(parse_block(part) for part in text.split())
    if not specs:
        raise ArchitectureError(f"{text!r}: a stage without a block")
    return specs


def _parse_token(token: str, text: str) -> tuple[str, Any]:
    """The field of :class:`BlockSpec` that a token of ``text`` sets, and its value."""
    if token == "noskip":
        return "skip", False
    if token in ACTIVATIONS:
        return "activation", ACTIVATIONS[token]
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise ArchitectureError(
            f"{text!r}: unknown token {token!r}; expected one of "
            f"{', '.join((*_KERNELS, *_FIELDS))} with a number, {', '.join(ACTIVATIONS)} or noskip"
        )
    numbers = [match[2]] if match[1] else match[4].split(".")
    if max(map(float, numbers)) >= NUMBER_LIMIT:
        raise ArchitectureError(f"{text!r}: {token!r} is not below {NUMBER_LIMIT:,}")
    if len(numbers) > MOST_KERNELS:
        raise ArchitectureError(f"{text!r}: {token!r} mixes more than {MOST_KERNELS} kernels")
    if match[3]:
        return _KERNELS[match[3]], tuple(map(int, numbers))
    name, number_type = _FIELDS[match[1]]
    try:
        return name, number_type(match[2])
    except ValueError:
        raise ArchitectureError(f"{text!r}: {token!r} takes a whole number") from None


def round_channels(channels: float) -> int:
    """Round a scaled width to a multiple of 8, at least 8.

    One multiple higher if rounding would lose more than 10 %. Source:
    ``round_filters`` in tensorflow/tpu ``mnasnet_model.py``; the same rule is
    ``_make_divisible`` in slim's MobileNet code.
    """
    width = max(8, int(channels + 4) // 8 * 8)
    return width + 8 if width < 0.9 * channels else width


def shares(channels: int, parts: int) -> list[int]:
    """The channels of each part of a mixed convolution; the first has the remainder too.

    Source: ``_split_channels`` in tensorflow/tpu
    ``models/official/mnasnet/mixnet/custom_layers.py``.
    """
    widths = [channels // parts] * parts
    widths[0] += channels % parts
    return widths


@dataclass(frozen=True)
class DenseSpec:
    """A dense layer behind the pooling, as in ``fc_c100_nre``.

    ``activation`` is ``"none"`` for none, as of an earlier classifier that a new one takes. The
    string is ``fc``, the channels, ``bn`` for a batch norm before the activation, the activation's
    token, and ``nobias`` for a layer without. ``bn`` alone, or with an activation, is a batch norm
    by itself, whose ``channels`` are 0: it has those that it takes.
    """

    channels: int
    activation: str = "none"
    bias: bool = True
    norm: bool = False

    def format(self) -> str:
        """The string, which :func:`parse_dense` turns back into this spec."""
        tokens = ["fc", f"c{self.channels}"] if self.channels else []
        tokens += ["bn"] * self.norm
        if self.activation != "none":
            tokens += [token for token, name in ACTIVATIONS.items() if name == self.activation]
        return "_".join(tokens + ["nobias"] * (not self.bias))


def parse_dense(text: str) -> DenseSpec:
    """Parse the string of a dense layer.

    Raises:
        ArchitectureError: a token is unknown, repeated or missing; the message quotes both.
    """
    head, *tokens = text.split("_")
    values: dict[str, Any] = {"channels": 0, "norm": True} if head == "bn" else {}
    for token in tokens:
        name: str = "bias"
        value: Any = False
        if token in ACTIVATIONS:
            name, value = "activation", ACTIVATIONS[token]
        elif re.fullmatch(CHANNELS, token):
            name, value = "channels", int(token[1:])
        elif token == "bn":
            name, value = "norm", True
        elif token != "nobias":
            raise ArchitectureError(
                f"{text!r}: unknown token {token!r}; expected c with a number below "
                f"{NUMBER_LIMIT:,}, bn, {', '.join(ACTIVATIONS)} or nobias"
            )
        if name in values:
            raise ArchitectureError(f"{text!r}: {name} is given twice, again by {token!r}")
        values[name] = value
    if head not in ("fc", "bn") or "channels" not in values or (head == "bn" and "bias" in values):
        raise ArchitectureError(
            f"{text!r}: expected a dense layer with its channels, as fc_c100, or a batch norm, bn"
        )
    return DenseSpec(**values)
