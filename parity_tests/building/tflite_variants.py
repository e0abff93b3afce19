"""The same networks with the operators of other exporters.

Each class changes one thing; several are joined by inheriting from several.
"""

from __future__ import annotations

import math

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from parity_tests.building.tflite_files import ACTIVATION, mean_options
from parity_tests.building.tflite_networks import NetworkFile


def same_amounts(side, kernel, stride):
    """TensorFlow's SAME padding before and after one axis."""
    total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def symmetric_amounts(_side, kernel, _stride):
    """The padding of PyTorch's networks."""
    return kernel // 2, kernel // 2


class Padded(NetworkFile):
    """Strided convolutions as PAD and VALID; ``amounts`` gives (before, behind) of an axis."""

    amounts = staticmethod(same_amounts)
    filled_with = None
    """What a PADV2 fills in; a PAD where it is None."""

    def padded(self, x, name, kernel, stride):
        tensor, side, channels = x
        if stride == 1 or kernel == 1:
            return tensor, False
        ends = self.amounts(side, kernel, stride)
        amounts = np.array([(0, 0), ends, ends, (0, 0)], np.int32)
        inputs = [tensor, self.file.tensor(f"{name}/amounts", [4, 2], "int32", amounts)]
        if self.filled_with is not None:
            value = np.array(self.filled_with, np.float32)
            inputs.append(self.file.tensor(f"{name}/filling", [], data=value))
        side += sum(ends)
        output = self.file.tensor(f"{name}/padded", [1, side, side, channels])
        return self.file.operator("PAD" if len(inputs) == 2 else "PADV2", inputs, output), True


class OwnActivations(NetworkFile):
    """RELU and RELU6 as operators."""

    own = ("hard_swish", "relu", "relu6")

    def activated(self, x, name, shape, activation):
        if activation == "hard_swish":
            return self.hard_swish(x, name, shape)
        output = self.file.tensor(f"{name}/{activation}", shape)
        return self.file.operator(activation.upper(), [x], output)


class AveragePools(NetworkFile):
    """AVERAGE_POOL_2D over the plane, and a RESHAPE if its axes are dropped."""

    def mean(self, x, name, keep):
        tensor, side, channels = x
        options = schema.Pool2DOptionsT()
        options.padding, options.strideW, options.strideH = 1, 1, 1
        options.filterWidth = options.filterHeight = side
        output = self.file.tensor(f"{name}/pool", [1, 1, 1, channels])
        self.file.operator("AVERAGE_POOL_2D", [tensor], output, options)
        return output if keep else reshaped(self, output, name, [1, channels])


class NegativeAxes(NetworkFile):
    """MEAN over the axes -3 and -2, the last first."""

    def mean(self, x, name, keep):
        axes = self.file.tensor(f"{name}/axes", [2], "int32", np.array([-2, -3], np.int32))
        output = self.file.tensor(name, [1, 1, 1, x[2]] if keep else [1, x[2]])
        return self.file.operator("MEAN", [x[0], axes], output, mean_options(keep))


class FlatMeans(NetworkFile):
    """MEAN without kept axes everywhere, and a RESHAPE where they are needed."""

    def mean(self, x, name, keep):
        mean = super().mean(x, name, False)
        return reshaped(self, mean, name, [1, 1, 1, x[2]]) if keep else mean


class KeptMeans(NetworkFile):
    """MEAN with kept axes everywhere, and a SQUEEZE where they are not needed."""

    def mean(self, x, name, keep):
        mean = super().mean(x, name, True)
        if keep:
            return mean
        options = schema.SqueezeOptionsT()
        options.squeezeDims = [1, 2]
        output = self.file.tensor(f"{name}/squeezed", [1, x[2]])
        return self.file.operator("SQUEEZE", [mean], output, options)


class ConvolutionClassifier(NetworkFile):
    """The classifier as a 1x1 convolution, and a RESHAPE after it."""

    def mean(self, x, name, keep):
        return super().mean(x, name, True)

    def classifier(self, x):
        x = (x[0], 1, self.config.head_width)
        tensor, _, classes = self.conv(x, "dense", 1, 1, self.config.num_classes, "none")
        return reshaped(self, tensor, "logits", [1, classes])


class DenseSqueezes(NetworkFile):
    """Squeeze-excites of FULLY_CONNECTED layers, and a RESHAPE before the product."""

    def mean(self, x, name, keep):
        return super().mean(x, name, False)

    def on_a_place(self, x, name, channels, activation):
        values = self.random.normal(0, 1 / math.sqrt(x[2]), (channels, x[2]))
        weight = self.constant(f"{name}/kernel", values)
        bias = self.constant(f"{name}/bias", self.random.normal(0, 0.1, channels))
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = ACTIVATION[activation]
        output = self.file.tensor(f"{name}/out", [1, channels])
        return (
            self.file.operator("FULLY_CONNECTED", [x[0], weight, bias], output, options),
            1,
            (channels),
        )

    def broadcast(self, gate, name, place):
        return reshaped(self, gate, f"{name}/gate", place)


class Divisions(NetworkFile):
    """DIV by 6 instead of MUL by 1/6."""

    def times(self, x, name, shape, factor):
        constant = self.file.tensor(f"{name}/divisor", [], data=np.array(6, np.float32))
        output = self.file.tensor(f"{name}/divided", shape)
        return self.file.operator("DIV", [x, constant], output, schema.DivOptionsT())


