"""Keras as judge: the output of every layer, and clear refusals."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import numpy as np
import pytest

from parity_tests.building.keras_files import configuration, write_archive, write_legacy
from parity_tests.building.keras_models import SMALL, build, write
from porting.errors import BadInput, MissingJudge
from porting.judges.keras import Application, KerasJudge
from porting.sources.keras import KerasSource

WITH_KERAS = pytest.mark.skipif(find_spec("keras") is None, reason="Keras is not installed")
RANDOM = np.random.default_rng(0)


@WITH_KERAS
def test_a_file_of_weights_alone_needs_its_network(tmp_path):
    source = KerasSource(write_legacy(tmp_path / "w.h5"))
    with pytest.raises(BadInput, match="holds weights alone, so that Keras has to be told the net"):
        KerasJudge(source)


def test_networks_that_are_none():
    with pytest.raises(BadInput, match="family 'ResNet50': expected one of MobileNet, MobileNetV2"):
        Application("ResNet50")
    with pytest.raises(BadInput, match="MobileNetV2 has no minimalistic form"):
        Application("MobileNetV2", minimalistic=True)


def test_a_missing_keras_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    source = KerasSource(write_archive(tmp_path / "m.keras"))
    with pytest.raises(MissingJudge, match="pip install tensorflow"):
        KerasJudge(source)


@WITH_KERAS
@pytest.mark.slow
class TestWithKeras:
    @pytest.mark.parametrize("application", SMALL, ids=lambda a: a.family)
    def test_outputs_are_those_of_predict(self, tmp_path, application):
        import keras

        model = build(application)
        files = write(model, tmp_path)
        high = 255 if "V3" in application.family else 1
        pixels = RANDOM.uniform(-1, high, (2, 64, 64, 3)).astype(np.float32)
        # A softmax of random logits may saturate: its input is compared as well.
        ends = model.layers[-2:]
        outputs = [layer.output for layer in ends]
        expected = keras.Model(model.inputs, outputs).predict(pixels, verbose=0)
        np.testing.assert_array_equal(expected[1], model.predict(pixels, verbose=0))
        scale = np.abs(expected[0]).max()
        assert np.abs(expected[0][0] - expected[0][1]).max() > 0.01 * scale
        ways = [*((layout, application) for layout in files), ("archive", None), ("h5", None)]
        if application != SMALL[0]:
            ways = ways[SMALL.index(application) :: 3]  # they load alike, and take turns
        for layout, network in ways:
            judge = KerasJudge(KerasSource(files[layout]), network)
            before, last = list(judge.tap_names)[-2:]
            run = judge.run(pixels, {"before": before, "last": last})
            if before == f"{last} (linear)":  # a dense layer's tap before its softmax
                logits = run.taps["before"]
                assert ends[-1].activation is keras.activations.softmax
                assert logits.shape == run.taps["last"].shape
            else:
                np.testing.assert_allclose(run.taps["before"], expected[0], atol=3e-5 * scale)
                logits = expected[0]
            answers = keras.ops.convert_to_numpy(keras.ops.softmax(logits.reshape(2, -1)))
            np.testing.assert_allclose(run.taps["last"], answers, atol=1e-3)
            np.testing.assert_allclose(run.taps["last"], expected[1], atol=1e-3)
            assert run.judge == "Keras"
            assert run.version.endswith(" on tensorflow")

    def test_every_layer_by_its_name(self, tmp_path):
        import keras

        model = build(SMALL[2])
        judge = KerasJudge(KerasSource(write(model, tmp_path)["archive"]))
        layers = [layer.name for layer in model.layers]
        assert [name for name in judge.tap_names if name in layers] == layers
        pixels = RANDOM.uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
        taps = judge.run(pixels, judge.tap_names).taps
        assert list(taps) == list(judge.tap_names)
        np.testing.assert_allclose(taps["rescaling"], pixels / 127.5 - 1, atol=1e-6)
        for name in (
            "conv_bn",
            "expanded_conv_squeeze_excite_mul",
            "expanded_conv_2_add",
            "flatten",
        ):
            layer = model.get_layer(name)
            expected = keras.Model(model.inputs, layer.output).predict(pixels, verbose=0)
            scale = np.abs(expected).max()
            np.testing.assert_allclose(taps[name], expected, atol=2e-5 * scale, err_msg=name)
        assert taps["expanded_conv_2_add"].shape == (2, 8, 8, 24)
        with pytest.raises(BadInput, match="the model has no layer 'conv_9'"):
            judge.run(pixels, {"a": "conv_9"})

    def test_weights_of_another_network(self, tmp_path):
        files = write(build(SMALL[0]), tmp_path)
        for layout in ("numbered", "legacy weights", "archive"):
            with pytest.raises(BadInput, match="Keras cannot load it: "):
                KerasJudge(KerasSource(files[layout]), SMALL[1])

    def test_code_in_a_file_is_not_run(self, tmp_path):
        import keras

        inputs = keras.Input((4,))
        outputs = keras.layers.Lambda(lambda x: x * 2, name="code")(keras.layers.Dense(3)(inputs))
        keras.Model(inputs, outputs).save(tmp_path / "m.keras")
        source = KerasSource(tmp_path / "m.keras")
        assert [layer.kind for layer in source.layers] == ["InputLayer", "Dense", "Lambda"]
        with pytest.raises(BadInput, match=r"m\.keras: Keras cannot load it: .*[Ll]ambda"):
            KerasJudge(source)

    def test_a_configuration_that_keras_cannot_build(self, tmp_path):
        path = write_archive(tmp_path / "m.keras", config=configuration())
        with pytest.raises(BadInput, match="Keras cannot load it"):
            KerasJudge(KerasSource(path))
