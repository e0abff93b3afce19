"""Block strings as Google's code understands them.

The PyTorch network resolves the same strings in ``genmobilenet.config``. This
is a second reading, from ``MnasNetModel._build``, ``MnasBlock._build`` and
``round_filters`` in tensorflow/tpu ``mnasnet_model.py``, so that a mistake
in the first one (a width, a residual, an epsilon) is not repeated by the judge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from genmobilenet.arch import BlockSpec, parse_stage
from genmobilenet.config import NetworkConfig

DEPTH_DIVISOR = 8
"""``depth_divisor``, of every network there."""


@dataclass(frozen=True)
class ReferenceBlock:
    """One block: filters as Google's code counts them, and where it stands.

    ``path`` is the PyTorch block of the same place.
    """

    path: str
    index: int
    expands: bool
    expanded_filters: int
    output_filters: int
    kernel: int
    stride: int
    reduced_filters: int
    adds_input: bool

    @property
    def projection(self) -> str:
        """What the PyTorch block calls its last convolution."""
        return "conv_pwl" if self.expands else "conv_pw"


def round_filters(filters: int, multiplier: float | None) -> int:
    """Filters at a depth multiplier; without one they stay as they are."""
    if not multiplier:
        return filters
    target = filters * multiplier
    steps = max(1, int(target / DEPTH_DIVISOR + 0.5))
    # Rounding down may not lose more than a tenth.
    return DEPTH_DIVISOR * (steps + (steps * DEPTH_DIVISOR < 0.9 * target))


def reference_blocks(config: NetworkConfig) -> Iterator[ReferenceBlock]:
    """All blocks in order."""
    index, nominal = 0, config.stem_channels
    for stage, text in enumerate(config.blocks):
        number = 0
        for spec in parse_stage(text):
            nominal = nominal if spec.declared_in is None else spec.declared_in
            inputs = round_filters(nominal, config.width)
            for repeat in range(spec.repeats):
                path = f"blocks.{stage}.{number}"
                block = _block(spec, config.width, inputs, path, index, repeat == 0)
                yield block
                index, number, inputs = index + 1, number + 1, block.output_filters
            nominal = spec.channels


def _block(
    spec: BlockSpec, width: float | None, inputs: int, path: str, index: int, first: bool
) -> ReferenceBlock:
    outputs, stride = round_filters(spec.channels, width), spec.stride if first else 1
    return ReferenceBlock(
        path=path,
        index=index,
        expands=spec.expansion != 1,
        expanded_filters=int(inputs * spec.expansion),
        output_filters=outputs,
        kernel=spec.kernel,
        stride=stride,
        reduced_filters=max(1, int(inputs * spec.se_ratio)) if spec.se_ratio else 0,
        adds_input=spec.skip and stride == 1 and inputs == outputs,
    )
