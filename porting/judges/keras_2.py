"""Files of Keras 2, changed so that Keras 3 loads them.

Keras 3 reads its predecessor's formats, but not every setting and class in them. What it does not
know is rewritten in a copy of the file, in the configuration alone: the layers and the weights are
the file's, and Keras itself builds and runs them.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

_CONFIG = "config.json"

SLASH = ">"
"""Stands for a slash in the names of layers, which Keras 3 does not allow there."""

_FUNCTIONS: dict[str, str] = {
    "truediv": "true_divide", "divide": "true_divide", "sub": "subtract", "subtract": "subtract",
    "add": "add", "mul": "multiply", "multiply": "multiply", "relu": "relu", "relu6": "relu6",
    "sigmoid": "sigmoid", "silu": "silu", "swish": "silu", "softmax": "softmax",
    "identity": "copy",
}  # fmt: skip
"""Functions of TensorFlow that a TFOpLambda may call, by the end of their names -> the same in
``keras.ops``."""
_DATA = ("x", "features", "input", "logits", "y")
"""Names of their arguments that may be data, in order."""

_OPERATIONS: dict[str, str] = {
    "Add": "add", "Subtract": "subtract", "Multiply": "multiply", "TrueDivide": "true_divide",
    "Divide": "divide", "Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "Silu": "silu",
    "HardSilu": "hard_silu", "HardSigmoid": "hard_sigmoid",
}  # fmt: skip
"""Operations of Keras 3 -> their functions in ``keras.ops``. An ``.h5`` does not say whether
``Add`` is the operation or the layer, which takes a list."""

_MODULES = {"Functional": "keras.src.models.functional", "Sequential": "keras"}
"""Class of a model -> where Keras 3 has it."""


def write_for_keras_3(file: Path, copy: Path) -> None:
    """Copy a file of Keras, its configuration changed so that Keras 3 can load it.

    Weights in bfloat16, which Keras writes to an ``.h5`` without a type and does not read again,
    become float32.

    Raises:
        ValueError: the configuration has what has no counterpart in Keras 3.
    """
    if copy.suffix == ".keras":
        with zipfile.ZipFile(file) as archive, zipfile.ZipFile(copy, "w") as out:
            for member in archive.infolist():
                content = archive.read(member)
                if member.filename == _CONFIG:
                    content = json.dumps(for_keras_3(json.loads(content))).encode()
                out.writestr(member, content)
        return
    import h5py

    shutil.copyfile(file, copy)
    with h5py.File(copy, "r+", locking=False) as h5:
        config = h5.attrs.get("model_config")
        if config is not None:
            text = config.decode("utf-8") if isinstance(config, bytes) else config
            h5.attrs["model_config"] = json.dumps(for_keras_3(json.loads(text)))
        names: list[str] = []
        h5.visititems(lambda name, _: names.append(name))
        for name in names:
            dtype = getattr(h5[name], "dtype", None)
            if dtype is None or dtype.kind != "V" or dtype.itemsize != 2:
                continue
            halves = np.frombuffer(h5[name][()].tobytes(), "<u2").reshape(h5[name].shape)
            del h5[name]
            h5[name] = (halves.astype(np.uint32) << 16).view(np.float32)


@cache
def classes_of_keras_2(keras: Any) -> dict[str, Any]:
    """Classes that a configuration of Keras 2 may name and that Keras 3 lacks."""

    class Policy:
        """A policy by its name; those of TensorFlow 2.3 have a scale for losses beside it."""

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            return keras.dtype_policies.DTypePolicy(config["name"])

    # By this name Keras writes it too, so that a model that was loaded can be built once more.
    @keras.saving.register_keras_serializable(*_FUNCTION_LAYER.split(">"))
    class FunctionLayer(keras.layers.Layer):  # type: ignore[misc]
        """A function of ``keras.ops`` as a layer; ``operands`` has None where data comes in."""

        def __init__(self, function: str, operands: list[Any], **settings: Any) -> None:
            super().__init__(**settings)
            self.function, self.operands = function, operands

        def call(self, inputs: Any) -> Any:
            data = iter(inputs if isinstance(inputs, (list, tuple)) else [inputs])
            operands = (next(data) if each is None else each for each in self.operands)
            return getattr(keras.ops, self.function.removeprefix(_OPS))(*operands)

        def get_config(self) -> dict[str, Any]:
            settings = {"function": self.function, "operands": list(self.operands)}
            return {**super().get_config(), **settings}

    return {"Policy": Policy, _FUNCTION_LAYER: FunctionLayer}


_FUNCTION_LAYER = "porting>FunctionLayer"
_OPS = "keras.ops."
"""Before the name of a function: Keras takes some plain names for functions of its own."""


def for_keras_3(settings: Any) -> Any:
    """A configuration with everything in it as Keras 3 expects it."""
    if isinstance(settings, list):
        items = [for_keras_3(each) for each in settings]
        if len(items) > 2 and isinstance(items[0], str) and isinstance(items[1], int):
            items[0] = items[0].replace("/", SLASH)  # a call's [layer, call, tensor]
        return items
    if not isinstance(settings, dict):
        return settings
    settings = {key: for_keras_3(value) for key, value in settings.items()}
    if isinstance(settings.get("name"), str):
        settings["name"] = settings["name"].replace("/", SLASH)
    kind = settings.get("class_name")
    if not isinstance(kind, str) or not isinstance(settings.get("config"), dict):
        return settings
    if str(settings.get("module")).startswith("tf_keras"):
        settings |= {"module": _MODULES.get(kind, "keras.layers"), "registered_name": None}
    change = _CHANGES.get(kind)
    return settings if change is None else change(settings)


def _without(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A change that removes settings without effect, which Keras 3's layer does not have."""

    def changed(layer: dict[str, Any]) -> dict[str, Any]:
        config = {key: value for key, value in layer["config"].items() if key not in names}
        return {**layer, "config": config}

    return changed


