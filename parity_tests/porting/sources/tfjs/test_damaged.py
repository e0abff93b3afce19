"""Damaged and hostile models of TensorFlow.js: one sentence, and no memory beyond the file."""

from __future__ import annotations

import json
import tarfile
import zipfile

import numpy as np
import pytest

from parity_tests.building.tfjs_files import write_model, write_weights
from parity_tests.porting.sources.refusing import refused
from porting.errors import BadInput, BadSource, UnsupportedSource

KERNEL = {"conv/kernel": np.ones((3, 3, 3, 4), np.float32)}


def node(name, op, inputs=(), **attr):
    return {"name": name, "op": op, "input": list(inputs), "attr": attr}


def graph():
    image = {"shape": {"dim": [{"size": "-1"}, *({"size": n} for n in ("8", "8", "3"))]}}
    constant = {"tensor": {"dtype": "DT_FLOAT"}}
    one = {"list": {"i": ["1", "1", "1", "1"]}}
    return {
        "node": [
            node("image", "Placeholder", shape=image, dtype={"type": "DT_FLOAT"}),
            node("conv/kernel", "Const", value=constant),
            node(
                "conv", "Conv2D", ["image", "conv/kernel"], strides=one, padding={"s": "U0FNRQ=="}
            ),
        ]
    }  # fmt: skip


@pytest.fixture
def refuse(tmp_path):
    """Write a model that ``change`` has been at, and check that it is refused."""

    def check(change, message, kind=BadSource):
        manifest = write_weights(tmp_path / "model", [KERNEL], 200)
        content = {"modelTopology": graph(), "weightsManifest": manifest, "format": "graph-model"}
        change(content)
        (tmp_path / "model" / "model.json").write_text(json.dumps(content))
        refused(tmp_path / "model" / "model.json", kind, message)

    return check


def test_the_model_itself_is_read(tmp_path):
    from porting.sources import open_source

    manifest = write_weights(tmp_path / "model", [KERNEL], 200)
    source = open_source(write_model(tmp_path / "model", graph(), manifest))
    assert [operator.kind for operator in source.graph.operators] == ["CONV_2D"]
    np.testing.assert_array_equal(source.read("conv/kernel"), KERNEL["conv/kernel"])


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("../group1-shard1of3.bin", "not below the folder"),
        ("/etc/hostname", "not below the folder"),
        ("a/../../b", "not below the folder"),
        ("..\\b", "not below the folder"),
        ("a\0b", "not below the folder"),
        ("https://example.org/group1-shard1of3.bin", "is elsewhere; download it"),
        ("//example.org/group1-shard1of3.bin", "is elsewhere"),
        ("file:///etc/hostname", "is elsewhere"),
        ("group1-shard2of3.bin", "listed twice"),
        ("./group1-shard2of3.bin", "listed twice"),
        ("group1-shard9of3.bin", "is not in .*; copy all 3 beside it"),
        ("x" * 5000, "is not in"),
        (7, "not a list of names"),
    ],
)
def test_paths_of_shards(path, message, refuse):
    def change(content):
        content["weightsManifest"][0]["paths"][0] = path

    refuse(change, message)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"shape": [3, 3, 3, 5]}, "ends at byte 540 of the shards of group 1, which have 432"),
        ({"shape": [3, 3, 3, 3]}, "take 324 bytes, its shards have 432"),
        ({"shape": [1 << 28]}, "ends at byte 1,073,741,824"),
        ({"shape": [1 << 62, 1 << 62]}, "ends at byte more than any file's"),
        ({"shape": [-1, -108]}, "its shape is"),
        ({"shape": [1.5]}, "its shape is"),
        ({"shape": [True, 108]}, "its shape is"),
        ({"shape": [1] * 40}, "40 axes"),
        ({"shape": "108"}, "its shape is"),
        ({"dtype": "float64"}, "of type float64"),
        ({"dtype": ["float32"]}, "of type"),
        ({"dtype": "string"}, "do not fit the shards"),
        ({"dtype": "string", "shape": [1 << 40]}, "do not fit the shards"),
        ({"name": None}, "without a name"),
        ({"quantization": 8}, "its quantisation is a number"),
        ({"quantization": {"dtype": "int4"}}, "quantised to int4"),
        ({"quantization": {"dtype": "uint8"}}, "has scale None"),
        ({"quantization": {"dtype": "uint8", "scale": float("nan"), "min": 0}}, "has scale nan"),
        ({"quantization": {"dtype": "uint8", "scale": 1, "min": float("inf")}}, "has min inf"),
        ({"quantization": {"dtype": "uint8", "scale": 10**400, "min": 0}}, "has scale 1000"),
        ({"quantization": {"dtype": "uint8", "scale": "1", "min": 0}}, "has scale 1"),
        ({"quantization": {"dtype": "uint8", "scale": True, "min": 0}}, "has scale True"),
        ({"quantization": {"dtype": "uint8", "scale": 1, "min": 0}}, "take 108 bytes"),
    ],
)
def test_entries_of_the_manifest(entry, message, refuse):
    def change(content):
        content["weightsManifest"][0]["weights"][0].update(entry)

    refuse(change, message)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("weightsManifest", None, "expected a list of groups, it is missing"),
        ("weightsManifest", {"paths": []}, "expected a list of groups, it is an object"),
        ("weightsManifest", ["group"], "group 1 is a text"),
        ("weightsManifest", [{"paths": [], "weights": {}}], "the weights of group 1 are an object"),
        ("weightsManifest", [{"paths": "a", "weights": []}], "not a list of names"),
        ("weightsManifest", [], "takes the weight 'conv/kernel'"),
        ("modelTopology", [], "its modelTopology is no object"),
        ("modelTopology", {"node": {}}, "not a list of objects"),
        ("modelTopology", {"node": [7]}, "not a list of objects"),
        ("modelTopology", {"node": [{"name": 7}]}, "not a text: '7'"),
        ("modelTopology", {"node": [{"attr": []}]}, "a map that is not an object"),
        ("modelTopology", {"node": [{"attr": {"i": {"i": "x"}}}]}, "not a integer: 'x'"),
        ("modelTopology", {"node": [{"attr": {"i": {"i": "9" * 30}}}]}, "not a integer"),
        ("modelTopology", {"node": [{"attr": {"f": {"f": 1e300}}}]}, "not a real"),
        ("modelTopology", {"node": [{"attr": {"s": {"s": "a"}}}]}, "not a bytes"),
        ("modelTopology", {"node": [{"attr": {"s": {"s": [300]}}}]}, "not a bytes"),
        ("modelTopology", {"node": [{"attr": {"s": 3}}]}, "a AttrValue that is not an object"),
        ("modelTopology", {"node": [{"op": "_FusedConv2D"}]}, "does not say what is fused"),
        ("modelTopology", {"node": [{"op": [7]}]}, "not a text"),
        (
            "modelTopology",
            {"node": [{"op": "Const", "attr": {"value": {"tensor": 5}}}]},
            "a TensorProto that is not an object",
        ),
        ("modelTopology", {"node": [{"op": "_FusedMatMul", "input": 7}]}, "no list of inputs"),
    ],
)
def test_other_types_everywhere(key, value, message, refuse):
    def change(content):
        content[key] = value

    refuse(change, message)


