"""Readers of TensorFlow.js models, without TensorFlow.js or TensorFlow."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from porting.sources.archive import Display, UnpackedArchive
from porting.sources.graphdef.graph_def import parse_graph
from porting.sources.graphdef.reader import GraphDefSource, as_bad_source
from porting.sources.keras.config import parse_model
from porting.sources.keras.reader import KerasSource
from porting.sources.protobuf import Malformed
from porting.sources.source import Normalisation, Source
from porting.sources.tfjs.graph_json import encode_graph
from porting.sources.tfjs.model_json import ModelJSON, model_file, read_model

_FUSED_LAYERS = {
    "_FusedConv2D": "Conv2D", "FusedConv2D": "Conv2D", "_FusedMatMul": "MatMul",
    "FusedDepthwiseConv2dNative": "DepthwiseConv2dNative",
    "_FusedDepthwiseConv2dNative": "DepthwiseConv2dNative",
}  # fmt: skip
"""Fused operations -> the layer with which they begin.

The converter writes them (``remap`` of TensorFlow's grappler, and ``fuse_depthwise_conv2d.py`` of
``tensorflowjs``)."""
_OPERANDS = {"BiasAdd": 1, "FusedBatchNorm": 4, "Prelu": 1}
"""Operations fused into a layer -> the operands that each adds to the layer's own two."""


class _WithMetadata:
    """What Teachable Machine's ``metadata.json`` says of a model."""

    model: ModelJSON

    @property
    def metadata_normalisation(self) -> Normalisation | None:
        """How pixels become the source's input, where Teachable Machine has made the model."""
        return self.model.normalisation

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The names of the classes, in order, where Teachable Machine has stated them."""
        return self.model.labels


class TFJSGraphSource(_WithMetadata, GraphDefSource):
    """A graph model of TensorFlow.js: ``file`` is its ``model.json``.

    An operation of several steps is read as those, of which the last has its name; those before
    are called ``<name>/Conv2D``.

    Raises:
        BadSource: a file is damaged, cut short or missing.
        UnsupportedSource: it takes no images.
    """

    format = "tfjs graph"

    def __init__(
        self, path: Path, model: ModelJSON, archive: UnpackedArchive | None = None
    ) -> None:
        self.path, self.model, self.archive = path, model, archive
        self.file = model.file
        where = model.display(model.file)
        with as_bad_source(where, "TensorFlow.js graph model"):
            weights = model.weights
            nodes = model.topology.get("node")
            if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
                raise Malformed("its nodes are not a list of objects")
            nodes = [step for node in nodes for step in _steps(node)]
            graph = parse_graph(encode_graph({"node": nodes}))
            self._read_graph(graph, weights, model.outputs)

    @property
    def files(self) -> tuple[Path, ...]:
        """``model.json`` and the shards; of an archive, the archive itself."""
        return (self.archive.file,) if self.archive else (self.file, *self.model.weights.files)


class TFJSLayersSource(_WithMetadata, KerasSource):
    """A layers model of TensorFlow.js: Keras's layers, and weights in shards.

    Its tensors are called as in the manifest, ``<layer>/<variable>``. ``file`` is its
    ``model.json``.

    Raises:
        BadSource: a file is damaged, cut short or missing.
    """

    format = "tfjs layers"
    suffix = ".h5"

    def __init__(
        self, path: Path, model: ModelJSON, archive: UnpackedArchive | None = None
    ) -> None:
        self.path, self.model, self.archive = path, model, archive
        self.file = model.file
        where = str(model.display(model.file))
        self._weights = model.weights
        self.tensors = dict(self._weights.tensors)
        config = model.topology.get("model_config", model.topology)
        keras_model = parse_model(json.dumps(config), where)
        self.version = str(model.topology.get("keras_version"))
        self.layers = keras_model.layers
        self._add_graph(keras_model, _VariablesOfLayers(self.tensors), where)

    @property
    def name(self) -> str:
        """The name of the file or folder that was opened."""
        return self.path.name

    @property
    def is_of_keras_2(self) -> bool:
        """Whether its layers compute as in Keras 2, which TensorFlow.js follows too."""
        return not self.version.startswith("3")

    @property
    def files(self) -> tuple[Path, ...]:
        """``model.json`` and the shards; of an archive, the archive itself."""
        return (self.archive.file,) if self.archive else (self.file, *self._weights.files)

    def read(self, name: str) -> np.ndarray:
        """One tensor, in Keras's axis order (convolutions HWIO, depthwise HWC1, dense IO).

        Raises:
            KeyError: no tensor has that name.
            BadSource: a shard can no longer be read.
            UnsupportedSource: it is not numeric.
        """
        if name in self._constants:
            return self._constants[name]
        return self._weights.read(name)


class _VariablesOfLayers:
    """The names of weights by the layer's path among the models, and the variable's name.

    A manifest names a layer with as much of its path as the converter had, often by itself.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._by_end: dict[tuple[str, ...], list[str]] = {}
        for name in names:
            self._by_end.setdefault(tuple(name.split("/")[-2:]), []).append(name)

    def __call__(self, path: tuple[str, ...], variable: str) -> str | None:
        """The name of a weight; None where there is none, or several that it might be."""
        spellings = (variable, "kernel") if variable == "depthwise_kernel" else (variable,)
        for spelling in spellings:
            owner = path[-1].rpartition("/")[2]
            names = self._by_end.get((owner, spelling), [])
            for start in range(len(path)):
                name = "/".join((*path[start:], spelling))
                if name in names:
                    return name
            if len(names) == 1:
                return names[0]
        return None


