"""Google's published MNASNets.

Accuracies: ``tensorflow/lite/g3doc/guide/hosted_models.md`` (TensorFlow 1.x)
for the TFLite files, ``models/official/mnasnet/README.md`` (tensorflow/tpu)
for the checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator

from porting.catalog.entry import IMAGENET, MEASURED, STORAGE, CatalogEntry

HOSTED = f"{STORAGE}download.tensorflow.org/models/tflite/"
HOSTED_STATED = "TensorFlow Lite, hosted_models.md"
CHECKPOINTS = f"{STORAGE}cloud-tpu-checkpoints/mnasnet/"
CHECKPOINTS_STATED = "tensorflow/tpu, models/official/mnasnet/README.md"

# Multiplier, size, network, top-1, top-5.
_HOSTED = (
    ("1.0", 224, "tf_mnasnet_100", 74.08, 91.75),
    ("1.0", 192, "tf_mnasnet_100", 72.56, 90.76),
    ("1.0", 160, "tf_mnasnet_100", 70.63, 89.58),
    ("1.0", 128, "tf_mnasnet_100", 67.32, 87.70),
    ("1.0", 96, "tf_mnasnet_100", 62.33, 83.98),
    ("0.5", 224, "tf_mnasnet_050", 68.03, 87.79),
    ("0.75", 224, "tf_mnasnet_075", 71.72, 90.17),
    ("1.3", 224, "tf_mnasnet_130", 75.24, 92.55),
)

# Name, network, top-1, top-5.
_CHECKPOINTS: tuple[tuple[str, str, float, float | None], ...] = (
    ("mnasnet-a1", "tf_semnasnet_100", 75.2, 92.5),
    ("mnasnet-a1-140", "tf_semnasnet_140", 77.2, 93.5),
    ("mnasnet-a1-075", "tf_semnasnet_075", 73.3, 91.3),
    ("mnasnet-a1-050", "tf_semnasnet_050", 68.9, 88.4),
    ("mnasnet-a1-035", "tf_semnasnet_035", 64.1, 85.1),
    ("mnasnet-small", "tf_mnasnet_small", 66.0, None),
)

_MULTIPLIERS = {"1.4": "140", "1.0": "100", "0.75": "075", "0.5": "050", "0.35": "035"}
_SIZES = (192, 160, 128, 96)


def _hosted() -> Iterator[CatalogEntry]:
    for multiplier, size, model, top1, top5 in _HOSTED:
        name = f"mnasnet_{multiplier}_{size}"
        yield CatalogEntry(
            name, f"{HOSTED}{name}_09_07_2018.tgz", model, "tflite", size,
            classes=1001, input=MEASURED, top1=top1, top5=top5, stated_in=HOSTED_STATED,
        )  # fmt: skip


def _checkpoints() -> Iterator[CatalogEntry]:
    for name, model, first, fifth in _CHECKPOINTS:
        yield CatalogEntry(
            name, f"{CHECKPOINTS}{name}.tgz", model, "checkpoint", 224,
            classes=1000, input=IMAGENET, top1=first, top5=fifth, stated_in=CHECKPOINTS_STATED,
        )  # fmt: skip
    for multiplier, digits in _MULTIPLIERS.items():
        for size in _SIZES:
            name = f"mnasnet-a1_d{multiplier}_i{size}"
            yield CatalogEntry(
                name, f"{CHECKPOINTS}{name}.tgz", f"tf_semnasnet_{digits}", "checkpoint", size,
                classes=1000, input=IMAGENET,
            )  # fmt: skip


ENTRIES = (*_hosted(), *_checkpoints())
