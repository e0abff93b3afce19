"""The check from pixels for graphs, SavedModels, Keras models and int8 files."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

import porting
from parity_tests.building.mutants import plant
from parity_tests.building.sampling import sampled
from porting.mapping import input_spec
from porting.parity import pixel_check
from porting.parity.inputs import seeded_pixels
from porting.sources.keras import graph

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("tensorflow") is None, reason="TensorFlow is not installed"),
]

SMALL = "tf_mnasnet_small"


def walked(path, **options):
    """A port that is at parity, its road among the reasons."""
    ported = porting.port(path, pixels=seeded_pixels(2, 64), **options)
    assert ported.comparison, ported.comparison.summary()
    assert ported.pixels.agrees
    return ported


class TestGraphs:
    @pytest.mark.parametrize("normalises", ["strip", "keep"])
    def test_bytes_cast_in_a_saved_model(self, tmp_path, normalises):
        from parity_tests.building.graphs import MEAN, Network

        def image(tf):
            given = tf.compat.v1.placeholder(tf.uint8, (None, 64, 64, 3), "input")
            return tf.cast(given, tf.float32), given

        network = Network(SMALL, normalises=True)
        path = network.write_saved_model(tmp_path / "saved", image)
        ported = walked(path, normalisation=normalises)
        assert (ported.pixels.takes, ported.pixels.certainty) == ("uint8", "proved")
        if normalises == "strip":
            assert ported.convention.mean == pytest.approx(MEAN)

    def test_a_batch_left_open(self, tmp_path):
        from parity_tests.building.graphs import Network

        network = Network(SMALL, normalises=True)
        ported = walked(network.write_frozen(tmp_path / "open.pb"))
        assert (ported.pixels.takes, ported.pixels.certainty) == ("float32", "assumed")
        assert (ported.pixels.low, ported.pixels.high) == (0, 255)

    @pytest.mark.parametrize(
        ("loops", "scaled"),
        [("enable_control_flow_v2", False), ("disable_control_flow_v2", True)],
    )
    def test_images_that_the_graph_decodes(self, tmp_path, loops, scaled):
        """Proved to be 0..255, unless the graph computes with them before they are laid out."""
        from parity_tests.building.graphs import Network, decoded_images

        network = Network(SMALL, normalises=not scaled)
        control = network.tf.compat.v1
        try:
            getattr(control, loops)()
            path = network.write_saved_model(tmp_path / "saved", decoded_images(64, scaled))
        finally:
            control.enable_control_flow_v2()
        ported = walked(path)
        assert ported.source.decodes_images == (not scaled)
        assert ported.pixels.certainty == ("assumed" if scaled else "proved")
        assert ("images that it has decoded itself" in ported.convention.evidence) == (not scaled)


def v2(first, dtype="float32"):
    """MobileNetV2 0.35 behind some layers."""
    from parity_tests.building.keras_models import build
    from porting.judges.keras import Application
    from porting.judges.tensorflow import import_tensorflow

    import_tensorflow()
    import keras

    network = build(Application("MobileNetV2", 0.35, classes=7, size=64))
    image = keras.Input((64, 64, 3), dtype=dtype)
    data = image
    for layer in first(keras):
        data = layer(data)
    result = keras.applications.MobileNetV2(
        input_tensor=data, alpha=0.35, classes=7, weights=None, classifier_activation=None
    )
    for layer in result.layers:
        if layer.weights and layer.name in {other.name for other in network.layers}:
            layer.set_weights(network.get_layer(layer.name).get_weights())
    return keras.Model(image, result.output)


LAYERS = {
    "Rescaling(2, -1)": (lambda keras: [keras.layers.Rescaling(2.0, -1.0)], (0, 1), 127.5, 127.5),
    "Rescaling(1/127.5, -1)": (
        lambda keras: [keras.layers.Rescaling(1 / 127.5, -1)], (0, 255), 127.5, 127.5,
    ),
    "two Rescalings": (
        lambda keras: [keras.layers.Rescaling(1 / 255), keras.layers.Rescaling(2.0, -1.0)],
        (0, 255), 127.5, 127.5,
    ),
    "Rescaling and Normalization": (
        lambda keras: [
            keras.layers.Rescaling(1 / 255),
            keras.layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.04, 0.0625, 0.09]),
        ],
        (0, 255), (102, 127.5, 153), (51, 63.75, 76.5),
    ),
}  # fmt: skip
"""Name -> layers in front of a network, its input for pixels 0 and 255, mean and deviation."""


class TestKeras:
    @pytest.mark.parametrize(("first", "ends", "mean", "std"), LAYERS.values(), ids=LAYERS)
    def test_layers_that_normalise(self, tmp_path, first, ends, mean, std):
        path = tmp_path / "model.keras"
        v2(first).save(path)
        ported = walked(path)
        assert ported.convention.mean == pytest.approx(np.broadcast_to(mean, 3), rel=1e-5)
        assert ported.convention.std == pytest.approx(np.broadcast_to(std, 3), rel=1e-5)
        assert (ported.pixels.low, ported.pixels.high) == pytest.approx(ends, abs=1e-6)
        assert ported.pixels.certainty == "assumed"
        walked(path, normalisation="keep")

    def test_one_that_was_adapted(self, tmp_path):
        path = tmp_path / "model.keras"
        images = np.random.default_rng(0).normal((90, 100, 110), (40, 50, 60), (4000, 3))

        def first(keras):
            layer = keras.layers.Normalization()
            layer.adapt(images.reshape(10, 20, 20, 3))
            return [layer]

        v2(first).save(path)
        ported = walked(path)
        assert ported.convention.mean == pytest.approx(images.mean(0), rel=1e-4)
        assert ported.convention.std == pytest.approx(images.std(0), rel=1e-4)
        reasons = {entry.reason for entry in ported.plan.left_out}
        assert "normalisation of the input" in reasons

    def test_bytes(self, tmp_path):
        path = tmp_path / "model.keras"
        v2(LAYERS["Rescaling(1/127.5, -1)"][0], "uint8").save(path)
        ported = walked(path)
        assert (ported.pixels.takes, ported.pixels.certainty) == ("uint8", "proved")

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ('settings.get("offset", 0)', '-settings.get("offset", 0)'),
            ('"MUL", [call.data, scale]', '"MUL", [call.data, 2 * scale]'),
            ('(centred)", deviation]', '(centred)", 1 / deviation]'),
        ],
    )  # fmt: skip
    def test_layers_misread_are_seen(self, tmp_path, monkeypatch, old, new):
        path = tmp_path / "model.keras"
        layers = LAYERS["Rescaling and Normalization"][0]
        v2(lambda keras: [*layers(keras), keras.layers.Rescaling(0.9, 0.1)]).save(path)
        walked(path)
        plant(monkeypatch, graph, old, new)
        ported = porting.port(path, pixels=seeded_pixels(1, 64))
        assert all(tap.agrees for tap in ported.comparison.taps)
        assert not ported.comparison
        assert not ported.pixels.agrees

    def test_weights_alone_have_no_input(self, tmp_path):
        path = tmp_path / "model.weights.h5"
        v2(lambda keras: []).save_weights(path)
        assert porting.port(path, pixels=seeded_pixels(1, 64)).pixels is None


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A model that takes [0, 1] in integers, by the type of its ends."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    model, pixels = v2(LAYERS["Rescaling(2, -1)"][0]), seeded_pixels(8, 64)
    pixels[:, 0, 0], pixels[:, 0, 1] = 0, 255  # only the ends of a range are measured

    @tf.function(input_signature=[tf.TensorSpec((1, 64, 64, 3), tf.float32)])
    def serve(images):
        return model(images, training=False)

    frozen = convert_variables_to_constants_v2(serve.get_concrete_function())
    folder, files = tmp_path_factory.mktemp("int8"), {}
    for dtype in (tf.uint8, tf.int8, tf.float32):
        converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            [image[None].astype(np.float32) / 255] for image in pixels
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = dtype
        files[dtype.name] = folder / f"{dtype.name}.tflite"
        files[dtype.name].write_bytes(converter.convert())
    return files


class TestInt8:
    """What a converter makes of a model that takes [0, 1]: the kind of Model Maker's files."""

    @pytest.mark.parametrize(
        ("takes", "normalises"),
        sampled(
            [(takes, n) for takes in ("uint8", "int8", "float32") for n in ("strip", "keep")],
            [("uint8", "strip"), ("int8", "keep"), ("float32", "strip")],
        ),
    )
    def test_it_takes_zero_to_one(self, converted, takes, normalises):
        ported = walked(converted[takes], normalisation=normalises)
        road = ported.pixels
        assert (road.takes, road.certainty) == (takes, "proved")
        assert (road.low, road.high) == pytest.approx((0, 1), abs=1e-3)
        assert 0 < road.share < pixel_check.SHARE
        if normalises == "strip":
            assert ported.convention.mean == pytest.approx([127.5] * 3, abs=0.5)

    def test_forty_of_forty_images(self, converted, monkeypatch):
        """Each within its own noise in float32; random weights make for ties in int8."""
        monkeypatch.setattr(pixel_check, "IMAGES", 40)
        ported = porting.port(converted["uint8"], pixels=seeded_pixels(40, 64))
        assert ported.comparison, ported.comparison.summary()
        assert ported.pixels.images == 40
        assert ported.pixels.share < pixel_check.SHARE

    def test_another_range_is_seen(self, converted, monkeypatch):
        """As it was: half of it for the whole."""
        old = "whole.mean, whole.std, evidence"
        plant(monkeypatch, input_spec, old, "(0.5,) * 3, (0.5,) * 3, evidence")
        ported = porting.port(converted["uint8"], pixels=seeded_pixels(1, 64))
        assert all(tap.agrees for tap in ported.comparison.taps)
        assert not ported.comparison
        assert ported.pixels.ratio > 100
