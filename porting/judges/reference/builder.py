"""What every reference graph is made of: variables by full name, layers, taps.

NHWC throughout, SAME padding, inference (batch norm uses its moving
statistics) unless ``settle`` is set.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from genmobilenet.config import NetworkConfig

BATCH_NORM_EPSILON = 1e-3
"""Of every network: ``batch_norm_epsilon`` in tensorflow/tpu ``mnasnet_models.py``,
``training_scope`` in slim ``mobilenet_v1.py`` and ``mobilenet/mobilenet.py``."""


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


@dataclass(frozen=True)
class VariableNames:
    """What a code base calls a layer's variables, behind the layer's scope."""

    kernel: str
    depthwise: str
    bias: str


class Builder:
    """Adds layers to a graph, each variable under ``root`` and a scope that is handed in."""

    def __init__(
        self, tf: Any, reference: ReferenceGraph, config: NetworkConfig, root: str,
        names: VariableNames, settle: bool,
    ) -> None:  # fmt: skip
        self.tf, self.reference, self.config = tf, reference, config
        self.root, self.names, self.settle = root, names, settle

    def scope(self, name: str) -> Any:
        """A name scope below the root, as it stands and without a counter."""
        return self.tf.name_scope(f"{self.root}/{name}/")

    def tap(self, path: str, tensor: Any) -> Any:
        """Note a tensor as what the PyTorch network has at ``path``."""
        self.reference.taps[path] = tensor
        return tensor

    def variable(self, scope: str, name: str, shape: list[int]) -> Any:
        """A variable of zeros, until it is restored or loaded."""
        full = f"{self.root}/{scope}/{name}"
        # Operators of a variable stand beside it, wherever the graph is being built.
        with self.reference.graph.name_scope(None):
            variable = self.tf.compat.v1.get_variable(
                full, shape, initializer=self.tf.compat.v1.zeros_initializer(), use_resource=False
            )
        self.reference.variables[full] = variable
        return variable

    def conv(
        self, x: Any, scope: str, channels: int, kernel: int, stride: int = 1, bias: bool = False
    ) -> Any:
        """A convolution, HWIO."""
        shape = [kernel, kernel, x.shape[-1], channels]
        weight = self.variable(scope, self.names.kernel, shape)
        x = self.tf.nn.conv2d(x, weight, stride, "SAME")
        if not bias:
            return x
        return self.tf.nn.bias_add(x, self.variable(scope, self.names.bias, [channels]))

    def depthwise(self, x: Any, scope: str, kernel: int, stride: int) -> Any:
        """A depthwise convolution, HWC1."""
        weight = self.variable(scope, self.names.depthwise, [kernel, kernel, x.shape[-1], 1])
        return self.tf.nn.depthwise_conv2d(x, weight, [1, stride, stride, 1], "SAME")

    def norm(self, x: Any, scope: str) -> Any:
        """Batch norm by its moving statistics; when settling, by those of the batch."""
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        gamma, beta, mean, variance = (self.variable(scope, n, [x.shape[-1]]) for n in names)
        if self.settle:
            mean, variance = self.tf.nn.moments(x, [0, 1, 2])
            self.reference.moments[f"{self.root}/{scope}"] = (mean, variance)
            return self.tf.nn.batch_normalization(
                x, mean, variance, beta, gamma, BATCH_NORM_EPSILON
            )
        return self.tf.compat.v1.nn.fused_batch_norm(
            x, gamma, beta, mean, variance, BATCH_NORM_EPSILON, is_training=False
        )[0]