class SixthsAhead(NetworkFile):
    """Hard-swish and hard sigmoid without their factor of 1/6, which the next kernels include.

    TensorFlow 1.15's converter makes this of slim's ``x * relu6(x + 3) * 0.16667``: it moves a
    product with a constant into the layer that alone takes it.
    """

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **{**options, "spelled_out": True})
        self._multiples = {}
        """Tensor -> how many times the network's value it is."""
        self._share = 1.0

    def hard_swish(self, x, name, shape):
        clamped = self.plus_three(x, name, shape)
        product = self.file.tensor(f"{name}/product", shape)
        self.file.operator("MUL", [x, clamped], product, schema.MulOptionsT())
        self._multiples[product] = 6
        return product

    def squeeze(self, x, name, narrow):
        product = super().squeeze(x, name, narrow)
        self._multiples[product[0]] = 6 * self._multiples.get(x[0], 1)
        return product

    def times(self, x, name, shape, factor):
        return x

    def mean(self, x, name, keep):
        output = super().mean(x, name, keep)
        self._multiples[output] = self._multiples.get(x[0], 1)
        return output

    def conv(self, x, *arguments, **options):
        self._share = 1 / self._multiples.get(x[0], 1)
        return super().conv(x, *arguments, **options)

    def classifier(self, x):
        self._share = 1 / 6
        return super().classifier(x)

    def constant(self, name, values):
        return super().constant(name, values * (self._share if name.endswith("kernel") else 1))


class GatesInLayers(NetworkFile):
    """A hard sigmoid as a clamp to 0..1 after a layer that includes the factor 1/6 and 1/2."""

    def squeeze(self, x, name, narrow):
        tensor, side, channels = x
        place = [1, 1, 1, channels]
        mean = self.mean(x, f"{name}/mean", True)
        gate = self.on_a_place((mean, 1, channels), f"{name}/reduce", narrow, "relu")
        gate, _, _ = self.on_a_place(gate, f"{name}/expand", channels, "none")
        for kind, end in (("MINIMUM", 1), ("MAXIMUM", 0)):
            constant = self.file.tensor(f"{name}/{end}", [], data=np.array(end, np.float32))
            output = self.file.tensor(f"{name}/{kind}", place)
            gate = self.file.operator(kind, [gate, constant], output)
        product = self.file.tensor(f"{name}/product", [1, side, side, channels])
        self.file.operator("MUL", [gate, tensor], product, schema.MulOptionsT())
        return product, side, channels


class IntegerEnds(NetworkFile):
    """Bytes in and out, DEQUANTIZE and QUANTIZE between them and the network."""

    def entrance(self, shape):
        image = self.file.tensor("input", shape, "uint8", quantisation=([2 / 255], [128], 0))
        real = self.file.tensor("real", shape)
        return image, self.file.operator("DEQUANTIZE", [image], real, schema.DequantizeOptionsT())

    def exit(self, logits):
        shape = [1, self.config.num_classes]
        output = self.file.tensor("bytes", shape, "uint8", quantisation=([0.1], [128], 0))
        return self.file.operator("QUANTIZE", [logits], output, schema.QuantizeOptionsT())


class Normalised(NetworkFile):
    """Steps of (operator, constant, whether the constant stands first).

    ``cast`` takes bytes, and casts them; ``quantised``, a type, a scale and a zero point, takes
    integers that stand for real numbers. ``metadata`` are the file's.
    """

    steps = ()
    cast = False
    quantised = None
    metadata = None

    def entrance(self, shape):
        if self.metadata is not None:
            self.file.metadata("TFLITE_METADATA", self.metadata)
        if self.quantised is not None:
            dtype, scale, zero = self.quantised
            image = self.file.tensor("input", shape, dtype, quantisation=([scale], [zero], 0))
            data = self.file.tensor("real", shape)
            self.file.operator("DEQUANTIZE", [image], data, schema.DequantizeOptionsT())
            return image, self.normalised_by_steps(data, shape)
        image = data = self.file.tensor("input", shape, "uint8" if self.cast else "float32")
        if self.cast:
            data = self.file.tensor("cast", shape)
            self.file.operator("CAST", [image], data)
        return image, self.normalised_by_steps(data, shape)

    def normalised_by_steps(self, data, shape):
        """Apply the steps to the data."""
        for number, (kind, value, first) in enumerate(self.steps):
            values = np.array(value, np.float32)
            constant = self.file.tensor(f"step{number}", values.shape, data=values)
            operands = [constant, data] if first else [data, constant]
            data = self.file.tensor(f"step{number}/out", shape)
            options = getattr(schema, f"{kind.capitalize()}OptionsT")()
            self.file.operator(kind, operands, data, options)
        return data


def normalising(steps=(), **attributes):
    """A kind of file whose graph takes these steps, (operator, constant) each, at its start."""
    taken = [(kind, value, False) for kind, value in steps]
    return type("Normalising", (Normalised,), {"steps": taken, **attributes})


def reshaped(file, x, name, shape):
    """A RESHAPE."""
    options = schema.ReshapeOptionsT()
    options.newShape = shape
    target = file.file.tensor(f"{name}/shape", [len(shape)], "int32", np.array(shape, np.int32))
    output = file.file.tensor(f"{name}/reshaped", shape)
    return file.file.operator("RESHAPE", [x, target], output, options)
