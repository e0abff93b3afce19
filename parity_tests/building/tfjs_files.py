"""Models of TensorFlow.js, written as its converter writes them, without its converter."""

from __future__ import annotations

import json
from base64 import b64decode

import numpy as np

from porting.judges.tensorflow import import_tensorflow


def quantised(values, dtype):
    """The stored values of a weight, and its entry: as ``quantize_weights`` makes them."""
    if dtype == "float16":
        return values.astype(np.float16), {"dtype": dtype, "original_dtype": "float32"}
    low, high = float(values.min()), float(values.max())
    most = np.iinfo(dtype).max
    scale = (high - low) / most or 1.0
    low = -round(-low / scale) * scale if low <= 0 <= high else low
    steps = np.round((values.clip(low, low + most * scale) - low) / scale).astype(dtype)
    entry = {"dtype": dtype, "min": low, "scale": scale, "original_dtype": "float32"}
    return steps, entry


def write_weights(folder, groups, shard_size=1 << 22, dtypes=None):
    """Write the shards of groups of weights by name; the manifest of these."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = []
    for number, weights in enumerate(groups, 1):
        entries, data = [], b""
        for name, values in weights.items():
            entry = {"name": name, "shape": list(values.shape), "dtype": str(values.dtype)}
            dtype = (dtypes or {}).get(name, (dtypes or {}).get("*"))
            stored = values
            if dtype and values.dtype == np.float32 and values.size:
                stored, entry["quantization"] = quantised(values, dtype)
            data += stored.tobytes()
            entries.append(entry)
        count = -(-len(data) // shard_size)
        paths = [f"group{number}-shard{shard + 1}of{count}.bin" for shard in range(count)]
        for shard, path in enumerate(paths):
            (folder / path).write_bytes(data[shard * shard_size : (shard + 1) * shard_size])
        manifest.append({"paths": paths, "weights": entries})
    return manifest


def write_model(folder, topology, manifest, **more):
    """Write ``model.json``; the folder."""
    content = {"modelTopology": topology, "weightsManifest": manifest, **more}
    (folder / "model.json").write_text(json.dumps(content))
    return folder


def write_graph_model(folder, graph, group_count=1, bytes_as_lists=False, **how):
    """Write a frozen graph as a graph model, its constants in groups of weights."""
    from google.protobuf.json_format import MessageToDict

    tf = import_tensorflow()
    weights = {}
    for node in graph.node:
        if node.op != "Const":
            continue
        values = tf.make_ndarray(node.attr["value"].tensor)
        weights[node.name] = values.astype(np.int32) if values.dtype == np.int64 else values
        tensor = node.attr["value"].tensor
        tensor.ClearField("tensor_content")
        for field in ("float_val", "int_val", "int64_val", "bool_val"):
            tensor.ClearField(field)
    names = list(weights)
    groups = [{name: weights[name] for name in names[n::group_count]} for n in range(group_count)]
    topology = MessageToDict(graph)
    if bytes_as_lists:
        topology = _with_lists(topology)
    manifest = write_weights(folder, groups, **how)
    return write_model(folder, topology, manifest, format="graph-model")


def write_layers_model(folder, model, with_paths=False, wrapped=False, **how):
    """Write a Keras model as a layers model, in the terms of Keras 2, which the runtime takes.

    ``with_paths`` names the weights by the models around their layers too; ``wrapped`` has the
    configuration inside the topology, as the converter writes it.
    """
    weights = {}

    def add(layer, path):
        for inner in getattr(layer, "layers", ()):
            add(inner, (*path, layer.name))
        if not hasattr(layer, "layers"):
            is_depthwise = type(layer).__name__ == "DepthwiseConv2D"
            for variable in layer.weights:
                name = "depthwise_kernel" if is_depthwise else variable.name
                owner = "/".join((*path, layer.name) if with_paths else (layer.name,))
                weights[f"{owner}/{name}"] = variable.numpy()

    add(model, ())
    config = _of_keras_2({"class_name": type(model).__name__, "config": model.get_config()})
    topology = {"keras_version": "tfjs-layers 1.3.1", "backend": "tensor_flow.js", **config}
    if wrapped:
        topology = {"keras_version": "2.15.0", "backend": "tensorflow", "model_config": config}
    return write_model(
        folder, topology, write_weights(folder, [weights], **how), format="layers-model"
    )


_OF_KERAS_3 = (
    "module", "registered_name", "build_config", "compile_config", "shared_object_id", "optional",
    "quantization_config", "build_input_shape", "autocast", "renorm", "renorm_clipping",
    "renorm_momentum", "synchronized",
)  # fmt: skip


def _of_keras_2(value):
    """A configuration of Keras 3 as Keras 2 writes it."""
    if isinstance(value, (list, tuple)):
        return [_of_keras_2(each) for each in value]
    if not isinstance(value, dict):
        return value
    if value.get("class_name") == "DTypePolicy":
        return value["config"]["name"]
    changed = {key: _of_keras_2(each) for key, each in value.items() if key not in _OF_KERAS_3}
    if value.get("class_name") == "Sequential":
        # A Sequential of Keras 2 has no layer for its input; the first layer states the shape.
        first, second, *_ = layers = changed["config"]["layers"]
        if first["class_name"] == "InputLayer":
            if "layers" not in second["config"]:
                second["config"]["batch_input_shape"] = first["config"]["batch_input_shape"]
            changed["config"]["layers"] = layers[1:]
    if "batch_shape" in changed:
        changed["batch_input_shape"] = changed.pop("batch_shape")
    if isinstance(value.get("inbound_nodes"), list):
        changed["inbound_nodes"] = [_call(node) for node in value["inbound_nodes"]]
    for key in ("input_layers", "output_layers"):
        ends = changed.get(key)
        if ends and isinstance(ends[0], str):
            changed[key] = [ends]
    return changed


def _call(node):
    """A call of a layer, ``[[layer, call, tensor, keywords]]``."""
    (data,) = node["args"]
    tensors = data if isinstance(data, (list, tuple)) else [data]
    return [[*tensor["config"]["keras_history"], {}] for tensor in tensors]


def _with_lists(value):
    """Bytes as lists of numbers, as the first converters wrote them."""
    if isinstance(value, list):
        return [_with_lists(each) for each in value]
    if not isinstance(value, dict):
        return value
    lists = {
        key: list(b64decode(each)) if key == "s" and isinstance(each, str) else _with_lists(each)
        for key, each in value.items()
    }
    if "s" in value and isinstance(value["s"], list):
        lists["s"] = [list(b64decode(each)) for each in value["s"]]
    return lists


def fused(graph):
    """Layers with their biases and activations fused into them, as the converter's passes do.

    A layer added to something else gets its bias behind that sum (``AddOpsRewrite``).
    """
    kinds = {"Conv2D": "_FusedConv2D", "DepthwiseConv2dNative": "FusedDepthwiseConv2dNative"}
    takers, unused = {}, set()
    for node in graph.node:
        for name in node.input:
            takers.setdefault(name, []).append(node)
    for layer in list(graph.node):
        behind = takers.get(layer.name, [])
        if layer.op not in kinds or len(behind) != 1 or behind[0].op != "BiasAdd":
            continue
        (last,) = behind
        shift, operations = last.input[1], [b"BiasAdd"]
        following = takers.get(last.name, [])
        if len(following) == 1 and following[0].op == "AddV2":
            (total,) = following
            terms = [layer.name if name == last.name else name for name in total.input]
            for node, op, inputs in ((last, "AddN", terms), (total, "AddV2", [last.name, shift])):
                node.op = op
                del node.input[:]
                node.input.extend(inputs)
            last.attr["N"].i = 2
            last.attr.pop("data_format", None)
            continue
        if len(following) == 1 and following[0].op in ("Relu", "Relu6"):
            unused.add(last.name)
            (last,) = following
            operations.append(last.op.encode())
        unused.add(layer.name)
        last.op = kinds[layer.op]
        del last.input[:]
        last.input.extend([*layer.input, shift])
        last.attr.clear()
        for name in layer.attr:
            last.attr[name].CopyFrom(layer.attr[name])
        last.attr["fused_ops"].list.s.extend(operations)
        last.attr["num_args"].i = 1
    nodes = [node for node in graph.node if node.name not in unused]
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    return graph
