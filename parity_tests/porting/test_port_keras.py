"""Ports of Keras files.

Every network in every such file is in ``parity_tests.matrix``.
"""

from __future__ import annotations

import copy
import os
from importlib.util import find_spec
from pathlib import Path

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
    assert "normalises its input (MUL, ADD)" in convention.evidence


@pytest.mark.parametrize("layout", ["archive", "h5", "legacy weights"])
def test_the_last_layer_as_tensorflow_1_calls_it(tmp_path, layout):
    model = build(Application("MobileNetV2", 0.35, classes=5, size=64))
    model.layers[-1].name = "Logits"
    result = porting.port(write(model, tmp_path)[layout], pixels=seeded_pixels(2, 64))
    by_names = layout == "legacy weights"
    assert result.plan.naming == ("keras mobilenet_v2 of TensorFlow 1" if by_names else "graph")
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


WITH_FILES = pytest.mark.skipif(
    "PORTING_ARTIFACTS" not in os.environ, reason="PORTING_ARTIFACTS names no folder of real files"
)


@WITH_FILES
@pytest.mark.parametrize(
    "name",
    [
        "retrained/visual_wake_words_96.h5",
        "cases/nested_base.keras",
        "cases/inputs_as_list.keras",
        "cases/mixed_float16.keras",
    ],
)
def test_whole_models_that_people_have(name):
    path = Path(os.environ["PORTING_ARTIFACTS"]) / name
    result = porting.port(path, pixels=seeded_pixels(1, 96))
    assert result.comparison, result.comparison.summary()
    assert result.pixels.agrees, result.pixels.summary()
    assert result.plan.naming == "graph"


def test_an_application_behind_augmentation(tmp_path):
    import keras

    layers = keras.layers
    base = build(Application("MobileNetV2", 0.35, classes=5, size=64))
    base = keras.Model(base.inputs, base.layers[-3].output)
    inputs = keras.Input((64, 64, 3))
    x = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.2)])(inputs)
    x = base(layers.Rescaling(1 / 127.5, -1)(x), training=False)
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    keras.Model(inputs, layers.Dense(2)(x)).save(tmp_path / "tutorial.keras")
    result = porting.port(tmp_path / "tutorial.keras", pixels=seeded_pixels(1, 64))
    assert result.comparison, result.comparison.summary()
    assert result.pixels.agrees, result.pixels.summary()


def test_the_statistics_of_a_normalisation_in_a_model_inside(tmp_path):
    import keras

    base = build(Application("EfficientNetB0", 1.0, classes=5, size=32))
    base = keras.Model(base.inputs, base.layers[-4].output)
    (layer,) = (x for x in base.layers if isinstance(x, keras.layers.Normalization))
    layer.set_weights([np.float32([0.1, 0.2, 0.3]), np.float32([0.5, 0.8, 1.2]), np.int32(0)])
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.GlobalAveragePooling2D()(base(inputs))
    keras.Model(inputs, keras.layers.Dense(2)(x)).save(tmp_path / "model.h5")
    result = porting.port(tmp_path / "model.h5", pixels=seeded_pixels(1, 32))
    assert result.comparison, result.comparison.summary()
    assert result.pixels.agrees, result.pixels.summary()
    assert result.convention.mean == pytest.approx((25.5, 51, 76.5), rel=1e-5)


@WITH_FILES
def test_teachable_machine_gives_its_own_probabilities():
    folder = Path(os.environ["PORTING_ARTIFACTS"]) / "retrained"
    result = porting.port(folder / "teachable_machine_keras_model.h5", pixels=seeded_pixels(1, 224))
    assert result.comparison, result.comparison.summary()
    network = create_model(result.model, num_classes=4)
    network.load_state_dict(result.state_dict)
    network.eval()
    golden = np.load(folder / "teachable_machine_keras_golden.npz")
    inputs = result.convention.normalise(golden["input"])
    with torch.inference_mode():
        answers = network(torch.from_numpy(inputs).permute(0, 3, 1, 2)).softmax(-1).numpy()
    np.testing.assert_allclose(answers, golden["probs"], atol=1e-5)


def test_a_separable_network_onto_a_module(tmp_path):
    import keras

    layers = keras.layers
    image = keras.Input((32, 32, 3), name="photo")
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.SeparableConv2D(12, 3, padding="same", activation="relu", name="separable")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.Dense(3, activation="softmax", name="answer")(x))
    model.save(tmp_path / "m.keras")

    class Separable(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = torch.nn.Conv2d(3, 8, 3, stride=2)
            self.depthwise = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
            self.pointwise = torch.nn.Conv2d(8, 12, 1)
            self.answer = torch.nn.Linear(12, 3)

        def forward(self, x):
            x = self.stem(torch.nn.functional.pad(x, (0, 1, 0, 1))).relu()
            x = self.pointwise(self.depthwise(x)).relu()
            return self.answer(x.mean((2, 3)))

    result = porting.port(tmp_path / "m.keras", onto=Separable(), pixels=seeded_pixels(1, 32))
    assert result.comparison, result.comparison.summary()
    kernel = model.get_layer("separable").pointwise_kernel.numpy()
    weight = result.state_dict["pointwise.weight"].permute(2, 3, 1, 0).numpy()
    np.testing.assert_array_equal(weight, kernel)
