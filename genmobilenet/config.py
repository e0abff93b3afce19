"""A network's description, and the blocks that it resolves to. No torch here.

The PyTorch network and the TensorFlow reference graph are both built from
:meth:`NetworkConfig.resolve`, so that one description serves the two sides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from genmobilenet.arch import BlockSpec, parse_block, round_channels
from genmobilenet.errors import ArchitectureError

TF_BN_EPSILON = 1e-3
"""``batch_norm_epsilon`` in tensorflow/tpu ``mnasnet_models.py``."""

TF_BN_MOMENTUM = 0.01
"""PyTorch's momentum for ``batch_norm_momentum=0.99`` of the same file."""


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


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that decides a network's shape and arithmetic.

    ``width`` scales the stem and every block (not the head) and rounds them;
    None leaves them as declared, which a width of 1 does not: D1's 36 channels
    would become 40 (``round_filters`` in ``mnasnet_model.py``). ``padding`` is
    ``"same"`` (TensorFlow's) or ``"symmetric"`` (PyTorch's). ``input_size`` is
    the side in pixels for which the network was published. ``source`` says
    where the architecture is written down.
    """

    blocks: tuple[str, ...]
    source: str
    width: float | None = None
    stem_channels: int = 32
    head_channels: int = 1280
    input_size: int = 224
    padding: str = "symmetric"
    bn_epsilon: float = 1e-5
    bn_momentum: float = 0.1
    drop_rate: float = 0.2
    num_classes: int = 1000
    in_chans: int = 3

    def __post_init__(self) -> None:
        if self.padding not in ("same", "symmetric"):
            raise ArchitectureError(f"padding {self.padding!r}: expected 'same' or 'symmetric'")
        if self.width is not None and self.width <= 0:
            raise ArchitectureError(f"width multiplier {self.width}: must be above zero")

    def tensorflow_form(self) -> NetworkConfig:
        """The same network as TensorFlow computes it: SAME padding, its epsilon."""
        return replace(self, padding="same", bn_epsilon=TF_BN_EPSILON, bn_momentum=TF_BN_MOMENTUM)

    def scaled(self, channels: int) -> int:
        """A declared width at this network's multiplier."""
        return channels if self.width is None else round_channels(channels * self.width)

    @cached_property
    def stem(self) -> int:
        """Channels of the stem convolution, scaled."""
        return self.scaled(self.stem_channels)

    @cached_property
    def stages(self) -> tuple[tuple[Block, ...], ...]:
        """The blocks, stage by stage, every width decided.

        Raises:
            ArchitectureError: a residual would join two different widths.
        """
        stages: list[tuple[Block, ...]] = []
        channels, index = self.stem, 0
        for number, text in enumerate(self.blocks):
            stage = self._stage(parse_block(text), f"blocks.{number}", channels, index)
            stages.append(stage)
            channels, index = stage[-1].out_channels, index + len(stage)
        return tuple(stages)

    def _stage(self, spec: BlockSpec, path: str, channels: int, index: int) -> tuple[Block, ...]:
        out = self.scaled(spec.channels)
        blocks = []
        for repeat in range(spec.repeats):
            first = repeat == 0
            declared = channels
            if first and spec.declared_in is not None:
                declared = self.scaled(spec.declared_in)
            stride = spec.stride if first else 1
            residual = spec.skip and stride == 1 and declared == out
            if residual and channels != out:
                raise ArchitectureError(
                    f"{path}.{repeat} ({spec.format()!r}, width {self.width}): the declared "
                    f"input asks for a residual, but {channels} channels come in and {out} go out"
                )
            blocks.append(
                Block(
                    path=f"{path}.{repeat}",
                    index=index + repeat,
                    type=spec.type,
                    in_channels=channels,
                    mid_channels=int(channels * spec.expansion),
                    out_channels=out,
                    kernel=spec.kernel,
                    stride=stride,
                    # From the block's input, not from its expansion, and not rounded:
                    # tensorflow/tpu mnasnet_model.py, MnasBlock._build.
                    squeeze=max(1, int(declared * spec.se_ratio)) if spec.se_ratio else 0,
                    residual=residual,
                )
            )
            channels = out
        return tuple(blocks)

    def resolve(self) -> tuple[Block, ...]:
        """All blocks in order."""
        return tuple(block for stage in self.stages for block in stage)
