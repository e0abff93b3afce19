"""A Keras model's configuration as a graph: its layers in order, as operators of a source.

The models of a configuration, and the models inside them, become one list of operators in the
vocabulary of :class:`porting.sources.source.Graph`. A layer's tensor is named by the layer and the
models around it, ``sequential/Conv1``; from the second time that a layer is called on, the number
of the call follows, ``Conv1:1``. A layer with an activation inside gives two tensors, of which the
first is the layer's result before that: ``predictions (linear)``.

Layers that do nothing in inference pass their data on. No code in a file is ever run: a Lambda, and
every other layer that is not known, is an operator under its own class, which no network has.

Formats: ``get_config`` of Keras ``models/functional.py`` and ``models/sequential.py``, and
``serialize_node`` of the first; ``Node.serialize`` of tf.keras ``engine/node.py`` for Keras 2,
where a call is a list of ``[layer, call, tensor, keywords]``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from porting.errors import BadSource, UnsupportedSource
from porting.sources.keras.config import KerasLayer
from porting.sources.source import Graph, Operator, TensorInfo

MOST_OPERATORS = 10_000
"""Most operators of a model, and most calls of models in it; EfficientNet-B7 has about 1,000."""

_DAMAGE = (
    TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip
"""Exceptions to which a setting or a call of the wrong type leads."""

_MOST_NUMBERS = 1 << 16
"""Most numbers of a constant in a configuration."""
_LEAST_DEVIATION = 1e-7
"""``keras.backend.epsilon()``, by which a deviation of 0 is replaced."""
_LARGEST_SIDE = 1 << 24
"""Largest side of a tensor; weights are read by the shapes in the file and not by these."""

LINEAR = " (linear)"
"""Ends the name of a layer's tensor before the activation that is inside the layer."""
DEPTHWISE = " (depthwise)"
"""Ends the name of a separable convolution's tensor between its two convolutions."""

ACTIVATIONS = {
    "relu": "RELU", "relu6": "RELU6", "sigmoid": "LOGISTIC", "tanh": "TANH", "softmax": "SOFTMAX",
    "silu": "SILU", "swish": "SILU", "hard_silu": "HARD_SWISH", "hard_swish": "HARD_SWISH",
    "hard_sigmoid": "HARD_SIGMOID",
}  # fmt: skip
"""Keras's name of an activation -> the operator."""

Shape = tuple[int, ...]
"""Sides of a tensor, the batch first as 1; -1 for an open one, () for an unknown shape."""

Operand = str | np.ndarray
"""The name of a tensor, or a constant."""


@dataclass(frozen=True)
class KerasGraph:
    """A model's graph, its tensors between operators, and the constants of its configuration."""

    graph: Graph
    activations: Mapping[str, TensorInfo]
    constants: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class _Reference:
    """An output of a layer's call, as another call names it."""

    layer: str
    call: int
    tensor: int


@dataclass(frozen=True)
class _Call:
    """One call of a layer: ``name`` is its tensor's, ``path`` the layer's among the models.

    ``keywords`` are the arguments that are not data.
    """

    layer: KerasLayer
    name: str
    path: tuple[str, ...]
    operands: Sequence[Operand]
    keywords: Mapping[str, Any]

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.layer.settings

    @property
    def data(self) -> str:
        """The tensor that a layer with one input takes."""
        if len(self.operands) != 1 or not isinstance(self.operands[0], str):
            raise ValueError(f"it takes {len(self.operands)} inputs; expected one tensor")
        return self.operands[0]


def _part_that_trains(layer: KerasLayer) -> KerasLayer | None:
    """The layer itself, or the first in it, that computes something else in training.

    A batch norm that is not trainable does not.
    """
    for part in layer:
        is_norm = part.kind == "BatchNormalization" and part.settings.get("trainable", True)
        if is_norm or (part.kind in _IDENTITIES and part.kind not in _SAME_IN_TRAINING):
            return part
    return None


def describes_a_graph(model: KerasLayer) -> bool:
    """Whether a configuration says how the layers are connected."""
    return "output_layers" in model.settings or "Functional" not in model.kind


def graph_of_model(
    model: KerasLayer,
    variables: Callable[[tuple[str, ...], str], str | None],
    load: Callable[[str], np.ndarray],
    keras_2: bool,
    where: str,
) -> KerasGraph:
    """The graph of a model.

    ``variables`` gives the name of a layer's variable by the layer's path and its own name, None
    where the file has none; ``load`` gives a stored tensor. ``keras_2`` says that the
    file was written by Keras 2, whose hard sigmoid is another function.

    Raises:
        BadSource: layers refer to what is not there or to each other in a circle, or a setting
            is not what such a layer has.
    """
    builder = _Builder(variables, load, keras_2, where)
    inputs = builder.inputs_of(model)
    outputs = builder.model(model, (), "", inputs)
    return KerasGraph(
        Graph(tuple(builder.operators), tuple(inputs), tuple(o for o in outputs if o is not None)),
        builder.activations,
        builder.constants,
    )


_SHAPE_SETTINGS = ("batch_shape", "batch_input_shape", "build_input_shape")
"""Settings of a layer that state the shape of the images."""


