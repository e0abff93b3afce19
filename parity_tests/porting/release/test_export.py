"""Exported files against the network that they were made of, run by the formats' own runtimes."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from genmobilenet import create_model
from genmobilenet.factory import with_strings
from genmobilenet.layers import norms_of
from parity_tests.building.command import porting as run
from porting.errors import BadInput, NotAtParity
from porting.release import export as exporting
from porting.release.export import FORMATS, ExportOptions, export
from porting.sha256 import sha256_of

STRINGS = (
    "stem_c8_nre | ds_r1_k3_s1_c8 | ir_r2_k5_s2_e3_c16 | ir_r1_k3_s2_e3_c24_se0.25 | cn_c32 pool fc"
)
SIDE = 40
SIZES = ((1, 40, 40), (2, 41, 40), (1, 33, 47), (3, 64, 35), (1, 97, 98))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A network with batch norms that do something, and a card that says its input."""
    torch.manual_seed(1)
    network = create_model(STRINGS, num_classes=5).eval()
    for path in norms_of(network).values():
        norm = network.get_submodule(path)
        norm.running_mean.normal_(0, 0.2)
        norm.running_var.uniform_(0.5, 2)
    path = tmp_path_factory.mktemp("export") / "own.pth"
    torch.save(with_strings(network.state_dict(), STRINGS), path)
    convention = {
        "size": SIDE, "channels": 3, "classes": 5, "mean": [100.0, 110.0, 120.0],
        "std": [50.0, 60.0, 70.0], "evidence": "the test", "preprocessing": "decode tf",
        "certainty": "proved", "source_mean": [0.0] * 3, "source_std": [1.0] * 3,
    }  # fmt: skip
    card = {
        "model": STRINGS, "weights": {"file": path.name, "sha256": sha256_of(path)},
        "source": {"file": "f", "format": "tflite", "sha256": "0", "weight_set": "as stored"},
        "input": convention,
    }  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(card))
    return path, network


def logits(network, x):
    with torch.no_grad():
        return network(torch.from_numpy(x)).numpy()


def images(shape, seed=0):
    return np.random.default_rng(seed).uniform(-2, 2, shape).astype(np.float32)


@pytest.fixture(scope="module")
def onnx_files(checkpoint, tmp_path_factory):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("onnx")
    for sizes in ("fixed", "open"):
        export(checkpoint[0], folder / f"{sizes}.onnx", "onnx", ExportOptions(sizes))
    return folder


def test_onnx_at_fixed_sizes_has_no_padding_and_no_shape_arithmetic(checkpoint, onnx_files):
    import onnx
    import onnxruntime

    proto = onnx.load(onnx_files / "fixed.onnx")
    kinds = Counter(node.op_type for node in proto.graph.node)
    assert not {"Pad", "Shape", "Gather", "Slice", "BatchNormalization"} & kinds.keys(), kinds
    convs = [node for node in proto.graph.node if node.op_type == "Conv"]
    assert not [a for node in convs for a in node.attribute if a.s == b"SAME_UPPER"]
    session = onnxruntime.InferenceSession(onnx_files / "fixed.onnx")
    x = images((1, 3, SIDE, SIDE))
    [values] = session.run(None, {"input": x})
    np.testing.assert_allclose(values, logits(checkpoint[1], x), rtol=0, atol=1e-5)
    assert not list(proto.graph.node[0].metadata_props)
    assert b"/site-packages/" not in (onnx_files / "fixed.onnx").read_bytes()
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert metadata["weights_sha256"] == sha256_of(checkpoint[0])


def test_onnx_with_open_sizes_pads_as_tensorflow_at_odd_and_even_sizes(checkpoint, onnx_files):
    import onnx
    import onnxruntime

    proto = onnx.load(onnx_files / "open.onnx")
    kinds = Counter(node.op_type for node in proto.graph.node)
    assert not {"Pad", "Shape", "Gather", "Slice"} & kinds.keys(), kinds
    session = onnxruntime.InferenceSession(onnx_files / "open.onnx")
    for batch, height, width in SIZES:
        x = images((batch, 3, height, width))
        [values] = session.run(None, {"input": x})
        np.testing.assert_allclose(values, logits(checkpoint[1], x), rtol=0, atol=1e-5)


