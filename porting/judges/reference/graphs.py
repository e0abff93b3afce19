"""Google's networks as TensorFlow graphs, variables and operators under Google's names.

The PyTorch network resolves block strings in ``genmobilenet.config``. This is a second reading of
the same strings, as Google's code scales, rounds and names, so that a mistake in the first one
(a width, a residual, an epsilon) is not repeated by the judge. The names follow the order in which
that code constructs its layers, and not the tables of ``porting.mapping``.

Sources, for MnasNet and Single-Path NAS: tensorflow/tpu
``models/official/mnasnet/mnasnet_model.py``. ``MnasBlock._build`` constructs expansion, depthwise,
squeeze-excite and projection; ``MnasNetModel._build`` constructs all blocks before stem and head.
For the EfficientNets: ``models/official/efficientnet/efficientnet_model.py`` there, whose blocks
name their layers when they are called, each in its own scope.
For the MobileNets: tensorflow/models ``research/slim/nets``: ``mobilenet_v1.py``,
``mobilenet/mobilenet.py``, ``mobilenet/mobilenet_v3.py`` and ``mobilenet/conv_blocks.py``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from genmobilenet.arch import BlockSpec, parse_stage
from genmobilenet.config import NetworkConfig
from porting.errors import BadInput

# --- MnasNet's blocks ---

DEPTH_DIVISOR = 8
"""``depth_divisor``, of every network there."""


@dataclass(frozen=True)
class ReferenceBlock:
    """One block: filters as Google's code counts them, and its place.

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
    fused: bool
    strides_last: bool

    @property
    def projection(self) -> str:
        """What the PyTorch block calls its last convolution."""
        return "conv_pwl" if self.expands else "conv_pw"

    @property
    def norms(self) -> int:
        """The number of its batch norms."""
        return 3 if self.expands and not self.fused else 2


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
                outputs = round_filters(spec.channels, config.width)
                stride = 1 if repeat else spec.stride
                yield ReferenceBlock(
                    path=f"blocks.{stage}.{number}",
                    index=index,
                    expands=spec.expansion != 1,
                    expanded_filters=int(inputs * spec.expansion),
                    output_filters=outputs,
                    kernel=spec.kernel,
                    stride=stride,
                    reduced_filters=max(1, int(inputs * spec.se_ratio)) if spec.se_ratio else 0,
                    adds_input=spec.skip and stride == 1 and inputs == outputs,
                    fused=spec.type in ("er", "erp"),
                    strides_last=spec.type == "erp",
                )
                index, number, inputs = index + 1, number + 1, outputs
            nominal = spec.channels


# --- names of layers and variables ---


@dataclass(frozen=True)
class Scheme:
    """How layers are named: in which scope, and over what their counters run.

    ``prefix`` begins the names of stem, blocks and head, ``norm`` names batch norms.
    """

    layer_scope: str
    count_whole_network: bool
    prefix: str = "mnas_"
    norm: str = "batch_normalization"


SCHEMES = {
    # use_keras=True: Keras layers below the model's own scope, counted through the network.
    "keras": Scheme("mnas_net_model/", True),
    # use_keras=False: tf.layers in the scope that calls them, counted there.
    "layers": Scheme("", False),
    # BatchNormalization of tensorflow/tpu models/official/efficientnet/utils.py.
    "efficientnet": Scheme("", False, "", "tpu_batch_normalization"),
}

SLIM = "slim"
"""The scheme of slim's MobileNets, where every layer has its own scope."""

ROOTS: dict[str, tuple[str, str]] = {
    "mobilenetv1": ("MobilenetV1", SLIM),
    "mobilenetv2": ("MobilenetV2", SLIM),
    "mobilenetv3": ("MobilenetV3", SLIM),
    "mobilenet_edgetpu": ("MobilenetEdgeTPU", SLIM),
    "efficientnet_es": ("efficientnet-edgetpu-S", "efficientnet"),
    "efficientnet_em": ("efficientnet-edgetpu-M", "efficientnet"),
    "efficientnet_el": ("efficientnet-edgetpu-L", "efficientnet"),
    **{
        f"efficientnet_{size}": (f"efficientnet-{size}", "efficientnet")
        for size in (*(f"b{number}" for number in range(8)), *(f"lite{n}" for n in range(5)))
    },
    "spnasnet": ("single-path", "keras"),
    "semnasnet": ("mnasnet-a1", "keras"),
    "mnasnet_small": ("mnasnet-small", "keras"),
    "mnasnet_d1_320": ("mnasnet-d1-320", "layers"),
    "mnasnet_d1": ("mnasnet-d1", "layers"),
    "mnasnet": ("mnasnet-b1", "keras"),
}
"""Start of a network's name -> Google's name for it, and the scheme it was trained under."""


