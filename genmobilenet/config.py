"""The configuration of a network, and its blocks with all widths computed.

The PyTorch network and the TensorFlow reference graph are both built from a
:class:`NetworkConfig`. This module does not import torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from genmobilenet.arch import (
    ACTIVATIONS,
    CHANNELS,
    NUMBER_LIMIT,
    WITH_RESIDUAL,
    WITHOUT_EXPANSION,
    BlockSpec,
    DenseSpec,
    parse_dense,
    parse_stage,
    round_channels,
)
from genmobilenet.errors import ArchitectureError

TF_BN_EPSILON = 1e-3
"""``batch_norm_epsilon`` in tensorflow/tpu ``mnasnet_models.py``; in slim and Keras too."""

TF_BN_MOMENTUM = 0.01
"""PyTorch's momentum for ``batch_norm_momentum=0.99`` of the same file."""

CHOICES: dict[str, tuple[str, ...]] = {
    "padding": ("same", "symmetric"),
    "activation": tuple(ACTIVATIONS.values()),
    "gate": ("sigmoid", "hard_sigmoid"),
    "squeeze_from": ("input", "expansion"),
    "squeeze_activation": ("relu", "silu"),
    "rounding": ("nearest", "down"),
    "head": ("conv", "after_pool", "norm_after_pool", "none"),
    "head_scaling": ("never", "up"),
    "pool": ("mean", "max", "flatten", "none"),
}
"""Allowed values of the fields of :class:`NetworkConfig` that are strings."""

SEPARATOR = " | "
"""Between the parts of a network's own strings; no name of a network has it."""

MOST_CHARACTERS = 50_000
"""The longest text that is read as a network's strings: that of 1,000 different blocks."""

MOST_LAYERS = 1_000
"""Most blocks and dense layers of a network that is built from its strings."""

MOST_WEIGHTS = 1 << 29
"""Most weights of such a network: in float32 they fill the 2 GiB at which files of TensorFlow end,
since protobuf and flatbuffers count no further."""

POOLS = {"mean": "pool", "max": "maxpool", "flatten": "flatten", "none": "features"}
"""How the strings spell what follows the last convolution."""

_HEAD = re.compile(
    rf"(?:cn_(?P<before>{CHANNELS}) )?"
    r"(?P<pool>pool|maxpool|features|flatten_p(?P<places>[1-9][0-9]{0,5}))"
    rf"(?: cn_(?P<behind>{CHANNELS})(?P<norm>_norm)?)?"
    r"(?P<hidden>(?: (?:fc_c\S+|bn(?:_\S+)?))*)(?: (?P<classifier>fc|fc_nobias))?"
)

_STATEMENTS = {"padding": str, "gate": str, "squeeze_activation": str, "bn_epsilon": float}
"""Fields that a network's strings state where they differ from the usual, and their types."""


