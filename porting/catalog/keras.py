"""The weights of keras.applications, under short names of their own.

Files: ``mobilenet.py``, ``mobilenet_v2.py`` and ``mobilenet_v3.py`` of
keras.applications, which build these addresses. Accuracies: their docstrings.
"""

from __future__ import annotations

from collections.abc import Iterator

from porting.catalog.entry import RESCALED, SIGNED, STORAGE, CatalogEntry

FOLDER = f"{STORAGE}tensorflow/keras-applications/"
STATED = "keras.applications, docstrings of mobilenet.py, mobilenet_v2.py and mobilenet_v3.py"

# Multiplier -> as a file of V1 has it, digits of our name, top-1 at 224 pixels.
_V1: dict[str, tuple[str, str, float | None]] = {
    "1.0": ("1_0", "100", 70.6),
    "0.75": ("7_5", "075", None),
    "0.5": ("5_0", "050", None),
    "0.25": ("2_5", "025", None),
}
_V1_SIZES = (224, 192, 160, 128)

# Multiplier -> digits of our name, top-1 and top-5 at 224 pixels.
_V2: dict[str, tuple[str, float, float | None]] = {
    "1.4": ("140", 75.0, None),
    "1.3": ("130", 74.4, None),
    "1.0": ("100", 71.8, 91.0),
    "0.75": ("075", 69.8, None),
    "0.5": ("050", 65.4, None),
    "0.35": ("035", 60.3, None),
}
_V2_SIZES = (224, 192, 160, 128, 96)
_V2_AT_224_ALONE = ("1.4", "1.3")

# Kind, multiplier, network, top-1.
_V3 = (
    ("large", "1.0", "tf_mobilenetv3_large_100", 75.2),
    ("large", "0.75", "tf_mobilenetv3_large_075", 73.3),
    ("small", "1.0", "tf_mobilenetv3_small_100", 67.5),
    ("small", "0.75", "tf_mobilenetv3_small_075", 65.4),
    ("large_minimalistic", "1.0", "tf_mobilenetv3_large_minimal_100", 72.3),
    ("small_minimalistic", "1.0", "tf_mobilenetv3_small_minimal_100", 61.9),
)


def _entry(
    name: str, file: str, model: str, size: int, taken: str, top1: float | None, top5: float | None
) -> CatalogEntry:
    return CatalogEntry(
        name, f"{FOLDER}{file}", model, "keras", size, classes=1000, input=taken,
        top1=top1, top5=top5, stated_in=STATED if top1 is not None else "",
    )  # fmt: skip


def _entries() -> Iterator[CatalogEntry]:
    for multiplier, (written, digits, top1) in _V1.items():
        for size in _V1_SIZES:
            name = f"keras-v1_{multiplier}_{size}"
            file = f"mobilenet/mobilenet_{written}_{size}_tf.h5"
            stated = top1 if size == 224 else None
            yield _entry(name, file, f"tf_mobilenetv1_{digits}", size, SIGNED, stated, None)
    for multiplier, (digits, first, fifth) in _V2.items():
        for size in (224,) if multiplier in _V2_AT_224_ALONE else _V2_SIZES:
            name = f"keras-v2_{multiplier}_{size}"
            file = (
                f"mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{multiplier}_"
                f"{size}.h5"
            )
            tops = (first, fifth) if size == 224 else (None, None)
            yield _entry(name, file, f"tf_mobilenetv2_{digits}", size, SIGNED, *tops)
    for kind, multiplier, model, top1 in _V3:
        name = f"keras-v3-{kind.replace('_', '-')}_{multiplier}_224"
        file = f"mobilenet_v3/weights_mobilenet_v3_{kind}_224_{multiplier}_float.h5"
        yield _entry(name, file, model, 224, RESCALED, top1, None)


ENTRIES = tuple(_entries())
