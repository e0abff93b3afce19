"""Preprocessing one image on one thread, against the bare decoder and a ``tf.function``.

Medians over rounds in turns. The goals: no slower than TensorFlow, and at most
1.6 times the bare decode.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import simplejpeg
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import function_seconds
from benchmarks.photos import photos
from porting.accuracy.preprocessing import named_pipeline
from porting.judges.tensorflow import import_tensorflow

IMAGES, ROUNDS, SIZE = 63, 9, 224
GOAL = 1.6
MEAN, STD = np.float32([123.675, 116.28, 103.53]), np.float32([58.395, 57.12, 57.375])

Run = Callable[[bytes], Any]


def ours(name: str) -> Run:
    """A named pipeline, followed by normalisation."""
    pipeline = named_pipeline(name, SIZE)
    mean, std = np.tile(MEAN, SIZE), np.tile(STD, SIZE)

    def run(data: bytes) -> np.ndarray:
        pixels = pipeline(data).reshape(SIZE, -1)
        pixels -= mean
        pixels /= std
        return pixels.reshape(SIZE, SIZE, 3)

    return run


def of_tensorflow(tf: Any, name: str) -> Run:
    """The same as a ``tf.function``, as in the authors' evaluation code."""
    v1 = tf.compat.v1.image
    resize = v1.resize_bicubic if name == "mnasnet" else v1.resize_bilinear

    def cropped(data: Any) -> Any:
        height, width = tf.unstack(tf.io.extract_jpeg_shape(data))[:2]
        shorter = tf.cast(tf.minimum(height, width), tf.float32)
        side = tf.cast(SIZE / (SIZE + 32) * shorter, tf.int32)
        window = tf.stack([(height - side + 1) // 2, (width - side + 1) // 2, side, side])
        return tf.io.decode_and_crop_jpeg(data, window, channels=3)

    def run(data: Any) -> Any:
        if name == "slim":
            image = tf.image.central_crop(tf.io.decode_jpeg(data, channels=3), 0.875)
        else:
            image = cropped(data)
        return (resize(image[None], (SIZE, SIZE))[0] - MEAN) / STD

    return tf.function(run, input_signature=[tf.TensorSpec([], tf.string)])


def _run_all(run: Run, data: list[bytes]) -> None:
    for image in data:
        run(image)


def main() -> None:
    """Measure and print."""
    tf = import_tensorflow()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    names = ("slim", "mnasnet-bilinear", "mnasnet")
    runs: dict[str, Run] = {"bare": lambda data: simplejpeg.decode_jpeg(data, "RGB", fastdct=True)}
    for name in names:
        runs[name] = ours(name)
        runs[f"tf {name}"] = of_tensorflow(tf, name)
    data = photos(IMAGES)
    over_all = {name: partial(_run_all, run, data) for name, run in runs.items()}
    seconds = function_seconds(over_all, ROUNDS)
    milliseconds = {name: 1e3 * total / len(data) for name, total in seconds.items()}
    table = Table("one image, one thread", "ms", "over the bare decode", "tf.function", "over it")
    table.add_row("the bare JPEG decode", f"{milliseconds['bare']:.2f}", "", "", "")
    for name in names:
        own, theirs = milliseconds[name], milliseconds[f"tf {name}"]
        table.add_row(
            f"{name}; goals {GOAL:g} and 1", f"{own:.2f}", f"{own / milliseconds['bare']:.2f} x",
            f"{theirs:.2f}", f"{own / theirs:.2f} x",
        )  # fmt: skip
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
