"""TFLite files of tiny networks, in the spellings of several exporters."""

from __future__ import annotations

from parity_tests.building import tflite_variants as variants
from parity_tests.building.networks import TINY
from parity_tests.building.tflite_networks import NetworkFile

NORMALISED = type("Normalised", (variants.Normalised, variants.Padded), {
    "steps": [("SUB", 127.5, 0), ("MUL", [[[[0.1, 0.2, 0.3]]]], 1)], "cast": True,
})  # fmt: skip
FILES = {
    "excited": (NetworkFile, {}),
    "excited, padded and normalised": (NORMALISED, {"softmax": True}),
    "excited, dense and pooled": (variants.DenseSqueezes, {"weights": "float16"}),
    "swished": (NetworkFile, {}),
    "swished, spelled out": (variants.Divisions, {"spelled_out": True}),
    "swished, of integers": (variants.IntegerEnds, {"weights": "int8_channels"}),
    "activated": (variants.OwnActivations, {}),
    "activated, pooled": (
        type("Kind", (variants.ConvolutionClassifier, variants.AveragePools), {}), {}
    ),
}  # fmt: skip


def tiny_file(name):
    """One of the files, as LiteRT's schema classes hold it."""
    kind, options = FILES[name]
    file = kind(TINY[name.split(",")[0]].tensorflow_form(), size=32, **options)
    file.build()
    return file.file.model