def test_the_same_network_gives_the_same_bytes(checkpoint, onnx_files, tmp_path):
    export(checkpoint[0], tmp_path / "again.onnx", "onnx", ExportOptions("fixed"))
    assert (tmp_path / "again.onnx").read_bytes() == (onnx_files / "fixed.onnx").read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["again.onnx"]


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_normalisation_and_softmax_inside(checkpoint, tmp_path, layout):
    options = ExportOptions("open", with_preprocessing=True, layout=layout)
    export(checkpoint[0], tmp_path / "x.pt", "torchscript", options)
    module = torch.jit.load(tmp_path / "x.pt")
    pixels = torch.randint(0, 256, (2, 3, 41, 38)).float()
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in ((100.0, 110, 120), (50.0, 60, 70)))
    expected = logits(checkpoint[1], ((pixels - mean) / std).numpy())
    with torch.no_grad():
        values = module(pixels if layout == "nchw" else pixels.permute(0, 2, 3, 1))
    np.testing.assert_allclose(values, torch.from_numpy(expected).softmax(1), rtol=0, atol=1e-5)


def test_torchscript_takes_any_size(checkpoint, tmp_path):
    export(checkpoint[0], tmp_path / "x.pt", "torchscript", ExportOptions("open"))
    module = torch.jit.load(tmp_path / "x.pt")
    for batch, height, width in SIZES:
        x = images((batch, 3, height, width))
        with torch.no_grad():
            values = module(torch.from_numpy(x))
        np.testing.assert_allclose(values, logits(checkpoint[1], x), rtol=0, atol=1e-5)


def test_torch_export_with_an_open_batch(checkpoint, tmp_path):
    export(checkpoint[0], tmp_path / "x.pt2", "pt2", ExportOptions("batch", side=41))
    module = torch.export.load(tmp_path / "x.pt2").module()
    for batch in (1, 4):
        x = images((batch, 3, 41, 41))
        with torch.no_grad():
            values = module(torch.from_numpy(x))
        np.testing.assert_allclose(values, logits(checkpoint[1], x), rtol=0, atol=1e-5)
    with pytest.raises(BadInput, match=r"pt2 has no files with --sizes open.*torch.export cannot"):
        export(checkpoint[0], tmp_path / "y.pt2", "pt2", ExportOptions("open"))


def test_a_file_that_differs_is_not_kept(checkpoint, tmp_path, monkeypatch):
    kind = FORMATS["torchscript"]

    def load(path):
        module, runtime = kind.load(path)
        return (lambda x: module(x) + 1e-4 * (x.shape[2] == SIDE + 1)), runtime

    monkeypatch.setitem(exporting.FORMATS, "torchscript", replace(kind, load=load))
    with pytest.raises(NotAtParity, match=r"differs from PyTorch at 2x3x41x40 by .*not kept"):
        export(checkpoint[0], tmp_path / "x.pt", "torchscript", ExportOptions("open"))
    assert not list(tmp_path.iterdir())


def test_refusals(checkpoint, tmp_path):
    other = tmp_path / "other.pth"
    torch.save(create_model("tf_mobilenetv1_025", num_classes=3).state_dict(), other)
    with pytest.raises(BadInput, match="neither a card nor the file says its network"):
        export(other, tmp_path / "x", "pt2", ExportOptions("fixed"))
    with pytest.raises(BadInput, match="no card beside it says how pixels are normalised"):
        options = ExportOptions("fixed", with_preprocessing=True)
        export(other, tmp_path / "x", "pt2", options, "tf_mobilenetv1_025")
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        export(tmp_path / "none.pth", tmp_path / "x", "pt2", ExportOptions("fixed"))
    assert [file.name for file in tmp_path.iterdir()] == ["other.pth"]


def test_the_command(checkpoint, tmp_path):
    result = run("export", checkpoint[0], "--format", "torchscript", "--out", tmp_path / "x.pt")
    assert result.returncode == 0, result.stderr
    assert "sizes     open, nchw, 40 pixels a side" in result.stdout
    assert "times the" in result.stdout
    result = run("export", checkpoint[0], "--format", "executorch", "--out", tmp_path / "x.pte")
    if result.returncode:  # it is in no lock, but tells what it needs
        assert "pip install executorch" in result.stderr
        assert not (tmp_path / "x.pte").exists()