def _innermost_input(layer: KerasLayer) -> KerasLayer:
    """The layer that states what a model takes; of nested models, in the innermost one."""
    while layer.layers and not any(layer.settings.get(key) for key in _SHAPE_SETTINGS):
        starts = [] if _is_sequential(layer) else _references(layer.settings.get("input_layers"))
        name = starts[0].layer if starts else layer.layers[0].name
        layer = next((each for each in layer.layers if each.name == name), layer.layers[0])
    return layer


class _Builder:
    """Adds the operators of a model, call by call."""

    def __init__(
        self,
        variables: Callable[[tuple[str, ...], str], str | None],
        load: Callable[[str], np.ndarray],
        keras_2: bool,
        where: str,
    ) -> None:
        self._variables, self._load = variables, load
        self.keras_2, self._where = keras_2, where
        self._model_calls = 0
        self.operators: list[Operator] = []
        self.activations: dict[str, TensorInfo] = {}
        self.constants: dict[str, np.ndarray] = {}

    # --- models ---

    def inputs_of(self, model: KerasLayer) -> list[str]:
        """The inputs of the whole model; their tensors are added."""
        if _is_sequential(model):
            first = model.layers[0] if model.layers else model
            layers = [first]
        else:
            by_name = {layer.name: layer for layer in model.layers}
            references = _references(model.settings.get("input_layers"))
            layers = [self._known(by_name, reference.layer, model.name) for reference in references]
        for layer in layers:
            settings = _innermost_input(layer).settings
            shape = next(
                (settings[key] for key in _SHAPE_SETTINGS if settings.get(key)),
                model.settings.get("build_input_shape"),
            )
            name, dtype = layer.name, settings.get("dtype")
            if layer.kind != "InputLayer":
                name, dtype = f"{layer.name}_input", "float32"
            dtype = dtype if isinstance(dtype, str) else layer.dtype_policy or "float32"
            # As everywhere, sides of the image that are left open are 1.
            sides = tuple(max(side, 1) for side in self._sides(shape, name))
            self.activations[name] = TensorInfo(name, sides, dtype, dtype)
        return list(self.activations)

    def _sides(self, shape: Any, name: str) -> Shape:
        if not isinstance(shape, (list, tuple)):
            return ()
        sides = [-1 if side is None else side for side in shape]
        if not all(type(side) is int and -1 <= side <= _LARGEST_SIDE for side in sides):
            raise self.bad(f"the shape of {name!r} is {str(shape)[:80]}")
        return (1, *sides[1:]) if sides else ()

    def model(
        self, model: KerasLayer, path: tuple[str, ...], prefix: str, inputs: Sequence[Operand]
    ) -> list[str | None]:
        """Add the operators of a model that is called on ``inputs``; the names of its outputs."""
        self._model_calls += 1
        if self._model_calls > MOST_OPERATORS:
            raise self.bad(f"models are called more than {MOST_OPERATORS:,} times in it")
        if _is_sequential(model):
            return [self._sequence(model, path, prefix, inputs)]
        return self._functional(model, path, prefix, inputs)

    def _sequence(
        self, model: KerasLayer, path: tuple[str, ...], prefix: str, inputs: Sequence[Operand]
    ) -> str | None:
        outputs: Sequence[Operand | None] = list(inputs)
        names = [layer.name for layer in model.layers]
        if len(set(names)) < len(names):
            raise self.bad(f"two layers of {model.name!r} have the same name")
        for layer in model.layers:
            if layer.kind != "InputLayer":
                outputs = self._call(layer, (*path, layer.name), f"{prefix}{layer.name}",
                                     list(outputs), {})  # fmt: skip
        last = outputs[0] if outputs else None
        return last if isinstance(last, str) else None

    def _functional(
        self, model: KerasLayer, path: tuple[str, ...], prefix: str, inputs: Sequence[Operand]
    ) -> list[str | None]:
        layers = {layer.name: layer for layer in model.layers}
        if len(layers) < len(model.layers):
            raise self.bad(f"two layers of {model.name!r} have the same name")
        calls = {layer.name: self._calls(layer) for layer in model.layers}
        starts = _references(model.settings.get("input_layers"))
        if len(starts) != len(inputs):
            raise self.bad(
                f"the model {model.name!r} has {len(starts)} inputs and is called on {len(inputs)}"
            )
        ends = self._shifted(_references(model.settings.get("output_layers")), layers, calls)
        if not ends:
            raise self.bad(f"the model {model.name!r} has no output")
        inner = [
            reference for each in calls.values() for call in each for reference in _tensors(call)
        ]
        references = dict(zip(inner, self._shifted(inner, layers, calls), strict=True))
        results: dict[tuple[str, int], Sequence[Operand | None]] = {
            (start.layer, 0): [operand] for start, operand in zip(starts, inputs, strict=True)
        }
        active: set[tuple[str, int]] = set()
        pending = [(end.layer, end.call) for end in reversed(ends)]
        while pending:
            key = pending[-1]
            if key in results:
                pending.pop()
                continue
            name, number = key
            layer = self._known(layers, name, model.name)
            if not 0 <= number < len(calls[name]):
                raise self.bad(
                    f"{name!r} is called {len(calls[name])} times; its call {number} is referred to"
                )
            call = calls[name][number]
            needs = [references[reference] for reference in _tensors(call)]
            missing = [need for need in needs if (need.layer, need.call) not in results]
            if missing and key in active:
                raise self.bad(f"layers take each other's results in a circle, {name!r} among them")
            active.add(key)
            if missing:
                pending += [(need.layer, need.call) for need in reversed(missing)]
                continue
            pending.pop()

            def value(item: Any) -> Any:
                if isinstance(item, _Reference):
                    reference = references[item]
                    return self._output(results, reference)
                if isinstance(item, list):
                    return [value(each) for each in item]
                return item

            arguments, keywords = call
            suffix = f":{number}" if number else ""
            results[key] = self._call(
                layer, (*path, name), f"{prefix}{name}{suffix}",
                [value(item) for item in arguments],
                {keyword: value(item) for keyword, item in keywords.items()},
            )  # fmt: skip
        return [self._output(results, end) for end in ends]

    def _output(
        self, results: Mapping[tuple[str, int], Sequence[Any]], reference: _Reference
    ) -> Any:
        outputs = results[reference.layer, reference.call]
        if not 0 <= reference.tensor < len(outputs):
            raise self.bad(f"{reference.layer!r} has no output {reference.tensor}")
        return outputs[reference.tensor]

    def _known(self, layers: Mapping[str, KerasLayer], name: str, model: str) -> KerasLayer:
        if name not in layers:
            raise self.bad(
                f"the model {model!r} refers to a layer {name!r}, which it does not have"
            )
        return layers[name]

    def _shifted(
        self, references: Sequence[_Reference], layers: Mapping[str, KerasLayer],
        calls: Mapping[str, Sequence[Any]],
    ) -> list[_Reference]:  # fmt: skip
        """References with calls counted from 0: those of a model are often counted from 1."""
        largest: dict[str, int] = {}
        for reference in references:
            largest[reference.layer] = max(largest.get(reference.layer, 0), reference.call)
        from_one = {
            name
            for name, number in largest.items()
            if name in layers and layers[name].layers and number == len(calls[name]) > 0
        }
        return [
            _Reference(r.layer, max(r.call - 1, 0), r.tensor) if r.layer in from_one else r
            for r in references
        ]

    def _calls(self, layer: KerasLayer) -> list[tuple[list[Any], dict[str, Any]]]:
        """Positional arguments and keywords of each call of a layer; data as references."""
        if not isinstance(layer.calls, list):
            raise self.bad(f"the calls of {layer.name!r} are not a list")
        try:
            return [_parsed_call(call) for call in layer.calls]
        except _DAMAGE as error:
            raise self.bad(f"a call of {layer.name!r} is damaged: {str(error)[:80]}") from error

    # --- calls ---

    def _call(
        self, layer: KerasLayer, path: tuple[str, ...], name: str, arguments: list[Any],
        keywords: Mapping[str, Any],
    ) -> Sequence[str | None]:  # fmt: skip
        operands = list(_flat(arguments))
        # A call may name its data: Multiply()(x=..., y=...) of tf.keras, with a constant too.
        data = {key: value for key, value in keywords.items() if key in _DATA_KEYWORDS}
        operands += [each for key in _DATA_KEYWORDS for each in _flat([data.get(key)])]
        operands = [each for each in operands if each is not None]
        rest = {key: value for key, value in keywords.items() if key not in data}
        if rest.get("training") and (part := _part_that_trains(layer)) is not None:
            raise UnsupportedSource(
                f"{self._where}: the layer {name!r} is called with training=True, so that "
                f"{part.name!r} ({part.kind}) computes as in training whenever the model is run, "
                "which no port does; build the model with training=False and save it again"
            )
        if layer.layers:
            return self.model(layer, path, f"{name}/", operands)
        call = _Call(layer, name, path, operands, rest)
        method = _METHODS.get(layer.kind, _Builder.unknown)
        try:
            method(self, call)
        except _DAMAGE as error:
            reason = str(error)[:120] or type(error).__name__
            raise self.bad(f"the layer {name!r} ({layer.kind}): {reason}") from error
        return [name]

    def bad(self, reason: str) -> BadSource:
        """The error of a configuration that contradicts itself."""
        return BadSource(f"{self._where}: the model's configuration is damaged: {reason}")

    def add(
        self, name: str, kind: str, inputs: Sequence[Operand | None], shape: Shape, **options: Any
    ) -> None:
        """Add an operator; constants among its inputs become tensors of the source."""
        if name in self.activations:
            raise ValueError("two tensors of this name")
        if len(self.operators) >= MOST_OPERATORS:
            raise self.bad(f"it computes more than {MOST_OPERATORS:,} operators")
        if any(side > _LARGEST_SIDE for side in shape):
            raise ValueError(f"its result would have the shape {shape}")
        names: list[str | None] = []
        for place, operand in enumerate(inputs):
            if isinstance(operand, np.ndarray):
                constant = f"{name} (constant {place})"
                self.constants[constant] = operand
                names.append(constant)
            else:
                names.append(operand)
        number = len(self.operators)
        self.operators.append(Operator(number, kind, tuple(names), (name,), options))
        self.activations[name] = TensorInfo(name, shape, "float32", "float32")

    def shape(self, operand: Operand) -> Shape:
        if isinstance(operand, np.ndarray):
            return operand.shape
        info = self.activations.get(operand)
        return () if info is None else info.shape

    def variable(self, call: _Call, name: str) -> str:
        tensor = self._variables(call.path, name)
        if tensor is None:
            raise ValueError(f"the file has no {name} of it")
        return tensor

    def _shape_of(self, tensor: str) -> Shape:
        return self._load(tensor).shape

    def unknown(self, call: _Call) -> None:
        """A layer that no network has; it is listed so that messages can name it."""
        self.add(call.name, call.layer.kind, call.operands, ())

    def passing(self, call: _Call) -> None:
        """A layer that does nothing in inference."""
        self.add(call.name, "CAST", [call.data], self.shape(call.data))

    def activated(self, call: _Call, name: str, data: str, activation: Any) -> None:
        """Add an activation by its name, or by the layer or function that stands for it."""
        shape = self.shape(data)
        if isinstance(activation, dict):
            settings = activation.get("config")
            kind = activation.get("class_name")
            if isinstance(settings, dict) and kind in _ACTIVATION_LAYERS:
                inner = KerasLayer(call.layer.name, str(kind), settings)
                _METHODS[inner.kind](self, _Call(inner, name, call.path, [data], {}))
                return
            activation = settings if isinstance(settings, str) else kind
        activation = "linear" if activation is None else activation
        if activation == "linear":
            self.add(name, "CAST", [data], shape)
        elif activation in ACTIVATIONS and not (self.keras_2 and activation == "hard_sigmoid"):
            self.add(name, ACTIVATIONS[activation], [data], shape)
        else:
            # Keras 2's hard sigmoid is 0.2 x + 0.5 between 0 and 1.
            self.add(name, f"Activation({str(activation)[:40]})", [data], shape)

    def activation(self, call: _Call) -> None:
        self.activated(call, call.name, call.data, call.settings["activation"])

    def weighted(
        self, call: _Call, kind: str, inputs: Sequence[Operand | None], shape: Shape, **options: Any
    ) -> None:
        """Add a layer and the activation inside it."""
        activation = call.settings.get("activation")
        if isinstance(activation, dict) and activation.get("config") == "linear":
            activation = None
        if activation in (None, "linear"):
            self.add(call.name, kind, inputs, shape, **options)
            return
        linear = f"{call.name}{LINEAR}"
        self.add(linear, kind, inputs, shape, **options)
        self.activated(call, call.name, linear, activation)

    def bias(self, call: _Call) -> str | None:
        return self.variable(call, "bias") if call.settings.get("use_bias", True) else None

    def _plain_data_format(self, call: _Call) -> bool:
        return call.settings.get("data_format") in (None, "channels_last", "default")

    def convolution(self, call: _Call) -> None:
        if not self._plain_data_format(call):
            return self.unknown(call)
        weight = self.variable(call, "kernel")
        *kernel, _, channels = _four(self._shape_of(weight))
        options = self._window(call, kernel)
        shape = _windowed(self.shape(call.data), kernel, options, channels)
        inputs = [call.data, weight, self.bias(call)]
        return self.weighted(call, "CONV_2D", inputs, shape, weight_axes="h w i o", **options)

    def depthwise(self, call: _Call) -> None:
        if not self._plain_data_format(call):
            return self.unknown(call)
        weight = self.variable(call, "depthwise_kernel")
        options, shape = self._depthwise(call, weight)
        inputs = [call.data, weight, self.bias(call)]
        return self.weighted(call, "DEPTHWISE_CONV_2D", inputs, shape, **options)

    def _depthwise(self, call: _Call, weight: str) -> tuple[dict[str, Any], Shape]:
        *kernel, channels, multiplier = _four(self._shape_of(weight))
        options = self._window(call, kernel)
        shape = _windowed(self.shape(call.data), kernel, options, channels * multiplier)
        axes = f"h w c {1 if multiplier == 1 else 'm'}"
        return {"weight_axes": axes, "depth_multiplier": multiplier, **options}, shape

    def separable(self, call: _Call) -> None:
        if not self._plain_data_format(call):
            return self.unknown(call)
        depthwise = self.variable(call, "depthwise_kernel")
        pointwise = self.variable(call, "pointwise_kernel")
        options, shape = self._depthwise(call, depthwise)
        between = f"{call.name}{DEPTHWISE}"
        self.add(between, "DEPTHWISE_CONV_2D", [call.data, depthwise, None], shape, **options)
        shape = (*shape[:-1], _four(self._shape_of(pointwise))[-1])
        inputs = [between, pointwise, self.bias(call)]
        plain = {"padding": "VALID", "stride_h": 1, "stride_w": 1, "dilation_h": 1, "dilation_w": 1}
        return self.weighted(call, "CONV_2D", inputs, shape, weight_axes="h w i o", **plain)

    def _window(self, call: _Call, kernel: Sequence[int]) -> dict[str, Any]:
        settings = call.settings
        strides = _pair(settings.get("strides", 1))
        dilations = _pair(settings.get("dilation_rate", 1))
        if list(_pair(settings.get("kernel_size", kernel))) != list(kernel):
            raise ValueError(f"its kernel is {kernel}, by its settings {settings['kernel_size']}")
        return {
            "padding": _padding(settings.get("padding", "valid")),
            "stride_h": strides[0], "stride_w": strides[1],
            "dilation_h": dilations[0], "dilation_w": dilations[1],
        }  # fmt: skip

    def dense(self, call: _Call) -> None:
        weight = self.variable(call, "kernel")
        sides = self._shape_of(weight)
        if len(sides) != 2:
            raise ValueError(f"its kernel has the shape {sides}")
        data = self.shape(call.data)
        shape = (*data[:-1], sides[1]) if data else ()
        inputs = [call.data, weight, self.bias(call)]
        self.weighted(call, "FULLY_CONNECTED", inputs, shape, weight_axes="i o")

    def batch_norm(self, call: _Call) -> None:
        settings, shape = call.settings, self.shape(call.data)
        axis = settings.get("axis", -1)
        axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
        if axis not in (-1, len(shape) - 1):
            return self.unknown(call)
        gamma = self.variable(call, "gamma") if settings.get("scale", True) else None
        beta = self.variable(call, "beta") if settings.get("center", True) else None
        mean, variance = (self.variable(call, name) for name in ("moving_mean", "moving_variance"))
        epsilon = _number(settings.get("epsilon", 1e-3))
        inputs = [call.data, gamma, beta, mean, variance]
        return self.add(call.name, "BATCH_NORM", inputs, shape, epsilon=epsilon)

    def relu(self, call: _Call) -> None:
        settings, shape = call.settings, self.shape(call.data)
        slopes = [settings.get(key) for key in ("negative_slope", "threshold")]
        most = settings.get("max_value")
        if any(slope not in (None, 0, 0.0) and slope != [0.0] for slope in slopes):
            return self.unknown(call)
        if most is None or most == 6:
            return self.add(call.name, "RELU" if most is None else "RELU6", [call.data], shape)
        positive = f"{call.name} (before its maximum)"
        self.add(positive, "RELU", [call.data], shape)
        return self.add(call.name, "MINIMUM", [positive, _constant(_number(most))], shape)

    def softmax(self, call: _Call) -> None:
        shape = self.shape(call.data)
        if call.settings.get("axis", -1) not in (-1, len(shape) - 1):
            return self.unknown(call)
        return self.add(call.name, "SOFTMAX", [call.data], shape)

    def padding(self, call: _Call) -> None:
        shape = self.shape(call.data)
        if not self._plain_data_format(call):
            return self.unknown(call)
        amounts = call.settings["padding"]
        amounts = [amounts] * 2 if isinstance(amounts, int) else amounts
        rows, columns = (_pair(amount) for amount in amounts)
        pads = np.array([(0, 0), rows, columns, (0, 0)], np.int32)
        sides = [
            side if side < 0 else side + sum(ends)
            for side, ends in zip(shape[1:3], (rows, columns), strict=False)
        ]
        result = (shape[0], *sides, shape[3]) if len(shape) == 4 else ()
        return self.add(call.name, "PAD", [call.data, pads], result)

    def global_mean(self, call: _Call) -> None:
        self._over_space(call, "MEAN")

    def global_max(self, call: _Call) -> None:
        self._over_space(call, "REDUCE_MAX")

    def _over_space(self, call: _Call, kind: str) -> None:
        shape = self.shape(call.data)
        if not self._plain_data_format(call):
            return self.unknown(call)
        result: Shape = ()
        if len(shape) == 4:
            ones = (1, 1) if call.settings.get("keepdims") else ()
            result = (shape[0], *ones, shape[3])
        axes = np.array([1, 2], np.int32)
        return self.add(call.name, kind, [call.data, axes], result)

    def pooling(self, call: _Call) -> None:
        if not self._plain_data_format(call):
            return self.unknown(call)
        settings = call.settings
        window = _pair(settings.get("pool_size", 2))
        strides = _pair(settings.get("strides") or window)
        options: dict[str, Any] = {"padding": _padding(settings.get("padding", "valid"))}
        options |= {"stride_h": strides[0], "stride_w": strides[1]}
        shape = _windowed(
            self.shape(call.data), window, {"dilation_h": 1, "dilation_w": 1, **options}, None
        )
        kind = "AVERAGE_POOL_2D" if "Average" in call.layer.kind else "MAX_POOL_2D"
        return self.add(
            call.name, kind, [call.data], shape, filter_h=window[0], filter_w=window[1], **options
        )

    def flatten(self, call: _Call) -> None:
        shape = self.shape(call.data)
        sides = shape[1:]
        size = -1 if min(sides, default=0) < 0 else math.prod(sides)
        self.add(call.name, "RESHAPE", [call.data], (1, size) if shape else ())

    def reshape(self, call: _Call) -> None:
        self._reshaped(call, call.settings["target_shape"])

    def _reshaped(self, call: _Call, target: Any) -> None:
        shape = self.shape(call.data)
        sides = [int(side) for side in target]
        if sides.count(-1) == 1 and shape and min(shape[1:], default=1) >= 0:
            rest = math.prod(side for side in sides if side != -1)
            sides = [math.prod(shape[1:]) // rest if side == -1 else side for side in sides]
        is_complete = bool(shape) and min(shape[1:], default=1) >= 0 and -1 not in sides
        if is_complete and math.prod(sides) != math.prod(shape[1:]):
            raise ValueError(f"it makes {tuple(sides)} of {shape[1:]}")
        self.add(call.name, "RESHAPE", [call.data], (1, *sides))

    def permute(self, call: _Call) -> None:
        shape, dims = self.shape(call.data), [int(axis) for axis in call.settings["dims"]]
        order = np.array([0, *dims], np.int32)
        result = tuple(shape[axis] for axis in order) if shape else ()
        self.add(call.name, "TRANSPOSE", [call.data, order], result)

    def concatenation(self, call: _Call) -> None:
        axis = call.settings.get("axis", call.keywords.get("axis", -1))
        shapes = [self.shape(operand) for operand in call.operands]
        result: Shape = ()
        if shapes and all(len(shape) == len(shapes[0]) > 0 for shape in shapes):
            sides = list(shapes[0])
            sides[axis] = sum(shape[axis] for shape in shapes)
            result = tuple(sides)
        self.add(call.name, "CONCATENATION", call.operands, result, axis=int(axis))

    def arithmetic(self, call: _Call) -> None:
        """A sum, difference, product or quotient, of two operands or of a list of them."""
        kind = _ARITHMETIC[_operation_name(call.layer)]
        operands = list(call.operands)
        if len(operands) < 2 or not any(isinstance(each, str) for each in operands):
            raise ValueError(f"it takes {len(operands)} operands; expected two or more")
        value, shape = operands[0], self.shape(operands[0])
        for number, other in enumerate(operands[1:], 1):
            is_last = number == len(operands) - 1
            name = call.name if is_last else f"{call.name} ({number} of {len(operands) - 1})"
            shape = _broadcast(shape, self.shape(other))
            self.add(name, kind, [value, other], shape)
            value = name

    def rescaling(self, call: _Call) -> None:
        settings = call.settings
        scale, offset = _constant(settings.get("scale", 1)), _constant(settings.get("offset", 0))
        shape = self.shape(call.data)
        product = f"{call.name} (scaled)" if offset.any() else call.name
        self.add(product, "MUL", [call.data, scale], shape)
        if offset.any():
            self.add(call.name, "ADD", [product, offset], shape)

    def normalisation(self, call: _Call) -> None:
        """``(x - mean) / sqrt(variance)``, as set or as adapted; the inverse where asked for.

        As ``call`` of ``layers/preprocessing/normalization.py`` in Keras.
        """
        settings, shape = call.settings, self.shape(call.data)
        if settings.get("mean") is not None:
            mean, variance = (_constant(settings[key]) for key in ("mean", "variance"))
        else:
            # A .keras numbers the variables of layers that it does not know by name.
            has_names = self._variables(call.path, "mean") is not None
            names = ("mean", "variance") if has_names else ("0", "1")
            mean, variance = (_constant(self._load(self.variable(call, n))) for n in names)
        deviation = np.maximum(np.sqrt(variance), _LEAST_DEVIATION)
        if settings.get("invert"):
            self.add(f"{call.name} (scaled)", "MUL", [call.data, deviation], shape)
            self.add(call.name, "ADD", [f"{call.name} (scaled)", mean], shape)
        else:
            self.add(f"{call.name} (centred)", "SUB", [call.data, mean], shape)
            self.add(call.name, "DIV", [f"{call.name} (centred)", deviation], shape)

    def resizing(self, call: _Call) -> None:
        """Add a resize or a crop, unless the data already has that size."""
        sides = (call.settings.get("height"), call.settings.get("width"))
        if self.shape(call.data)[1:3] == sides:
            return self.passing(call)
        return self.unknown(call)

    def operation(self, call: _Call) -> None:
        """A function that is called on tensors, by its name: TFOpLambda of tf.keras."""
        name = _operation_name(call.layer)
        if name in _ARITHMETIC:
            self.arithmetic(call)
        elif name in ACTIVATIONS:
            self.activated(call, call.name, call.data, name)
        elif name in ("identity", "stop_gradient", "cast", "Cast"):
            self.passing(call)
        elif name in ("reduce_mean", "Mean") and _axes(call) in ([1, 2], [2, 1]):
            settings = {"keepdims": call.settings.get("keepdims", call.keywords.get("keepdims"))}
            inner = KerasLayer(call.layer.name, "GlobalAveragePooling2D", settings)
            self.global_mean(_Call(inner, call.name, call.path, call.operands[:1], {}))
        else:
            self.add(call.name, f"{call.layer.kind}({name[:40]})", call.operands, ())


_DATA_KEYWORDS = ("inputs", "x", "x1", "features", "input", "logits", "input_tensor", "y", "x2")
"""Names by which a call passes its data on, in the order of its operands."""

_ARITHMETIC = {
    "Add": "ADD", "add": "ADD", "Subtract": "SUB", "subtract": "SUB", "sub": "SUB",
    "Multiply": "MUL", "multiply": "MUL", "mul": "MUL", "TrueDivide": "DIV", "Divide": "DIV",
    "truediv": "DIV", "divide": "DIV", "TensorFlowOpLayer": "",
}  # fmt: skip
"""Classes of layers and of Keras 3's operations, and ends of TensorFlow's names -> the operator."""

_IDENTITIES = (
    "Dropout", "SpatialDropout1D", "SpatialDropout2D", "AlphaDropout", "FixedDropout",
    "GaussianNoise", "GaussianDropout", "ActivityRegularization", "Identity",
    "RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast",
    "RandomBrightness", "RandomHeight", "RandomWidth", "RandomShear", "RandomHue",
    "RandomSaturation", "RandomSharpness", "RandomGrayscale", "RandomColorJitter",
    "RandomColorDegeneration", "RandomPosterization", "RandomGaussianBlur", "RandomInvert",
    "RandomErasing", "RandomPerspective", "RandomElasticTransform", "RandAugment", "AugMix",
    "MixUp", "CutMix",
)  # fmt: skip
"""Layers that return their input in inference. ``FixedDropout`` is that of the ``efficientnet``
package (qubvel/efficientnet), Keras's dropout with another shape of noise."""

_SAME_IN_TRAINING = ("ActivityRegularization", "Identity")
"""Those of them that return their input in training too."""

_ACTIVATION_LAYERS = ("ReLU", "Softmax")

_METHODS: Mapping[str, Callable[[_Builder, _Call], None]] = {
    **dict.fromkeys(_IDENTITIES, _Builder.passing),
    "Conv2D": _Builder.convolution,
    "DepthwiseConv2D": _Builder.depthwise,
    "SeparableConv2D": _Builder.separable,
    "Dense": _Builder.dense,
    "BatchNormalization": _Builder.batch_norm,
    "ReLU": _Builder.relu,
    "Softmax": _Builder.softmax,
    "Activation": _Builder.activation,
    "ZeroPadding2D": _Builder.padding,
    "GlobalAveragePooling2D": _Builder.global_mean,
    "GlobalMaxPooling2D": _Builder.global_max,
    "AveragePooling2D": _Builder.pooling,
    "MaxPooling2D": _Builder.pooling,
    "Flatten": _Builder.flatten,
    "Reshape": _Builder.reshape,
    "Permute": _Builder.permute,
    "Concatenate": _Builder.concatenation,
    **dict.fromkeys(("Add", "Subtract", "Multiply", "TrueDivide", "Divide"), _Builder.arithmetic),
    "Rescaling": _Builder.rescaling,
    "Normalization": _Builder.normalisation,
    "Resizing": _Builder.resizing,
    "CenterCrop": _Builder.resizing,
    **dict.fromkeys(
        ("TFOpLambda", "Relu", "Relu6", "Sigmoid", "Silu", "HardSilu", "HardSwish", "HardSigmoid",
         "Mean", "Cast"),
        _Builder.operation,
    ),
}  # fmt: skip
"""Class of a layer, or of an operation of Keras 3 -> the method that adds its operators."""

_OPERATIONS_OF_KERAS_3 = {
    "Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "Silu": "silu",
    "HardSilu": "hard_silu", "HardSwish": "hard_swish", "HardSigmoid": "hard_sigmoid",
}  # fmt: skip


def _operation_name(layer: KerasLayer) -> str:
    """The name of a function, without the module: ``truediv`` of ``math.truediv``."""
    if layer.kind == "TFOpLambda":
        return str(layer.settings.get("function")).rpartition(".")[2]
    return _OPERATIONS_OF_KERAS_3.get(layer.kind, layer.kind)


def _axes(call: _Call) -> list[int]:
    axes = call.settings.get("axis", call.keywords.get("axis"))
    axes = axes.tolist() if isinstance(axes, np.ndarray) else axes
    return [int(axis) for axis in axes] if isinstance(axes, list) else []


def _is_sequential(model: KerasLayer) -> bool:
    return "output_layers" not in model.settings


def _references(ends: Any) -> list[_Reference]:
    """The inputs or outputs of a model: one reference, a list or a dictionary of them."""
    if isinstance(ends, dict):
        ends = list(ends.values())
    if not isinstance(ends, list):
        return []
    if _is_reference(ends):
        return [_Reference(*ends[:3])]
    return [_Reference(*end[:3]) for end in ends if _is_reference(end)]


def _is_reference(item: Any) -> bool:
    """Whether an item of a list is ``[layer, call, tensor]``, perhaps with keywords."""
    return (
        isinstance(item, list)
        and len(item) in (3, 4)
        and isinstance(item[0], str)
        and all(type(number) is int for number in item[1:3])
    )


def _parsed_call(call: Any) -> tuple[list[Any], dict[str, Any]]:
    """Positional arguments and keywords of a call, data as references."""
    if isinstance(call, dict):  # Keras 3
        return [_argument(item) for item in call.get("args", [])], _options(call.get("kwargs", {}))
    items = [call] if call and isinstance(call[0], str) else list(call)
    arguments: list[Any] = []
    keywords: dict[str, Any] = {}
    for item in items:
        if item[0] == "_CONSTANT_VALUE":  # a constant where data is expected, in tf.keras
            arguments.append(_argument(item[2]))
        elif _is_reference(item):
            arguments.append(_Reference(*item[:3]))
        else:
            raise ValueError(f"expected [layer, call, tensor], found {str(item)[:40]}")
        if len(item) > 3:
            keywords |= _options(dict(item[3]))
    return arguments, keywords


def _options(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of a call; flags, as of ``training`` and ``keepdims``, stay what they are."""
    return {
        key: item if isinstance(item, bool) else _argument(item) for key, item in keywords.items()
    }


def _argument(item: Any) -> Any:  # noqa: PLR0911 - a table of cases
    """An argument: references for data, arrays for numbers, anything else as None."""
    if isinstance(item, dict):
        settings = item.get("config")
        kind = item.get("class_name")
        if kind == "__keras_tensor__" and isinstance(settings, dict):
            history = settings["keras_history"]
            if not _is_reference(history):
                raise ValueError(f"expected [layer, call, tensor], found {str(history)[:40]}")
            return _Reference(*history[:3])
        if kind == "__tuple__" and isinstance(settings, dict):
            return _argument(settings["items"])
        if kind in ("__tensor__", "__numpy__") and isinstance(settings, dict):
            return _constant(settings["value"])
        return None
    if _is_reference(item):
        return _Reference(*item[:3])
    if isinstance(item, list):
        if any(isinstance(each, (dict, list)) and not _is_numeric(each) for each in item):
            return [_argument(each) for each in item]
        return _constant(item) if _is_numeric(item) else None
    if isinstance(item, bool) or not isinstance(item, (int, float)):
        return None
    return _constant(item)


def _is_numeric(item: Any) -> bool:
    if isinstance(item, list):
        return bool(item) and all(_is_numeric(each) for each in item)
    return isinstance(item, (int, float)) and not isinstance(item, bool)


def _tensors(call: tuple[list[Any], dict[str, Any]]) -> Iterator[_Reference]:
    """All references in the arguments of a call."""
    pending = [*call[0], *call[1].values()]
    while pending:
        item = pending.pop()
        if isinstance(item, _Reference):
            yield item
        elif isinstance(item, list):
            pending += item


def _flat(items: Sequence[Any]) -> Iterator[Any]:
    for item in items:
        if isinstance(item, list):
            yield from _flat(item)
        else:
            yield item


def _constant(value: Any) -> np.ndarray:
    """Numbers of a configuration as a float64 array.

    Raises:
        ValueError: they are not numbers, or too many.
    """
    if isinstance(value, dict):
        value = value["config"]["value"]
    array = np.atleast_1d(np.asarray(value))
    if array.dtype.kind not in "iuf" or array.size > _MOST_NUMBERS:
        raise ValueError(f"expected numbers, found {str(value)[:40]}")
    return array.astype(np.float64)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"expected a number, found {str(value)[:40]}")
    return float(value)


def _pair(value: Any) -> tuple[int, int]:
    """Height and width of a setting: one integer for both, or two."""
    numbers = list(value) if isinstance(value, (list, tuple)) else [value, value]
    if len(numbers) != 2 or not all(type(n) is int and 0 <= n <= _LARGEST_SIDE for n in numbers):
        raise ValueError(f"expected one or two whole numbers, found {str(value)[:40]}")
    return numbers[0], numbers[1]


def _padding(value: Any) -> str:
    if value not in ("same", "valid"):
        raise ValueError(f"padding {str(value)[:40]!r}; expected 'same' or 'valid'")
    return str(value).upper()


def _four(shape: Shape) -> Shape:
    if len(shape) != 4:
        raise ValueError(f"its kernel has the shape {shape}; expected four sides")
    return shape


def _windowed(
    data: Shape, kernel: Sequence[int], options: Mapping[str, Any], channels: int | None
) -> Shape:
    """The shape after a convolution or pooling; see the notes on padding of ``tf.nn``."""
    if len(data) != 4:
        return ()
    sides = []
    for side, size, axis in zip(data[1:3], kernel, "hw", strict=True):
        stride, reach = options[f"stride_{axis}"], (size - 1) * options[f"dilation_{axis}"]
        if stride < 1:
            raise ValueError(f"a stride of {stride}")
        if side < 0:
            sides.append(-1)
        elif options["padding"] == "SAME":
            sides.append(-(-side // stride))
        else:
            sides.append(max(-(-(side - reach) // stride), 0))
    return (data[0], *sides, data[3] if channels is None else channels)


def _broadcast(one: Shape, other: Shape) -> Shape:
    long, short = (one, other) if len(one) >= len(other) else (other, one)
    short = (1,) * (len(long) - len(short)) + short
    return tuple(max(a, b) if a > 0 and b > 0 else -1 for a, b in zip(long, short, strict=True))
