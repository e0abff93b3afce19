"""Google's published MobileNets, as slim trained them.

Each archive holds a checkpoint, a frozen graph and a TFLite file. Of one that
was trained for quantisation the TFLite file is the network that was published:
its checkpoint is of float weights, without what rounds them.

Files and accuracies: tensorflow/models ``research/slim/nets/mobilenet_v1.md``
and ``research/slim/nets/mobilenet/README.md``.
"""

from __future__ import annotations

from collections.abc import Iterator

from porting.catalog.entry import QUANTISED, SIGNED, STORAGE, CatalogEntry

V1 = f"{STORAGE}download.tensorflow.org/models/mobilenet_v1_2018_02_22/"
V1_STATED = "tensorflow/models, research/slim/nets/mobilenet_v1.md"
V2 = f"{STORAGE}mobilenet_v2/checkpoints/"
V3 = f"{STORAGE}mobilenet_v3/checkpoints/"
V2_V3_STATED = "tensorflow/models, research/slim/nets/mobilenet/README.md"

Stated = tuple[float | None, float | None]
"""Top-1 and top-5."""

# Multiplier -> network, and what is stated at 224 pixels.
_V1: dict[str, tuple[str, Stated]] = {
    "1.0": ("tf_mobilenetv1_100", (70.9, 89.9)),
    "0.75": ("tf_mobilenetv1_075", (68.4, 88.2)),
    "0.5": ("tf_mobilenetv1_050", (63.3, 84.9)),
    "0.25": ("tf_mobilenetv1_025", (49.8, 74.2)),
}
_V1_SIZES = (224, 192, 160, 128)

_V2: dict[str, tuple[str, Stated]] = {
    "1.4": ("tf_mobilenetv2_140", (75.0, None)),
    "1.3": ("tf_mobilenetv2_130", (74.4, None)),
    "1.0": ("tf_mobilenetv2_100", (71.8, 91.0)),
    "0.75": ("tf_mobilenetv2_075", (69.8, None)),
    "0.5": ("tf_mobilenetv2_050", (65.4, None)),
    "0.35": ("tf_mobilenetv2_035", (60.3, None)),
}
_V2_SIZES = (224, 192, 160, 128, 96)
_V2_AT_224_ALONE = ("1.4", "1.3")

# Name without its last part -> network, and what is stated of the float file.
_V3: dict[str, tuple[str, Stated]] = {
    "v3-large_224_1.0": ("tf_mobilenetv3_large_100", (75.2, None)),
    "v3-large_224_0.75": ("tf_mobilenetv3_large_075", (73.3, None)),
    "v3-small_224_1.0": ("tf_mobilenetv3_small_100", (67.5, None)),
    "v3-small_224_0.75": ("tf_mobilenetv3_small_075", (65.4, None)),
    "v3-large-minimalistic_224_1.0": ("tf_mobilenetv3_large_minimal_100", (72.3, None)),
    "v3-small-minimalistic_224_1.0": ("tf_mobilenetv3_small_minimal_100", (61.9, None)),
}
_V3_UINT8 = ("v3-large_224_1.0", "v3-small_224_1.0", "v3-large-minimalistic_224_1.0")


def _float(
    name: str, folder: str, model: str, size: int, stated: Stated, stated_in: str
) -> CatalogEntry:
    top1, top5 = stated
    return CatalogEntry(
        name, f"{folder}{name}.tgz", model, "checkpoint", size, classes=1001, input=SIGNED,
        top1=top1, top5=top5, stated_in=stated_in if top1 is not None else "",
    )  # fmt: skip


def _quantised(name: str, folder: str, model: str, size: int) -> CatalogEntry:
    return CatalogEntry(
        name, f"{folder}{name}.tgz", model, "tflite", size, classes=1001, input=QUANTISED
    )


def _entries() -> Iterator[CatalogEntry]:
    unstated = (None, None)
    for multiplier, (model, stated) in _V1.items():
        for size in _V1_SIZES:
            name = f"mobilenet_v1_{multiplier}_{size}"
            yield _float(name, V1, model, size, stated if size == 224 else unstated, V1_STATED)
        for size in _V1_SIZES:
            yield _quantised(f"mobilenet_v1_{multiplier}_{size}_quant", V1, model, size)
    for multiplier, (model, stated) in _V2.items():
        for size in (224,) if multiplier in _V2_AT_224_ALONE else _V2_SIZES:
            name = f"mobilenet_v2_{multiplier}_{size}"
            yield _float(name, V2, model, size, stated if size == 224 else unstated, V2_V3_STATED)
    for name, (model, stated) in _V3.items():
        yield _float(f"{name}_float", V3, model, 224, stated, V2_V3_STATED)
        if name in _V3_UINT8:
            yield _quantised(f"{name}_uint8", V3, model, 224)


ENTRIES = tuple(_entries())
