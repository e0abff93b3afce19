"""Keras Applications' own networks against the tables, the networks, and the judge's graphs.

Keras builds its networks from code of its own. A reader of the tests' own walks each model layer
by layer; what it finds must be what is described, and what the PyTorch network computes. That the
operations of the judge's graphs are what is described too, ``test_reference.py`` says.
"""

from __future__ import annotations

import pytest

from genmobilenet import get_config, list_models
from genmobilenet.network import GenMobileNet
from parity_tests.building.keras_steps import steps_of_keras
from porting.judges.reference.descriptions import descriptions_of, round_to_eighths
from porting.judges.reference.steps import SIXTH, first_difference

pytestmark = pytest.mark.slow

FAMILIES = {
    "mobilenetv1": ("MobileNet", {}),
    "mobilenetv2": ("MobileNetV2", {}),
    "mobilenetv3_large": ("MobileNetV3Large", {}),
    "mobilenetv3_small": ("MobileNetV3Small", {}),
    "mobilenetv3_large_minimal": ("MobileNetV3Large", {"minimalistic": True}),
    "mobilenetv3_small_minimal": ("MobileNetV3Small", {"minimalistic": True}),
}
MODELS = [model.removeprefix("tf_") for model in list_models("tf_mobilenetv[123]*")]
# Other multipliers, at which V2 of Keras, which cuts widths before it rounds them, and V3 of Keras,
# which keeps 16 channels in its stem, have the widths of slim's code.
OTHERS = ["mobilenetv1_060", "mobilenetv2_060", "mobilenetv2_115", "mobilenetv3_large_060"]


@pytest.fixture(scope="module")
def keras():
    pytest.importorskip("tensorflow")
    return pytest.importorskip("keras")


def built(keras, name):
    if name.startswith("efficientnet"):
        return getattr(keras.applications, f"EfficientNet{name[-2:].upper()}")(
            input_shape=(224, 224, 3), weights=None, classifier_activation=None
        )
    family, width = name.rsplit("_", 1)
    application, options = FAMILIES[family]
    return getattr(keras.applications, application)(
        input_shape=(224, 224, 3), alpha=int(width) / 100, classes=1000, weights=None,
        classifier_activation=None, **options,
    )  # fmt: skip


@pytest.mark.parametrize("name", [*MODELS, *OTHERS, "efficientnet_b0", "efficientnet_b7"])
def test_keras_has_the_network(keras, name):
    from porting.parity.network_steps import steps_of_network

    model, theirs = f"tf_{name}", steps_of_keras(built(keras, name))
    assert first_difference(descriptions_of(model)[0].steps(3, 1000, SIXTH), theirs) is None
    network = steps_of_network(GenMobileNet(get_config(model)).eval(), 3)
    assert first_difference(theirs, network) is None


@pytest.mark.parametrize("faulty", ["mobilenetv2_100", "mobilenetv3_small_100"])
def test_another_network_is_not_taken_for_it(keras, faulty):
    """The reader tells Keras's networks apart: it does not say what it is expected to."""
    theirs = steps_of_keras(built(keras, faulty))
    for name in ("mobilenetv1_100", "mobilenetv2_075", "mobilenetv3_small_minimal_100"):
        assert first_difference(descriptions_of(name)[0].steps(3, 1000, SIXTH), theirs)


def test_v1_of_keras_pads_odd_sides_otherwise(keras):
    """Which shows that the reader looks at what is padded: ((0, 1), (0, 1)) whatever the side."""
    model = keras.applications.MobileNet(
        input_shape=(97, 97, 3), alpha=0.25, weights=None, classifier_activation=None
    )
    difference = first_difference(
        descriptions_of("mobilenetv1_025")[0].steps(3, 1000), steps_of_keras(model)
    )
    assert "padding ((0, 1), (0, 1)) of sides (49, 49)" in difference


def test_keras_rounds_widths_by_the_same_rule(keras):
    from keras.src.applications.mobilenet_v3 import _depth

    for eighth in range(1, 4000):
        assert round_to_eighths(eighth / 8) == _depth(eighth / 8)