@dataclass(frozen=True)
class Block:
    """One block with all its widths.

    ``path`` is its module path in the PyTorch network (``blocks.2.0``); ``index``
    counts blocks through the whole network, as Google's scopes do (``mnas_blocks_3``).
    ``squeeze`` is the squeeze-excite width, 0 for none. The kernels are those of
    :class:`~genmobilenet.arch.BlockSpec`.
    """

    path: str
    index: int
    type: str
    in_channels: int
    mid_channels: int
    out_channels: int
    kernels: tuple[int, ...]
    stride: int
    squeeze: int
    residual: bool
    activation: str
    groups: int
    start_kernels: tuple[int, ...] = ()
    end_kernels: tuple[int, ...] = ()

    @property
    def kernel(self) -> int:
        """The kernel of a convolution that mixes none, or the first."""
        return self.kernels[0]

    @property
    def strides(self) -> tuple[int, int, int]:
        """Of the three depthwise convolutions of a universal inverted residual."""
        places = [any(self.start_kernels), any(self.kernels), any(self.end_kernels)]
        striding = 1 if places[1] else places.index(True) if any(places) else 1
        start, middle, end = (self.stride if place == striding else 1 for place in range(3))
        return start, middle, end


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that determines a network's shapes and arithmetic.

    ``source`` cites the publication of the architecture, ``input_size`` is the
    published side in pixels.

    Widths: ``width`` scales the stem and the blocks, and rounds them; None leaves
    them unrounded, unlike 1: MNASNet-D1's 36 channels would become 40.
    ``rounding`` is to the ``"nearest"`` multiple of 8, or ``"down"`` to a whole
    number of at least 8. ``fixed_stem`` excludes the stem from scaling.
    ``head_scaling`` ``"up"`` scales the head too if ``width`` is above 1.

    Squeeze-excite: its width is a fraction of the block's ``"input"``, truncated,
    or of its ``"expansion"`` (``squeeze_from``); then both it and the expansion
    are rounded to 8. Between its two layers is ``squeeze_activation``.

    Head: ``"conv"`` is a 1x1 convolution with batch norm before pooling,
    ``"after_pool"`` a 1x1 convolution with a bias after pooling, ``"norm_after_pool"`` one with
    a batch norm there, ``"none"`` nothing.
    ``hidden`` are the strings of dense layers between all that and the classifier, as
    ``fc_c100_nre``, and of batch norms, ``bn``; see :class:`~genmobilenet.arch.DenseSpec`. The
    classifier has a bias unless ``classifier_bias`` is False.

    ``pool`` is what becomes of the last convolution's values: their ``"mean"`` or ``"max"`` over
    height and width; all of them in a row by ``"flatten"``, in TensorFlow's order (height, width,
    channels), of so many ``places``; or ``"none"`` for a network that gives these values
    themselves, (N, C, H, W), and has neither dense layers nor a classifier.

    ``padding`` is ``"same"`` (TensorFlow's) or ``"symmetric"`` (PyTorch's).
    A network that ``normalises`` takes pixels 0..255; mean and deviation are buffers of it.
    """

    blocks: tuple[str, ...]
    source: str
    width: float | None = None
    rounding: str = "nearest"
    stem_channels: int = 32
    stem_kernel: int = 3
    stem_stride: int = 2
    fixed_stem: bool = False
    stem_pool: bool = False
    activation: str = "relu"
    gate: str = "sigmoid"
    squeeze_from: str = "input"
    squeeze_activation: str = "relu"
    head: str = "conv"
    head_channels: int = 1280
    head_scaling: str = "never"
    pool: str = "mean"
    places: int = 1
    hidden: tuple[str, ...] = ()
    classifier_bias: bool = True
    input_size: int = 224
    padding: str = "symmetric"
    bn_epsilon: float = 1e-5
    bn_momentum: float = 0.1
    drop_rate: float = 0.2
    num_classes: int = 1000
    in_chans: int = 3
    normalises: bool = False

    def __post_init__(self) -> None:
        for field, choices in CHOICES.items():
            if getattr(self, field) not in choices:
                alternatives = " or ".join(map(repr, choices))
                raise ArchitectureError(
                    f"{field} {getattr(self, field)!r}: expected {alternatives}"
                )
        if self.width is not None and self.width <= 0:
            raise ArchitectureError(f"width multiplier {self.width}: must be above zero")
        if not 0 <= self.bn_epsilon < math.inf:
            raise ArchitectureError(f"bn_epsilon {self.bn_epsilon}: must be finite, and at least 0")

    def tensorflow_form(self) -> NetworkConfig:
        """The same network with TensorFlow's padding, batch-norm epsilon and momentum."""
        return replace(self, padding="same", bn_epsilon=TF_BN_EPSILON, bn_momentum=TF_BN_MOMENTUM)

    def scaled(self, channels: int) -> int:
        """``channels`` times this network's width multiplier, rounded."""
        if self.width is None:
            return channels
        if self.rounding == "down":
            # slim mobilenet_v1.py: max(int(d * depth_multiplier), min_depth).
            return max(int(channels * self.width), 8)
        return round_channels(channels * self.width)

    @cached_property
    def stem(self) -> int:
        """Output channels of the stem convolution."""
        return self.stem_channels if self.fixed_stem else self.scaled(self.stem_channels)

    @cached_property
    def dense(self) -> tuple[DenseSpec, ...]:
        """The dense layers before the classifier.

        Raises:
            ArchitectureError: a string of ``hidden`` is none of a dense layer.
        """
        return tuple(map(parse_dense, self.hidden))

    @cached_property
    def classifier_inputs(self) -> int:
        """Input channels of the classifier."""
        widths = [layer.channels for layer in self.dense if layer.channels]
        return widths[-1] if widths else self.head_width * self.places

    @cached_property
    def head_width(self) -> int:
        """Channels behind the head and the pooling."""
        if self.head == "none":
            return self.stages[-1][-1].out_channels
        grows = self.head_scaling == "up" and self.width is not None and self.width > 1
        return self.scaled(self.head_channels) if grows else self.head_channels

    @cached_property
    def stages(self) -> tuple[tuple[Block, ...], ...]:
        """The blocks of each stage.

        Raises:
            ArchitectureError: a residual would join two different widths, or a block's widths
                cannot be built.
        """
        stages: list[tuple[Block, ...]] = []
        channels, index = self.stem, 0
        for number, text in enumerate(self.blocks):
            stage: list[Block] = []
            for spec in parse_stage(text):
                stage += self._blocks_of(spec, channels, f"blocks.{number}", len(stage), index)
                channels, index = stage[-1].out_channels, index + spec.repeats
            stages.append(tuple(stage))
        return tuple(stages)

    def _blocks_of(
        self, spec: BlockSpec, channels: int, stage: str, first: int, index: int
    ) -> Iterator[Block]:
        """The blocks of a spec that gets ``channels``, ``first`` in their stage."""
        from_expansion = self.squeeze_from == "expansion"
        out = self.scaled(spec.channels)
        for repeat in range(spec.repeats):
            stride = spec.stride if repeat == 0 else 1
            # slim conv_blocks.py expand_input_by_factor and Keras round to 8, MnasBlock does not;
            # the networks that take the squeeze from the expansion are of the first kind. So is
            # UniversalInvertedBottleneckBlock of tensorflow/models official/vision nn_blocks.py.
            declared_in = channels
            if repeat == 0 and spec.declared_in is not None:
                declared_in = self.scaled(spec.declared_in)
            width = spec.expansion * (channels if spec.type in WITHOUT_EXPANSION else declared_in)
            rounds = from_expansion or spec.type == "uir"
            mid = round_channels(width) if rounds else int(width)
            squeeze = 0
            if spec.se_ratio and from_expansion:
                squeeze = round_channels(mid * spec.se_ratio)
            elif spec.se_ratio:
                # tensorflow/tpu mnasnet_model.py, MnasBlock._build.
                squeeze = max(1, int(declared_in * spec.se_ratio))
            residual = (
                spec.type in WITH_RESIDUAL and spec.skip and stride == 1 and declared_in == out
            )
            if residual and channels != out:
                raise ArchitectureError(
                    f"{spec.format()!r} at width {self.width}: the declared input asks for a "
                    f"residual, but {channels} channels come in and {out} go out"
                )
            _check_widths(spec, channels, mid, out, stride)
            yield Block(
                path=f"{stage}.{first + repeat}",
                index=index + repeat,
                # Without a stride the two fused blocks are one.
                type="er" if spec.type == "erp" and stride == 1 else spec.type,
                in_channels=channels,
                mid_channels=mid,
                out_channels=out,
                kernels=spec.kernels,
                stride=stride,
                squeeze=squeeze,
                residual=residual,
                activation=spec.activation or self.activation,
                groups=spec.groups,
                start_kernels=spec.start_kernels,
                end_kernels=spec.end_kernels,
            )
            channels = out

    def resolve(self) -> tuple[Block, ...]:
        """All blocks in order."""
        return tuple(block for stage in self.stages for block in stage)

    def format(self) -> str:
        """The network as one line of strings, which :func:`parse_network` turns back into it.

        Stem, stages and head, between bars, all of TensorFlow's form but for what the stem's part
        states: ``stem_c16_nr6 padding=symmetric | ds_r1_k3_s1_c8 | cn_c1280 pool fc_c100_nre fc``.
        A stem that is not 3x3 with stride 2 says so: ``stem_k5_s1_c16_nr6``. In place of ``pool``
        stand ``maxpool``, ``flatten_p49`` of 49 places, or ``features`` for a network that ends
        there. Classes, channels of the image and its size are not part of it: weights and cards
        have them.

        Raises:
            ArchitectureError: the widths are scaled: such a network has a name.
        """
        if self.width is not None or self.stem_pool:
            raise ArchitectureError("a network with scaled widths or a pooling stem has no strings")
        token = next(token for token, name in ACTIVATIONS.items() if name == self.activation)
        usual = NetworkConfig((), "").tensorflow_form()
        shape = self.stem_kernel, self.stem_stride
        plain = "" if shape == (3, 2) else f"k{self.stem_kernel}_s{self.stem_stride}_"
        words = [f"stem_{plain}c{self.stem}_{token}"]
        words += [
            f"{field}={getattr(self, field)}"
            for field in _STATEMENTS
            if getattr(self, field) != getattr(usual, field)
        ]
        convolution = f"cn_c{self.head_width}"
        pool = POOLS[self.pool] + (f"_p{self.places}" if self.pool == "flatten" else "")
        head = {
            "conv": [convolution, pool], "after_pool": [pool, convolution],
            "norm_after_pool": [pool, f"{convolution}_norm"],
        }  # fmt: skip
        ends = [*head.get(self.head, [pool]), *self.hidden]
        if self.num_classes:
            ends.append("fc" if self.classifier_bias else "fc_nobias")
        return SEPARATOR.join([" ".join(words), *self.blocks, " ".join(ends)])


