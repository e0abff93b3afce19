"""A network as a TFLite file, from its configuration, with seeded weights.

Written from the description of the architecture alone; batch norm is folded,
as in every exported file.
"""

from __future__ import annotations

import math

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from parity_tests.building.tflite_files import (
    ACTIVATION,
    TFLiteBuilder,
    convolution_options,
    depthwise_options,
    mean_options,
)


class NetworkFile:
    """Builds one network. ``weights``: float32, float16, int8, int8_channels or uint8_legacy."""

    own = ("hard_swish", "silu", "sigmoid", "tanh")
    """Activations that are operators of their own."""

    def __init__(
        self, config, *, size=64, weights="float32", seed=0, normalise=False, softmax=False,
        spelled_out=False,
    ):  # fmt: skip
        self.config, self.size, self.weights = config, size, weights
        self.normalise, self.softmax, self.spelled_out = normalise, softmax, spelled_out
        self.random = np.random.default_rng(seed)
        self.file = TFLiteBuilder()
        self.axes = self.file.tensor("axes", [2], "int32", np.array([1, 2], np.int32))
        self.real: dict[str, np.ndarray] = {}
        """What each constant stands for, by its name in the file."""

    def constant(self, name, values):
        """A weight in the configured type; a bias is float32 unless everything is float16."""
        values = values.astype(np.float32)
        if self.weights == "float16":
            half = values.astype(np.float16)
            self.real[name] = half.astype(np.float32)
            stored = self.file.tensor(name, values.shape, "float16", half)
            output = self.file.tensor(f"{name}_dequantize", values.shape)
            return self.file.operator("DEQUANTIZE", [stored], output, schema.DequantizeOptionsT())
        legacy_depthwise = self.weights == "uint8_legacy" and values.shape[0] == 1
        if self.weights == "float32" or values.ndim == 1 or values.size < 1024 or legacy_depthwise:
            self.real[name] = values
            return self.file.tensor(name, values.shape, data=values)
        return self.quantised(name, values)

    def quantised(self, name, values):
        """Symmetric int8, one scale, or one an output channel."""
        axis = values.ndim - 1 if values.shape[0] == 1 else 0
        scale = np.array([np.abs(values).max() / 127], np.float32)
        along = scale
        if self.weights == "int8_channels":
            others = tuple(i for i in range(values.ndim) if i != axis)
            along = np.abs(values).max(axis=others, keepdims=True).astype(np.float32) / 127
            scale = along.ravel()
        stored = np.clip(np.round(values / along), -127, 127).astype(np.int8)
        self.real[name] = stored.astype(np.float32) * along
        dtype = "uint8" if self.weights == "uint8_legacy" else "int8"
        parameters = (scale, np.zeros(scale.size), axis)
        constant = self.file.tensor(name, values.shape, dtype, stored, parameters)
        if values.shape[0] > 1 or self.weights == "int8_channels":
            return constant
        # LiteRT has no hybrid depthwise kernel for a single scale: converters dequantise first.
        output = self.file.tensor(f"{name}_dequantize", values.shape)
        return self.file.operator("DEQUANTIZE", [constant], output, schema.DequantizeOptionsT())

    def conv(self, x, name, kernel, stride, channels, activation=None, depthwise=False):
        """Convolution with a bias; ``x`` is (tensor, side, channels)."""
        tensor, side, incoming = x
        activation = activation or self.config.activation
        fan = kernel * kernel * (1 if depthwise else incoming)
        shape = (1, kernel, kernel, channels) if depthwise else (channels, kernel, kernel, incoming)
        spread = math.sqrt((1.0 if activation == "none" else 2.0) / fan)
        weight = self.constant(f"{name}/kernel", self.random.normal(0, spread, shape))
        bias = self.constant(f"{name}/bias", self.random.normal(0, 0.1, channels))
        side = -(-side // stride)
        output = self.file.tensor(f"{name}/out", [1, side, side, channels])
        kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        own = activation in self.own
        tensor, valid = self.padded(x, name, kernel, stride)
        options = depthwise_options if depthwise else convolution_options
        options = options(stride, "none" if own else activation, valid)
        output = self.file.operator(kind, [tensor, weight, bias], output, options)
        if own:
            shape = [1, side, side, channels]
            output = self.activated(output, name, shape, activation)
        return output, side, channels

    def padded(self, x, name, kernel, stride):
        """The input of a convolution, and whether it is padded before: no, the convolution pads."""
        return x[0], False

    def activated(self, x, name, shape, activation):
        """An activation as a separate operator."""
        if activation == "silu":
            return self.silu(x, name, shape)
        if activation == "hard_swish":
            return self.hard_swish(x, name, shape)
        kind = {"tanh": "TANH", "sigmoid": "LOGISTIC"}[activation]
        return self.file.operator(kind, [x], self.file.tensor(f"{name}/{kind}", shape))

    def silu(self, x, name, shape):
        """x * sigmoid(x), as converters spell it."""
        gate = self.file.operator("LOGISTIC", [x], self.file.tensor(f"{name}/sigmoid", shape))
        output = self.file.tensor(f"{name}/swish", shape)
        return self.file.operator("MUL", [x, gate], output, schema.MulOptionsT())

    def hard_swish(self, x, name, shape):
        """One operator, or where ``spelled_out`` x * relu6(x + 3) / 6."""
        if not self.spelled_out:
            return self.file.operator("HARD_SWISH", [x], self.file.tensor(f"{name}/swish", shape))
        clamped = self.plus_three(x, name, shape)
        product = self.file.tensor(f"{name}/product", shape)
        self.file.operator("MUL", [x, clamped], product, schema.MulOptionsT())
        return self.times(product, name, shape, 1 / 6)

    def plus_three(self, x, name, shape):
        """relu6(x + 3)."""
        three = self.file.tensor(f"{name}/three", [], data=np.array(3, np.float32))
        options = schema.AddOptionsT()
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU6
        output = self.file.tensor(f"{name}/clamped", shape)
        return self.file.operator("ADD", [x, three], output, options)

    def times(self, x, name, shape, factor):
        """A product with a constant."""
        constant = self.file.tensor(f"{name}/factor", [], data=np.array(factor, np.float32))
        output = self.file.tensor(f"{name}/scaled", shape)
        return self.file.operator("MUL", [x, constant], output, schema.MulOptionsT())

    def squeeze(self, x, name, narrow):
        """Squeeze-excite; a hard sigmoid has slim's constant."""
        tensor, side, channels = x
        place = [1, 1, 1, channels]
        mean = self.mean(x, f"{name}/mean", True)
        inside = self.config.squeeze_activation
        gate = self.on_a_place((mean, 1, channels), f"{name}/reduce", narrow, inside)
        gate, _, _ = self.on_a_place(gate, f"{name}/expand", channels, "none")
        if self.config.gate == "sigmoid":
            gate = self.file.operator("LOGISTIC", [gate], self.file.tensor(f"{name}/gate", place))
        else:
            gate = self.times(self.plus_three(gate, name, place), name, place, 0.16667)
        gate = self.broadcast(gate, name, place)
        product = self.file.tensor(f"{name}/product", [1, side, side, channels])
        self.file.operator("MUL", [gate, tensor], product, schema.MulOptionsT())
        return product, side, channels

    def block(self, x, block, name):
        """One block of any type of TensorFlow's networks."""
        entry, act = x, block.activation
        if block.type == "cn":
            return self.conv(x, f"{name}/conv", block.kernel, block.stride, block.out_channels, act)
        last_stride = block.stride if block.type == "erp" else 1
        if block.type in ("er", "erp"):
            stride = block.stride // last_stride
            x = self.conv(x, f"{name}/fused", block.kernel, stride, block.mid_channels, act)
        else:
            if block.type == "ir":
                x = self.conv(x, f"{name}/expand", 1, 1, block.mid_channels, act)
            x = self.conv(x, f"{name}/dw", block.kernel, block.stride, x[2], act, depthwise=True)
        if block.squeeze:
            x = self.squeeze(x, f"{name}/se", block.squeeze)
        last = act if block.type == "dsa" else "none"
        x = self.conv(x, f"{name}/project", 1, last_stride, block.out_channels, last)
        if not block.residual:
            return x
        total = self.file.tensor(f"{name}/sum", [1, x[1], x[1], x[2]])
        self.file.operator("ADD", [x[0], entry[0]], total, schema.AddOptionsT())
        return total, x[1], x[2]

    def on_a_place(self, x, name, channels, activation):
        """A squeeze-excite's layer."""
        return self.conv(x, name, 1, 1, channels, activation)

    def broadcast(self, gate, name, place):
        """A gate in the shape that scales a plane."""
        return gate

    def mean(self, x, name, keep):
        """The mean over height and width."""
        return self.reduced(x, name, keep, "MEAN")

    def reduced(self, x, name, keep, kind):
        """A reduction over height and width."""
        shape = [1, 1, 1, x[2]] if keep else [1, x[2]]
        output = self.file.tensor(name, shape)
        return self.file.operator(kind, [x[0], self.axes], output, mean_options(keep))

    def pooled(self, x, keep):
        """What the network makes of its last convolution: tensor, side and channels."""
        if self.config.pool == "mean":
            return self.mean(x, "pooled", keep), 1, x[2]
        if self.config.pool == "max":
            return self.reduced(x, "pooled", keep, "REDUCE_MAX"), 1, x[2]
        values = x[1] * x[1] * x[2]
        sides = self.file.tensor("sides", [2], "int32", np.array([1, values], np.int32))
        flat = self.file.tensor("flat", [1, values])
        return self.file.operator("RESHAPE", [x[0], sides], flat), 1, values

    def head(self, x):
        """The head that the network has, mean, dense layer, and optionally softmax."""
        config = self.config
        if config.head == "conv":
            x = self.conv(x, "head", 1, 1, config.head_width)
        if config.pool == "none":
            return x[0]
        x = self.pooled(x, config.head == "after_pool")
        if config.head == "after_pool":
            x = self.conv(x, "head", 1, 1, config.head_width)
            flat = self.file.tensor("flat", [1, config.head_width])
            x = self.file.operator("SQUEEZE", [x[0]], flat, schema.SqueezeOptionsT()), 1, x[2]
        for number, layer in enumerate(config.dense):
            name, channels = f"hidden_{number}", layer.channels or x[2]
            activation = "none" if layer.norm else layer.activation
            if layer.channels:
                has_bias = layer.bias and not layer.norm
                x = self.dense(x, name, channels, has_bias, activation), 1, channels
            if layer.norm:
                x = self.normed(x[0], name, channels, layer.activation), 1, channels
        logits = self.classifier(x) if config.num_classes else x[0]
        if not self.softmax:
            return logits
        output = self.file.tensor("output", [1, config.num_classes])
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        return self.file.operator("SOFTMAX", [logits], output, options)

    def normed(self, x, name, channels, activation):
        """A batch norm that the file has not folded: a product and a sum."""
        for kind, options in (("MUL", schema.MulOptionsT()), ("ADD", schema.AddOptionsT())):
            values = self.random.normal(kind == "MUL", 0.2, channels)
            vector = self.constant(f"{name}/{kind}", values)
            if kind == "ADD":
                options.fusedActivationFunction = ACTIVATION[activation]
            output = self.file.tensor(f"{name}/{kind}/out", [1, channels])
            x = self.file.operator(kind, [x, vector], output, options)
        return x

    def classifier(self, x):
        """The last dense layer."""
        return self.dense(x, "dense", self.config.num_classes, self.config.classifier_bias)

    def dense(self, x, name, channels, has_bias=True, activation="none"):
        """A dense layer; its weight is drawn before its bias."""
        shape = (channels, x[2])
        weight = self.constant(f"{name}/kernel", self.random.normal(0, 1 / math.sqrt(x[2]), shape))
        operands = [x[0], weight]
        if has_bias:
            operands.append(self.constant(f"{name}/bias", self.random.normal(0, 0.1, channels)))
        output = self.file.tensor("logits" if name == "dense" else f"{name}/out", [1, channels])
        options = schema.FullyConnectedOptionsT()
        own = activation in self.own
        options.fusedActivationFunction = ACTIVATION["none" if own else activation]
        output = self.file.operator("FULLY_CONNECTED", operands, output, options)
        return self.activated(output, name, [1, channels], activation) if own else output

    def build(self) -> bytes:
        """The file's bytes."""
        shape = [1, self.size, self.size, self.config.in_chans]
        image, data = self.entrance(shape)
        x = (data, self.size, self.config.in_chans)
        x = self.conv(x, "stem", 3, 2, self.config.stem)
        for block in self.config.resolve():
            x = self.block(x, block, f"block_{block.index}")
        return self.file.finish([image], [self.exit(self.head(x))])

    def entrance(self, shape):
        """The graph's input, and the input of the stem."""
        image = self.file.tensor("input", shape)
        return image, self.normalised(image, shape) if self.normalise else image

    def exit(self, logits):
        """The graph's output."""
        return logits

    def normalised(self, image, shape):
        """Pixels to [-1, 1] inside the graph: minus 127.5, times 1 / 127.5."""
        for kind, value, options in (
            ("SUB", 127.5, schema.SubOptionsT()),
            ("MUL", 1 / 127.5, schema.MulOptionsT()),
        ):
            constant = self.file.tensor(f"{kind}/y", [1], data=np.array([value], np.float32))
            output = self.file.tensor(f"{kind}/out", shape)
            image = self.file.operator(kind, [image, constant], output, options)
        return image


class PooledInside(NetworkFile):
    """A network with a pooling where no block string has one."""

    def block(self, x, block, name):
        x = super().block(x, block, name)
        if block.index != 2:
            return x
        options = schema.Pool2DOptionsT()
        options.filterHeight = options.filterWidth = options.strideH = options.strideW = 2
        side = x[1] // 2
        output = self.file.tensor(f"{name}/pooled", [1, side, side, x[2]])
        self.file.operator("MAX_POOL_2D", [x[0]], output, options)
        return output, side, x[2]


def network_file(config, **options) -> bytes:
    """A network's TFLite file; see :class:`NetworkFile` for the options."""
    return NetworkFile(config, **options).build()