def _passing(layer: dict[str, Any]) -> dict[str, Any]:
    """A layer that returns its input in inference and that Keras 3 does not have."""
    config = {"name": layer["config"]["name"], "activation": "linear"}
    return {**layer, "class_name": "Activation", "registered_name": None, "config": config}


def _function_of_tensorflow(layer: dict[str, Any]) -> dict[str, Any]:
    """A function that is called once, its data first in the call, its constants in its settings."""
    function, name = str(layer["config"]["function"]), layer.get("name")
    if function.rpartition(".")[2] not in _FUNCTIONS:
        raise ValueError(f"layer {name!r} calls tf.{function}, which is not known")
    if len(layer["inbound_nodes"]) != 1:
        raise ValueError(f"layer {name!r} is called {len(layer['inbound_nodes'])} times")
    (call,) = layer["inbound_nodes"]
    items = [call] if isinstance(call[0], str) else call
    arguments = [item[2] if item[0] == "_CONSTANT_VALUE" else item[:3] for item in items]
    keywords = {key: value for item in items if len(item) > 3 for key, value in item[3].items()}
    arguments += [keywords[key] for key in _DATA if keywords.get(key) is not None]
    data = [item for item in arguments if isinstance(item, list) and isinstance(item[0], str)]
    operands = [None if item in data else item for item in arguments]
    calls = [[[*item, {}] for item in data]]
    return _function_layer(layer, _FUNCTIONS[function.rpartition(".")[2]], operands, calls)


def _operation(layer: dict[str, Any]) -> dict[str, Any]:
    """An operation of Keras 3 in an ``.h5``; a layer of that class stays as it is."""
    calls = layer.get("inbound_nodes")
    if layer.get("module") or not calls or len(calls) != 1 or not isinstance(calls[0], dict):
        return layer
    arguments = calls[0]["args"]
    if len(arguments) == 1 and layer["class_name"] in ("Add", "Subtract", "Multiply"):
        return layer
    data = [item for item in arguments if isinstance(item, dict)]
    operands = [None if isinstance(item, dict) else item for item in arguments]
    return _function_layer(
        layer, _OPERATIONS[layer["class_name"]], operands, [{"args": [data], "kwargs": {}}]
    )


def _function_layer(
    layer: dict[str, Any], function: str, operands: list[Any], calls: list[Any]
) -> dict[str, Any]:
    function = f"{_OPS}{function}"
    config = {"name": layer["config"]["name"], "function": function, "operands": operands}
    entry = {**layer, "class_name": _FUNCTION_LAYER, "config": config, "inbound_nodes": calls}
    return entry | ({"registered_name": _FUNCTION_LAYER} if "module" in layer else {})


def _with_one_axis(layer: dict[str, Any]) -> dict[str, Any]:
    """A batch norm of one axis, which Keras 2 may write as a list."""
    axis = layer["config"].get("axis")
    is_list = isinstance(axis, list) and len(axis) == 1
    return {**layer, "config": {**layer["config"], "axis": axis[0]}} if is_list else layer


def _functional(model: dict[str, Any]) -> dict[str, Any]:
    """A model with one input or output as such: Keras 3 takes a list for a list, also of one.

    Keras 2 counts the calls of a model inside it from 1, since a model has been called once when
    it was made; Keras 3 from 0.
    """
    config = dict(model["config"])
    if isinstance(config.get("layers"), list):
        models = {
            layer.get("name"): len(layer["inbound_nodes"])
            for layer in config["layers"]
            if isinstance(layer.get("config"), dict) and "layers" in layer["config"]
        }
        calls = [node for layer in config["layers"] for node in layer.get("inbound_nodes", ())]
        references = [
            item
            for call in calls
            if isinstance(call, list)
            for item in ([call] if call and isinstance(call[0], str) else call)
        ]
        last = {name: max((r[1] for r in references if r[0] == name), default=0) for name in models}
        for reference in references:
            if reference[0] in models and last[reference[0]] == models[reference[0]]:
                reference[1] -= 1
    for key in ("input_layers", "output_layers"):
        ends = config.get(key)
        if isinstance(ends, list) and len(ends) == 1:
            config[key] = ends[0]
    return {**model, "class_name": "Functional", "config": config}


_CHANGES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "DepthwiseConv2D": _without("groups"),
    "BatchNormalization": _with_one_axis,
    **dict.fromkeys(
        ("RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast",
         "RandomBrightness", "RandomCrop"),
        _without("rng_type"),
    ),
    **dict.fromkeys(("RandomHeight", "RandomWidth", "FixedDropout"), _passing),
    "TFOpLambda": _function_of_tensorflow,
    **dict.fromkeys(_OPERATIONS, _operation),
    **dict.fromkeys(("Functional", "Model"), _functional),
}  # fmt: skip
"""Class of a layer -> what changes its entry in a configuration."""
