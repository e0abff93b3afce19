"""The Keras reader on hand-made files: every layout, every name."""

from __future__ import annotations

import gc
import tarfile
import zipfile

import h5py
import numpy as np
import pytest

from parity_tests.building.keras_files import (
    GROUPS,
    LAYERS,
    NORM,
    TENSORS,
    configuration,
    entry,
    values,
    write_archive,
    write_legacy,
    write_numbered,
)
from porting.errors import BadSource, UnsupportedSource
from porting.sources import open_source


def check(source, expected=TENSORS):
    assert source.format == "keras"
    assert list(source.tensors) == list(expected)
    for name, array in expected.items():
        read = source.read(name)
        assert source.tensors[name].shape == array.shape
        assert source.tensors[name].dtype == read.dtype.name
        np.testing.assert_array_equal(read, array, err_msg=name)


@pytest.mark.parametrize("text", [np.bytes_, str])
@pytest.mark.parametrize("limit", [None, 2])
def test_weights_alone_in_the_layout_of_keras_2(tmp_path, limit, text):
    source = open_source(write_legacy(tmp_path / "w.h5", limit=limit, text=text))
    check(source)
    assert (source.layers, source.suffix) == ((), ".h5")
    assert source.weight_sets == ("as stored",)


@pytest.mark.parametrize("text", [bytes, str])
def test_a_whole_model_in_the_layout_of_keras_2(tmp_path, text):
    config = configuration()
    config = config if text is str else np.bytes_(config)
    source = open_source(write_legacy(tmp_path / "m.h5", config=config))
    check(source)
    assert [layer.name for layer in source.layers] == ["rescaling", *LAYERS]


def test_a_depthwise_kernel_has_one_name_whatever_wrote_it(tmp_path):
    """Keras 3 calls it ``kernel``, in files of both layouts."""
    layers = {"Conv1": LAYERS["Conv1"], "dw": {"kernel": values(3, 3, 8, 1)}}
    entries = [entry("Conv1", "Conv2D", {}), entry("dw", "DepthwiseConv2D", {"use_bias": False})]
    path = write_legacy(tmp_path / "m.h5", layers=layers, config=configuration(entries))
    assert list(open_source(path).tensors) == ["Conv1/kernel", "dw/depthwise_kernel"]


def test_an_archive(tmp_path):
    path = write_archive(tmp_path / "m.keras")
    source = open_source(path)
    check(source)
    assert (source.files, source.suffix) == ((path,), ".keras")


def test_an_archive_is_known_by_what_is_in_it(tmp_path):
    check(open_source(write_archive(tmp_path / "model.zip")))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(BadSource, match="a zip archive; expected a TFLite file"):
        open_source(tmp_path / "x.zip")


def test_a_file_in_a_zip_archive_with_its_labels(tmp_path):
    """As Teachable Machine gives it: converted_keras.zip."""
    model = write_legacy(tmp_path / "keras_model.h5", config=configuration())
    path = tmp_path / "converted_keras.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(model, "keras_model.h5")
        archive.writestr("labels.txt", "0 cat\n1 dog\n")
    source = open_source(path)
    check(source)
    assert source.labels == ("cat", "dog")
    assert str(source.path) == f"{path}, keras_model.h5"
    assert source.files == (source.file,)
    assert source.file.read_bytes() == model.read_bytes()


def test_an_archive_of_keras_in_a_tar_archive(tmp_path):
    model = write_archive(tmp_path / "m.keras")
    path = tmp_path / "m.tgz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(model, "model/m.keras")
    source = open_source(path)
    check(source)
    assert (source.name, source.suffix) == ("m.keras", ".keras")


def test_several_files_in_an_archive_are_named(tmp_path):
    path = tmp_path / "two.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("one.h5", "two.h5"):
            archive.write(write_legacy(tmp_path / name), name)
    with pytest.raises(BadSource, match=r"several Keras files: one\.h5, two\.h5; unpack it"):
        open_source(path)


def test_an_archive_that_was_packed_anew(tmp_path):
    check(open_source(write_archive(tmp_path / "m.keras", packed=zipfile.ZIP_DEFLATED)))


def test_an_archive_of_a_version_that_notes_no_names(tmp_path):
    check(open_source(write_archive(tmp_path / "m.keras", named=False)))


