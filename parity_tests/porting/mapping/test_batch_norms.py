"""Graphs whose batch norms stand apart from their convolutions, and differ from the network."""

from __future__ import annotations

import pytest

import porting
from parity_tests.building.graphs import Network
from porting.errors import MappingError

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
        r"after 3 layers in agreement:\n  graph:   .*FusedBatchNormV3', with epsilon 1e-05\n"
        r"  network: blocks.1.0.bn1, a batch norm with epsilon 0.001",
    )


def test_a_bias_before_a_batch_norm(small, tmp_path):
    def change(graph, node):
        if node.op == "FusedBatchNormV3" and "mnas_stem" in node.name:
            made = graph.node.add(name="biased", op="BiasAdd")
            made.input.extend([node.input[0], node.input[2]])
            made.attr["T"].type = node.attr["T"].type
            node.input[0] = "biased"

    path = changed_nodes(small, tmp_path / "graph.pb", change)
    refuse(path, r"BATCH_NORM '.*', with a bias between them\n  network: conv_stem")


def test_another_activation(small, tmp_path):
    def change(_, node):
        if node.op == "Relu" and "mnas_blocks_2/" in node.name:
            node.op = "Elu"

    path = changed_nodes(small, tmp_path / "graph.pb", change)
    refuse(path, r"graph:   .*BATCH_NORM.*, then operator \d+ Elu .*\n  network: .*activation relu")


def test_another_networks_name(small, tmp_path):
    path = small.write_frozen(tmp_path / "graph.pb")
    refuse(path, "the network that would fit: tf_mnasnet_small", "mobilenetv2_035")


def test_a_plain_network_has_another_epsilon(small, tmp_path):
    refuse(small.write_frozen(tmp_path / "graph.pb"), "padding SAME", "mnasnet_small")
