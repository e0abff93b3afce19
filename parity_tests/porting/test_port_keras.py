"""Ports of Keras files.

Every network in every such file is in ``parity_tests.matrix``.
"""

from __future__ import annotations

import copy
from importlib.util import find_spec

import numpy as np
import pytest
import torch

import porting
from genmobilenet import create_model
from parity_tests.building.keras_models import build, write
from porting.errors import MappingError
from porting.graph.layers import layers_of
from porting.judges.keras import Application
from porting.mapping.recognise import find_match
from porting.mapping.rules.keras import keras_taps
from porting.parity.inputs import seeded_pixels
from porting.parity.judge_set import logits_judge

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("keras") is None, reason="Keras is not installed"),
]


def test_layers_in_another_order_are_refused():
    from genmobilenet import get_config
    from porting.judges.keras import KerasStep

    layers = layers_of(get_config("tf_mobilenetv1_025"))
    flow = [KerasStep("conv1", "Conv2D", "linear"), KerasStep("conv1_relu", "ReLU", "")]
    with pytest.raises(
        MappingError, match=r"after 1 steps.*\n.*conv1_relu \(ReLU\)\n.*bn1 \(Batch"
    ):
        keras_taps(flow, layers)


def test_the_rescaling_inside_is_the_convention(tmp_path):
    application = Application("MobileNetV3Small", 0.75, classes=10, size=64)
    files = write(build(application), tmp_path)
    convention = porting.port(files["archive"], verify=False).convention
    assert convention.mean == pytest.approx((127.5,) * 3)
    assert convention.size == 64
    assert "Rescaling" in convention.evidence


@pytest.mark.parametrize("layout", ["archive", "h5", "legacy weights"])
def test_the_last_layer_as_tensorflow_1_calls_it(tmp_path, layout):
    model = build(Application("MobileNetV2", 0.35, classes=5, size=64))
    model.layers[-1].name = "Logits"
    result = porting.port(write(model, tmp_path)[layout], pixels=seeded_pixels(2, 64))
    assert result.plan.naming == "keras mobilenet_v2 of TensorFlow 1"
    assert result.comparison, result.comparison.summary()
    dense = torch.from_numpy(model.layers[-1].get_weights()[0].T.copy())
    assert torch.equal(result.state_dict["classifier.weight"], dense)


def test_the_rescaling_inside_can_be_kept(tmp_path):
    path = tmp_path / "model.keras"
    build(Application("MobileNetV3Small", 0.75, classes=10, size=64)).save(path)
    result = porting.port(path, normalisation="keep", pixels=seeded_pixels(2, 64))
    assert result.comparison, result.comparison.summary()
    assert result.comparison.taps[0].tap == "normalise"
    assert set(result.state_dict["normalise.std"].tolist()) == {127.5}


def test_classes_that_are_rare_are_compared_by_their_logits(tmp_path):
    # The softmax is in the last layer: it hides a class at 1e-11.
    model = build(Application("MobileNetV2", 0.35, classes=10, size=32))
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel, bias - 25 * (np.arange(10) > 7)])
    path, pixels = tmp_path / "model.keras", seeded_pixels(2, 32)
    model.save(path)
    result = porting.port(path, pixels=pixels)
    assert result.comparison, result.comparison.summary()
    assert result.comparison.logits.tap == "classifier"
    network = create_model(result.model, num_classes=10)
    network.load_state_dict(result.state_dict)
    network.eval()
    inputs = result.convention.as_source_input(pixels)
    logits = logits_judge(result.source, find_match(result.source, None))(inputs)
    with torch.inference_mode():
        answers = network(torch.from_numpy(inputs).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(logits, answers, atol=1e-4 * np.abs(answers).max())
    faults = (
        lambda weight, bias: weight[8:].mul_(1.01),
        lambda weight, bias: bias[8:].add_(1),
        # A softmax does not change if all logits increase equally.
        lambda weight, bias: bias.add_(3),
    )
    for fault in faults:
        faulty = copy.deepcopy(network)
        with torch.no_grad():
            fault(faulty.classifier.weight, faulty.classifier.bias)
        comparison = porting.compare(path, faulty, pixels, mode="accumulated")
        assert not comparison
        assert comparison.culprit.tap == "classifier"
