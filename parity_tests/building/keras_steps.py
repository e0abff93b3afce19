"""The steps of a Keras model, layer by layer.

Nothing of :mod:`porting.mapping` or of block strings is used: the tests hold descriptions, networks
and judges to what this finds in keras.applications.
"""

from __future__ import annotations

import math

from porting.judges.reference.steps import SAME, Step, required_steps

PASSED = ("Dropout", "Reshape", "Flatten", "Rescaling", "Normalization", "GetItem")

PLAIN = {
    "BatchNormalization": "norm", "GlobalAveragePooling2D": "mean", "Add": "add",
    "Multiply": "multiply",
}  # fmt: skip


def steps_of_keras(model):
    """The steps of a functional model from its input to its last layer, without a softmax."""
    reader = _Reader()
    for layer in model.operations:
        reader.read(layer)
    return required_steps(reader.steps, reader.values[id(model.output)])


class _Reader:
    def __init__(self):
        self.steps, self.values, self.padded, self.parts = [], {}, {}, {}

    def step(self, kind, inputs, channels, **facts):
        self.steps.append(Step(kind, tuple(inputs), channels, **facts))
        return len(self.steps) - 1

    def read(self, layer):
        kind, output = type(layer).__name__, layer.output
        if kind == "InputLayer":
            self.values[id(output)] = self.step("image", (), output.shape[-1])
            return
        tensors = layer._inbound_nodes[0].input_tensors
        if kind == "ZeroPadding2D":
            self.padded[id(output)] = tensors[0], tuple(map(tuple, layer.padding))
            return
        numbers = [n for n in layer._inbound_nodes[0].arguments.args if isinstance(n, float)]
        if numbers:
            self.constant(kind, tensors[0], numbers[0], output)
            return
        if kind == "ReLU" and id(tensors[0]) in self.parts:
            assert (self.parts[id(tensors[0])][0], layer.max_value) == ("x + 3", 6)
            self.parts[id(output)] = "relu6(x + 3)", self.parts[id(tensors[0])][1]
            return
        self.values[id(output)] = self.computed(kind, layer, tensors)

    def constant(self, kind, tensor, number, output):
        """The constants of a hard sigmoid: plus 3, times a sixth."""
        if kind == "Add":
            assert number == 3
            self.parts[id(output)] = "x + 3", self.values[id(tensor)]
            return
        assert kind == "Multiply"
        part, source = self.parts[id(tensor)]
        assert part == "relu6(x + 3)"
        channels = self.steps[source].channels
        self.values[id(output)] = self.step("hard_sigmoid", (source,), channels, number=number)

    def computed(self, kind, layer, tensors):
        if kind in ("Conv2D", "DepthwiseConv2D"):
            return self.convolution(kind, layer, tensors[0])
        inputs = [self.values[id(tensor)] for tensor in tensors]
        channels, facts = self.steps[inputs[0]].channels, {}
        activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
        if kind in PASSED or (kind == "Activation" and activation == "linear"):
            return inputs[0]
        if kind == "Dense":
            assert activation == "linear" and layer.use_bias
            one = {"kernel": (1, 1), "stride": (1, 1), "padding": SAME}
            return self.step("bias", [self.step("conv", inputs, layer.units, **one)], layer.units)
        if kind == "BatchNormalization":
            assert layer.axis in (3, -1) and layer.center and layer.scale
            facts = {"number": layer.epsilon}
        elif kind == "ReLU":
            assert (layer.negative_slope, layer.threshold) == (0, 0)
            kind = {None: "relu", 6: "relu6"}[layer.max_value]
        elif kind == "Activation" and activation == "silu":
            kind = "silu"
        elif activation == "hard_silu":  # Keras 3's name of hard-swish
            kind, facts = "hard_swish", {"number": 1 / 6}
        return self.step(PLAIN.get(kind, kind), inputs, channels, **facts)

    def convolution(self, kind, layer, tensor):
        assert layer.dilation_rate == (1, 1)
        tensor, amounts = self.padded.get(id(tensor), (tensor, None))
        sides = tensor.shape[1:3]
        padding = layer.padding.upper()
        if padding == "VALID":
            amounts = amounts or ((0, 0), (0, 0))
            expected = tuple(map(same, sides, layer.kernel_size, layer.strides))
            padding = SAME if amounts == expected else f"{amounts} of sides {sides}"
        source, step = self.values[id(tensor)], "conv" if kind == "Conv2D" else "depthwise"
        outputs = layer.output.shape[-1]
        if kind == "Conv2D":
            assert layer.groups == 1
        number = self.step(
            step, (source,), outputs, kernel=layer.kernel_size, stride=layer.strides,
            padding=padding,
        )  # fmt: skip
        if layer.use_bias:
            number = self.step("bias", (number,), outputs)
        activation = layer.activation.__name__
        if activation == "linear":
            return number
        assert activation in ("silu", "sigmoid")
        return self.step(activation, (number,), outputs)


def same(size, kernel, stride):
    """TensorFlow's SAME padding, for ceil(size / stride) outputs."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
