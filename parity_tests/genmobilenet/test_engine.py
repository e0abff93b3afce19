"""Deployed networks through oneDNN's graph compiler, and past it."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch.profiler import profile

from genmobilenet import (
    create_model,
    deploy,
)
from genmobilenet.deployment import GROUP
from parity_tests.building.deployments import (
    SIDE,
    assert_equal,
    pixels,
    plainly,
    small_pair,
    times_the_noise,
)
from parity_tests.genmobilenet.test_folded import drawn
from porting.parity.noise import FACTOR


@pytest.fixture(scope="module")
def small():
    return small_pair()


@pytest.mark.parametrize("batch", [1, GROUP - 1, GROUP, 2 * GROUP + 1])
def test_batches_are_put_together_in_order(small, batch):
    model, deployed = small
    assert_equal(model, deployed, pixels(batch))


def test_its_engine_is_joined_layers_and_one_copy_of_the_input(small):
    _, deployed = small
    x = pixels(1)
    with torch.no_grad():
        deployed(x)
        with profile() as profiled:
            deployed(x)
    names = [event.key for event in profiled.key_averages()]
    joined = [name for name in names if name.startswith("LlgaPartition")]
    assert len(joined) >= sum(isinstance(p, torch.nn.Conv2d) for p in deployed.modules()) // 2
    others = ("conv", "norm", "pad", "relu", "clone")
    assert not [
        name for name in names if name.startswith("aten::") and any(o in name for o in others)
    ]


def test_hooks_on_its_parts_are_called(small):
    deployed = copy.deepcopy(small[1])
    deployed(pixels(1))
    assert deployed._engines
    seen = []
    hook = deployed.blocks[0].register_forward_hook(lambda *_: seen.append(1))
    deployed(pixels(1))
    assert seen == [1]
    hook.remove()
    deployed(pixels(1))
    assert seen == [1]


def test_every_number_of_threads_has_its_engine(small):
    deployed, before = copy.deepcopy(small[1]), torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert_equal(small[0], deployed, pixels(1))
    finally:
        torch.set_num_threads(before)
    assert set(deployed._engines) == {(1, 1), (1, 2)}


def test_without_the_compiler_it_says_so_and_runs(small, monkeypatch):
    def missing(*_):
        raise RuntimeError("no TorchScript here\nstack")

    monkeypatch.setattr("genmobilenet.engine._through_torchscript", missing)
    deployed = copy.deepcopy(small[1])
    with pytest.warns(UserWarning, match=r"not at hand \(no TorchScript here\): slower"):
        found = deployed(pixels(1))
    assert times_the_noise(small[0], found, pixels(1)) <= FACTOR
    assert torch.equal(deployed(pixels(1)), found)  # and says it once


def test_compiling_leaves_the_switch_as_it_was():
    deploy(drawn("tf_mnasnet_small"), SIDE)(pixels(1))
    assert not torch._C._jit_llga_enabled()


def test_other_weights_reach_kernels_and_engines(small):
    _, first = small
    torch.manual_seed(9)
    other = create_model("tf_mnasnet_small", num_classes=7).eval()
    changed = copy.deepcopy(first)
    changed(pixels(1))
    changed.load_state_dict(deploy(other, SIDE).state_dict())
    assert_equal(other, changed, pixels(1))
    with torch.no_grad():
        found = plainly(changed, pixels(2))
    assert times_the_noise(other, found, pixels(2)) <= FACTOR


def test_copies_and_pickles(small):
    model, deployed = small
    deployed(pixels(1))
    file = io.BytesIO()
    torch.save(deployed, file)
    file.seek(0)
    for made in (copy.deepcopy(deployed), torch.load(file, weights_only=False)):
        assert not made._engines
        assert_equal(model, made, pixels(1))


@pytest.mark.parametrize("spoil", ["weight", "pixel", "state"])
def test_what_is_no_number_shows(small, spoil):
    deployed, x = copy.deepcopy(small[1]), pixels(1)
    assert deployed(x).isfinite().all()
    if spoil == "pixel":
        x[0, 1, 5, 7] = float("nan")
    elif spoil == "weight":
        weight = small[0].state_dict()["blocks.2.0.conv_dw.weight"].clone()
        model = copy.deepcopy(small[0])
        weight[0, 0, 1, 1] = float("nan")
        model.blocks[2][0].conv_dw.weight.data = weight
        deployed = deploy(model, SIDE)
    else:
        state = deployed.state_dict()
        state["conv_stem.bias"][0] = float("inf")
        state["blocks.2.0.conv_dw.weight"][0, 0, 1, 1] = float("nan")
        deployed.load_state_dict(state)
    assert deployed(x).isnan().any()