def root_and_scheme(model: str) -> tuple[str, str]:
    """Google's name and scheme for one of our networks (``tf_`` in front or not).

    Raises:
        BadInput: no names of its variables in a checkpoint are known.
    """
    plain = model.removeprefix("tf_")
    for start, entry in ROOTS.items():
        if plain.startswith(start):
            return entry
    raise BadInput(
        f"{model}: the names that its variables have in a checkpoint are not known; it ports from "
        "TFLite, a SavedModel or a frozen graph"
    )


def layer_scopes(config: NetworkConfig, scheme: str) -> dict[str, str]:
    """Variable scopes of layers and batch norms, by their module paths in the PyTorch network."""
    names, prefix = _LayerCounter(SCHEMES[scheme]), SCHEMES[scheme].prefix
    for block in reference_blocks(config):
        scope, path = f"{prefix}blocks_{block.index}", block.path
        if block.fused:
            names.layer(f"{path}.conv_exp", scope, "conv2d")
        elif block.expands:
            names.layer(f"{path}.conv_pw", scope, "conv2d")
        if not block.fused:
            names.layer(f"{path}.conv_dw", scope, "depthwise_conv2d")
        if block.reduced_filters:
            names.layer(f"{path}.se.conv_reduce", f"{scope}/se", "conv2d")
            names.layer(f"{path}.se.conv_expand", f"{scope}/se", "conv2d")
        names.layer(f"{path}.{block.projection}", scope, "conv2d")
        for number in range(1, block.norms + 1):
            names.norm(f"{path}.bn{number}", scope)
    names.layer("conv_stem", f"{prefix}stem", "conv2d")
    names.norm("bn1", f"{prefix}stem")
    names.layer("conv_head", f"{prefix}head", "conv2d")
    names.norm("bn2", f"{prefix}head")
    names.layer("classifier", f"{prefix}head", "dense")
    return names.scopes


class _LayerCounter:
    """Names layers in the order in which they are constructed, as TensorFlow counts them."""

    def __init__(self, scheme: Scheme) -> None:
        self.scheme = scheme
        self.counts: Counter[tuple[str, str]] = Counter()
        self.scopes: dict[str, str] = {}

    def layer(self, path: str, scope: str, kind: str) -> None:
        home = "" if self.scheme.count_whole_network else scope
        self.scopes[path] = f"{self.scheme.layer_scope}{scope}/{self._next_name(home, kind)}"

    def norm(self, path: str, scope: str) -> None:
        self.scopes[path] = f"{scope}/{self._next_name(scope, self.scheme.norm)}"

    def _next_name(self, home: str, kind: str) -> str:
        number = self.counts[home, kind]
        self.counts[home, kind] += 1
        return f"{kind}_{number}" if number else kind


_STEMS = {
    "keras": re.compile(r"(?P<root>.+?)/mnas_net_model/mnas_stem/conv2d(?:_\d+)?/kernel"),
    "layers": re.compile(r"(?P<root>.+?)/mnas_stem/conv2d(?:_\d+)?/kernel"),
    "efficientnet": re.compile(r"(?P<root>.+?)/stem/conv2d(?:_\d+)?/kernel"),
    SLIM: re.compile(r"(?P<root>.+?)/(?:Conv2d_0|Conv)/weights"),
}


def detect_scheme(names: Iterable[str]) -> tuple[str, str]:
    """Scheme and root scope of a checkpoint, by the name of its stem's kernel.

    Raises:
        BadInput: there is no such variable.
    """
    for name in names:
        for scheme, pattern in _STEMS.items():
            if match := pattern.fullmatch(name):
                return scheme, match["root"]
    raise BadInput(
        "no variable .../mnas_stem/conv2d/kernel, .../stem/conv2d/kernel or .../Conv/weights: not "
        "a checkpoint of Google's MnasNet or EfficientNet, or of slim's MobileNets"
    )


