"""Graphs that take images NCHW, and turn them into NHWC before anything else."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

import porting
from parity_tests.building.frozen_graphs import classified, frozen, seeded
from parity_tests.building.small_graphs import SmallGraph
from parity_tests.building.small_modules import Middle
from porting.errors import MappingError


def turned(graph, steps=()):
    """A TFLite file of one convolution on NCHW; ``steps`` come before the transpose."""
    image = tensor = graph.file.tensor("nchw", [1, 3, 32, 32])
    for number, (kind, constant) in enumerate(steps):
        values = np.array(constant, np.float32)
        stored = graph.file.tensor(f"step{number}", values.shape, data=values)
        result = graph.file.tensor(f"step{number}/out", [1, 3, 32, 32])
        tensor = graph.file.operator(kind, [tensor, stored], result)
    order = graph.file.tensor("order", [4], "int32", np.array([0, 2, 3, 1], np.int32))
    graph.file.operator("TRANSPOSE", [tensor, order], graph.image)
    graph.image = image
    return graph.classified(graph.conv(graph.start, "conv", 8))


def test_a_file_that_takes_its_image_nchw(graph, ported):
    port = ported(turned(graph), Middle(nn.Identity()))
    assert port.comparison, port.comparison.summary()
    assert (port.convention.size, port.convention.channels) == (32, 3)
    assert port.convention.evidence.endswith("; the source's own input is NCHW")


@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 3, 1, 1)])
def test_a_normalisation_before_the_transpose(graph, ported, shape):
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    steps = [("SUB", mean.reshape(shape)), ("DIV", std.reshape(shape))]
    port = ported(turned(graph, steps), Middle(nn.Identity()))
    assert port.comparison, port.comparison.summary()
    assert port.convention.mean == pytest.approx(mean)
    assert port.convention.std == pytest.approx(std)
    assert "SUB, DIV" in port.convention.evidence
    assert port.convention.evidence.endswith("; the source's own input is NCHW")


def test_a_number_a_column_before_the_transpose_is_no_normalisation(ported):
    columns = np.linspace(1, 2, 32)
    with pytest.raises(MappingError, match=r"operator 0 DIV 'step0/out'"):
        ported(turned(SmallGraph(), [("DIV", columns)]), Middle(nn.Identity()), verify=False)


def test_nchw_without_a_transpose_is_no_image(graph, ported):
    image = graph.file.tensor("nchw", [1, 3, 32, 32])
    result = graph.file.operator("RELU", [image], graph.file.tensor("relu", [1, 3, 32, 32]))
    content = graph.file.finish([image], [result])
    with pytest.raises(MappingError, match="expected square images"):
        ported(content, Middle(nn.Identity()), verify=False)


@pytest.mark.parametrize("sides", [(32, 32), (None, None)])
def test_a_frozen_graph_that_takes_its_images_nchw(tmp_path, sides):
    pytest.importorskip("tensorflow")

    def build(tf, image):
        x = tf.transpose(image, (0, 2, 3, 1))
        x = tf.nn.conv2d(x, seeded(3, 3, 3, 8), 1, "SAME") + seeded(8)
        classified(tf, tf.nn.relu(x))

    path = frozen(tmp_path / "graph.pb", build, (None, 3, *sides))
    port = porting.port(path, onto=Middle(nn.ReLU()))
    assert port.comparison, port.comparison.summary()
    assert port.convention.size == (sides[0] or 224)
    assert "NCHW" in port.convention.evidence


def test_a_transpose_further_on_is_named(tmp_path):
    pytest.importorskip("tensorflow")

    def build(tf, image):
        x = tf.nn.conv2d(image, seeded(3, 3, 3, 8), 1, "SAME") + seeded(8)
        classified(tf, tf.transpose(x, (0, 2, 1, 3), name="turned"))

    path = frozen(tmp_path / "graph.pb", build)
    with pytest.raises(MappingError, match="TRANSPOSE 'turned'"):
        porting.port(path, onto=Middle(nn.Identity()), verify=False)
