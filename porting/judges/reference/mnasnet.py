"""Google's MnasNet as a TensorFlow graph; Single-Path NAS is built on the same code.

Source: tensorflow/tpu ``models/official/mnasnet/mnasnet_model.py``.
"""

from __future__ import annotations

from typing import Any

from porting.judges.reference.blocks import ReferenceBlock, reference_blocks, round_filters
from porting.judges.reference.builder import Builder, VariableNames
from porting.judges.reference.naming import layer_scopes

NAMES = VariableNames("kernel", "depthwise_kernel", "bias")


class MnasNet:
    """``MnasNetModel.call``: names of the parts are those of the PyTorch network."""

    def __init__(self, builder: Builder, scheme: str) -> None:
        self.b, self.tf, self.config = builder, builder.tf, builder.config
        self.scopes = layer_scopes(builder.config, scheme)

    def build(self) -> None:
        """Add the whole network; its logits are the last tap."""
        tf, b, config = self.tf, self.b, self.config
        with b.scope("mnas_stem"):
            filters = round_filters(config.stem_channels, config.width)
            x = self.conv(b.reference.image, "conv_stem", filters, 3, 2)
            x = b.tap("act1", tf.nn.relu(self.norm(x, "bn1")))
        for block in reference_blocks(config):
            with b.scope(f"mnas_blocks_{block.index}"):
                x = self.block(x, block)
        with b.scope("mnas_head"):
            x = self.conv(x, "conv_head", config.head_channels, 1)
            x = b.tap("act2", tf.nn.relu(self.norm(x, "bn2")))
            x = b.tap("global_pool", tf.reduce_mean(x, [1, 2]))
            x = self.dense(x)
        b.reference.logits = b.tap("classifier", tf.identity(x, "logits"))

    def conv(
        self, x: Any, path: str, channels: int, kernel: int, stride: int = 1, bias: bool = False
    ) -> Any:
        return self.b.conv(x, self.scopes[path], channels, kernel, stride, bias)

    def norm(self, x: Any, path: str) -> Any:
        return self.b.tap(path, self.b.norm(x, self.scopes[path]))

    def dense(self, x: Any) -> Any:
        scope = self.scopes["classifier"]
        shape = [self.config.head_channels, self.config.num_classes]
        weight = self.b.variable(scope, "kernel", shape)
        bias = self.b.variable(scope, "bias", shape[1:])
        return self.tf.nn.bias_add(self.tf.matmul(x, weight), bias)

    def block(self, x: Any, block: ReferenceBlock) -> Any:
        """``MnasBlock.call``."""
        relu, path, entry, tap = self.tf.nn.relu, block.path, x, self.b.tap
        if block.expands:
            x = self.conv(x, f"{path}.conv_pw", block.expanded_filters, 1)
            x = tap(f"{path}.act1", relu(self.norm(x, f"{path}.bn1")))
        number = 2 if block.expands else 1
        x = self.b.depthwise(x, self.scopes[f"{path}.conv_dw"], block.kernel, block.stride)
        x = tap(f"{path}.act{number}", relu(self.norm(x, f"{path}.bn{number}")))
        if block.reduced_filters:
            x = self.squeeze_excite(x, f"{path}.se", block.reduced_filters)
        x = self.conv(x, f"{path}.{block.projection}", block.output_filters, 1)
        x = self.norm(x, f"{path}.bn{number + 1}")
        return tap(path, self.tf.add(x, entry, "Add")) if block.adds_input else x

    def squeeze_excite(self, x: Any, path: str, squeeze: int) -> Any:
        """``MnasBlock._call_se``."""
        tf, tap = self.tf, self.b.tap
        with tf.name_scope("se"):
            gate = tap(f"{path}.pool", tf.reduce_mean(x, [1, 2], keepdims=True))
            gate = self.conv(gate, f"{path}.conv_reduce", squeeze, 1, bias=True)
            gate = tap(f"{path}.act1", tf.nn.relu(tap(f"{path}.conv_reduce", gate)))
            gate = self.conv(gate, f"{path}.conv_expand", x.shape[-1], 1, bias=True)
            gate = tap(f"{path}.conv_expand", gate)
            gate = tap(f"{path}.gate", tf.sigmoid(gate))
            return tap(path, tf.multiply(gate, x, "mul"))
