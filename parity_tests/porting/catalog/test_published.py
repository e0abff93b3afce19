"""The catalog of Google's files: names, addresses, networks."""

from __future__ import annotations

from collections import Counter

import pytest

from genmobilenet import list_models
from porting.catalog import CATALOG, find_entry
from porting.catalog.downloads import FIRST_BYTES
from porting.catalog.published import (
    BY_FILE,
    CONTRADICTORY,
    ENTRIES,
    FILE_QUANTISATION,
    IMAGENET,
    RESCALING_LAYER,
    SYMMETRIC,
    near_names,
)
from porting.errors import BadInput

GOOGLE = "https://storage.googleapis.com"
TFLITE = f"{GOOGLE}/download.tensorflow.org/models/tflite"
TPU = f"{GOOGLE}/cloud-tpu-checkpoints/mnasnet"
V1 = f"{GOOGLE}/download.tensorflow.org/models/mobilenet_v1_2018_02_22"
V2 = f"{GOOGLE}/mobilenet_v2/checkpoints"
V3 = f"{GOOGLE}/mobilenet_v3/checkpoints"
KERAS = f"{GOOGLE}/tensorflow/keras-applications"
KERAS_V2 = f"{KERAS}/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels"
KERAS_V3 = f"{KERAS}/mobilenet_v3/weights_mobilenet_v3"

# Name, address, network, side, classes, input, top-1, top-5.
PUBLISHED = [
    ("mnasnet_0.75_224", f"{TFLITE}/mnasnet_0.75_224_09_07_2018.tgz",
     "tf_mnasnet_075", 224, 1001, CONTRADICTORY, 71.72, 90.17),
    ("mnasnet_1.0_96", f"{TFLITE}/mnasnet_1.0_96_09_07_2018.tgz",
     "tf_mnasnet_100", 96, 1001, CONTRADICTORY, 62.33, 83.98),
    ("mnasnet-a1", f"{TPU}/mnasnet-a1.tgz",
     "tf_semnasnet_100", 224, 1000, IMAGENET, 75.2, 92.5),
    ("mnasnet-a1_d0.35_i128", f"{TPU}/mnasnet-a1_d0.35_i128.tgz",
     "tf_semnasnet_035", 128, 1000, IMAGENET, None, None),
    ("mnasnet-small", f"{TPU}/mnasnet-small.tgz",
     "tf_mnasnet_small", 224, 1000, IMAGENET, 66.0, None),
    ("mobilenet_v1_0.25_224", f"{V1}/mobilenet_v1_0.25_224.tgz",
     "tf_mobilenetv1_025", 224, 1001, SYMMETRIC, 49.8, 74.2),
    ("mobilenet_v1_1.0_160_quant", f"{V1}/mobilenet_v1_1.0_160_quant.tgz",
     "tf_mobilenetv1_100", 160, 1001, FILE_QUANTISATION, None, None),
    ("mobilenet_v2_1.4_224", f"{V2}/mobilenet_v2_1.4_224.tgz",
     "tf_mobilenetv2_140", 224, 1001, SYMMETRIC, 75.0, None),
    ("mobilenet_v2_0.35_96", f"{V2}/mobilenet_v2_0.35_96.tgz",
     "tf_mobilenetv2_035", 96, 1001, SYMMETRIC, None, None),
    ("v3-small_224_0.75_float", f"{V3}/v3-small_224_0.75_float.tgz",
     "tf_mobilenetv3_small_075", 224, 1001, SYMMETRIC, 65.4, None),
    ("v3-large-minimalistic_224_1.0_float", f"{V3}/v3-large-minimalistic_224_1.0_float.tgz",
     "tf_mobilenetv3_large_minimal_100", 224, 1001, SYMMETRIC, 72.3, None),
    ("v3-large_224_1.0_uint8", f"{V3}/v3-large_224_1.0_uint8.tgz",
     "tf_mobilenetv3_large_100", 224, 1001, FILE_QUANTISATION, None, None),
    ("keras-v1_0.75_192", f"{KERAS}/mobilenet/mobilenet_7_5_192_tf.h5",
     "tf_mobilenetv1_075", 192, 1000, SYMMETRIC, None, None),
    ("keras-v2_0.35_96", f"{KERAS_V2}_0.35_96.h5",
     "tf_mobilenetv2_035", 96, 1000, SYMMETRIC, None, None),
    ("keras-v2_1.3_224", f"{KERAS_V2}_1.3_224.h5",
     "tf_mobilenetv2_130", 224, 1000, SYMMETRIC, 74.4, None),
    ("keras-v3-large_0.75_224", f"{KERAS_V3}_large_224_0.75_float.h5",
     "tf_mobilenetv3_large_075", 224, 1000, RESCALING_LAYER, 73.3, None),
    ("keras-v3-small-minimalistic_1.0_224", f"{KERAS_V3}_small_minimalistic_224_1.0_float.h5",
     "tf_mobilenetv3_small_minimal_100", 224, 1000, RESCALING_LAYER, 61.9, None),
]  # fmt: skip