def _check_widths(spec: BlockSpec, channels: int, mid: int, out: int, stride: int) -> None:
    """Check that a block that gets so many channels can be built.

    Raises:
        ArchitectureError: a width is none, or is not shared out evenly.
    """
    reason = None
    if mid < 1:
        reason = f"an expansion of {channels} channels by {spec.expansion:g} leaves none"
    elif any(width % spec.groups for width in (channels, mid, out)):
        reason = f"{channels}, {mid} and {out} channels, not all in {spec.groups} groups"
    elif min(channels, mid, out) < max(
        map(len, (spec.kernels, spec.start_kernels, spec.end_kernels))
    ):
        reason = f"{channels}, {mid} and {out} channels, not one for each share"
    elif spec.type == "su" and (out % 2 or (stride == 1 and channels != out)):
        reason = f"a shuffle unit from {channels} to {out} channels, of which one half passes"
    if reason is not None:
        raise ArchitectureError(f"{spec.format()!r}: {reason}")


def _check_size(config: NetworkConfig) -> None:
    """Check that a network from strings, which anybody may have written, can be built.

    Raises:
        ArchitectureError: it has too many layers, or more weights than a source could hold.
    """
    specs = (spec for stage in config.blocks for spec in parse_stage(stage))
    layers = sum(spec.repeats for spec in specs) + len(config.hidden)
    if layers > MOST_LAYERS:
        raise ArchitectureError(
            f"a network of {layers:,} blocks and dense layers; at most {MOST_LAYERS:,} are built"
        )
    weights = config.stem_kernel**2 * config.in_chans * config.stem
    for block in config.resolve():
        area, inputs, mid = max(block.kernels) ** 2, block.in_channels, block.mid_channels
        if block.type == "cn":
            weights += area * inputs * block.out_channels
        else:
            weights += inputs * mid * (area if block.type in ("er", "erp") else 1) + area * mid
            weights += mid * (block.out_channels + 2 * block.squeeze)
            if block.type == "uir":
                weights += inputs * sum(kernel**2 for kernel in block.start_kernels)
                weights += block.out_channels * sum(kernel**2 for kernel in block.end_kernels)
    widths = [config.stages[-1][-1].out_channels]
    widths += [config.head_width] * (config.head != "none")
    widths[-1] *= config.places
    widths += [layer.channels for layer in config.dense if layer.channels] + [config.num_classes]
    weights += sum(one * other for one, other in pairwise(widths))
    if weights > MOST_WEIGHTS:
        raise ArchitectureError(
            f"a network of {weights:,} weights or so; at most {MOST_WEIGHTS:,} are built"
        )


