"""Modules filled from frozen graphs and SavedModels, whose batch norms are not folded."""

from __future__ import annotations

import pytest
import torch

import porting
from genmobilenet import create_model
from parity_tests.building.graphs import Decomposed, Network
from porting.parity.inputs import seeded_pixels

pytestmark = pytest.mark.slow
PIXELS = seeded_pixels(2, 64)


@pytest.mark.parametrize(
    "name", ["tf_mobilenetv1_025", "tf_mobilenetv3_small_075", "tf_semnasnet_035"]
)
def test_batch_norms_are_laid_in_as_they_are(name, tmp_path):
    path = Network(name, softmax=True).write_frozen(tmp_path / "graph.pb")
    port = porting.port(path, onto=create_model(name, num_classes=11), pixels=PIXELS)
    assert port.comparison, port.comparison.summary()
    by_walk = porting.port(path, name, verify=False).state_dict
    for key, values in by_walk.items():
        torch.testing.assert_close(port.state_dict[key], values, rtol=0, atol=0)


def test_a_saved_model_with_batch_norms_in_pieces(tmp_path):
    network = Network("tf_mnasnet_small", Decomposed, normalises=True)
    path = network.write_saved_model(tmp_path / "saved")
    port = porting.port(path, onto=create_model("tf_mnasnet_small", num_classes=11), pixels=PIXELS)
    assert port.comparison, port.comparison.summary()


def test_another_epsilon_is_noted_and_the_judge_decides(tmp_path):
    path = Network("tf_mobilenetv1_025").write_frozen(tmp_path / "graph.pb")
    module = create_model("tf_mobilenetv1_025", num_classes=11)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.eps = 1e-2
    port = porting.port(path, onto=module)
    assert not port.comparison
    assert "have epsilon 0.001, the module's 0.01" in port.plan.notes[0]


def test_a_batch_norm_needs_one_in_the_module(tmp_path):
    path = Network("tf_mobilenetv1_025").write_frozen(tmp_path / "graph.pb")
    module = create_model("tf_mobilenetv1_025", num_classes=11)
    module.bn1 = torch.nn.Identity()
    with pytest.raises(porting.errors.BadInput, match=r"has a batch norm, conv_stem \(conv2d\)"):
        porting.port(path, onto=module)


def test_a_graph_that_leaves_its_size_open(tmp_path):
    network = Network("tf_mobilenetv1_025")
    network.size = None
    path = network.write_frozen(tmp_path / "graph.pb")
    port = porting.port(
        path, onto=create_model("tf_mobilenetv1_025", num_classes=11), pixels=seeded_pixels(2, 224)
    )
    assert port.comparison, port.comparison.summary()
    assert port.convention.size == 224
