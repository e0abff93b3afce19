"""The deploy form against the training form, within the noise of float32."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from genmobilenet import (
    DeployedNet,
    DeployError,
    GenMobileNet,
    create_model,
    deploy,
    get_config,
    list_models,
)
from genmobilenet.deployment import GROUP
from parity_tests.building.deployments import (
    SIDE,
    SIZES,
    assert_equal,
    pixels,
    small_pair,
)
from parity_tests.genmobilenet.test_folded import drawn

QUICK = ["tf_mnasnet_small", "tf_mobilenetv3_small_075", "mobilenetv2_035", "shufflenetv2_050"]


@pytest.fixture(scope="module")
def small():
    return small_pair()


def assert_equal_at_every_size(model):
    deployed = deploy(model, SIDE)
    for height, width in SIZES:
        assert not deployed._engines or (height, width) != (SIDE, SIDE)
        assert_equal(model, deployed, pixels(2, height, width, model.config.in_chans))
    assert all(deployed._engines.values())
    assert len(deployed._engines) == 1


@pytest.mark.parametrize("name", QUICK)
def test_equal_at_every_size(name):
    assert_equal_at_every_size(drawn(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_equal_at_every_size_over_the_zoo(name):
    assert_equal_at_every_size(drawn(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tf_mnasnet_100", "tf_semnasnet_100", "tf_mobilenetv3_large_100"])
def test_equal_at_the_published_size(name):
    model = drawn(name)
    assert_equal(model, deploy(model), pixels(GROUP + 1, 224, 224))


@pytest.mark.parametrize("options", [{"num_classes": 1001}, {"num_classes": 0}, {"in_chans": 1}])
def test_equal_with_other_ends(options):
    torch.manual_seed(5)
    model = create_model("tf_mnasnet_small", **options).eval()
    channels = options.get("in_chans", 3)
    for height in (SIDE, 65):
        assert_equal(model, deploy(model, SIDE), pixels(2, height, SIDE, channels))


@pytest.mark.parametrize("name", ["tf_mnasnet_small", "mnasnet_small"])
def test_equal_with_its_normalisation(name):
    """The border is what a normalised pixel of 0 is, not a black one."""
    torch.manual_seed(6)
    model = GenMobileNet(replace(get_config(name), normalises=True)).eval()
    model.normalise.mean.copy_(torch.tensor([123.7, 116.3, 103.5]))
    model.normalise.std.copy_(torch.tensor([58.4, 57.1, 57.4]))
    for height in (SIDE, 65):
        assert_equal(model, deploy(model, SIDE), 50 * pixels(2, height) + 120)


def test_no_image_gives_no_logits(small):
    assert small[1](pixels(1)[:0]).shape == (0, 7)


def test_the_given_network_stays_as_it_is():
    model = drawn("tf_mnasnet_small").train()
    before = {key: values.clone() for key, values in model.state_dict().items()}
    parts = [type(part) for part in model.modules()]
    torch.manual_seed(1)
    drawn_next = torch.rand(1)
    torch.manual_seed(1)
    deployed = deploy(model, SIDE)
    assert torch.equal(torch.rand(1), drawn_next), "random numbers were drawn"
    with torch.no_grad():
        for parameter in deployed.parameters():
            parameter.zero_()
    assert model.training
    assert [type(part) for part in model.modules()] == parts
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(before[key], values) for key, values in model.state_dict().items())


def test_its_state_dict_is_a_folded_checkpoint(small, tmp_path):
    model, deployed = small
    torch.save(deployed.state_dict(), tmp_path / "folded.pth")
    loaded = create_model("tf_mnasnet_small", checkpoint_path=tmp_path / "folded.pth").eval()
    assert_equal(model, loaded, pixels(2))
    again = create_model("tf_mnasnet_small", checkpoint_path=tmp_path / "folded.pth", deploy=True)
    assert_equal(model, again, pixels(1, 224, 224))
    assert set(again._engines) == {(1, torch.get_num_threads())}


def test_other_types(small):
    model, deployed = small
    x = pixels(1)
    exact = copy.deepcopy(model).double()(x.double())
    torch.testing.assert_close(
        copy.deepcopy(deployed).double()(x.double()), exact, rtol=1e-5, atol=1e-5
    )
    rough = copy.deepcopy(deployed).bfloat16()(x.bfloat16())
    assert rough.dtype == torch.bfloat16
    assert (rough - exact).abs().max() < 0.1 * exact.abs().max()


def test_gradients_reach_the_input(small):
    x = pixels(1).requires_grad_()
    small[1](x).sum().backward()
    assert x.grad.abs().max() > 0


def test_the_default_size_is_the_published_one():
    assert deploy(drawn("mnasnet_d1_320")).size == (320, 320)
    assert deploy(drawn("tf_mnasnet_small"), (96, 64)).size == (96, 64)


def test_the_name_stays_a_function():
    import genmobilenet.deployment

    assert genmobilenet.deploy is genmobilenet.deployment.deploy


@pytest.mark.parametrize("size", [0, True, "224", (64,), (64, 1.5), (64, 64, 3), -1])
def test_what_is_no_size_is_refused(small, size):
    with pytest.raises(DeployError, match="expected a side in pixels, or"):
        deploy(small[0], size)


def test_what_is_no_network_of_ours_is_refused(small):
    with pytest.raises(DeployError, match=r"expected a GenMobileNet .*, found torch\.nn\..*Linear"):
        deploy(torch.nn.Linear(2, 2))
    with pytest.raises(DeployError, match=r"found genmobilenet\.deployment\.DeployedNet"):
        deploy(small[1])


def test_a_batch_norm_without_statistics_is_refused():
    model = create_model("tf_mnasnet_small")
    model.blocks[0][0].bn1 = torch.nn.BatchNorm2d(8, track_running_stats=False)
    with pytest.raises(DeployError, match=r"blocks\.0\.0\.bn1 keeps no statistics"):
        deploy(model)


def test_training_is_refused(small):
    deployed = small[1]
    with pytest.raises(DeployError, match="no batch norms to train"):
        deployed.train()
    with pytest.raises(DeployError, match=r"reset_classifier\(3\): the weights .* are fixed"):
        deployed.reset_classifier(3)
    assert isinstance(deployed.eval(), DeployedNet)
    assert not any(parameter.requires_grad for parameter in deployed.parameters())