# --- layers ---

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
    """What a code base calls a layer's variables, below the layer's scope."""

    kernel: str
    depthwise: str
    bias: str


class Builder:
    """Adds layers to a graph, each variable under ``root`` and the scope of its layer."""

    def __init__(
        self, tf: Any, reference: ReferenceGraph, config: NetworkConfig, root: str,
        names: VariableNames, settle: bool,
    ) -> None:  # fmt: skip
        self.tf, self.reference, self.config = tf, reference, config
        self.root, self.names, self.settle = root, names, settle

    def scope(self, name: str) -> Any:
        """A name scope below the root, without a counter in its name."""
        return self.tf.name_scope(f"{self.root}/{name}/")

    def tap(self, path: str, tensor: Any) -> Any:
        """Record a tensor as the value that the PyTorch network has at ``path``."""
        self.reference.taps[path] = tensor
        return tensor

    def variable(self, scope: str, name: str, shape: list[int]) -> Any:
        """A variable of zeros, until it is restored or loaded."""
        full = f"{self.root}/{scope}/{name}"
        # Keep the variable's operations out of the current name scope.
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


# --- MnasNet ---

MNASNET_VARIABLES = VariableNames("kernel", "depthwise_kernel", "bias")


class MnasNet:
    """``MnasNetModel.call``: names of the parts are those of the PyTorch network.

    ``Model.call`` of EfficientNet computes the same, with other activations and with fused blocks.
    """

    def __init__(self, builder: Builder, scheme: str) -> None:
        self.b, self.tf, self.config = builder, builder.tf, builder.config
        self.scopes, self.prefix = layer_scopes(builder.config, scheme), SCHEMES[scheme].prefix
        # relu_fn of GlobalParams; EfficientNet's is in the squeeze-excite too.
        self.relu_fn = self.activation(builder.config.activation)
        self.squeeze_relu_fn = self.activation(builder.config.squeeze_activation)

    def activation(self, name: str) -> Any:
        if name == "silu":
            return lambda x: x * self.tf.sigmoid(x)
        return {"relu": self.tf.nn.relu, "relu6": self.tf.nn.relu6}[name]

    def build(self) -> None:
        """Add the whole network; its logits are the last tap."""
        tf, b, config, width = self.tf, self.b, self.config, self.config.width
        with b.scope(f"{self.prefix}stem"):
            filters = round_filters(config.stem_channels, None if config.fixed_stem else width)
            x = self.conv(b.reference.image, "conv_stem", filters, 3, 2)
            x = b.tap("act1", self.relu_fn(self.norm(x, "bn1")))
        for block in reference_blocks(config):
            with b.scope(f"{self.prefix}blocks_{block.index}"):
                x = self.block(x, block)
        with b.scope(f"{self.prefix}head"):
            scales = config.head_scaling == "up"
            filters = round_filters(config.head_channels, width if scales else None)
            x = self.conv(x, "conv_head", filters, 1)
            x = b.tap("act2", self.relu_fn(self.norm(x, "bn2")))
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
        shape = [x.shape[-1], self.config.num_classes]
        weight = self.b.variable(scope, "kernel", shape)
        bias = self.b.variable(scope, "bias", shape[1:])
        return self.tf.nn.bias_add(self.tf.matmul(x, weight), bias)

    def block(self, x: Any, block: ReferenceBlock) -> Any:
        """``MnasBlock.call``; fused, ``MBConvBlockWithoutDepthwise.call``."""
        relu, path, entry, tap = self.relu_fn, block.path, x, self.b.tap
        stride, last_stride = (1, block.stride) if block.strides_last else (block.stride, 1)
        if block.fused:
            x = self.conv(x, f"{path}.conv_exp", block.expanded_filters, block.kernel, stride)
        elif block.expands:
            x = self.conv(x, f"{path}.conv_pw", block.expanded_filters, 1)
            x = tap(f"{path}.act1", relu(self.norm(x, f"{path}.bn1")))
        number = block.norms - 1
        if not block.fused:
            x = self.b.depthwise(x, self.scopes[f"{path}.conv_dw"], block.kernel, stride)
        x = tap(f"{path}.act{number}", relu(self.norm(x, f"{path}.bn{number}")))
        if block.reduced_filters:
            x = self.squeeze_excite(x, f"{path}.se", block.reduced_filters)
        x = self.conv(x, f"{path}.{block.projection}", block.output_filters, 1, last_stride)
        x = self.norm(x, f"{path}.bn{number + 1}")
        return tap(path, self.tf.add(x, entry, "Add")) if block.adds_input else x

    def squeeze_excite(self, x: Any, path: str, squeeze: int) -> Any:
        """``MnasBlock._call_se``."""
        tf, tap = self.tf, self.b.tap
        with tf.name_scope("se"):
            gate = tap(f"{path}.pool", tf.reduce_mean(x, [1, 2], keepdims=True))
            gate = self.conv(gate, f"{path}.conv_reduce", squeeze, 1, bias=True)
            gate = tap(f"{path}.act1", self.squeeze_relu_fn(tap(f"{path}.conv_reduce", gate)))
            gate = self.conv(gate, f"{path}.conv_expand", x.shape[-1], 1, bias=True)
            gate = tap(f"{path}.conv_expand", gate)
            gate = tap(f"{path}.gate", tf.sigmoid(gate))
            return tap(path, tf.multiply(gate, x, "mul"))