def test_what_is_unpacked_goes_with_the_source(tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    source = open_source(write_archive(tmp_path / "m.keras"))
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    del source
    assert list((tmp_path / "temporary").iterdir()) == []
    path = write_archive(tmp_path / "n.keras", weights=b"none")
    with pytest.raises(BadSource):
        open_source(path)
    gc.collect()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_numbered_weights_alone(tmp_path):
    source = open_source(write_numbered(tmp_path / "m.weights.h5"))
    assert source.suffix == ".weights.h5"
    check(source, {name: TENSORS[name] for name in source.tensors})
    assert set(source.tensors) == set(TENSORS)


def test_numbered_weights_alone_without_names_go_by_their_groups(tmp_path):
    source = open_source(write_numbered(tmp_path / "m.weights.h5", named=False))
    expected = {f"{GROUPS[layer]}/{name}" for layer, held in LAYERS.items() for name in held}
    assert set(source.tensors) == expected
    np.testing.assert_array_equal(source.read("conv2d/kernel"), TENSORS["Conv1/kernel"])


def test_variables_that_settings_leave_off_move_the_others_up(tmp_path):
    layers = {"bn": {name: values(8) for name in NORM[1:]}}
    entries = [entry("bn", "BatchNormalization", {"scale": False, "center": True})]
    options = {"layers": layers, "groups": {"bn": "batch_normalization"}}
    source = open_source(
        write_archive(tmp_path / "m.keras", config=configuration(entries), **options)
    )
    check(source, {f"bn/{name}": array for name, array in layers["bn"].items()})
    alone = open_source(write_numbered(tmp_path / "m.weights.h5", **options))
    assert list(alone.tensors) == ["bn/0", "bn/1", "bn/2"]


def test_groups_are_numbered_in_the_order_of_the_configuration_not_of_the_alphabet(tmp_path):
    names = [f"c{n}" for n in range(12)][::-1]
    layers = {name: {"kernel": values(1, 1, 2, 2)} for name in names}
    groups = {name: f"conv2d_{n}" if n else "conv2d" for n, name in enumerate(names)}
    entries = [entry(name, "Conv2D", {"use_bias": False}) for name in names]
    # An operation is listed like a layer, but is not one.
    entries.insert(3, entry("x", "Conv2D", {}, module="keras.src.ops.nn"))
    path = write_archive(
        tmp_path / "m.keras", config=configuration(entries), layers=layers, groups=groups,
        named=False,
    )  # fmt: skip
    check(open_source(path), {f"{name}/kernel": layers[name]["kernel"] for name in names})


def test_a_model_inside_the_model(tmp_path):
    held = {"kernel": values(1, 1, 3, 4)}, {"kernel": values(1, 1, 4, 2)}
    inner = [entry(name, "Conv2D", {"use_bias": False}) for name in ("a", "b")]
    entries = [{"class_name": "Functional", "name": "base", "config": {"layers": inner}}]
    entries += [entry("top", "Dense", {})]

    def nest(file):
        for group, array in zip(("conv2d", "conv2d_1"), held, strict=True):
            file[f"layers/functional/layers/{group}/vars/0"] = array["kernel"]

    path = write_archive(
        tmp_path / "m.keras", config=configuration(entries), layers={"top": LAYERS["Logits"]},
        groups={"top": "dense"}, change=nest,
    )  # fmt: skip
    expected = ["base/a/kernel", "base/b/kernel", "top/kernel", "top/bias"]
    assert list(open_source(path).tensors) == expected

    def flat(file):
        group = file["model_weights"].create_group("base")
        group.attrs["weight_names"] = [b"a/kernel:0", b"b/kernel:0"]
        group["a/kernel:0"], group["b/kernel:0"] = (array["kernel"] for array in held)
        file["model_weights"].attrs["layer_names"] = [b"base", b"top"]

    path = write_legacy(
        tmp_path / "m.h5", layers={"top": LAYERS["Logits"]}, config=configuration(entries),
        change=flat,
    )  # fmt: skip
    assert list(open_source(path).tensors) == expected


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("optimizer_weights/Adam/m/Conv1/kernel:0", "optimizer slot"),
        ("optimizer/vars/3", "optimizer slot"),
        ("metrics/mean/vars/0", "metric"),
        ("layers/dropout/seed_generator/vars/0", "random seed"),
        ("layers/custom/cell/vars/0", None),
    ],
)
def test_what_is_no_weight_is_listed_and_says_so(tmp_path, place, reason):
    def add(file):
        file[place] = values(3)

    source = open_source(write_archive(tmp_path / "m.keras", change=add))
    assert source.tensors[place].shape == (3,)
    assert source.not_a_weight(place) == reason
    assert not any(map(source.not_a_weight, TENSORS))


