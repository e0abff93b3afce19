"""The judge of Keras files: Keras loads the weights and gives the output of any layer."""

from __future__ import annotations

import re
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from porting.errors import BadInput, MissingJudge
from porting.judges.judge import Run, direct_inputs, groups_of
from porting.judges.keras_2 import SLASH, classes_of_keras_2, write_for_keras_3
from porting.judges.tensorflow import import_tensorflow
from porting.judges.tfjs import model_of_tfjs
from porting.sources.checkpoint import CheckpointSource
from porting.sources.checkpoint.weight_sets import GRAPH_KEY
from porting.sources.keras import KerasSource
from porting.sources.keras.graph import DEPTHWISE, LINEAR
from porting.sources.tfjs import TFJSLayersSource

FAMILIES = (
    "MobileNet", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small",
    *(f"EfficientNetB{number}" for number in range(8)),
)  # fmt: skip

_LONGEST = 200
"""Characters that are quoted of Keras's messages, which hold whole configurations."""
_WAY_OUT = "; told which network of keras.applications it is, it loads the weights alone"

_OTHER_FLOATS = re.compile(r"\b(mixed_)?(b?float16|float64)\b")
"""Names of dtypes and policies of floats that are not float32."""
_POLICIES = ("DTypePolicy", "FloatDTypePolicy", "DTypePolicyMap", "Policy")
"""Classes of policies that say in which floats a layer computes; the last is Keras 2's."""
_FLOAT32 = "float32"


@dataclass(frozen=True)
class Application:
    """A network of ``keras.applications``, for a file that holds weights alone.

    ``family`` is one of :data:`FAMILIES`; ``minimalistic`` is V3's. ``size`` is
    the side of the input in pixels.
    """

    family: str
    alpha: float = 1.0
    minimalistic: bool = False
    classes: int = 1000
    size: int = 224

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise BadInput(f"family {self.family!r}: expected one of {', '.join(FAMILIES)}")
        if self.minimalistic and "V3" not in self.family:
            raise BadInput(f"{self.family} has no minimalistic form; MobileNetV3 has")
        if self.alpha != 1 and self.family.startswith("Eff"):
            raise BadInput(f"{self.family} has no alpha; the MobileNets have")


@dataclass(frozen=True)
class KerasStep:
    """One layer or operation of a model: its name, its class, and its activation's name."""

    name: str
    kind: str
    activation: str


