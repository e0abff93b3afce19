"""Keras files ported whole, judged by Keras itself."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch

import porting
from genmobilenet import create_model
from parity_tests.building.keras_models import SMALL, build, write
from porting.errors import MappingError
from porting.judges.keras import Application
from porting.mapping.keras_taps import keras_taps
from porting.mapping.layers import layers_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("keras") is None, reason="Keras is not installed"),
]

# Every width, the larger ones at a size of their own: what is published at 224 works at any.
APPLICATIONS = [
    *SMALL,
    *(Application("MobileNet", alpha, classes=3, size=96) for alpha in (0.5, 0.75, 1.0)),
    *(
        Application("MobileNetV2", alpha, classes=3, size=64)
        for alpha in (0.5, 0.75, 1.0, 1.3, 1.4)
    ),
    *(Application("MobileNetV3Large", alpha, classes=3, size=64) for alpha in (0.75, 1.0)),
    Application("MobileNetV3Small", 1.0, classes=3, size=64),
    Application("MobileNetV3Small", 1.0, True, classes=3, size=64),
]
FILES = ("archive", "h5", "numbered", "legacy weights")


def described(application):
    form = "-minimalistic" if application.minimalistic else ""
    return f"{application.family}{form}-{application.alpha}"


@pytest.mark.parametrize("application", APPLICATIONS, ids=described)
def test_ports_agree_with_keras(application, tmp_path):
    model = build(application)
    files = write(model, tmp_path)
    pixels = np.random.default_rng(1).integers(0, 256, (2, application.size, application.size, 3))
    expected = probabilities(model, application, pixels)
    states = []
    for layout in FILES:
        ported = porting.port(files[layout], pixels=pixels.astype(np.uint8))
        assert ported.comparison, ported.comparison.summary()
        assert ported.comparison.taps[-1].tap == "softmax"
        # V2's logits stay inside its last layer. Random weights let some channels grow large, so
        # that rounding weighs more than in a trained network.
        if application.family != "MobileNetV2":
            assert ported.comparison["classifier"].figures.relative <= 3e-5
        found = outputs(ported, pixels)
        np.testing.assert_allclose(found, expected, atol=1e-4)
        states.append(ported.state_dict)
    assert all(torch.equal(states[0][key], state[key]) for state in states for key in states[0])


def probabilities(model, application, pixels):
    """What Keras predicts; V3 alone scales its pixels itself."""
    scaled = pixels if "V3" in application.family else (pixels - 127.5) / 127.5
    return model.predict(scaled.astype(np.float32), verbose=0)


def outputs(ported, pixels):
    network = create_model(ported.model, num_classes=ported.config.num_classes).eval()
    network.load_state_dict(ported.state_dict)
    data = ported.convention.normalise(pixels).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        return network(torch.from_numpy(np.ascontiguousarray(data))).softmax(-1).numpy()


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


def test_the_rescaling_inside_can_be_kept(tmp_path):
    path = tmp_path / "model.keras"
    build(Application("MobileNetV3Small", 0.75, classes=10, size=64)).save(path)
    ported = porting.port(path, normalisation="keep")
    assert ported.comparison, ported.comparison.summary()
    assert ported.comparison.taps[0].tap == "normalise"
    assert set(ported.state_dict["normalise.std"].tolist()) == {127.5}
