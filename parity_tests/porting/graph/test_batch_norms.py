"""Graphs with batch norms that are not folded, and differ from the network's."""

from __future__ import annotations

import numpy as np
import pytest

import porting
from parity_tests.building.graphs import Network
from porting.errors import MappingError

tensorflow = pytest.importorskip("tensorflow")

SMALL = "tf_mnasnet_small"


@pytest.fixture(scope="module")
def small():
    pytest.importorskip("tensorflow")
    return Network(SMALL)


def refuse(path, message, model=SMALL):
    with pytest.raises(MappingError, match=message):
        porting.port(path, model, verify=False)


def changed_nodes(network, path, change):
    def each(graph):
        for node in list(graph.node):
            change(graph, node)
        return graph

    return network.write_frozen(path, each)


def test_another_epsilon(small, tmp_path):
    def change(_, node):
        if node.op == "FusedBatchNormV3" and "mnas_blocks_1/" in node.name:
            node.attr["epsilon"].f = 1e-5

    path = changed_nodes(small, tmp_path / "graph.pb", change)
    refuse(
        path,
        r"after 3 layers in agreement:\n  source:  .*FusedBatchNormV3', with epsilon 1e-05\n"
        r"  network: blocks.1.0.bn1, a batch norm with epsilon 0.001",
    )


def test_a_bias_before_a_batch_norm_moves_its_mean(small, tmp_path):
    bias = np.linspace(-1, 1, 8, dtype=np.float32)

    def change(graph, node):
        if node.op == "FusedBatchNormV3" and "mnas_stem" in node.name:
            constant = graph.node.add(name="added", op="Const")
            constant.attr["dtype"].type = node.attr["T"].type
            constant.attr["value"].tensor.CopyFrom(tensorflow.make_tensor_proto(bias))
            biased = graph.node.add(name="biased", op="BiasAdd")
            biased.input.extend([node.input[0], "added"])
            biased.attr["T"].type = node.attr["T"].type
            node.input[0] = "biased"

    plain = porting.port(small.write_frozen(tmp_path / "plain.pb"), SMALL, verify=False)
    result = porting.port(changed_nodes(small, tmp_path / "graph.pb", change), SMALL)
    assert result.comparison, result.comparison.summary()
    moved = plain.state_dict["bn1.running_mean"] - result.state_dict["bn1.running_mean"]
    np.testing.assert_allclose(moved, bias, rtol=1e-5)


def test_another_activation(small, tmp_path):
    def change(_, node):
        if node.op == "Relu" and "mnas_blocks_2/" in node.name:
            node.op = "Elu"

    path = changed_nodes(small, tmp_path / "graph.pb", change)
    refuse(path, r"source:  operator \d+ Elu .*\n  network: .*activation relu")


def test_another_networks_name(small, tmp_path):
    path = small.write_frozen(tmp_path / "graph.pb")
    refuse(path, "the network that would fit: tf_mnasnet_small", "mobilenetv2_035")


def test_a_plain_network_has_another_epsilon(small, tmp_path):
    path = small.write_frozen(tmp_path / "graph.pb")
    refuse(path, "would fit: tf_mnasnet_small", "mnasnet_small")
