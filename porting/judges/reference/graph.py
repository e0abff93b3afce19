"""The TensorFlow graph of a network, variables and operators under Google's names.

NHWC throughout, SAME padding, inference (batch norm uses its moving
statistics) unless ``settle`` is set.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from genmobilenet.config import NetworkConfig
from porting.errors import BadInput
from porting.judges.reference.blocks import (
    BATCH_NORM_EPSILON,
    ReferenceBlock,
    reference_blocks,
    round_filters,
)
from porting.judges.reference.naming import layer_scopes


@dataclass
class ReferenceGraph:
    """A built graph.

    ``variables`` are by full name; ``taps`` map module paths of the PyTorch
    network to tensors. ``moments`` is filled when settling: the mean and
    variance of what goes into each batch norm, by its full name.
    """

    graph: Any
    image: Any
    logits: Any = None
    variables: dict[str, Any] = field(default_factory=dict)
    taps: dict[str, Any] = field(default_factory=dict)
    moments: dict[str, tuple[Any, Any]] = field(default_factory=dict)


def build_reference(
    config: NetworkConfig,
    scheme: str,
    root: str,
    batch: int | None = None,
    size: int | None = None,
    settle: bool = False,
) -> ReferenceGraph:
    """Build the graph; variables are zero until they are restored or loaded.

    The image placeholder is ``truediv``, (batch, size, size, channels), already
    normalised. With ``settle`` each batch norm normalises by the statistics of
    the batch itself.

    Raises:
        BadInput: the network pads symmetrically, which TensorFlow does not.
    """
    import tensorflow as tf

    if config.padding != "same":
        raise BadInput("the TensorFlow reference pads SAME; give the tf_ form of the network")
    graph = tf.Graph()
    with graph.as_default():
        shape = (batch, size, size, config.in_chans)
        image = tf.compat.v1.placeholder(tf.float32, shape, name="truediv")
        made = ReferenceGraph(graph, image)
        _Builder(tf, made, config, layer_scopes(config, scheme), root, settle).network()
    return made


class _Builder:
    def __init__(
        self, tf: Any, made: ReferenceGraph, config: NetworkConfig, scopes: dict[str, str],
        root: str, settle: bool,
    ) -> None:  # fmt: skip
        self.tf, self.made, self.config = tf, made, config
        self.scopes, self.root, self.settle = scopes, root, settle

    def network(self) -> None:
        tf, config = self.tf, self.config
        with self.scope("mnas_stem"):
            x = self.conv(self.made.image, "conv_stem", self.stem_filters(), 3, 2)
            x = self.tap("act1", tf.nn.relu(self.norm(x, "bn1")))
        for block in reference_blocks(config):
            with self.scope(f"mnas_blocks_{block.index}"):
                x = self.block(x, block)
        with self.scope("mnas_head"):
            x = self.conv(x, "conv_head", config.head_channels, 1)
            x = self.tap("act2", tf.nn.relu(self.norm(x, "bn2")))
            x = self.tap("global_pool", tf.reduce_mean(x, [1, 2]))
            x = self.dense(x)
        self.made.logits = self.tap("classifier", tf.identity(x, "logits"))

    def stem_filters(self) -> int:
        return round_filters(self.config.stem_channels, self.config.width)

    def scope(self, name: str) -> Any:
        # A trailing slash takes the name as it stands, without a counter.
        return self.tf.name_scope(f"{self.root}/{name}/")

    def tap(self, path: str, tensor: Any) -> Any:
        self.made.taps[path] = tensor
        return tensor

    def variable(self, path: str, name: str, shape: list[int]) -> Any:
        full = f"{self.root}/{self.scopes[path]}/{name}"
        with self.tf.name_scope("/"):
            made = self.tf.compat.v1.get_variable(
                full, shape, initializer=self.tf.compat.v1.zeros_initializer(), use_resource=False
            )
        self.made.variables[full] = made
        return made

    def conv(
        self, x: Any, path: str, channels: int, kernel: int, stride: int = 1, bias: bool = False
    ) -> Any:
        weight = self.variable(path, "kernel", [kernel, kernel, x.shape[-1], channels])
        x = self.tf.nn.conv2d(x, weight, stride, "SAME")
        return self.tf.nn.bias_add(x, self.variable(path, "bias", [channels])) if bias else x

    def depthwise(self, x: Any, path: str, kernel: int, stride: int) -> Any:
        weight = self.variable(path, "depthwise_kernel", [kernel, kernel, x.shape[-1], 1])
        return self.tf.nn.depthwise_conv2d(x, weight, [1, stride, stride, 1], "SAME")

    def dense(self, x: Any) -> Any:
        shape = [self.config.head_channels, self.config.num_classes]
        weight = self.variable("classifier", "kernel", shape)
        bias = self.variable("classifier", "bias", shape[1:])
        return self.tf.nn.bias_add(self.tf.matmul(x, weight), bias)

    def norm(self, x: Any, path: str) -> Any:
        return self.tap(path, self.normalised(x, path))

    def normalised(self, x: Any, path: str) -> Any:
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        gamma, beta, mean, variance = (self.variable(path, n, [x.shape[-1]]) for n in names)
        epsilon = BATCH_NORM_EPSILON
        if self.settle:
            mean, variance = self.tf.nn.moments(x, [0, 1, 2])
            self.made.moments[f"{self.root}/{self.scopes[path]}"] = (mean, variance)
            return self.tf.nn.batch_normalization(x, mean, variance, beta, gamma, epsilon)
        return self.tf.compat.v1.nn.fused_batch_norm(
            x, gamma, beta, mean, variance, epsilon, is_training=False
        )[0]

    def block(self, x: Any, block: ReferenceBlock) -> Any:
        """``MnasBlock.call``: names of the parts are those of the PyTorch block."""
        relu, path, entry = self.tf.nn.relu, block.path, x
        if block.expands:
            x = self.conv(x, f"{path}.conv_pw", block.expanded_filters, 1)
            x = self.tap(f"{path}.act1", relu(self.norm(x, f"{path}.bn1")))
        number = 2 if block.expands else 1
        x = self.depthwise(x, f"{path}.conv_dw", block.kernel, block.stride)
        x = self.tap(f"{path}.act{number}", relu(self.norm(x, f"{path}.bn{number}")))
        if block.reduced_filters:
            x = self.squeeze_excite(x, f"{path}.se", block.reduced_filters)
        x = self.conv(x, f"{path}.{block.projection}", block.output_filters, 1)
        x = self.norm(x, f"{path}.bn{number + 1}")
        return self.tap(path, self.tf.add(x, entry, "Add")) if block.adds_input else x

    def squeeze_excite(self, x: Any, path: str, squeeze: int) -> Any:
        tf = self.tf
        with tf.name_scope("se"):
            gate = self.tap(f"{path}.pool", tf.reduce_mean(x, [1, 2], keepdims=True))
            gate = self.conv(gate, f"{path}.conv_reduce", squeeze, 1, bias=True)
            gate = self.tap(f"{path}.act1", tf.nn.relu(self.tap(f"{path}.conv_reduce", gate)))
            gate = self.conv(gate, f"{path}.conv_expand", x.shape[-1], 1, bias=True)
            gate = self.tap(f"{path}.conv_expand", gate)
            gate = self.tap(f"{path}.gate", tf.sigmoid(gate))
            return self.tap(path, tf.multiply(gate, x, "mul"))