class KerasJudge:
    """Runs a file's model in Keras, and gives the output of any layer.

    Without ``application`` Keras loads the whole model (``safe_mode``, so that
    no code in the file is run); with it, it builds that network and loads the
    weights into it by its own order of layers. An ``.h5`` of a whole MobileNetV3
    with squeeze-excite needs it too: Keras 3 loads neither its own nor Keras 2's. Of the source
    the path and the layout of the file are used; its tensors are not.

    Models inside the model are taken apart into their layers, and a layer with an activation
    inside it gives its result before that as well; all are called as in the reader's graph. Keras
    runs the very layers of the file.

    Everything is computed in float32, whatever dtype policy the layers state; ``name`` says
    so where they state another.

    A checkpoint that ``tf.train.Checkpoint`` made of such a network, or Keras 2's
    ``save_weights``, is restored into an application variable by variable, under the names
    that TensorFlow has noted in it.

    Raises:
        MissingJudge: Keras or TensorFlow is not installed.
        BadInput: the file holds weights alone and no application is given, or
            Keras cannot load it.
    """

    def __init__(
        self, source: KerasSource | CheckpointSource, application: Application | None = None
    ) -> None:
        try:
            import_tensorflow()
            import keras
        except (MissingJudge, ImportError) as error:
            raise MissingJudge(
                "the judge of a file of Keras is Keras, which is not installed: "
                "pip install tensorflow, or port with --no-verify"
            ) from error
        self.version = f"{keras.__version__} on {keras.backend.backend()}"
        self._keras = keras
        layers = source.layers if isinstance(source, KerasSource) else ()
        if application is None and not layers:
            raise BadInput(
                f"{source.path}: holds weights alone, so that Keras has to be told the network: "
                f"one of {', '.join(FAMILIES)}, its alpha and its classes"
            )
        self._source, self._application = source, application
        policies = source.dtype_policies if isinstance(source, KerasSource) else ()
        # The name says where the layers' own precision is overridden.
        self.name = "Keras in float32" if policies else "Keras"
        self._load()
        # Keras gives layers without a name a new number each time that a model is made.
        self._names = tuple(step.name for step in self._steps)

    def _load(self) -> None:
        try:
            with globally_float32(self._keras):
                model = _load_model(self._keras, self._source, self._application)
                self._model = in_float32(self._keras, model)
        # Keras raises any type of error, with a page of advice in it.
        except Exception as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:_LONGEST]
            way_out = "" if self._application else _WAY_OUT
            raise BadInput(
                f"{self._source.path}: Keras cannot load it: {reason}{way_out}"
            ) from error
        graph = self._source.graph
        # The layer that Keras puts before a Sequential of models has a number in its name.
        entry = graph.inputs[0] if graph is not None and len(graph.inputs) == 1 else None
        self._steps, self._tensors = _steps_of(self._keras, self._model, entry)

    def _fit(self, side: int) -> None:
        """Rebuild a network of keras.applications for images of this side; its weights fit any.

        Raises:
            BadInput: the file's model is made for images of another side.
        """
        model_side = self._model.inputs[0].shape[1]
        if model_side in (None, side):
            return
        if self._application is None:
            raise BadInput(
                f"{self._source.path}: is a model for images of {model_side} pixels; these have "
                f"{side}"
            )
        self._application = replace(self._application, size=side)
        self._load()

    @property
    def tap_names(self) -> dict[str, str]:
        """Every layer and operation by its name, in the model's order."""
        return {name: name for name in self._names}

    @property
    def input_type(self) -> str:
        """NumPy's name of the type that the model's input has."""
        return str(self._model.inputs[0].dtype)

    @property
    def flow(self) -> tuple[KerasStep, ...]:
        """Layers and operations in the model's order, which is that of the data."""
        return tuple(
            replace(step, name=name) for name, step in zip(self._names, self._steps, strict=True)
        )

    def run(self, inputs: np.ndarray, taps: Mapping[str, str]) -> Run:
        """Run the model on inputs (N, H, W, C), float32, one by one.

        ``taps`` gives, by tap, the layer's name. Arrays are NHWC, or (N, C).
        V3 normalises plain pixels itself; V1 and V2 want them in [-1, 1].

        Raises:
            BadInput: the model has no layer of that name, or takes no such images.
        """
        unknown = sorted(set(taps.values()) - set(self._names))
        if unknown:
            raise BadInput(f"the model has no layer {unknown[0]!r}")
        self._fit(inputs.shape[1])
        outputs = dict(zip(self._names, self._tensors, strict=True))
        layers = {name: outputs[name] for name in taps.values()}
        model = self._keras.Model(self._model.inputs[0], list(layers.values()))
        arrays_by_layer: dict[str, list[np.ndarray]] = {name: [] for name in layers}
        for image in inputs:
            with self._keras.device("cpu"):
                values = model(image[None], training=False)
            values = values if isinstance(values, (list, tuple)) else [values]
            for name, value in zip(layers, values, strict=True):
                arrays_by_layer[name].append(self._keras.ops.convert_to_numpy(value))
        arrays = {tap: np.concatenate(arrays_by_layer[name]) for tap, name in taps.items()}
        return Run(arrays, self.name, self.version)

    def run_pieces(
        self, inputs: np.ndarray, values: Mapping[str, np.ndarray], taps: Mapping[str, str]
    ) -> Run:
        """Each tap computed from ``values`` at the taps before it, NHWC or (N, C).

        ``inputs`` (1, H, W, C) are what the model itself gets. A tap without a value is computed
        and not fed.
        """
        self._fit(inputs.shape[1])
        outputs = dict(zip(self._names, self._tensors, strict=True))
        # By identity: == of a KerasTensor gives another KerasTensor.
        tensors = {id(outputs[name]): outputs[name] for name in taps.values()}
        names = {id(outputs[name]): name for name in taps.values()}
        substitutes = {
            id(outputs[name]): values[tap] for tap, name in taps.items() if tap in values
        }

        def inputs_of(place: int) -> list[int]:
            history = tensors[place]._keras_history
            before = history.operation._inbound_nodes[history.node_index].input_tensors
            tensors.update((id(tensor), tensor) for tensor in before)
            return [id(tensor) for tensor in before]

        inputs_of_tap = {place: direct_inputs(place, substitutes, inputs_of) for place in names}
        results: dict[str, np.ndarray] = {}
        start = self._model.inputs[0]
        inputs = substitutes.get(id(start), inputs)
        if id(start) in inputs_of_tap:
            results[names[id(start)]] = inputs
            del inputs_of_tap[id(start)]
        for group in groups_of(inputs_of_tap):
            entries = list(set().union(*(inputs_of_tap[place] for place in group)) - {id(start)})
            pieces = self._keras.Model(
                [start, *(tensors[place] for place in entries)],
                [tensors[place] for place in group],
            )
            with self._keras.device("cpu"):
                arrays = pieces(
                    [inputs, *(substitutes[place] for place in entries)], training=False
                )
            arrays = arrays if isinstance(arrays, (list, tuple)) else [arrays]
            for place, value in zip(group, arrays, strict=True):
                results[names[place]] = self._keras.ops.convert_to_numpy(value)
        return Run({tap: results[name] for tap, name in taps.items()}, self.name, self.version)