def test_a_fused_layer_without_its_operands(refuse):
    def change(content):
        layer = content["modelTopology"]["node"][2]
        layer["op"] = "_FusedConv2D"
        layer["attr"]["fused_ops"] = {"list": {"s": ["Qmlhc0FkZA=="]}}

    refuse(change, "_FusedConv2D 'conv' has no operands for its BiasAdd")


@pytest.mark.parametrize("change", [b"", b"\0"], ids=["short", "long"])
def test_a_shard_of_another_size(change, tmp_path):
    manifest = write_weights(tmp_path / "model", [KERNEL], 200)
    folder = write_model(tmp_path / "model", graph(), manifest)
    shard = folder / "group1-shard2of3.bin"
    shard.write_bytes(shard.read_bytes() + change if change else shard.read_bytes()[:-1])
    refused(folder, BadSource, "its shards have 433" if change else "which have 431")


def test_json_nested_deeply(tmp_path):
    file = tmp_path / "model.json"
    file.write_text('{"modelTopology": ' + "[" * 100_000)
    refused(file, BadSource, "damaged or cut short, as JSON")
    file.write_text('{"modelTopology": {}')
    refused(file, BadSource, "damaged or cut short, as JSON")
    file.write_text('{"modelTopology": {}}' + " " * (4 << 20))
    refused(file, UnsupportedSource, "larger than 4 MiB")


def test_a_file_of_another_kind_is_not_taken_for_a_model(tmp_path):
    (tmp_path / "model.json").write_text('{"a": 1}')
    refused(tmp_path / "model.json", BadInput, "expected a TFLite file")


@pytest.mark.parametrize("ending", [".zip", ".tgz"])
def test_an_archive_of_a_model(ending, tmp_path):
    """As Teachable Machine exports it; an archive is unpacked as far as any model's."""
    from porting.sources import open_source

    manifest = write_weights(tmp_path / "model", [KERNEL], 200)
    folder = write_model(tmp_path / "model", graph(), manifest)
    (folder / "metadata.json").write_text('{"labels": ["a", "b"]}')
    path = pack(folder, tmp_path / f"converted{ending}")
    source = open_source(path)
    assert source.files == (path,)
    assert source.labels == ("a", "b")
    np.testing.assert_array_equal(source.read("conv/kernel"), KERNEL["conv/kernel"])
    (folder / "group1-shard1of3.bin").unlink()
    refused(pack(folder, path), BadSource, "group1-shard1of3.bin' is not in")


def test_a_zip_that_unpacks_to_more_than_any_model(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.json", "{}")
        with archive.open("weights.bin", "w") as member:
            for _ in range(80):
                member.write(bytes(1 << 20))
    refused(path, BadSource, "weights.bin unpacks to 83,886,080 bytes")


def test_models_in_folders(tmp_path):
    from porting.catalog.local import search_folders

    manifest = write_weights(tmp_path / "deep" / "model", [KERNEL], 200)
    folder = write_model(tmp_path / "deep" / "model", graph(), manifest)
    archive = pack(folder, tmp_path / "model.zip")
    (tmp_path / "notes.json").write_text('{"a": 1}')
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as photos:
        photos.writestr("photo.jpg", b"")
    assert sorted(search_folders([tmp_path])) == sorted([folder, archive])


def pack(folder, path):
    """The files of a folder in an archive; its path."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in folder.iterdir():
                archive.write(file, file.name)
    else:
        with tarfile.open(path, "w:gz") as archive:
            archive.add(folder, "model")
    return path