def parse_network(text: str) -> NetworkConfig:
    """The network of a line of strings; see :meth:`NetworkConfig.format`.

    Raises:
        ArchitectureError: a part is none of a network's, and the message quotes it; or the network
            is larger than any that a source could hold.
    """
    if len(text) > MOST_CHARACTERS:
        raise ArchitectureError(
            f"a network's strings of {len(text):,} characters; at most {MOST_CHARACTERS:,} are read"
        )
    first, *stages, last = text.split(SEPARATOR)
    stem, *statements = first.split() or [""]
    match = re.fullmatch(rf"stem_(?:k([1-9]\d?)_s([1-9]))?_?({CHANNELS})_(\w+)", stem)
    if match is None or match[4] not in ACTIVATIONS or not stages:
        raise ArchitectureError(
            f"{stem!r}: expected a stem as stem_c32_nre or stem_k5_s1_c32_nre, of channels below "
            f"{NUMBER_LIMIT:,}, with {' or '.join(ACTIVATIONS)}, then stages and a head between "
            "bars"
        )
    fields: dict[str, str | float] = {}
    for statement in statements:
        field, _, value = statement.partition("=")
        if field in fields:
            raise ArchitectureError(f"{first!r}: {field} is given twice, again by {statement!r}")
        try:
            fields[field] = _STATEMENTS[field](value)
        except (KeyError, ValueError):
            raise ArchitectureError(
                f"{statement!r}: expected one of {', '.join(_STATEMENTS)}, with = and its value"
            ) from None
    config = replace(
        _parse_head(last), blocks=tuple(stages), stem_channels=int(match[3][1:]),
        stem_kernel=int(match[1] or 3), stem_stride=int(match[2] or 2),
        activation=ACTIVATIONS[match[4]],
    ).tensorflow_form()  # fmt: skip
    config = replace(config, **fields)  # type: ignore[arg-type]
    _check_size(config)
    return config


