"""Preprocessing one image on one thread, beside the bare decoder and TensorFlow's ``tf.function``.

By turns, image by image; medians over rounds. The goals: no slower than
TensorFlow, and at most 1.6 times the bare decode.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import simplejpeg
from rich.console import Console
from rich.table import Table

from benchmarks.photos import photos
from porting.accuracy.preprocessing import named_pipeline
from porting.judges.tensorflow import import_tensorflow

IMAGES, ROUNDS, SIZE = 63, 9, 224
GOAL = 1.6
MEAN, STD = np.float32([123.675, 116.28, 103.53]), np.float32([58.395, 57.12, 57.375])

Run = Callable[[bytes], Any]


def ours(name: str) -> Run:
    """A named pipeline, and the normalisation behind it."""
    pipeline = named_pipeline(name, SIZE)
    mean, std = np.tile(MEAN, SIZE), np.tile(STD, SIZE)

    def run(data: bytes) -> np.ndarray:
        pixels = pipeline(data).reshape(SIZE, -1)
        pixels -= mean
        pixels /= std
        return pixels.reshape(SIZE, SIZE, 3)

    return run


def of_tensorflow(tf: Any, name: str) -> Run:
    """The same as a ``tf.function``, as the authors' evaluation code has it."""
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


def medians(runs: dict[str, Run], data: list[bytes]) -> dict[str, float]:
    """Milliseconds an image of each, by turns."""
    times_by_name: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(data[0])  # compiled, and not counted
    for _ in range(ROUNDS):
        for name, run in runs.items():
            start = time.perf_counter()
            for one in data:
                run(one)
            times_by_name[name].append((time.perf_counter() - start) / len(data) * 1e3)
    return {name: statistics.median(times) for name, times in times_by_name.items()}


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
    medians_by_name = medians(runs, data)
    table = Table("one image, one thread", "ms", "over the bare decode", "tf.function", "over it")
    table.add_row("the bare JPEG decode", f"{medians_by_name['bare']:.2f}", "", "", "")
    for name in names:
        own, theirs = medians_by_name[name], medians_by_name[f"tf {name}"]
        table.add_row(
            f"{name}; goals {GOAL:g} and 1", f"{own:.2f}", f"{own / medians_by_name['bare']:.2f} x",
            f"{theirs:.2f}", f"{own / theirs:.2f} x",
        )  # fmt: skip
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
