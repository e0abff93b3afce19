"""slim's MobileNets as TensorFlow graphs.

Sources: tensorflow/models ``research/slim/nets``: ``mobilenet_v1.py``,
``mobilenet/mobilenet.py``, ``mobilenet/mobilenet_v3.py`` and
``mobilenet/conv_blocks.py``. The block strings are read here a second time, as
those files scale and round, so that a mistake in ``genmobilenet.config`` is
not repeated by the judge.
"""

from __future__ import annotations

from typing import Any

from genmobilenet.arch import BlockSpec, parse_stage
from porting.judges.reference.builder import Builder, VariableNames

NAMES = VariableNames("weights", "depthwise_weights", "biases")


class Slim:
    """One of the three MobileNets, in the order of its ``conv_defs``."""

    def __init__(self, builder: Builder) -> None:
        self.b, self.tf, self.config = builder, builder.tf, builder.config
        self.convolutions = self.blocks = 0
        self.first_version = builder.config.head == "none"

    def build(self) -> None:
        """Add the whole network; its logits are the last tap."""
        config, act = self.config, self.activation(None)
        stem = "Conv2d_0" if self.first_version else self.next_conv()
        x = self.b.conv(self.b.reference.image, stem, self.depth(config.stem_channels), 3, 2)
        x = self.activated(x, stem, "bn1", "act1", act)
        for stage, text in enumerate(config.blocks):
            number = 0
            for spec in parse_stage(text):
                for repeat in range(spec.repeats):
                    path, stride = f"blocks.{stage}.{number}", 1 if repeat else spec.stride
                    x = self.block(x, spec, path, stride)
                    number += 1
        if config.head == "conv":
            scope = self.next_conv()
            x = self.b.conv(x, scope, self.last_depth(), 1)
            x = self.activated(x, scope, "bn2", "act2", act)
        x = self.b.tap("global_pool", self.tf.reduce_mean(x, [1, 2], keepdims=True))
        if config.head == "after_pool":
            x = self.b.conv(x, self.next_conv(), self.last_depth(), 1, bias=True)
            x = self.b.tap("act2", act(self.b.tap("conv_head", x)))
        x = self.b.conv(x, "Logits/Conv2d_1c_1x1", config.num_classes, 1, bias=True)
        with self.b.scope("Logits"):
            self.b.reference.logits = self.b.tap("classifier", self.tf.squeeze(x, [1, 2], "logits"))

    def depth(self, channels: int) -> int:
        multiplier = self.config.width or 1.0
        if self.first_version:
            return max(int(channels * multiplier), 8)
        return make_divisible(channels * multiplier)

    def last_depth(self) -> int:
        """Kept below a multiplier of 1 (``finegrain_classification_mode``), scaled above."""
        channels, multiplier = self.config.head_channels, self.config.width or 1.0
        return make_divisible(channels * multiplier) if multiplier > 1 else channels

    def next_conv(self) -> str:
        self.convolutions += 1
        return "Conv" if self.convolutions == 1 else f"Conv_{self.convolutions - 1}"

    def activation(self, name: str | None) -> Any:
        tf, name = self.tf, name or self.config.activation
        if name == "hard_swish":
            return lambda x: x * tf.nn.relu6(x + 3.0) * (1.0 / 6.0)
        return tf.nn.relu6 if name == "relu6" else tf.nn.relu

    def activated(self, x: Any, scope: str, norm: str, tap: str, act: Any) -> Any:
        x = self.b.tap(norm, self.b.norm(x, f"{scope}/BatchNorm"))
        return self.b.tap(tap, act(x))

    def block(self, x: Any, spec: BlockSpec, path: str, stride: int) -> Any:
        act = self.activation(spec.activation)
        if spec.type == "cn":
            scope = self.next_conv()
            x = self.b.conv(x, scope, self.depth(spec.channels), spec.kernel, stride)
            return self.activated(x, scope, f"{path}.bn1", f"{path}.act1", act)
        self.blocks += 1
        if self.first_version:
            return self.separable(x, spec, path, stride, act)
        return self.expanded_conv(x, spec, path, stride, act)

    def separable(self, x: Any, spec: BlockSpec, path: str, stride: int, act: Any) -> Any:
        """``DepthSepConv`` of V1: a layer each for its two convolutions."""
        scope = f"Conv2d_{self.blocks}"
        x = self.b.depthwise(x, f"{scope}_depthwise", spec.kernel, stride)
        x = self.activated(x, f"{scope}_depthwise", f"{path}.bn1", f"{path}.act1", act)
        x = self.b.conv(x, f"{scope}_pointwise", self.depth(spec.channels), 1)
        return self.activated(x, f"{scope}_pointwise", f"{path}.bn2", f"{path}.act2", act)

    def expanded_conv(self, x: Any, spec: BlockSpec, path: str, stride: int, act: Any) -> Any:
        """``expanded_conv`` of V2 and V3; without an expansion where that is 1."""
        scope = f"expanded_conv_{self.blocks - 1}" if self.blocks > 1 else "expanded_conv"
        entry, number = x, 1
        if spec.expansion > 1:
            inner = make_divisible(int(x.shape[-1]) * spec.expansion)
            x = self.b.conv(x, f"{scope}/expand", inner, 1)
            x = self.activated(x, f"{scope}/expand", f"{path}.bn1", f"{path}.act1", act)
            number = 2
        x = self.b.depthwise(x, f"{scope}/depthwise", spec.kernel, stride)
        x = self.activated(
            x, f"{scope}/depthwise", f"{path}.bn{number}", f"{path}.act{number}", act
        )
        if spec.se_ratio:
            x = self.squeeze_excite(x, f"{scope}/squeeze_excite", f"{path}.se", spec.se_ratio)
        x = self.b.conv(x, f"{scope}/project", self.depth(spec.channels), 1)
        x = self.b.tap(f"{path}.bn{number + 1}", self.b.norm(x, f"{scope}/project/BatchNorm"))
        if stride > 1 or entry.shape[-1] != x.shape[-1]:
            return x
        return self.b.tap(path, self.tf.add(x, entry, "add"))

    def squeeze_excite(self, x: Any, scope: str, path: str, ratio: float) -> Any:
        """``squeeze_excite`` with V3's hard sigmoid, whose constant is slim's own."""
        tf, tap, channels = self.tf, self.b.tap, int(x.shape[-1])
        gate = tap(f"{path}.pool", tf.reduce_mean(x, [1, 2], keepdims=True))
        gate = self.b.conv(gate, f"{scope}/Conv", make_divisible(channels * ratio), 1, bias=True)
        gate = tap(f"{path}.act1", tf.nn.relu(tap(f"{path}.conv_reduce", gate)))
        gate = self.b.conv(gate, f"{scope}/Conv_1", channels, 1, bias=True)
        gate = tap(f"{path}.conv_expand", gate)
        gate = tap(f"{path}.gate", tf.nn.relu6(gate + 3.0) * 0.16667)
        return tap(path, tf.multiply(gate, x))


def make_divisible(value: float, divisor: int = 8) -> int:
    """``_make_divisible`` of slim ``mobilenet/mobilenet.py``."""
    steps = max(1, int(value + divisor / 2) // divisor)
    return divisor * (steps + (steps * divisor < 0.9 * value))