@pytest.mark.parametrize("row", PUBLISHED, ids=[row[0] for row in PUBLISHED])
def test_entries_are_what_is_published(row):
    entry = CATALOG[row[0]]
    assert row == (entry.name, entry.url, entry.model, entry.size, entry.classes, entry.input,
                   entry.top1, entry.top5)  # fmt: skip


def test_every_entry_has_a_name_a_file_and_a_network_of_this_package():
    assert len(ENTRIES) == len(CATALOG) == len(BY_FILE) == len({entry.url for entry in ENTRIES})
    assert {entry.model for entry in ENTRIES} <= set(list_models())
    for entry in ENTRIES:
        assert entry.url.startswith(f"{GOOGLE}/")
        assert entry.file_name.endswith(tuple(FIRST_BYTES))
        assert (entry.format == "keras") == entry.file_name.endswith(".h5")
        assert (entry.top1 is None) == (entry.stated_in == "")
        assert entry.top1 is not None or entry.top5 is None


@pytest.mark.parametrize(
    ("start", "count"),
    [
        ("mnasnet_", 8),  # 1.0 at five sizes, three more at 224
        ("mnasnet-a1", 25),  # five multipliers at five sizes
        ("mnasnet-small", 1),
        ("mobilenet_v1_", 32),  # four multipliers at four sizes, each also quantised
        ("mobilenet_v2_", 22),  # four multipliers at five sizes, two at 224
        ("v3-", 9),  # six float, three quantised
        ("keras-v1_", 16),
        ("keras-v2_", 22),
        ("keras-v3-", 6),
    ],
)
def test_no_file_of_a_family_is_missing(start, count):
    assert sum(name.startswith(start) for name in CATALOG) == count


def test_nothing_else_is_in_it():
    formats = Counter(entry.format for entry in ENTRIES)
    assert formats == {"tflite": 8 + 16 + 3, "checkpoint": 26 + 16 + 22 + 6, "keras": 44}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("mnasnet_1.0_224", "mnasnet_1.0_224"),
        ("mnasnet_100", "mnasnet_1.0_224"),
        ("tf_semnasnet_050", "mnasnet-a1-050"),
        ("mnasnet_small", "mnasnet-small"),
        ("mobilenetv1_100", "mobilenet_v1_1.0_224"),
        ("mobilenetv2_130", "mobilenet_v2_1.3_224"),
        ("mobilenetv3_large_minimal_100", "v3-large-minimalistic_224_1.0_float"),
        ("mobilenet_1_0_224_tf.h5", "keras-v1_1.0_224"),
        ("mnasnet_1.0_224_09_07_2018.tgz", "mnasnet_1.0_224"),
    ],
)
def test_entries_are_found_by_their_name_their_file_or_their_network(name, found):
    assert find_entry(name).name == found


def test_an_unknown_name_lists_the_nearest():
    with pytest.raises(BadInput, match=r"'mnasnet-a2'; the nearest are mnasnet-a1"):
        find_entry("mnasnet-a2")
    with pytest.raises(BadInput, match=r"'\?'; porting sources lists what there is"):
        find_entry("?")


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("mnasnet_1.0_225", "mnasnet_1.0_224"),
        ("somewhere/mnasnet_1.0_224.tflite", "mnasnet_1.0_224"),
        ("mnasnet-a1-50", "mnasnet-a1-050"),
        ("absent.tflite", None),
        ("model.ckpt-12", None),
        ("cat.jpeg", None),
    ],
)
def test_what_may_have_been_meant(text, nearest):
    assert next(iter(near_names(text)), None) == nearest
