"""Synthetic source files of a network, with real names, formats and scales.

Whoever has no download, a newcomer or a test, gets a TensorFlow checkpoint and TFLite files to
port. Kernels are drawn at random, seeded; batch-norm statistics are then *settled*: set to what
really goes into each batch norm on seeded images, so that activations keep their scale through the
depth, as in a trained network, and no error can hide in a vanished signal.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genmobilenet.config import NetworkConfig
from genmobilenet.zoo import get_config, tensorflow_form
from porting.errors import OutputError
from porting.judges.reference.graphs import build_reference, root_and_scheme
from porting.judges.tensorflow import import_tensorflow
from porting.sources.checkpoint.weight_sets import EMA_SUFFIX

PREFIX = "synthetic"
"""Begins the name of every file, the description in a TFLite file and the scope of a variable in a
checkpoint, so that it is not taken for Google's, however it is renamed."""

MARK = "synthetic.json"
"""Lies in the folder of synthetic files, beside the TFLite files and above the checkpoint."""

OLD_PREFIX, OLD_MARK = "rehearsal", "rehearsal.json"
"""The same in files that earlier versions made, which are still recognised."""

STEP = 1000

SETTLING_IMAGES = 8
ADDITIVE = ("beta", "bias", "biases")
"""Last parts of the names of variables that are added and not multiplied."""

_LEAST_VARIANCE = 0.01
"""Over the mean of its layer: keeps a channel that is all but constant from being blown up."""


# --- weights ---


@dataclass(frozen=True)
class Weights:
    """Both weight sets, by full variable name."""

    raw: dict[str, np.ndarray]
    ema: dict[str, np.ndarray]


def seeded_weights(config: NetworkConfig, scheme: str, root: str, seed: int) -> Weights:
    """Draw and settle both sets; the averages differ from the raw weights by a few per cent."""
    tf = import_tensorflow()
    generator = np.random.default_rng(seed)
    reference = build_reference(config, scheme, root, settle=True)
    raw = {
        name: _random_values(name, tuple(variable.shape.as_list()), generator)
        for name, variable in reference.variables.items()
    }
    ema = {}
    for name, array in raw.items():
        change = 0.05 * generator.standard_normal(array.shape)
        additive = name.rsplit("/", 1)[-1] in ADDITIVE
        ema[name] = (array + change if additive else array * (1 + change)).astype(np.float32)
    images = _images(config, generator)
    with tf.compat.v1.Session(graph=reference.graph) as session:
        for weights in (raw, ema):
            load_weights(session, reference.variables, weights)
            moments = session.run(reference.moments, {reference.image: images})
            for norm, (mean, variance) in moments.items():
                weights[f"{norm}/moving_mean"] = mean
                least = _LEAST_VARIANCE * variance.mean()
                weights[f"{norm}/moving_variance"] = np.maximum(variance, least)
    return Weights(raw, ema)


def load_weights(
    session: Any, variables: Mapping[str, Any], weights: Mapping[str, np.ndarray]
) -> None:
    """Give TensorFlow's variables their values, by name.

    In one run, since TensorFlow prunes the graph anew for what each run asks of it:
    ``Variable.load``, a run each, takes seconds for a few hundred variables.
    """
    feed = {variable.initializer.inputs[1]: weights[name] for name, variable in variables.items()}
    session.run([variable.initializer for variable in variables.values()], feed)


def _random_values(name: str, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    kind = name.rsplit("/", 1)[-1]
    if kind == "gamma":
        values = generator.uniform(0.5, 1.5, shape)
    elif kind in ADDITIVE:
        values = 0.3 * generator.standard_normal(shape)
    elif kind in ("moving_mean", "moving_variance"):
        values = np.zeros(shape)  # settled later
    else:
        # He et al., arXiv:1502.01852: variance 2 over the fan-in (HWIO, or IO).
        inputs = 1 if kind.startswith("depthwise") else shape[-2]
        fan_in = inputs * int(np.prod(shape[:-2]))
        values = generator.standard_normal(shape) * np.sqrt(2.0 / fan_in)
    return values.astype(np.float32)


def _images(config: NetworkConfig, generator: np.random.Generator) -> np.ndarray:
    """Normalised images (N, H, W, C): coarse structure with noise over it."""
    size, channels = config.input_size, config.in_chans
    cells = 8
    coarse = generator.standard_normal((SETTLING_IMAGES, cells, cells, channels))
    place = np.arange(size) * cells // size
    noise = generator.standard_normal((SETTLING_IMAGES, size, size, channels))
    return (coarse[:, place][:, :, place] + 0.5 * noise).astype(np.float32)


# --- files ---


@dataclass(frozen=True)
class SyntheticFiles:
    """The files of one network: ``checkpoint`` is a directory, the other two TFLite files."""

    model: str
    checkpoint: Path
    float: Path
    dynamic: Path


def synthesize(model: str, out: Path, seed: int = 0) -> SyntheticFiles:
    """Make a checkpoint and two TFLite files of a network under ``out``.

    The checkpoint holds raw weights, moving averages that differ from them,
    RMSProp slots and ``global_step``; the TFLite files, float and dynamic
    range, are converted from the averages. A plain name stands for its ``tf_``
    form.

    Raises:
        UnknownModel: no network has that name.
        OutputError: ``out`` holds something else, or cannot be written.
        MissingJudge: TensorFlow is not installed.
    """
    name = tensorflow_form(model)
    config = get_config(name)
    root, scheme = root_and_scheme(name)
    try:
        # Only an absent or empty folder, or earlier synthetic files, may be written over.
        if out.exists() and not out.is_dir():
            raise OutputError(f"{out}: is a file; name a folder")
        if out.is_dir() and not has_mark(out) and any(out.iterdir()):
            raise OutputError(f"{out}: holds files that are not synthetic; name a new folder")
        import_tensorflow()
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".synthetic-", dir=out.parent))
        folder.chmod(0o755)
        try:
            weights = seeded_weights(config, scheme, root, seed)
            files = SyntheticFiles(
                name,
                folder / "checkpoint",
                folder / f"{PREFIX}-{root}_float.tflite",
                folder / f"{PREFIX}-{root}_dynamic.tflite",
            )
            _write_checkpoint(weights, files.checkpoint, seed)
            _write_tflite(config, scheme, root, weights.ema, files)
            _write_mark(folder / MARK, files, root, scheme, seed, config)
            if out.exists():
                shutil.rmtree(out)
            folder.rename(out)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {error.strerror or error}") from error
    places = (out / file.name for file in (files.checkpoint, files.float, files.dynamic))
    return SyntheticFiles(name, *places)


