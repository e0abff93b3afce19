"""Graphs of a few operators as TFLite files, layer by layer."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from parity_tests.building.tflite_files import TFLiteBuilder, convolution_options, mean_options


class SmallGraph:
    """Values are (tensor, side, channels); images are square, one at a time, NHWC."""

    def __init__(self, side=32, channels=3, seed=0):
        self.file, self.random = TFLiteBuilder(), np.random.default_rng(seed)
        self.image = self.file.tensor("image", [1, side, side, channels])
        self.start = self.image, side, channels
        self.weights: dict[str, np.ndarray] = {}

    def constant(self, name, shape):
        """A seeded constant."""
        values = self.random.normal(0, 0.3, shape).astype(np.float32)
        self.weights[name] = values
        return self.file.tensor(name, shape, data=values)

    def conv(self, x, name, channels, kernel=3, stride=1, activation="none"):
        """A convolution with SAME padding and a bias."""
        tensor, side, incoming = x
        side = -(-side // stride)
        inputs = [
            tensor,
            self.constant(f"{name}/kernel", (channels, kernel, kernel, incoming)),
            self.constant(f"{name}/bias", (channels,)),
        ]
        output = self.file.tensor(name, [1, side, side, channels])
        self.file.operator("CONV_2D", inputs, output, convolution_options(stride, activation))
        return output, side, channels

    def joined(self, kind, left, right, name):
        """A sum or a product of two values."""
        options = {"ADD": schema.AddOptionsT, "MUL": schema.MulOptionsT}[kind]()
        output = self.file.tensor(name, [1, left[1], left[1], left[2]])
        self.file.operator(kind, [left[0], right[0]], output, options)
        return output, left[1], left[2]

    def by_number(self, kind, x, number, name):
        """A value and one number."""
        constant = self.file.tensor(f"{name}/number", [], data=np.float32(number))
        return self.joined(kind, x, (constant, *x[1:]), name)

    def by_vector(self, kind, x, shape, name):
        """A value and a number a channel, written with this shape."""
        return self.joined(kind, x, (self.constant(f"{name}/vector", shape), *x[1:]), name)

    def alone(self, kind, x, name):
        """An operator of one value, such as RELU6."""
        output = self.file.tensor(name, [1, x[1], x[1], x[2]])
        self.file.operator(kind, [x[0]], output)
        return output, x[1], x[2]

    def pooled(self, x, kind, name):
        """MAX_POOL_2D or AVERAGE_POOL_2D over windows of 2x2, side by side."""
        tensor, side, channels = x
        options = schema.Pool2DOptionsT()
        options.padding, options.strideW, options.strideH = 1, 2, 2
        options.filterWidth = options.filterHeight = 2
        output = self.file.tensor(name, [1, side // 2, side // 2, channels])
        self.file.operator(kind, [tensor], output, options)
        return output, side // 2, channels

    def flattened(self, x, classes=5):
        """All positions in one vector, and a dense layer: the file's bytes."""
        tensor, side, channels = x
        length = side * side * channels
        options = schema.ReshapeOptionsT()
        options.newShape = [1, length]
        flat = self.file.tensor("flat", [1, length])
        self.file.operator("RESHAPE", [tensor], flat, options)
        end = self.file.tensor("logits", [1, classes])
        inputs = [
            flat,
            self.constant("dense/kernel", (classes, length)),
            self.constant("dense/bias", (classes,)),
        ]
        self.file.operator("FULLY_CONNECTED", inputs, end, schema.FullyConnectedOptionsT())
        return self.file.finish([self.image], [end])

    def classified(self, x, classes=5, softmax=False):
        """Mean over space and a dense layer: the file's bytes."""
        axes = self.file.tensor("axes", [2], "int32", np.array([1, 2], np.int32))
        mean = self.file.tensor("mean", [1, x[2]])
        self.file.operator("MEAN", [x[0], axes], mean, mean_options(False))
        end = self.file.tensor("logits", [1, classes])
        inputs = [
            mean,
            self.constant("dense/kernel", (classes, x[2])),
            self.constant("dense/bias", (classes,)),
        ]
        self.file.operator("FULLY_CONNECTED", inputs, end, schema.FullyConnectedOptionsT())
        if softmax:
            given, end = end, self.file.tensor("softmax", [1, classes])
            options = schema.SoftmaxOptionsT()
            options.beta = 1.0
            self.file.operator("SOFTMAX", [given], end, options)
        return self.file.finish([self.image], [end])