def test_settings_are_plain_data(tmp_path):
    code = entry("lambda", "Lambda", {"function": ["bytecode", None, None]})
    config = configuration([entry("scale", "Rescaling", {"scale": 2.0, "offset": -1.0}), code])
    source = open_source(write_archive(tmp_path / "m.keras", config=config, layers={}, change=(
        lambda file: file.create_group("layers"))))  # fmt: skip
    scaling, function = source.layers
    assert (scaling.kind, scaling.settings["scale"], scaling.settings["offset"]) == (
        "Rescaling", 2.0, -1.0,
    )  # fmt: skip
    assert function.settings["function"][0] == "bytecode"


@pytest.mark.parametrize("dtype", ["f2", "f8", "i4", "u1", ">f4", "?"])
def test_types(tmp_path, dtype):
    array = values(4, 3).astype(dtype)
    source = open_source(write_legacy(tmp_path / "w.h5", layers={"a": {"kernel": array}}))
    read = source.read("a/kernel")
    assert read.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(read, array)


def test_bfloat16_comes_as_float32(tmp_path):
    array = values(4, 3)

    def halve(file):
        upper = (array.view(np.uint32) >> 16).astype(np.uint16)
        kept = file.create_dataset("layers/dense/vars/0", data=upper.view("V2"))
        kept.attrs["dtype"] = "bfloat16"

    path = write_numbered(tmp_path / "m.weights.h5", layers={}, change=halve)
    source = open_source(path)
    assert source.tensors["dense/kernel"].stored_as == "bfloat16"
    expected = (array.view(np.uint32) & 0xFFFF0000).view(np.float32)
    np.testing.assert_array_equal(source.read("dense/kernel"), expected)


def test_bfloat16_without_a_note_of_its_type_as_keras_writes_it_into_an_h5(tmp_path):
    array = values(4, 3)
    upper = (array.view(np.uint32) >> 16).astype(np.uint16).view("V2")
    source = open_source(write_legacy(tmp_path / "w.h5", layers={"a": {"kernel": upper}}))
    info = source.tensors["a/kernel"]
    assert (info.dtype, info.stored_as) == ("float32", "bfloat16")
    expected = (array.view(np.uint32) & 0xFFFF0000).view(np.float32)
    np.testing.assert_array_equal(source.read("a/kernel"), expected)


def of_policy(name, kind="DTypePolicy", **more):
    return {"module": "keras", "class_name": kind, "config": {"name": name, **more}}


@pytest.mark.parametrize(
    ("dtypes", "policies"),
    [
        (("float32", None, of_policy("float32")), ()),
        (("float16", of_policy("mixed_float16"), "float16"), ("float16", "mixed_float16")),
        ((of_policy("mixed_bfloat16", "Policy", loss_scale=None),), ("mixed_bfloat16",)),
        (
            (
                {
                    "class_name": "DTypePolicyMap",
                    "config": {"default_policy": of_policy("bfloat16"), "policy_map": {}},
                },
            ),
            ("bfloat16",),
        ),
        (
            ("float64", "uint8", 5, ["float16"], {"config": 3}, "mixed_float16; \x1b[31m"),
            ("float64",),
        ),
    ],
)
def test_the_precision_in_which_a_file_says_that_its_layers_compute(tmp_path, dtypes, policies):
    inner = [entry(f"r{i}", "ReLU", {"dtype": dtype}) for i, dtype in enumerate(dtypes)]
    layers = [entry("outer", "Functional", {"layers": inner})]
    path = write_legacy(tmp_path / "m.h5", layers={"outer": {}}, config=configuration(layers))
    source = open_source(path)
    assert source.dtype_policies == policies
    stated = ", ".join(policies)
    expected = f"its layers state the dtype policy {stated}; port and judge compute in float32"
    assert source.notes == ((expected,) if policies else ())


def test_what_is_no_number_is_refused_when_it_is_read(tmp_path):
    layers = {"a": {"kernel": values(2)}}

    def add(file):
        file.create_dataset("words", data=["x", "y"], dtype=h5py.string_dtype())

    source = open_source(write_legacy(tmp_path / "w.h5", layers=layers, change=add))
    with pytest.raises(UnsupportedSource, match=r"w\.h5: tensor 'words' is of type objects"):
        source.read("words")
    with pytest.raises(KeyError):
        source.read("other")
