"""Block strings: one line of text for one stage of a mobile network.

The notation is that of Google's MnasNet code and of timm: tokens joined by
underscores, the block type first. A stage of unlike blocks is several block
strings with spaces between.

====== =======================================================================
token  meaning
====== =======================================================================
``ds`` block type: depthwise-separable convolution, no expansion
``dsa`` the same, with an activation behind the pointwise convolution too
``ir`` block type: inverted residual (expansion, depthwise, projection)
``cn`` block type: one convolution with batch norm and activation
``su`` block type: ShuffleNetV2's unit (split, convolve a half, shuffle)
``r``  repeats; the stride is the first block's alone
``k``  kernel size (of the depthwise convolution, where there is one)
``s``  stride
``e``  expansion: the depthwise width over the block's input channels
``i``  *declared* input channels, where they differ from what really comes in;
       the residual rule compares these (see :class:`BlockSpec`)
``c``  output channels at a width multiplier of 1
``se`` squeeze-excite width, over the input channels or over the expansion
       (``NetworkConfig.squeeze_from``)
``g``  groups of the pointwise convolutions, whose channels are then shuffled
``nre`` ``nr6`` ``nhs`` activation of the block: ReLU, ReLU6, hard-swish;
       without one it is the network's
``noskip`` never a residual
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
    "su": "shuffle unit",
}

ACTIVATIONS = {"nre": "relu", "nr6": "relu6", "nhs": "hard_swish"}

Value = int | float | bool | str

_TOKEN = re.compile(r"(se|[rkseicg])(\d+(?:\.\d+)?)")
_FIELDS = {
    "r": ("repeats", int),
    "k": ("kernel", int),
    "s": ("stride", int),
    "e": ("expansion", float),
    "i": ("declared_in", int),
    "c": ("channels", int),
    "se": ("se_ratio", float),
    "g": ("groups", int),
}
_UNEXPANDED = ("ds", "dsa", "cn", "su")


@dataclass(frozen=True)
class BlockSpec:
    """One stage: ``repeats`` blocks of one type.

    ``activation`` is None where it is the network's, ``declared_in`` where the
    stage says nothing of its input. Google's code adds a residual where stride
    is 1 and the *declared* input width equals the output width; mnasnet-small
    declares 16 for a stage that gets 8, and so has no residual where the shapes
    alone would suggest one.
    """

    type: str
    repeats: int
    kernel: int
    stride: int
    expansion: float
    channels: int
    se_ratio: float = 0.0
    declared_in: int | None = None
    groups: int = 1
    activation: str | None = None
    skip: bool = True

    def format(self) -> str:
        """The block string; ``parse_block`` of it gives this spec again."""
        tokens = [self.type, f"r{self.repeats}", f"k{self.kernel}", f"s{self.stride}"]
        if self.type not in _UNEXPANDED:
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
    """Digits that give the same number again."""
    return repr(value).removesuffix(".0")


def parse_block(text: str) -> BlockSpec:
    """Parse one block string.

    Raises:
        ArchitectureError: a token is unknown, given twice or missing, or a
            value makes no sense; the message quotes the token and the string.
    """
    head, *tokens = text.split("_")
    if head not in BLOCK_TYPES:
        known = ", ".join(f"{name} ({what})" for name, what in BLOCK_TYPES.items())
        raise ArchitectureError(f"{text!r}: unknown block type {head!r}; known are {known}")
    values: dict[str, Value] = {}
    for token in tokens:
        name, value = _parse_token(token, text)
        if name in values:
            raise ArchitectureError(f"{text!r}: {name} is given twice, again by {token!r}")
        values[name] = value
    return _checked(head, values, text)


def parse_stage(text: str) -> tuple[BlockSpec, ...]:
    """Parse the block strings of one stage, spaces between.

    Raises:
        ArchitectureError: see :func:`parse_block`.
    """
    return tuple(parse_block(part) for part in text.split())


def _parse_token(token: str, text: str) -> tuple[str, Value]:
    if token == "noskip":
        return "skip", False
    if token in ACTIVATIONS:
        return "activation", ACTIVATIONS[token]
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise ArchitectureError(
            f"{text!r}: unknown token {token!r}; expected one of "
            f"{', '.join(_FIELDS)} with a number, {', '.join(ACTIVATIONS)} or noskip"
        )
    name, kind = _FIELDS[match[1]]
    try:
        return name, kind(match[2])
    except ValueError:
        raise ArchitectureError(f"{text!r}: {token!r} takes a whole number") from None


def _checked(head: str, values: dict[str, Value], text: str) -> BlockSpec:
    if head in _UNEXPANDED:
        values.setdefault("expansion", 1.0)
    missing = {"repeats", "kernel", "stride", "expansion", "channels"} - set(values)
    if missing:
        raise ArchitectureError(f"{text!r}: no token for {', '.join(sorted(missing))}")
    numbers = {name: value for name, value in values.items() if not isinstance(value, (str, bool))}
    zero = [name for name, value in numbers.items() if value <= 0]
    if zero:
        raise ArchitectureError(f"{text!r}: {zero[0]} must be above zero")
    if head in _UNEXPANDED and values["expansion"] != 1:
        raise ArchitectureError(f"{text!r}: a {BLOCK_TYPES[head]} block has no expansion; use ir")
    fields: dict[str, Any] = dict(values)  # names and types come from _FIELDS
    return BlockSpec(type=head, **fields)


def round_channels(channels: float, divisor: int = 8, limit: float = 0.9) -> int:
    """Round a scaled width to a multiple of ``divisor``, at least ``divisor``.

    One step up where rounding would lose more than 10 %. Source:
    ``round_filters`` in tensorflow/tpu ``mnasnet_model.py``; the same rule is
    ``_make_divisible`` in slim's MobileNet code.
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < limit * channels else rounded
