"""A small network in integers, and the same network in float32.

Convolution, depthwise convolution, sum, dense layer. Each file is described
once and written twice: as integers, its activations left to their ranges where
asked for, and as the real numbers that these stand for, its activations named.
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from parity_tests.building.tflite_files import (
    ACTIVATION,
    TFLiteBuilder,
    convolution_options,
    depthwise_options,
)

TOPS = {"relu6": 6.0, "relu": 3.1}
"""What the largest integer of an activation's result stands for."""


class QuantisedFile:
    """Builds one of the two. ``dtype`` is uint8, with one scale a weight, or int8, with many.

    ``activation`` follows every layer but the last. ``named`` puts it into the
    options; else the range of the integers stands for it. ``conversions`` lets
    the graph take and give float32.
    """

    def __init__(self, dtype="uint8", activation="relu6", named=False, conversions=False):
        self.dtype, self.activation, self.named = np.dtype(dtype), activation, named
        self.conversions = conversions
        self.least = np.iinfo(dtype).min

    def build(self, integers=True, activation=None) -> bytes:
        """The file's bytes; in float32 with ``activation`` named, by default its own."""
        self.integers, self.file = integers, TFLiteBuilder()
        shown = self.activation if self.named else "none"
        self.shown = shown if integers else activation or self.activation
        self.random = np.random.default_rng(4)
        image = data = self.tensor("image", [1, 8, 8, 3], 2 / 256, 128)
        if self.conversions:
            image = self.file.tensor("given", [1, 8, 8, 3])
            self.file.operator("QUANTIZE", [image], data, schema.QuantizeOptionsT())
        last = self.layers(data)
        if self.conversions:
            real = self.file.tensor("taken", [1, 5])
            last = self.file.operator("DEQUANTIZE", [last], real, schema.DequantizeOptionsT())
        return self.file.finish([image], [last])

    def layers(self, data):
        """From the image to the logits."""
        step = TOPS[self.activation] / 255
        conv = self.layer("CONV_2D", "conv", data, 2 / 256, (8, 3, 3, 3), [1, 8, 8, 8], step)
        shape = (1, 3, 3, 8)
        deep = self.layer("DEPTHWISE_CONV_2D", "deep", conv, step, shape, [1, 8, 8, 8], step)
        total = self.tensor("sum", [1, 8, 8, 8], step, 0)
        options = schema.AddOptionsT()
        options.fusedActivationFunction = ACTIVATION[self.shown]
        self.file.operator("ADD", [conv, deep], total, options)
        self.shown = "none"
        shape = (5, 512)
        return self.layer("FULLY_CONNECTED", "dense", total, step, shape, [1, 5], 3.0, 128)

    def tensor(self, name, shape, step, zero, dtype=None):
        """An output; ``zero`` counts from the smallest integer."""
        if not self.integers:
            return self.file.tensor(name, shape)
        quantisation = ([step], [zero + self.least], 0)
        return self.file.tensor(name, shape, str(dtype or self.dtype), quantisation=quantisation)

    def layer(self, kind, name, data, step, shape, out, out_step, zero=0):
        """A weighted layer; ``step`` is its input's."""
        axis = 3 if shape[0] == 1 else 0
        count = shape[axis]
        many = self.dtype == np.int8
        scale = np.float32(self.random.uniform(0.5, 1.5, count if many else 1) * 3 / 255)
        weight = self.constant(f"{name}/w", shape, scale, 0 if many else 128, str(self.dtype), axis)
        bias = self.constant(f"{name}/b", (count,), scale * np.float32(step), 0, "int32", 0)
        output = self.tensor(name, out, out_step, zero)
        return self.file.operator(kind, [data, weight, bias], output, self.options(kind))

    def constant(self, name, shape, scale, zero, dtype, axis):
        """Weights, or biases."""
        wide = dtype == "int32"
        limits = (-2000, 2000) if wide else (np.iinfo(dtype).min + 1, np.iinfo(dtype).max)
        stored = self.random.integers(*limits, shape).astype(dtype)
        if self.integers:
            parameters = (scale, np.full(scale.size, zero), axis)
            return self.file.tensor(name, shape, dtype, stored, parameters)
        along = [-1 if i == axis and scale.size > 1 else 1 for i in range(len(shape))]
        real = (stored.astype(np.float64) - zero) * scale.astype(np.float64).reshape(along)
        return self.file.tensor(name, shape, data=real.astype(np.float32))

    def options(self, kind):
        """A layer's options, with its activation if that is written there."""
        if kind == "FULLY_CONNECTED":
            return schema.FullyConnectedOptionsT()
        result = depthwise_options if kind == "DEPTHWISE_CONV_2D" else convolution_options
        return result(1, self.shown)
