"""A network's description, and the blocks that it resolves to. No torch here.

The PyTorch network and the TensorFlow reference graph are both built from a
:class:`NetworkConfig`, so that one description serves the two sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from genmobilenet.arch import ACTIVATIONS, BlockSpec, parse_stage, round_channels
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
    "rounding": ("nearest", "down"),
    "head": ("conv", "after_pool", "none"),
    "head_scaling": ("never", "up"),
}
"""What the fields of :class:`NetworkConfig` that are words may say."""


@dataclass(frozen=True)
class Block:
    """One block with every width decided.

    ``path`` is its place in the PyTorch network (``blocks.2.0``); ``index``
    counts through the whole network, as Google's scopes do (``mnas_blocks_3``).
    ``squeeze`` is the squeeze-excite width, 0 for none.
    """

    path: str
    index: int
    type: str
    in_channels: int
    mid_channels: int
    out_channels: int
    kernel: int
    stride: int
    squeeze: int
    residual: bool
    activation: str
    groups: int


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that decides a network's shape and arithmetic.

    ``source`` says where the architecture is written down, ``input_size`` is
    the side in pixels for which it was published.

    Widths: ``width`` scales stem and blocks and rounds them; None leaves them
    as declared, which a width of 1 does not: MNASNet-D1's 36 channels would
    become 40. ``rounding`` is ``"nearest"`` multiple of 8 or ``"down"`` to a
    whole number of at least 8. The stem keeps its width where ``fixed_stem``.
    ``head_scaling`` ``"up"`` scales the head too, above a width of 1.

    Squeeze-excite: ``squeeze_from`` the block's ``"input"``, cut to a whole
    number, or from its ``"expansion"``, rounded to 8 as then the expansion is.

    Head: ``"conv"`` has a 1x1 convolution with batch norm before pooling,
    ``"after_pool"`` one with a bias behind it, ``"none"`` nothing.

    ``padding`` is ``"same"`` (TensorFlow's) or ``"symmetric"`` (PyTorch's).
    A network that ``normalises`` takes pixels 0..255, and has mean and deviation in its buffers.
    """

    blocks: tuple[str, ...]
    source: str
    width: float | None = None
    rounding: str = "nearest"
    stem_channels: int = 32
    fixed_stem: bool = False
    stem_pool: bool = False
    activation: str = "relu"
    gate: str = "sigmoid"
    squeeze_from: str = "input"
    head: str = "conv"
    head_channels: int = 1280
    head_scaling: str = "never"
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
                known = " or ".join(repr(choice) for choice in choices)
                raise ArchitectureError(f"{field} {getattr(self, field)!r}: expected {known}")
        if self.width is not None and self.width <= 0:
            raise ArchitectureError(f"width multiplier {self.width}: must be above zero")

    def tensorflow_form(self) -> NetworkConfig:
        """The same network as TensorFlow computes it: SAME padding, its epsilon."""
        return replace(self, padding="same", bn_epsilon=TF_BN_EPSILON, bn_momentum=TF_BN_MOMENTUM)

    def scaled(self, channels: int) -> int:
        """A declared width at this network's multiplier."""
        if self.width is None:
            return channels
        if self.rounding == "down":
            # slim mobilenet_v1.py: max(int(d * depth_multiplier), min_depth).
            return max(int(channels * self.width), 8)
        return round_channels(channels * self.width)

    @cached_property
    def stem(self) -> int:
        """Channels of the stem convolution, scaled."""
        return self.stem_channels if self.fixed_stem else self.scaled(self.stem_channels)

    @cached_property
    def head_width(self) -> int:
        """Channels that the classifier gets."""
        if self.head == "none":
            return self.stages[-1][-1].out_channels
        grows = self.head_scaling == "up" and self.width is not None and self.width > 1
        return self.scaled(self.head_channels) if grows else self.head_channels

    @cached_property
    def stages(self) -> tuple[tuple[Block, ...], ...]:
        """The blocks, stage by stage, every width decided.

        Raises:
            ArchitectureError: a residual would join two different widths.
        """
        stages: list[tuple[Block, ...]] = []
        channels, index = self.stem, 0
        for number, text in enumerate(self.blocks):
            stage: list[Block] = []
            for spec in parse_stage(text):
                place = f"blocks.{number}", len(stage), index
                stage += self._repeated(spec, channels, *place)
                channels, index = stage[-1].out_channels, index + spec.repeats
            stages.append(tuple(stage))
        return tuple(stages)

    def _repeated(
        self, spec: BlockSpec, channels: int, stage: str, first: int, index: int
    ) -> Iterator[Block]:
        out = self.scaled(spec.channels)
        for repeat in range(spec.repeats):
            declared = channels
            if repeat == 0 and spec.declared_in is not None:
                declared = self.scaled(spec.declared_in)
            stride = spec.stride if repeat == 0 else 1
            mid = self._expanded(channels * spec.expansion)
            yield Block(
                path=f"{stage}.{first + repeat}",
                index=index + repeat,
                type=spec.type,
                in_channels=channels,
                mid_channels=mid,
                out_channels=out,
                kernel=spec.kernel,
                stride=stride,
                squeeze=self._squeeze(spec, declared, mid),
                residual=self._residual(spec, stride, declared, channels, out),
                activation=spec.activation or self.activation,
                groups=spec.groups,
            )
            channels = out

    def _expanded(self, channels: float) -> int:
        # slim conv_blocks.py expand_input_by_factor and Keras round to 8, MnasBlock does not;
        # where the squeeze is taken from the expansion both are of the first kind.
        return round_channels(channels) if self.squeeze_from == "expansion" else int(channels)

    def _squeeze(self, spec: BlockSpec, declared: int, mid: int) -> int:
        if not spec.se_ratio:
            return 0
        if self.squeeze_from == "expansion":
            return round_channels(mid * spec.se_ratio)
        # tensorflow/tpu mnasnet_model.py, MnasBlock._build.
        return max(1, int(declared * spec.se_ratio))

    def _residual(
        self, spec: BlockSpec, stride: int, declared: int, channels: int, out: int
    ) -> bool:
        if spec.type in ("dsa", "cn", "su"):
            return False
        residual = spec.skip and stride == 1 and declared == out
        if residual and channels != out:
            raise ArchitectureError(
                f"{spec.format()!r} at width {self.width}: the declared input asks for a "
                f"residual, but {channels} channels come in and {out} go out"
            )
        return residual

    def resolve(self) -> tuple[Block, ...]:
        """All blocks in order."""
        return tuple(block for stage in self.stages for block in stage)