def find_synthetic(folder: Path) -> SyntheticFiles | None:
    """The synthetic files in a folder, or None."""
    mark = folder / (MARK if (folder / MARK).is_file() else OLD_MARK)
    try:
        data = json.loads(mark.read_text(encoding="utf-8"))
        places = [folder / data["files"][name] for name in ("checkpoint", "float", "dynamic")]
        model = str(data["model"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return SyntheticFiles(model, *places) if all(place.exists() for place in places) else None


def has_mark(folder: Path) -> bool:
    """Whether a folder holds synthetic files, of this version or one before."""
    return (folder / MARK).is_file() or (folder / OLD_MARK).is_file()


def begins_as_synthetic(name: str) -> bool:
    """Whether the name of a file or the description in one begins with the mark."""
    return name.startswith((PREFIX, OLD_PREFIX))


def _write_checkpoint(weights: Weights, folder: Path, seed: int) -> None:
    """Raw weights, averages, RMSProp slots and the step, by TensorFlow's own Saver."""
    tf = import_tensorflow()
    values: dict[str, np.ndarray] = dict(weights.raw)
    values |= {name + EMA_SUFFIX: array for name, array in weights.ema.items()}
    generator = np.random.default_rng(seed + 1)
    for name, array in weights.raw.items():
        if "/moving_" not in name:
            slots = generator.standard_normal((2, *array.shape)).astype(np.float32)
            values[f"{name}/RMSProp"] = slots[0] ** 2
            values[f"{name}/RMSProp_1"] = 1e-3 * slots[1]
    values["global_step"] = np.asarray(STEP, np.int64)
    # The mark. By its name it is a step, which no reader takes for a weight.
    values[f"{PREFIX}/global_step"] = np.asarray(STEP, np.int64)
    folder.mkdir()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = {
            name: tf.compat.v1.get_variable(name, initializer=value, use_resource=False)
            for name, value in values.items()
        }
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver(variables, save_relative_paths=True)
        saver.save(session, str(folder / f"{PREFIX}.ckpt"), STEP, write_meta_graph=False)


def _write_tflite(
    config: NetworkConfig, scheme: str, root: str, weights: dict[str, np.ndarray],
    files: SyntheticFiles,
) -> None:  # fmt: skip
    """Both TFLite files, with a description in each that says what it is."""
    tf = import_tensorflow()
    from tensorflow.lite.tools import flatbuffer_utils

    reference = build_reference(config, scheme, root, 1, config.input_size)
    with reference.graph.as_default(), tf.compat.v1.Session() as session:
        load_weights(session, reference.variables, weights)
        for path, optimizations in (
            (files.float, []),
            (files.dynamic, [tf.lite.Optimize.DEFAULT]),
        ):
            converter = tf.compat.v1.lite.TFLiteConverter.from_session(
                session, [reference.image], [reference.logits]
            )
            converter.optimizations = optimizations
            content = bytearray(converter.convert())
            model = flatbuffer_utils.convert_bytearray_to_object(content)
            model.description = f"{PREFIX}: made-up weights".encode()
            path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))


def _write_mark(
    path: Path, files: SyntheticFiles, root: str, scheme: str, seed: int, config: NetworkConfig
) -> None:
    tf = import_tensorflow()
    data = {
        "model": files.model,
        "google_name": root,
        "scheme": scheme,
        "seed": seed,
        "input": {
            "size": config.input_size,
            "channels": config.in_chans,
            "normalised_by": "mean and standard deviation of ImageNet's RGB pixels",
        },
        "classes": config.num_classes,
        "files": {name: getattr(files, name).name for name in ("checkpoint", "float", "dynamic")},
        "versions": {"tensorflow": str(tf.__version__), "numpy": np.__version__},
    }
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
