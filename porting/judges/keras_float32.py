"""Keras models in float32, whatever dtype policy their files state.

A policy such as ``mixed_float16`` makes a layer compute in half precision, whatever its
weights are stored in. A port computes in float32, so its judge has to as well.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

_OTHER = re.compile(r"\b(mixed_)?(b?float16|float64)\b")
"""Names of dtypes and policies of floats that are not float32."""
_POLICIES = ("DTypePolicy", "FloatDTypePolicy", "DTypePolicyMap", "Policy")
"""Classes of policies that say in which floats a layer computes; the last is Keras 2's."""
_FLOAT32 = "float32"


@contextmanager
def globally_float32(keras: Any) -> Iterator[None]:
    """Layers that state no policy are in float32, whatever this process has set for its own."""
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
    other = keras.saving.deserialize_keras_object(new_settings)
    other.set_weights(
        [
            np.asarray(value).astype(np.float32) if variable.dtype == _FLOAT32 else value
            for variable, value in zip(other.weights, model.get_weights(), strict=True)
        ]
    )
    return other


def policies_of_keras_2(keras: Any) -> dict[str, Any]:
    """Keras 2's class of policies, for a configuration that names it and Keras 3 does not know."""

    class Policy:
        """A policy by its name; those of TensorFlow 2.3 have a scale for losses beside it."""

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            return keras.dtype_policies.DTypePolicy(config["name"])

    return {"Policy": Policy}


def write_without_bfloat16(file: Path, copy: Path) -> None:
    """Copy an ``.h5``, with the weights in bfloat16 as float32.

    Keras writes them there as two bytes without a type, which it does not read again.
    """
    import h5py

    shutil.copyfile(file, copy)
    with h5py.File(copy, "r+", locking=False) as h5:
        names: list[str] = []
        h5.visititems(lambda name, _: names.append(name))
        for name in names:
            dtype = getattr(h5[name], "dtype", None)
            if dtype is None or dtype.kind != "V" or dtype.itemsize != 2:
                continue
            halves = np.frombuffer(h5[name][()].tobytes(), "<u2").reshape(h5[name].shape)
            del h5[name]
            h5[name] = (halves.astype(np.uint32) << 16).view(np.float32)


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
    """Whether a dtype or policy is one of other floats: integers and quantised ones stay."""
    if isinstance(dtype, dict):
        text = str(dtype)
        is_policy = dtype.get("class_name") in _POLICIES and "Quantized" not in text
        return is_policy and _OTHER.search(text) is not None
    return isinstance(dtype, str) and _OTHER.fullmatch(dtype) is not None