def _steps_of(  # noqa: PLR0915 - one walk
    keras: Any, model: Any, entry: str | None
) -> tuple[list[KerasStep], list[Any]]:
    """A model's layers and operations in order, those of models inside it too, and their tensors.

    Each is called anew on the results of those before it, so that all are of one model. ``entry``
    is what its input is called, where it has only one.
    """
    from keras.src.models.functional import Functional

    steps: list[KerasStep] = []
    tensors: list[Any] = []
    activations: dict[Any, Any] = {}
    numbers: Counter[str] = Counter()
    names: dict[Any, str] = {}
    unique_layers: list[Any] = []
    with_activation = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D,
                       keras.layers.SeparableConv2D, keras.layers.Dense)  # fmt: skip

    def add(name: str, kind: str, tensor: Any, activation: Any = None) -> Any:
        steps.append(KerasStep(name, kind, str(getattr(activation, "__name__", ""))))
        tensors.append(tensor)
        return tensor

    def unique(name: str) -> str:
        """A name that no layer has yet: those of a model must differ."""
        numbers[name] += 1
        return unique(f"{name}_{numbers[name]}") if numbers[name] > 1 else name

    def call(layer: Any, name: str, arguments: Any, keywords: Any) -> Any:
        if isinstance(layer, (Functional, keras.Sequential)):
            return run(layer, keras.tree.flatten(arguments), f"{name}/")
        if layer not in unique_layers:
            unique_layers.append(layer)
            layer.name = unique(layer.name)
        kind = type(layer).__name__
        if not isinstance(layer, with_activation):
            result = layer(*arguments, **keywords)
            if isinstance(result, keras.KerasTensor):
                add(name, kind, result, getattr(layer, "activation", None))
            return result
        # Once a layer has lost its activation it is called without from then on.
        activation = activations.setdefault(layer, layer.activation)
        if activation is keras.activations.linear:
            return add(name, kind, _applied(keras, layer, arguments, name, add), activation)
        layer.activation = keras.activations.linear
        before = add(f"{name}{LINEAR}", kind, _applied(keras, layer, arguments, name, add))
        last = keras.layers.Activation(activation, name=unique(layer.name))
        return add(name, "Activation", last(before), activation)

    def run(part: Any, inputs: list[Any], prefix: str) -> Any:
        function = part._functional if isinstance(part, keras.Sequential) else part
        values = {id(x): value for x, value in zip(function.inputs, inputs, strict=True)}
        nodes = [
            node
            for depth in sorted(function._nodes_by_depth, reverse=True)
            for node in function._nodes_by_depth[depth]
        ]
        counts: dict[int, list[int]] = defaultdict(list)
        for node in nodes:
            place = node.operation._inbound_nodes.index(node)
            counts[id(node.operation)].append(place)
        for node in nodes:
            operation = node.operation
            names.setdefault(operation, operation.name.replace(SLASH, "/"))
            if node.is_input:
                if not prefix:
                    add(entry or names[operation], type(operation).__name__, node.outputs[0])
                continue
            place = operation._inbound_nodes.index(node)
            number = sum(other < place for other in counts[id(operation)])
            name = prefix + names[operation] + (f":{number}" if number else "")
            arguments, keywords = node.arguments.fill_in(values)
            results = keras.tree.flatten(call(operation, name, arguments, keywords))
            values |= {id(x): value for x, value in zip(node.outputs, results, strict=True)}
        outputs = [values[id(x)] for x in function.outputs]
        return outputs[0] if len(outputs) == 1 else outputs

    run(model, list(model.inputs), "")
    return steps, tensors


def _applied(keras: Any, layer: Any, arguments: Any, name: str, add: Callable[..., Any]) -> Any:
    """A layer's result; of a separable convolution the two of its parts, one after the other."""
    if not isinstance(layer, keras.layers.SeparableConv2D):
        return layer(*arguments)
    depthwise = keras.layers.DepthwiseConv2D(
        layer.kernel_size, layer.strides, layer.padding, layer.depth_multiplier,
        dilation_rate=layer.dilation_rate, use_bias=False,
    )  # fmt: skip
    pointwise = keras.layers.Conv2D(layer.filters, 1, use_bias=layer.use_bias)
    between = add(f"{name}{DEPTHWISE}", "DepthwiseConv2D", depthwise(*arguments))
    result = pointwise(between)
    depthwise.set_weights([layer.depthwise_kernel])
    pointwise.set_weights([layer.pointwise_kernel, *([layer.bias] if layer.use_bias else [])])
    return result


