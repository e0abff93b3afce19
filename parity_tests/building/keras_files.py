"""Files in Keras's layouts, written with h5py alone."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np

RANDOM = np.random.default_rng(5)


def values(*shape, dtype=np.float32):
    return RANDOM.standard_normal(shape).astype(dtype)


NORM = ("gamma", "beta", "moving_mean", "moving_variance")
LAYERS = {
    "Conv1": {"kernel": values(3, 3, 3, 8)},
    "Conv1/BatchNorm": {name: values(8) for name in NORM},
    "Conv1_relu": {},
    "dw": {"depthwise_kernel": values(3, 3, 8, 1), "bias": values(8)},
    "Logits": {"kernel": values(8, 5), "bias": values(5)},
}
"""Layer -> its variables, the convolution and its batch norm named as in Keras 2's MobileNetV3."""
TENSORS = {f"{layer}/{name}": v for layer, held in LAYERS.items() for name, v in held.items()}

_CONFIGS = {
    "Conv1": ("Conv2D", {"use_bias": False, "strides": [2, 2], "padding": "same"}),
    "Conv1/BatchNorm": ("BatchNormalization", {"epsilon": 0.001}),
    "Conv1_relu": ("ReLU", {"max_value": 6.0}),
    "dw": ("DepthwiseConv2D", {"use_bias": True}),
    "Logits": ("Dense", {"use_bias": True, "activation": "softmax"}),
}
GROUPS = {
    "Conv1": "conv2d",
    "Conv1/BatchNorm": "batch_normalization",
    "Conv1_relu": "re_lu",
    "dw": "depthwise_conv2d",
    "Logits": "dense",
}
"""What a ``.weights.h5`` calls the layers."""


def entry(name, kind, settings, **more):
    return {"class_name": kind, "name": name, "config": {"name": name, **settings}, **more}


def configuration(layers=None, kind="Functional"):
    """The JSON of a model of these entries, by default of :data:`LAYERS`."""
    scaling = entry("rescaling", "Rescaling", {"scale": 1 / 127.5, "offset": -1.0})
    result = [entry(name, *_CONFIGS[name]) for name in LAYERS]
    result = [scaling, *result] if layers is None else layers
    return json.dumps({"class_name": kind, "config": {"name": "net", "layers": result}})


def write_legacy(path, *, layers=LAYERS, config=None, limit=None, text=np.bytes_, change=None):
    """An ``.h5`` with attributes of fixed width or, with ``text=str``, of HDF5's own kind.

    ``limit`` splits lists of names after so many; ``change`` gets the open file last.
    """
    with h5py.File(path, "w") as file:
        root = file
        if config is not None:
            root = file.create_group("model_weights")
            file.attrs["model_config"] = config
        _names(root, "layer_names", list(layers), limit, text)
        for layer, held in layers.items():
            group = root.require_group(layer)
            _names(group, "weight_names", [f"{layer}/{name}:0" for name in held], limit, text)
            for name, array in held.items():
                group[f"{layer}/{name}:0"] = array
        if change is not None:
            change(file)
    return path


def _names(group, attribute, names, limit, text):
    parts = [names] if limit is None or len(names) <= limit else np.array_split(
        names, -(-len(names) // limit))  # fmt: skip
    for number, part in enumerate(parts):
        name = attribute if len(parts) == 1 else f"{attribute}{number}"
        kind = h5py.string_dtype() if text is str else None
        group.attrs.create(name, [text(n) for n in part] if len(part) else [], dtype=kind)


def write_numbered(target, *, layers=LAYERS, groups=GROUPS, named=True, change=None):
    """A ``.weights.h5``; ``target`` is a path or a stream."""
    with h5py.File(target, "w") as file:
        for layer, held in layers.items():
            group = file.create_group(f"layers/{groups[layer]}/vars")
            if named:
                group.attrs["name"] = layer
            for number, array in enumerate(held.values()):
                group[str(number)] = array
        if change is not None:
            change(file)
    return target


def write_archive(
    path, *, config=None, weights=None, packed=zipfile.ZIP_STORED, extra=(), **options
):
    """A ``.keras``; ``extra`` are members (name, content) to put in first."""
    if weights is None:
        stream = io.BytesIO()
        write_numbered(stream, **options)
        weights = stream.getvalue()
    with zipfile.ZipFile(path, "w", packed) as archive:
        for name, content in extra:
            archive.writestr(name, content)
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", configuration() if config is None else config)
        archive.writestr("model.weights.h5", weights)
    return Path(path)
