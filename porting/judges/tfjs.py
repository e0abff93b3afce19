"""Models of TensorFlow.js as TensorFlow and Keras take them, decoded apart from the readers.

Formats: as ``tensorflowjs`` writes them (``write_weights.py``, ``tf_saved_model_conversion_v2.py``)
and its own ``read_weights.py`` decodes them.
"""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from porting.judges.keras_2 import SLASH, classes_of_keras_2, for_keras_3


def weights_of_tfjs(file: Path) -> dict[str, np.ndarray]:
    """Every weight of numbers by its name, from the shards beside ``model.json``."""
    weights = {}
    for group in json.loads(file.read_text("utf-8-sig"))["weightsManifest"]:
        data = b"".join((file.parent / path).read_bytes() for path in group["paths"])
        for entry in group["weights"]:
            count = int(np.prod(entry["shape"], dtype=np.int64))
            if entry["dtype"] == "string":
                for _ in range(count):
                    data = data[4 + int.from_bytes(data[:4], "little") :]
                continue
            quantisation = entry.get("quantization", {})
            dtype = np.dtype(quantisation.get("dtype", entry["dtype"]))
            values = np.frombuffer(data[: count * dtype.itemsize], dtype)
            data = data[count * dtype.itemsize :]
            if "scale" in quantisation:
                values = values.astype(np.float64) * quantisation["scale"] + quantisation["min"]
                values = np.round(values) if entry["dtype"] == "int32" else values
            target = "float32" if entry["dtype"] == "float16" else entry["dtype"]
            weights[entry["name"]] = values.astype(target).reshape(entry["shape"])
    return weights


def graph_of_tfjs(file: Path) -> Any:
    """The ``GraphDef`` of a graph model, with its weights as constants.

    A layer with operations fused into it becomes those: TensorFlow itself has no kernel for each.
    """
    import tensorflow as tf
    from google.protobuf import json_format

    topology = json.loads(file.read_text("utf-8-sig"))["modelTopology"]
    nodes = _with_base64(topology["node"])
    whole = json_format.ParseDict(
        {"node": nodes}, tf.compat.v1.GraphDef(), ignore_unknown_fields=True
    )
    weights = weights_of_tfjs(file)
    for node in whole.node:
        if node.op == "Const" and node.name in weights:
            dtype = tf.dtypes.as_dtype(node.attr["dtype"].type)
            values = weights[node.name].astype(dtype.as_numpy_dtype)
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values, dtype))
        # Whether an operation runs on the device for which the converter took it does not matter.
        node.device = ""
    steps = [step for node in whole.node for step in _unfused(tf, node)]
    del whole.node[:]
    whole.node.extend(steps)
    return whole


def model_of_tfjs(keras: Any, file: Path) -> Any:
    """The Keras model of a layers model, with its weights. No code in the file is run.

    Raises:
        ValueError: a variable of the model is not in the manifest, or might be several.
    """
    from keras.src.legacy.saving import saving_options, saving_utils
    from keras.src.saving.serialization_lib import SafeModeScope

    topology = json.loads(file.read_text("utf-8-sig"))["modelTopology"]
    config = for_keras_3(topology.get("model_config", topology))
    legacy = saving_options.keras_option_scope(use_legacy_config=True)
    with legacy, SafeModeScope(True), warnings.catch_warnings():
        # A Sequential of Keras 2 states its shape in its first layer.
        warnings.filterwarnings("ignore", "Do not pass an `input_shape`")
        model = saving_utils.model_from_config(config, custom_objects=classes_of_keras_2(keras))
    weights = weights_of_tfjs(file)

    def assign(layer: Any) -> None:
        for inner in getattr(layer, "layers", ()):
            assign(inner)
        if hasattr(layer, "layers"):
            return
        owner = layer.name.replace(SLASH, "/")
        for variable in layer.weights:
            # Keras 2 says depthwise_kernel, Keras 3 kernel.
            ends = tuple(f"{owner}/{prefix}{variable.name}" for prefix in ("", "depthwise_"))
            names = [name for name in weights if name in ends or name.endswith(
                tuple(f"/{end}" for end in ends))]  # fmt: skip
            if len(names) != 1:
                raise ValueError(f"the manifest has {len(names)} weights {ends[0]!r}")
            variable.assign(weights[names[0]])

    assign(model)
    return model


