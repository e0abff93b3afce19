"""Networks of block strings as TensorFlow functions: for frozen graphs, SavedModels and TFLite.

The layers are written from their definitions, with weights of their own.
"""

from __future__ import annotations

import numpy as np

from genmobilenet.arch import shares
from porting.judges.tensorflow import import_tensorflow

SLICES = ("split by sizes", "split evenly", "strided slices", "slices")
"""How the slices of the channels are spelled."""


class TensorFlowNetwork:
    """Builds a network's logits. ``slices`` is one of :data:`SLICES`.

    With ``norm_in_pieces`` batch norms are TensorFlow's ``batch_normalization``, several
    operations; with ``normed_parts`` the parts of mixed convolutions are in one group where they
    are alike.
    """

    def __init__(self, config, *, seed=0, slices=SLICES[0], norm_in_pieces=False):
        self.tf, self.config, self.slices = import_tensorflow(), config, slices
        self.norm_in_pieces = norm_in_pieces
        self.random = np.random.default_rng(seed)
        self.constants = []

    def constant(self, values):
        """A weight; the same in each call of the function."""
        if self.place == len(self.constants):
            self.constants.append(values.astype(np.float32))
        self.place += 1
        return self.tf.constant(self.constants[self.place - 1])

    def __call__(self, x):
        """Images (N, H, W, C), normalised -> logits."""
        tf, config, self.place = self.tf, self.config, 0
        x = self.layer(x, "conv", (3,), 2, config.stem, config.activation)
        for block in config.resolve():
            x = self.block(x, block)
        if config.head == "conv":
            x = self.layer(x, "conv", (1,), 1, config.head_width, config.activation)
        x = tf.reduce_mean(x, (1, 2), keepdims=config.head == "norm_after_pool")
        if config.head == "norm_after_pool":
            x = self.layer(x, "conv", (1,), 1, config.head_width, config.activation)
            x = tf.squeeze(x, (1, 2))
        weight = self.constant(self.random.normal(0, 0.3, (x.shape[-1], config.num_classes)))
        return tf.matmul(x, weight) + self.constant(self.random.normal(0, 1, config.num_classes))

    def block(self, x, block):
        entry, act = x, block.activation
        first, middle, last = block.strides if block.type == "uir" else (1, block.stride, 1)
        if block.type == "cn":
            return self.layer(x, "conv", block.kernels, block.stride, block.out_channels, act)
        if any(block.start_kernels) and block.type == "uir":
            x = self.layer(x, "depthwise", block.start_kernels, first, x.shape[-1])
        if block.type in ("ir", "uir"):
            kernels = (block.start_kernels if block.type == "ir" else ()) or (1,)
            x = self.layer(x, "conv", kernels, 1, block.mid_channels, act)
        if any(block.kernels):
            x = self.layer(x, "depthwise", block.kernels, middle, x.shape[-1], act)
        if block.squeeze:
            x = self.squeezed(x, block.squeeze)
        kernels = (block.end_kernels if block.type != "uir" else ()) or (1,)
        x = self.layer(x, "conv", kernels, 1, block.out_channels)
        if any(block.end_kernels) and block.type == "uir":
            x = self.layer(x, "depthwise", block.end_kernels, last, x.shape[-1])
        return x + entry if block.residual else x

    def squeezed(self, x, narrow):
        y = self.tf.reduce_mean(x, (1, 2), keepdims=True)
        y = self.activated(self.biased(y, narrow), self.config.squeeze_activation)
        return x * self.tf.sigmoid(self.biased(y, x.shape[-1]))

    def biased(self, x, channels):
        y = self.convolved(x, "conv", 1, 1, channels)
        return y + self.constant(self.random.normal(0, 0.3, channels))

    def layer(self, x, kind, kernels, stride, channels, activation="none"):
        """A convolution, or one for each slice of the channels, with batch norm and activation."""
        widths = shares(channels, len(kernels))
        parts = [x] if len(kernels) == 1 else self.sliced(x, len(kernels))
        results = [
            self.convolved(part, kind, kernel, stride, width)
            for part, kernel, width in zip(parts, kernels, widths, strict=True)
        ]
        x = results[0] if len(results) == 1 else self.tf.concat(results, -1)
        return self.activated(self.normed(x), activation)

    def sliced(self, x, count):
        tf, widths = self.tf, shares(x.shape[-1], count)
        if self.slices == "split evenly" and x.shape[-1] % count == 0:
            return tf.split(x, count, -1)
        if self.slices in ("split by sizes", "split evenly"):
            return tf.split(x, widths, -1)
        starts = [sum(widths[:n]) for n in range(count)]
        if self.slices == "slices":
            pairs = zip(starts, widths, strict=True)
            return [tf.slice(x, (0, 0, 0, a), (-1, -1, -1, width)) for a, width in pairs]
        return [x[..., a : a + width] for a, width in zip(starts, widths, strict=True)]

    def convolved(self, x, kind, kernel, stride, channels):
        depthwise = kind == "depthwise"
        fan = kernel**2 * (1 if depthwise else x.shape[-1])
        shape = (kernel, kernel, x.shape[-1], 1 if depthwise else channels)
        weight = self.constant(self.random.normal(0, 1.5 / np.sqrt(fan), shape))
        if depthwise:
            return self.tf.nn.depthwise_conv2d(x, weight, (1, stride, stride, 1), "SAME")
        return self.tf.nn.conv2d(x, weight, stride, "SAME")

    def normed(self, x):
        draws = self.random.uniform(0.5, 1.5, (4, x.shape[-1]))
        gamma, beta, mean, variance = map(self.constant, draws - ((0,), (1,), (1,), (0,)))
        if self.norm_in_pieces:
            return self.tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)
        return self.tf.compat.v1.nn.fused_batch_norm(
            x, gamma, beta, mean, variance, 1e-3, is_training=False
        )[0]

    def activated(self, x, activation):
        nn = self.tf.nn
        functions = {"relu": nn.relu, "relu6": nn.relu6, "silu": nn.swish, "none": self.tf.identity}
        return functions[activation](x)


def tflite_bytes(network, side, *, integers=False):
    """A network as TensorFlow's converter writes it; with ``integers`` in int8."""
    tf = network.tf
    spec = tf.TensorSpec((1, side, side, network.config.in_chans), tf.float32)
    function = tf.function(network).get_concrete_function(spec)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
    if integers:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        draws = np.random.default_rng(0).normal(0, 1, (8, *spec.shape)).astype(np.float32)
        converter.representative_dataset = lambda: ([image] for image in draws)
    return converter.convert()


def saved_model(folder, network, side):
    """A network as a SavedModel, its weights constants of the graph."""
    tf, module = network.tf, network.tf.Module()
    spec = tf.TensorSpec((None, side, side, network.config.in_chans), tf.float32)
    module.serve = tf.function(network, input_signature=[spec])
    tf.saved_model.save(module, str(folder), signatures=module.serve.get_concrete_function())
    return folder
