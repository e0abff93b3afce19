"""A rehearsal: synthetic source files with real names, formats and scales.

Whoever has no download, a newcomer or a test, gets a TensorFlow checkpoint and
TFLite files to port. The weights are seeded and mean nothing.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genmobilenet.config import NetworkConfig
from genmobilenet.zoo import get_config, tensorflow_form
from porting.errors import OutputError
from porting.judges.reference.naming import root_and_scheme
from porting.judges.reference.reference_graph import build_reference
from porting.judges.reference.rehearsal_mark import MARK, PREFIX
from porting.judges.reference.seeded_weights import Weights, load_weights, seeded_weights
from porting.judges.tensorflow import import_tensorflow
from porting.sources.checkpoint.weight_sets import EMA_SUFFIX

STEP = 1000


@dataclass(frozen=True)
class Rehearsal:
    """What was made: ``checkpoint`` is a directory, ``float`` and ``dynamic`` TFLite files."""

    model: str
    checkpoint: Path
    float: Path
    dynamic: Path


def rehearse(model: str, out: Path, seed: int = 0, scheme: str | None = None) -> Rehearsal:
    """Make a checkpoint and two TFLite files of a network under ``out``.

    The checkpoint holds raw weights, moving averages that differ from them,
    RMSProp slots and ``global_step``; the TFLite files, float and dynamic
    range, are converted from the averages. A plain name stands for its ``tf_``
    form. ``scheme`` is ``"keras"`` or ``"layers"``, by default Google's for
    that network.

    Raises:
        UnknownModel: no network has that name.
        OutputError: ``out`` holds something else, or cannot be written.
        MissingJudge: TensorFlow is not installed.
    """
    name = tensorflow_form(model)
    config = get_config(name)
    try:
        _check_free(out)
        import_tensorflow()
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".rehearsal-", dir=out.parent))
        folder.chmod(0o755)
        try:
            files = _make(name, config, folder, seed, scheme)
            if out.exists():
                shutil.rmtree(out)
            folder.rename(out)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {error.strerror or error}") from error
    places = (out / place.relative_to(folder) for place in files)
    return Rehearsal(name, *places)


def find_rehearsal(folder: Path) -> Rehearsal | None:
    """The rehearsal that lies in a folder, or None."""
    try:
        files = json.loads((folder / MARK).read_text(encoding="utf-8"))
        places = [folder / files["files"][name] for name in ("checkpoint", "float", "dynamic")]
        model = str(files["model"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Rehearsal(model, *places) if all(place.exists() for place in places) else None


def _check_free(out: Path) -> None:
    """Only an absent or empty folder, or an earlier rehearsal, may be written over."""
    if out.is_dir():
        if (out / MARK).is_file() or not any(out.iterdir()):
            return
        raise OutputError(f"{out}: holds files that are not a rehearsal; name a new folder")
    if out.exists():
        raise OutputError(f"{out}: is a file; name a folder")


def _make(
    model: str, config: NetworkConfig, folder: Path, seed: int, scheme: str | None
) -> tuple[Path, Path, Path]:
    root, default_scheme = root_and_scheme(model)
    scheme = scheme or default_scheme
    weights = seeded_weights(config, scheme, root, seed)
    checkpoint = _write_checkpoint(weights, folder / "checkpoint", seed)
    floating, dynamic = (folder / f"{PREFIX}-{root}_{kind}.tflite" for kind in ("float", "dynamic"))
    _write_tflite(config, scheme, root, weights.ema, floating, dynamic)
    files = checkpoint, floating, dynamic
    _write_mark(folder / MARK, model, root, scheme, seed, config, files)
    return files


def _write_checkpoint(weights: Weights, folder: Path, seed: int) -> Path:
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
    # The mark. Named as a step, it is no weight to any reader, this package's included.
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
    return folder


def _write_tflite(
    config: NetworkConfig, scheme: str, root: str, weights: dict[str, np.ndarray],
    floating: Path, dynamic: Path,
) -> None:  # fmt: skip
    tf = import_tensorflow()
    reference = build_reference(config, scheme, root, 1, config.input_size)
    with reference.graph.as_default(), tf.compat.v1.Session() as session:
        load_weights(session, reference.variables, weights)
        for path, optimizations in ((floating, []), (dynamic, [tf.lite.Optimize.DEFAULT])):
            converter = tf.compat.v1.lite.TFLiteConverter.from_session(
                session, [reference.image], [reference.logits]
            )
            converter.optimizations = optimizations
            path.write_bytes(_with_mark(converter.convert()))


def _with_mark(content: bytes) -> bytes:
    """A TFLite file whose description says what it is."""
    import_tensorflow()
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    model.description = f"{PREFIX}: made-up weights".encode()
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _write_mark(
    path: Path, model: str, root: str, scheme: str, seed: int, config: NetworkConfig,
    files: tuple[Path, Path, Path],
) -> None:  # fmt: skip
    tf = import_tensorflow()
    data = {
        "model": model,
        "google_name": root,
        "scheme": scheme,
        "seed": seed,
        "input": {
            "size": config.input_size,
            "channels": config.in_chans,
            "normalised_by": "mean and standard deviation of ImageNet's RGB pixels",
        },
        "classes": config.num_classes,
        "files": dict(
            zip(("checkpoint", "float", "dynamic"), (p.name for p in files), strict=True)
        ),
        "versions": {"tensorflow": str(tf.__version__), "numpy": np.__version__},
    }
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
