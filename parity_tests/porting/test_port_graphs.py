"""Frozen graphs and SavedModels as others write them, judged by TensorFlow on the graph itself.

Every family as it is usually written is in ``parity_tests.matrix``.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch

import porting
from parity_tests.building.graphs import (
    DEVIATION,
    MEAN,
    Decomposed,
    Network,
    Resources,
    averaging,
    decoded_images,
    folded,
    renamed,
)
from parity_tests.building.keras_models import SMALL as APPLICATIONS
from parity_tests.building.keras_models import build
from porting.mapping.layouts import change
from porting.mapping.rules import NamedVariables
from porting.parity.inputs import seeded_pixels

pytestmark = pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="TensorFlow is not installed"
)

SMALL = "tf_mnasnet_small"


def at_parity(path, model=SMALL, **options):
    ported = porting.port(path, pixels=seeded_pixels(2, 64), **options)
    assert ported.model == model
    assert ported.comparison, ported.comparison.summary()
    assert ported.comparison.judge.startswith("TensorFlow")
    return ported


def expected_weights(network, ported):
    """The weights by the plan for a checkpoint, which names lead to."""
    from porting.graph.layers import layers_of
    from porting.sources.source import TensorInfo

    class Held(porting.sources.Source):
        path, files, weight_sets = "held", (), ("raw",)

        def __init__(self, arrays):
            self.tensors = {
                n: TensorInfo(n, a.shape, "float32", "float32") for n, a in arrays.items()
            }

        def read(self, name):
            return network.weights[name]

    source = Held(network.weights)
    plan = NamedVariables(source, "raw").plan(ported.model, layers_of(ported.config))
    return {
        fill.target: change(source.read(fill.source), fill.layout)
        for fill in plan.fills
        if fill.source is not None and fill.factor == 1
    }


def check_weights(network, ported):
    expected = expected_weights(network, ported)
    kept = [k for k in ported.state_dict if not k.endswith("num_batches_tracked")]
    gates = {f.target for f in ported.plan.fills if f.factor != 1}
    assert set(expected) == set(kept) - gates
    for key, values in expected.items():
        np.testing.assert_array_equal(ported.state_dict[key].numpy(), values, key)


@pytest.mark.slow
@pytest.mark.parametrize("model", [SMALL, "tf_mobilenetv3_small_075"])
@pytest.mark.parametrize("builder", [Decomposed, Resources])
def test_other_ways_to_write_a_layer(model, builder, tmp_path):
    network = Network(model, builder)
    ported = at_parity(network.write_saved_model(tmp_path / "saved"), model)
    check_weights(network, ported)
    frozen = at_parity(network.write_frozen(tmp_path / "frozen.pb"), model)
    check_weights(network, frozen)


@pytest.mark.slow
def test_a_module_of_nameless_variables(tmp_path):
    network = Network(SMALL)
    ported = at_parity(network.write_module(tmp_path / "module"))
    check_weights(network, ported)


@pytest.mark.slow
@pytest.mark.parametrize("model", [SMALL, "tf_mobilenetv2_035"])
def test_folded_batch_norms(model, tmp_path):
    ported = at_parity(Network(model).write_frozen(tmp_path / "folded.pb", folded), model)
    assert torch.equal(ported.state_dict["bn1.running_mean"], torch.zeros(len_of(ported, "bn1")))
    assert ported.state_dict["bn1.bias"].abs().max() > 0


def len_of(ported, norm):
    return len(ported.state_dict[f"{norm}.bias"])


def test_what_slim_left_in_2018(tmp_path):
    """Version 1: fused batch norms of old, an average over a window, reshapes about the softmax."""
    network = Network("tf_mobilenetv1_025", softmax=True, classes=1001)
    path = network.write_frozen(
        tmp_path / "mobilenet_v1_0.25_64_frozen.pb",
        lambda graph: averaging(renamed(graph, FusedBatchNormV3="FusedBatchNorm"), 2),
    )
    kinds = [operator.kind for operator in porting.open_source(path).graph.operators]
    assert kinds.count("BATCH_NORM") == 27
    assert "AVERAGE_POOL_2D" in kinds
    ported = at_parity(path, network.model)
    check_weights(network, ported)
    assert [tap.tap for tap in ported.comparison.taps[-2:]] == ["classifier", "softmax"]
    dropped = at_parity(path, network.model, classes="drop-background")
    for key in ("classifier.weight", "classifier.bias"):
        assert torch.equal(ported.state_dict[key][1:], dropped.state_dict[key])


@pytest.mark.slow
def test_normalisation_in_the_graph_becomes_the_convention(tmp_path):
    network = Network(SMALL, normalises=True)
    ported = at_parity(network.write_saved_model(tmp_path / "saved"))
    np.testing.assert_allclose(ported.convention.mean, MEAN, rtol=1e-6)
    np.testing.assert_allclose(ported.convention.std, DEVIATION, rtol=1e-6)
    assert "SUB, DIV" in ported.convention.evidence


@pytest.mark.slow
@pytest.mark.parametrize("loops", ["enable_control_flow_v2", "disable_control_flow_v2"])
def test_images_that_the_graph_decodes(tmp_path, loops):
    """MnasNet's serving graph takes files; it is read and judged from the decoded pixels on."""
    network = Network(SMALL, normalises=True)

    def outputs(tf, logits):
        scores = tf.nn.softmax(logits, name="softmax_tensor")
        return {"classes": tf.argmax(logits, 1), "probabilities": scores}

    control = network.tf.compat.v1
    try:
        getattr(control, loops)()
        path = network.write_saved_model(tmp_path / "saved", decoded_images(64), outputs)
    finally:
        control.enable_control_flow_v2()
    ported = at_parity(path)
    check_weights(network, ported)
    np.testing.assert_allclose(ported.convention.mean, MEAN, rtol=1e-6)
    assert ported.comparison.taps[-1].tap == "softmax"


@pytest.mark.slow
def test_a_batch_of_one(tmp_path):
    at_parity(Network(SMALL, batch=1).write_frozen(tmp_path / "one.pb"))


@pytest.mark.slow
@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda a: a.family)
def test_what_keras_exports(application, tmp_path):
    model = build(application)
    model.export(tmp_path / "exported", verbose=False)
    model.save(tmp_path / "model.keras")
    pixels = seeded_pixels(2, application.size)
    ported = porting.port(tmp_path / "exported", pixels=pixels)
    assert ported.comparison, ported.comparison.summary()
    assert ported.comparison.taps[-1].tap == "softmax"
    scaled = "V3" in application.family
    assert ("MUL, ADD" in ported.convention.evidence) == scaled
    expected = porting.port(tmp_path / "model.keras", verify=False).state_dict
    assert all(torch.equal(ported.state_dict[key], expected[key]) for key in expected)