def looks_like_tfjs(path: Path) -> bool:
    """Whether a path is a ``model.json`` of TensorFlow.js, or a folder with one in it."""
    return model_file(path) is not None


def open_tfjs(path: Path, archive: UnpackedArchive | None = None) -> Source:
    """Open a model of TensorFlow.js, of either format.

    Raises:
        BadSource: a file is damaged, cut short or missing.
        UnsupportedSource: it cannot be read.
    """
    display: Display = archive.display if archive else Path
    model = read_model(model_file(path) or path, display)
    source = TFJSGraphSource if model.is_graph else TFJSLayersSource
    return source(archive.file if archive else path, model, archive)


def _steps(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A node, or the steps of a layer with others fused into it.

    A constant whose values lie in the shards is read as a variable is.

    Raises:
        Malformed: it lacks an operand of what it says that it computes.
    """
    kind, attributes = node.get("op"), node.get("attr") or {}
    if kind == "Const" and not _holds_values(attributes):
        return [{**node, "op": "VariableV2"}]
    if not isinstance(kind, str) or kind not in _FUSED_LAYERS:
        return [node]
    name, layer, inputs = node.get("name"), _FUSED_LAYERS[kind], node.get("input", [])
    if not isinstance(inputs, list) or not isinstance(attributes, dict):
        raise Malformed(f"{kind} {name!r} has no list of inputs, or no attributes")
    inputs = [tensor for tensor in inputs if not str(tensor).startswith("^")]
    steps: list[dict[str, Any]] = [
        {"name": f"{name}/{layer}", "op": layer, "input": inputs[:2], "attr": attributes}
    ]
    operands = inputs[2:]
    for op in _fused_operations(attributes):
        count = _OPERANDS.get(op, 0)
        if len(operands) < count:
            raise Malformed(f"{kind} {name!r} has no operands for its {op}")
        attr = {"is_training": {"b": False}, "epsilon": attributes.get("epsilon", {})}
        inputs = [steps[-1]["name"], *operands[:count]]
        steps.append({"name": f"{name}/{op}", "op": op, "input": inputs, "attr": attr})
        operands = operands[count:]
    steps[-1]["name"] = name
    return list(steps)


def _holds_values(attributes: Any) -> bool:
    """Whether a constant has its values in the graph itself."""
    try:
        keys = attributes["value"]["tensor"]
    except (KeyError, TypeError):
        return False
    return isinstance(keys, dict) and any(key.lower().endswith(("val", "content")) for key in keys)


def _fused_operations(attributes: Any) -> list[str]:
    """The operations behind a layer, in order."""
    try:
        entries = attributes["fused_ops"]["list"]["s"]
        names = [
            bytes(each) if isinstance(each, list) else base64.b64decode(each) for each in entries
        ]
        return [name.decode("ascii") for name in names if name != b"NoOp"]
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed("a fused layer that does not say what is fused into it") from error
