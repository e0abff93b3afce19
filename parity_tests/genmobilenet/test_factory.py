"""Files like the early published ones: batch norms folded, or without counts of batches."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch

import porting
from genmobilenet import create_model
from genmobilenet.errors import ArchitectureError, CheckpointError
from genmobilenet.factory import fill, with_strings
from genmobilenet.layers import norms_of
from parity_tests.building.networks import drawn
from parity_tests.building.tflite_networks import network_file
from porting.parity.inputs import seeded_pixels

NETWORKS = ["tf_mnasnet_small", "tf_mobilenetv1_025", "tf_mobilenetv3_small_075", "spnasnet_100",
            "fbnetc_100", "shufflenetv2_050"]  # fmt: skip


def folded(model):
    """Its state dict with every batch norm folded into its convolution, computed in float64."""
    state = {key: values.double() for key, values in model.state_dict().items()}
    for conv, norm in norms_of(model).items():
        part = model.get_submodule(norm)
        keys = [f"{norm}.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
        weight, bias, mean, variance = (state.pop(key) for key in keys)
        state.pop(f"{norm}.num_batches_tracked")
        factor = weight / (variance + part.eps).sqrt()
        state[f"{conv}.weight"] *= factor.reshape(-1, 1, 1, 1)
        state[f"{conv}.bias"] = bias - mean * factor
    return {key: values.float() for key, values in state.items()}


def written(state, tmp_path):
    path = tmp_path / "early.pth"
    torch.save(state, path)
    return path


def problems_of(name, path, **options):
    with pytest.raises(CheckpointError) as error_info:
        create_model(name, checkpoint_path=path, **options)
    return str(error_info.value).splitlines()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_folded_file_is_the_same_network(name, tmp_path):
    model = drawn(name)
    path = written(folded(model), tmp_path)
    loaded = create_model(name, checkpoint_path=path).eval()
    assert loaded.config.num_classes == 7
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected, actual = model(x), loaded(x)
    assert (actual - expected).abs().max() < 1e-4 * expected.abs().max()


def test_its_keys_are_the_early_ones():
    """``conv_stem.bias`` and the like, a bias for each convolution, and no batch norm."""
    keys = folded(create_model("tf_mnasnet_small")).keys()
    assert not [key for key in keys if ".bn" in key or key.startswith("bn")]
    early = ("conv_stem.bias", "blocks.0.0.conv_dw.bias", "blocks.1.0.conv_pwl.bias",
             "blocks.3.0.se.conv_reduce.bias", "conv_head.bias", "classifier.bias")  # fmt: skip
    assert set(early) <= keys


def test_every_batch_norm_has_its_convolution():
    for name in NETWORKS:
        model = create_model(name)
        pairs = norms_of(model)
        norms = [p for p, m in model.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]
        assert list(pairs.values()) == norms
        for conv, norm in pairs.items():
            widths = model.get_submodule(conv).out_channels, model.get_submodule(norm).num_features
            assert widths[0] == widths[1], conv


def test_what_it_loads_is_the_port_of_the_folded_file(tmp_path):
    """Keys and values are equal bit for bit if both come from the same biases."""
    source = tmp_path / "model.tflite"
    config = create_model("tf_mnasnet_small").config
    source.write_bytes(network_file(config, seed=3))
    result = porting.port(source, verify=False).state_dict
    model = create_model("tf_mnasnet_small")
    early = dict(result)
    for conv, norm in norms_of(model).items():
        early[f"{conv}.bias"] = early[f"{norm}.bias"]
        for name in model.get_submodule(norm).state_dict():
            del early[f"{norm}.{name}"]
    path = written(early, tmp_path)
    loaded = create_model("tf_mnasnet_small", checkpoint_path=path).state_dict()
    assert loaded.keys() == result.keys()
    for key, values in result.items():
        assert torch.equal(loaded[key], values), key
    assert porting.compare(source, path, seeded_pixels(2, 64), name="tf_mnasnet_small")


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5])
def test_the_identity_is_exact(epsilon):
    name = "tf_mnasnet_small" if epsilon == 1e-3 else "mnasnet_small"
    model = create_model(name)
    fill(model, folded(model), "a test")
    assert model.bn1.eps == epsilon
    torch.nn.init.zeros_(model.bn1.bias)
    x = 100 * torch.randn(2, 8, 9, 9)
    assert torch.equal(model.eval().bn1(x), x)


def test_half_folded_files_are_refused_with_every_problem(tmp_path):
    model = drawn("tf_mnasnet_small")
    state, half = folded(model), model.state_dict()
    for name in model.bn1.state_dict():
        del half[f"bn1.{name}"]
    half["conv_stem.bias"] = state["conv_stem.bias"]
    del half["blocks.2.0.conv_pw.weight"]
    path = written(half, tmp_path)
    first, *others = problems_of("tf_mnasnet_small", path)
    assert first == f"{path}: does not fit GenMobileNet, 7 problems:"
    assert "mixed: 1 of 46 convolutions have a bias" in others[0]
    assert "(conv_stem first), and 45 have a batch norm (blocks.0.0.bn1 first)" in others[0]
    assert "  missing: bn1.running_var (8,)" in others
    assert "  missing: blocks.2.0.conv_pw.weight (96, 16, 1, 1)" in others
    assert others[-1] == "  unknown: conv_stem.bias (8,)"


def test_a_convolution_without_its_bias_is_named(tmp_path):
    state = folded(drawn("tf_mnasnet_small"))
    del state["conv_head.bias"]
    lines = problems_of("tf_mnasnet_small", written(state, tmp_path))
    assert [line.split()[1] for line in lines[1:]] == [
        "bn2.bias", "bn2.running_mean", "bn2.running_var", "bn2.weight"
    ]  # fmt: skip


def test_wrong_shapes_are_named_and_the_model_stays(tmp_path):
    state = folded(drawn("tf_mnasnet_small"))
    state["conv_stem.bias"] = torch.zeros(9)
    model = drawn("tf_mnasnet_small")
    before = {key: values.clone() for key, values in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"shape of bn1\.bias: found \(9,\), expected \(8,\)"):
        fill(model, state, "a file")
    assert all(torch.equal(before[key], values) for key, values in model.state_dict().items())


def test_1001_classes_into_1000_name_num_classes(tmp_path):
    state = folded(create_model("tf_mnasnet_small", num_classes=1001))
    path = written(state, tmp_path)
    lines = problems_of("tf_mnasnet_small", path, num_classes=1000)
    assert lines[1].endswith("found (1001,), expected (1000,); the file has num_classes=1001")
    assert create_model("tf_mnasnet_small", checkpoint_path=path).config.num_classes == 1001


@pytest.mark.parametrize("name", ["fbnetc_100", "spnasnet_100"])
def test_a_file_without_counts_of_batches(name, tmp_path):
    model = drawn(name)
    state = model.state_dict()
    early = {key: v for key, v in state.items() if not key.endswith("num_batches_tracked")}
    loaded = create_model(name, checkpoint_path=written(early, tmp_path)).state_dict()
    for key, values in early.items():
        assert torch.equal(loaded[key], values), key


def test_a_file_that_does_not_say_which_network_it_is_of(tmp_path):
    path = tmp_path / "some.pth"
    for metadata in (None, {}, {"": 3}, {"": {"network": "mobilenetv1_025"}}, {"": {"network": 1}}):
        state = OrderedDict(create_model("mobilenetv1_025").state_dict())
        state._metadata = metadata
        torch.save(state, path)
        with pytest.raises(
            CheckpointError, match=r"some\.pth: does not say which network it is of"
        ):
            create_model(str(path))


def test_a_file_whose_strings_are_of_another_network(tmp_path):
    path = tmp_path / "some.pth"
    state = create_model("mobilenetv1_025").state_dict()
    torch.save(with_strings(state, "stem_c8_nr6 | dsa_r1_k3_s1_c16 | pool fc"), path)
    with pytest.raises(CheckpointError, match=r"unknown: blocks\.1\.0"):
        create_model(str(path))
    torch.save(with_strings(state, "stem_c8_nr6 | what | pool fc"), path)
    with pytest.raises(ArchitectureError, match="unknown block type 'what'"):
        create_model(str(path))
