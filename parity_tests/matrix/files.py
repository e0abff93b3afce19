"""One file of each source kind, with its own framework's output for :data:`PIXELS`.

The answers never pass through ``porting``'s readers or plans: LiteRT interprets
the file, TensorFlow runs the graph that the file is written from, Keras the
model that it saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from genmobilenet import get_config
from parity_tests.building.checkpoints import with_averages
from parity_tests.building.graphs import DEVIATION, MEAN, Network
from parity_tests.building.keras_models import build, write
from parity_tests.building.tables import write_checkpoint
from parity_tests.building.tflite_networks import NetworkFile
from porting.judges.keras import Application
from porting.judges.reference.graphs import root_and_scheme
from porting.judges.reference.synthesize import seeded_weights
from porting.parity.inputs import seeded_pixels

SIZE, CLASSES = 64, 11
PIXELS = seeded_pixels(1, SIZE)
"""The images of every cell, (N, H, W, C), uint8."""


@dataclass(frozen=True)
class Made:
    """A source on disk.

    ``weights`` are the numbers that it holds, or that its integers stand for,
    in the layouts of its framework; ``answer`` is that framework's, (N, classes),
    probabilities where ``softmax``, else logits.
    """

    path: Path
    weights: Sequence[np.ndarray]
    answer: np.ndarray
    softmax: bool = False


def normalised(model: str) -> np.ndarray:
    """:data:`PIXELS` as the family's training code normalises them, float32.

    The MobileNets (slim, Keras) take -1..1, EfficientNet-Lite and -EdgeTPU nearly that, all others
    ImageNet's mean and deviation.
    """
    mean, deviation = (127.5, 127.5) if "mobilenet" in model else (MEAN, DEVIATION)
    if model.startswith(("tf_efficientnet_l", "tf_efficientnet_e")):
        mean, deviation = 127, 128
    # Of integers, as 127 is one, NumPy 1 would make bytes again.
    return ((PIXELS.astype(np.float64) - mean) / deviation).astype(np.float32)


class Dequantised(NetworkFile):
    """The same network with each quantised weight as the float32 number that it stands for."""

    def quantised(self, name, values):
        super().quantised(name, values)
        real = self.real[name]
        return self.file.tensor(f"{name}/real", real.shape, data=real)


def tflite(weights: str):
    """A maker of TFLite files whose weights are stored so (see :class:`NetworkFile`).

    LiteRT computes quantised weights with integers, and the port in float32:
    the answer is that to the numbers which the weights stand for.
    """

    def make(model: str, folder: Path) -> Made:
        config = replace(get_config(model), num_classes=CLASSES)
        options = {"size": SIZE, "weights": weights, "seed": len(model)}
        path, stored = folder / "model.tflite", NetworkFile(config, **options)
        path.write_bytes(stored.build())
        answer = litert(Dequantised(config, **options).build(), normalised(model))
        return Made(path, list(stored.real.values()), answer)

    return make


def litert(content: bytes, images: np.ndarray) -> np.ndarray:
    """The output of LiteRT, or of tflite-runtime if LiteRT is not installed."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tflite_runtime.interpreter import Interpreter
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@lru_cache(maxsize=1)
def trained(model: str) -> tuple[Network, Network]:
    """A network with the averages and with the raw weights of one training."""
    config = replace(get_config(model), num_classes=CLASSES, input_size=SIZE)
    root, scheme = root_and_scheme(model)
    both = seeded_weights(config, scheme, root, seed=len(model))
    return tuple(Network(model, classes=CLASSES, weights=w) for w in (both.ema, both.raw))


@lru_cache(maxsize=2)
def answered(model: str, raw: bool) -> np.ndarray:
    """TensorFlow's output with one of the two weight sets."""
    return trained(model)[raw].answer(normalised(model))


def made_at(path: Path, model: str, raw: bool = False) -> Made:
    """A file at ``path`` with one of the two weight sets."""
    return Made(path, list(trained(model)[raw].weights.values()), answered(model, raw))


def checkpoint(raw: bool):
    """A maker of checkpoints with both weight sets, that one of them is ported from."""

    def make(model: str, folder: Path) -> Made:
        averaged, trained_raw = trained(model)
        held = with_averages(trained_raw.weights)
        held |= {f"{n}/ExponentialMovingAverage": v for n, v in averaged.weights.items()}
        write_checkpoint(folder / "model.ckpt", held)
        return made_at(folder / "model.ckpt", model, raw)

    return make


def frozen_graph(model: str, folder: Path) -> Made:
    """The averages as constants of a ``GraphDef``."""
    return made_at(trained(model)[0].write_frozen(folder / "frozen.pb"), model)


def saved_model(model: str, folder: Path) -> Made:
    """The averages as variables of a SavedModel of TF1."""
    return made_at(trained(model)[0].write_saved_model(folder / "saved"), model)


def application(model: str) -> Application:
    """A network of ``keras.applications`` by our name for it."""
    if "efficientnet" in model:
        return Application(f"EfficientNet{model[-2:].upper()}", classes=CLASSES, size=SIZE)
    config, minimal = get_config(model), "minimal" in model
    family = {"1": "MobileNet", "2": "MobileNetV2", "3": "MobileNetV3"}[model[len("tf_mobilenetv")]]
    if family == "MobileNetV3":
        family += "Large" if "large" in model else "Small"
    return Application(family, config.width or 1.0, minimal, CLASSES, SIZE)


@lru_cache(maxsize=1)
def saved_by_keras(model: str, folder: Path) -> tuple[dict[str, Path], Made]:
    """All files that Keras writes of a network, and their common data."""
    folder = folder / model
    folder.mkdir()
    network = build(application(model), seed=len(model))
    # V1 and V2 do not normalise their input themselves.
    images = normalised(model) if "v1" in model or "v2" in model else PIXELS
    answer = network(images.astype(np.float32), training=False).numpy()
    layers = (layer for layer in network.layers if type(layer).__name__ != "Normalization")
    weights = [values for layer in layers for values in layer.get_weights()]
    return write(network, folder), Made(folder, weights, answer, softmax=True)


def keras(layout: str):
    """A maker of files of Keras, one of those that :func:`write` gives."""

    def make(model: str, folder: Path) -> Made:
        files, made = saved_by_keras(model, folder.parent)
        return replace(made, path=files[layout])

    return make