def _parse_head(text: str) -> NetworkConfig:
    """A configuration with the head that a network's last part describes, and without blocks.

    Raises:
        ArchitectureError: it describes none.
    """
    match = _HEAD.fullmatch(" ".join(text.split()))
    if (
        match is None
        or (match["behind"] and (match["before"] or match["places"]))
        or (match["pool"] == "features" and any(match.group("behind", "hidden", "classifier")))
    ):
        raise ArchitectureError(
            f"{text!r}: expected a head as 'cn_c1280 pool fc', 'pool cn_c1280 fc' or 'pool fc', "
            "with dense layers (fc_c100_nre) before fc, fc_nobias for one without a bias, or none "
            "of it for a network that gives features; in place of pool maxpool, flatten_p49 of 49 "
            "places, or features where the network ends there"
        )
    channels = match["before"] or match["behind"]
    behind = "norm_after_pool" if match["norm"] else "after_pool"
    return NetworkConfig(
        (), "the strings themselves",
        head="conv" if match["before"] else behind if match["behind"] else "none",
        head_channels=int(channels.removeprefix("c")) if channels else 1280,
        pool=next(kind for kind, word in POOLS.items() if match["pool"].startswith(word)),
        places=int(match["places"] or 1), hidden=tuple(match["hidden"].split()),
        classifier_bias=match["classifier"] != "fc_nobias",
        num_classes=1000 if match["classifier"] else 0,
    )  # fmt: skip