def _with_base64(value: Any) -> Any:
    """The JSON of protocol buffers, which has bytes in base64; TensorFlow.js also reads a list."""
    if isinstance(value, list):
        return [_with_base64(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    return {key: _bytes(each) if key == "s" else _with_base64(each) for key, each in value.items()}


def _bytes(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    if all(isinstance(each, int) for each in value) and value:
        return base64.b64encode(bytes(value)).decode()
    return [_bytes(each) for each in value]


def _unfused(tf: Any, node: Any) -> Iterator[Any]:
    """A node, or the layer and the operations fused into it; the last has the node's name."""
    layers = {
        "_FusedConv2D": "Conv2D", "FusedConv2D": "Conv2D", "_FusedMatMul": "MatMul",
        "FusedDepthwiseConv2dNative": "DepthwiseConv2dNative",
        "_FusedDepthwiseConv2dNative": "DepthwiseConv2dNative",
    }  # fmt: skip
    layer = layers.get(node.op)
    if layer is None:
        yield node
        return
    attributes = {
        "Conv2D": ("strides", "padding", "data_format", "dilations", "explicit_paddings"),
        "DepthwiseConv2dNative": ("strides", "padding", "data_format", "dilations"),
        "MatMul": ("transpose_a", "transpose_b"),
    }[layer]
    operands, controls = (
        [name for name in node.input if name.startswith("^") == is_control]
        for is_control in (False, True)
    )
    kinds = [kind.decode() for kind in node.attr["fused_ops"].list.s if kind != b"NoOp"]
    step = tf.compat.v1.NodeDef(name=f"{node.name}/{layer}", op=layer)
    step.input.extend([*operands[:2], *controls])
    for name in attributes:
        if name in node.attr:
            step.attr[name].CopyFrom(node.attr[name])
    operands = operands[2:]
    for kind in kinds:
        step.attr["T"].type = tf.float32.as_datatype_enum
        yield step
        before, count = step.name, {"BiasAdd": 1, "FusedBatchNorm": 4}.get(kind, 0)
        # The optimizer also takes a single number for a bias, which BiasAdd does not.
        op = "AddV2" if kind == "BiasAdd" else kind
        step = tf.compat.v1.NodeDef(name=f"{node.name}/{kind}", op=op)
        step.input.extend([before, *operands[:count]])
        operands = operands[count:]
        if kind == "FusedBatchNorm":
            step.attr["is_training"].b = False
            step.attr["epsilon"].f = node.attr["epsilon"].f
        if kind == "LeakyRelu":
            step.attr["alpha"].f = node.attr["leakyrelu_alpha"].f
    step.name = node.name
    if step.op == "_FusedHardSwish":
        yield from _hard_swish(tf, step)
        return
    step.attr["T"].type = tf.float32.as_datatype_enum
    yield step


def _hard_swish(tf: Any, node: Any) -> Iterator[Any]:
    """``x * relu6(x + 3) / 6`` in operations that TensorFlow has; the last has the node's name."""
    x, name = node.input[0], node.name
    dtype = tf.float32.as_datatype_enum
    numbers = {f"{name}/three": 3.0, f"{name}/sixth": 1 / 6}
    for constant, number in numbers.items():
        step = tf.compat.v1.NodeDef(name=constant, op="Const")
        step.attr["dtype"].type = dtype
        step.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(number, tf.float32))
        yield step
    for place, op, inputs in (
        (f"{name}/shifted", "AddV2", (x, f"{name}/three")),
        (f"{name}/clamped", "Relu6", (f"{name}/shifted",)),
        (f"{name}/gate", "Mul", (f"{name}/clamped", f"{name}/sixth")),
        (name, "Mul", (x, f"{name}/gate")),
    ):
        step = tf.compat.v1.NodeDef(name=place, op=op)
        step.input.extend(inputs)
        step.attr["T"].type = dtype
        yield step