def _load_model(
    keras: Any, source: KerasSource | CheckpointSource, application: Application | None
) -> Any:
    """The model with the file's weights, loaded by Keras and TensorFlow alone."""
    if isinstance(source, CheckpointSource):
        assert application is not None  # the constructor checks it
        model = _build_application(keras, application)
        _restore(model, source.prefix)
        return model
    if isinstance(source, TFJSLayersSource):
        return model_of_tfjs(keras, source.file)
    with tempfile.TemporaryDirectory(prefix="porting-") as folder, warnings.catch_warnings():
        # Keras only warns of layers that keep their random initial weights.
        warnings.filterwarnings("error", category=UserWarning, module=r"keras\.src\.saving")
        # Keras's advice to authors of a model, of which this one is read back.
        warnings.filterwarnings("ignore", "Do not pass an `input_shape`")
        # Keras tells the layout by the file's suffix alone.
        file = Path(folder) / f"model{source.suffix}"
        write_for_keras_3(source.file, file)
        if application is None:
            model = keras.saving.load_model(
                file, classes_of_keras_2(keras), compile=False, safe_mode=True
            )
            # From the older format Keras does this for a model's own layers, and for none of those
            # of a model inside it, which then go on with mean 0 and variance 1.
            for layer in model._flatten_layers():
                if isinstance(layer, keras.layers.Normalization):
                    layer.finalize_state()
            return model
        model = _build_application(keras, application)
        model.load_weights(file)
        return model


def _restore(model: Any, prefix: Path) -> None:
    """Assign a checkpoint's variables to a model's, by TensorFlow's own names of them.

    Raises:
        ValueError: a variable of the model is not in the checkpoint, or is there twice.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    reader = tf.train.load_checkpoint(str(prefix))
    keys: dict[str, list[str]] = defaultdict(list)
    graph = TrackableObjectGraph.FromString(reader.get_tensor(GRAPH_KEY))
    for node in graph.nodes:
        for attribute in node.attributes:
            if attribute.name == "VARIABLE_VALUE":
                keys[attribute.full_name].append(attribute.checkpoint_key)
    for layer in model.layers:
        for variable in layer.weights:
            # Keras 2 says depthwise_kernel, Keras 3 kernel.
            names = (f"{layer.name}/{variable.name}", f"{layer.name}/depthwise_{variable.name}")
            places = [key for name in names for key in keys.get(name, ())]
            if len(places) != 1:
                raise ValueError(f"the checkpoint has {len(places)} variables {names[0]!r}")
            variable.assign(reader.get_tensor(places[0]))


def _build_application(keras: Any, application: Application) -> Any:
    options: dict[str, Any] = {"minimalistic": True} if application.minimalistic else {}
    if application.family.startswith("Mobile"):
        options["alpha"] = application.alpha
    return getattr(keras.applications, application.family)(
        input_shape=(application.size, application.size, 3),
        classes=application.classes,
        weights=None,
        **options,
    )


# --- everything in float32 ---
#
# A dtype policy such as ``mixed_float16`` makes a layer compute in half precision, whatever its
# weights are stored in. A port computes in float32, so its judge has to as well.


@contextmanager
def globally_float32(keras: Any) -> Iterator[None]:
    """Build layers without a policy of their own in float32, whatever this process has set."""
    policy, floatx = keras.config.dtype_policy(), keras.config.floatx()
    keras.config.set_floatx(_FLOAT32)
    keras.config.set_dtype_policy(_FLOAT32)
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)


def in_float32(keras: Any, model: Any) -> Any:
    """The model with everything in float32: layers, those of models inside it, inputs, casts.

    Weights keep their values: float16 and bfloat16 are widened, float64 is rounded.
    """
    settings = keras.saving.serialize_keras_object(model)
    new_settings = _with_float32(settings)
    if new_settings == settings:
        return model
    other = keras.saving.deserialize_keras_object(new_settings, classes_of_keras_2(keras))
    other.set_weights(
        [
            np.asarray(value).astype(np.float32) if variable.dtype == _FLOAT32 else value
            for variable, value in zip(other.weights, model.get_weights(), strict=True)
        ]
    )
    return other


def _with_float32(settings: Any) -> Any:
    """A configuration with float32 wherever it states a dtype."""
    if isinstance(settings, (list, tuple)):
        return type(settings)(_with_float32(each) for each in settings)
    if not isinstance(settings, dict):
        return settings
    return {
        key: _FLOAT32 if key == "dtype" and _is_other_float(value) else _with_float32(value)
        for key, value in settings.items()
    }


def _is_other_float(dtype: Any) -> bool:
    """Whether a dtype or policy computes in other floats; integers and quantised ones stay."""
    if isinstance(dtype, dict):
        text = str(dtype)
        is_policy = dtype.get("class_name") in _POLICIES and "Quantized" not in text
        return is_policy and _OTHER_FLOATS.search(text) is not None
    return isinstance(dtype, str) and _OTHER_FLOATS.fullmatch(dtype) is not None
