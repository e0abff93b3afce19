"""Models of keras.applications with random weights, and their files as Keras writes them."""

from __future__ import annotations

import io
import itertools
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import h5py
import numpy as np

from porting.judges.keras import Application
from porting.judges.tensorflow import import_tensorflow
from porting.mapping.families import IMAGENET

SMALL = (
    Application("MobileNet", 0.25, classes=10, size=64),
    Application("MobileNetV2", 0.35, classes=7, size=64),
    Application("MobileNetV3Small", 0.75, classes=10, size=64),
    Application("MobileNetV3Large", 1.0, minimalistic=True, classes=5, size=64),
)
"""One of each family, as small as it is published."""


def build(application, seed=0, policy="float32", **options):
    """The network in Keras, with every weight changed from its initial value.

    ``policy`` is the dtype policy of all its layers, as
    ``keras.config.set_dtype_policy`` takes it.
    """
    import_tensorflow()
    import keras

    keras.utils.clear_session()
    if application.minimalistic:
        options["minimalistic"] = True
    if application.family.startswith("Mobile"):
        options["alpha"] = application.alpha
    with global_policy(policy):
        model = getattr(keras.applications, application.family)(
            input_shape=(application.size, application.size, 3), classes=application.classes,
            weights=None, **options,
        )  # fmt: skip
    generator = np.random.default_rng(seed)
    for layer in model.layers:
        if type(layer).__name__ == "Normalization":
            mean, deviation = np.array(IMAGENET) / 255
            layer.set_weights([mean, deviation**2, np.array(0)][: len(layer.weights)])
            layer.finalize_state()
            continue
        depthwise = type(layer).__name__ == "DepthwiseConv2D"
        layer.set_weights([_random(v, depthwise, generator) for v in layer.weights])
    return model


@contextmanager
def global_policy(policy):
    """Set Keras's global dtype policy and float type within a ``with`` statement."""
    import keras

    before = keras.config.dtype_policy().name, keras.config.floatx()
    keras.config.set_dtype_policy(policy)
    keras.config.set_floatx(policy if policy in ("float16", "bfloat16", "float64") else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before[0])
        keras.config.set_floatx(before[1])


def with_policies(model, policies):
    """A model with the same weights whose layers have these dtype policies in turn."""
    import keras

    settings = model.get_config()
    turn = itertools.cycle(policies)
    for layer in settings["layers"]:
        if "dtype" in layer["config"] and layer["class_name"] != "InputLayer":
            layer["config"]["dtype"] = next(turn)
    other = keras.Model.from_config(settings)
    other.set_weights(model.get_weights())
    return other


def _random(variable, depthwise, generator):
    shape = tuple(variable.shape)
    if variable.name in ("gamma", "moving_variance"):
        return generator.uniform(0.5, 1.5, shape)
    if len(shape) == 1:
        return 0.1 * generator.standard_normal(shape)
    # Kernels of any size preserve the scale of activations.
    fan_in = np.prod(shape[:2] if depthwise else shape[:-1])
    return generator.standard_normal(shape) * np.sqrt(2 / fan_in)


def write(model, folder: Path) -> dict[str, Path]:
    """All files that Keras writes of a model, by format."""
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    files = {
        "archive": folder / "model.keras",
        "h5": folder / "model.h5",
        "numbered": folder / "model.weights.h5",
        "legacy weights": folder / "weights_only.h5",
    }
    with redirect_stdout(io.StringIO()):
        model.save(files["archive"])
        model.save(files["h5"])
        model.save_weights(files["numbered"])
        with h5py.File(files["legacy weights"], "w") as file:
            save_weights_to_hdf5_group(file, model)
    return files


def write_as_keras_2(model, path: Path) -> Path:
    """A weights file with the names of Keras 2, as keras.applications publishes them."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.2.4"
        for layer in model.layers:
            first = "depthwise_" if type(layer).__name__ == "DepthwiseConv2D" else ""
            named = {
                f"{layer.name}/{first if v.name == 'kernel' else ''}{v.name}:0": v.numpy()
                for v in layer.weights
            }
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [name.encode() for name in named]
            for name, values in named.items():
                group[name] = values
    return path