# --- slim's MobileNets ---

SLIM_VARIABLES = VariableNames("weights", "depthwise_weights", "biases")


class Slim:
    """One of the MobileNets, in the order of its ``conv_defs``."""

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
        """Scaled only by a multiplier above 1 (``finegrain_classification_mode``)."""
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
        if spec.type == "cn" and spec.activation != "none":
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
        """``expanded_conv`` of V2 and V3; without an expansion where that is 1.

        In MobileNetEdgeTPU, a fused block of expansion 1 is a projection alone.
        """
        scope = f"expanded_conv_{self.blocks - 1}" if self.blocks > 1 else "expanded_conv"
        entry, number = x, 1
        if spec.expansion > 1:
            inner = make_divisible(int(x.shape[-1]) * spec.expansion)
            # mbv3_fused expands with the kernel and the stride, and has nothing depthwise.
            kernel_and_stride = (spec.kernel, stride) if spec.type == "er" else (1, 1)
            x = self.b.conv(x, f"{scope}/expand", inner, *kernel_and_stride)
            x = self.activated(x, f"{scope}/expand", f"{path}.bn1", f"{path}.act1", act)
            number = 2
        if spec.type not in ("er", "cn"):
            x = self.b.depthwise(x, f"{scope}/depthwise", spec.kernel, stride)
            x = self.activated(
                x, f"{scope}/depthwise", f"{path}.bn{number}", f"{path}.act{number}", act
            )
            number += 1
        if spec.se_ratio:
            x = self.squeeze_excite(x, f"{scope}/squeeze_excite", f"{path}.se", spec.se_ratio)
        x = self.b.conv(x, f"{scope}/project", self.depth(spec.channels), 1)
        x = self.b.tap(f"{path}.bn{number}", self.b.norm(x, f"{scope}/project/BatchNorm"))
        if stride > 1 or entry.shape[-1] != x.shape[-1] or not spec.skip:
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


def make_divisible(value: float) -> int:
    """``_make_divisible`` of slim ``mobilenet/mobilenet.py``, by 8."""
    steps = max(1, int(value + 4) // 8)
    return 8 * (steps + (steps * 8 < 0.9 * value))


# --- a whole graph ---


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
    graph: Any = tf.Graph()
    with graph.as_default():
        shape = (batch, size, size, config.in_chans)
        image = tf.compat.v1.placeholder(tf.float32, shape, name="truediv")
        reference = ReferenceGraph(graph, image)
        if scheme == SLIM:
            Slim(Builder(tf, reference, config, root, SLIM_VARIABLES, settle)).build()
        else:
            MnasNet(Builder(tf, reference, config, root, MNASNET_VARIABLES, settle), scheme).build()
    return reference
