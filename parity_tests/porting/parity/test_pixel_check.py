"""The check from pixels: the unchanged source, and the port by its card's input convention."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import porting
from genmobilenet import create_model, get_config
from parity_tests.building.mutants import plant
from parity_tests.building.tflite_networks import NetworkFile
from parity_tests.building.tflite_variants import IntegerEnds, Normalised, normalising
from porting.errors import NotAtParity
from porting.mapping import families, input_spec
from porting.parity import pixel_check
from porting.parity.inputs import seeded_pixels
from porting.parity.pixel_check import PixelCheck
from porting.release import write_release

MNASNET, V2 = "tf_mnasnet_small", "tf_mobilenetv2_035"
RGB_MEAN, RGB_STD = families.IMAGENET
TO_SIGNED = [("MUL", 2.0), ("SUB", 1.0)]
BYTES = ("uint8", 1 / 255, 0)


@pytest.fixture
def file_of(tmp_path):
    def write(kind, model=MNASNET, **options):
        config = replace(get_config(model), **options)
        path = tmp_path / "model.tflite"
        path.write_bytes(kind(config, seed=3).build())
        return path

    return write


def walked(path, **options):
    """The road of a port that is at parity."""
    result = porting.port(path, **options)
    assert result.comparison, result.comparison.summary()
    assert result.pixels is not None
    assert result.pixels.agrees
    return result.pixels


class TestRoads:
    def test_bytes_of_a_scale_before_a_normalisation(self, file_of):
        road = walked(file_of(normalising(TO_SIGNED, quantised=BYTES)))
        assert (road.takes, road.certainty, road.tap) == ("uint8", "proved", "classifier")
        assert (road.low, road.high) == pytest.approx((0, 1))
        assert road.images == pixel_check.IMAGES
        assert road.share is None
        assert "fed pixels 0..255 as uint8, source and port agree" in road.summary()

    @pytest.mark.parametrize("normalises", ["strip", "keep"])
    def test_forty_of_forty_images(self, file_of, monkeypatch, normalises):
        monkeypatch.setattr(pixel_check, "IMAGES", 40)
        path = file_of(normalising(TO_SIGNED, quantised=BYTES), V2, num_classes=10)
        pixels = seeded_pixels(40, 64)
        road = walked(path, normalisation=normalises, pixels=pixels)
        assert (road.images, road.same_answers) == (40, 40)
        assert road.ratio < road.factor
        assert road.max_abs < 1e-4 * road.scale

    @pytest.mark.parametrize("dtype", ["uint8", "int8"])
    def test_bytes_without_a_normalisation(self, file_of, dtype):
        quantised = (dtype, 1 / 128, 128 if dtype == "uint8" else 0)
        road = walked(file_of(normalising(quantised=quantised)))
        assert (road.takes, road.certainty) == (dtype, "proved")

    def test_bytes_cast_in_the_graph(self, file_of):
        steps = [("SUB", RGB_MEAN), ("DIV", RGB_STD)]
        road = walked(file_of(normalising(steps, cast=True)))
        assert (road.takes, road.low, road.high) == ("uint8", 0, 255)

    def test_bytes_at_both_ends(self, file_of):
        assert walked(file_of(IntegerEnds)).takes == "uint8"

    def test_a_float_input_is_said_not_to_be_proved(self, file_of):
        road = walked(file_of(normalising(TO_SIGNED)))
        assert (road.takes, road.certainty, road.low, road.high) == ("float32", "assumed", 0, 1)
        assert "0 to 1 in float32 (not proved)" in road.summary()

    def test_one_that_normalises_nothing(self, file_of):
        assert walked(file_of(NetworkFile)).certainty == "assumed"

    @pytest.mark.parametrize("weights", ["int8", "uint8_legacy"])
    def test_quantised_weights(self, written, weights):
        road = walked(written(get_config(MNASNET), weights=weights, normalise=True))
        assert 0 < road.share < pixel_check.SHARE
        assert "its integers within" in road.summary()

    def test_the_background_left_off(self, file_of):
        path = file_of(normalising(TO_SIGNED, quantised=BYTES), num_classes=1001)
        assert walked(path, classes="drop-background").same_answers == 2

    def test_grey_images(self, file_of):
        walked(file_of(normalising(TO_SIGNED, quantised=BYTES), in_chans=1))

    @pytest.mark.parametrize("normalises", [False, True])
    def test_a_module_of_ones_own(self, file_of, normalises):
        class Mine(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = create_model(MNASNET)

            def forward(self, x):
                return self.inner((x - 127.5) / 127.5 if normalises else x)

        walked(file_of(normalising(TO_SIGNED, quantised=BYTES)), onto=Mine().eval())

    def test_pixels_that_are_no_whole_numbers(self, file_of):
        pixels = seeded_pixels(1, 64).astype(np.float32) + np.float32(0.4)
        walked(file_of(normalising(TO_SIGNED, quantised=BYTES)), pixels=pixels)

    def test_what_the_users_convention_leads_to(self, file_of):
        path = file_of(normalising([("MUL", 0.02)]))
        road = walked(path, mean=127.5, std=127.5)
        assert (road.certainty, road.low, road.high) == ("stated", -50, 50)
        assert "-50 to 50 in float32 (stated, not proved)" in road.summary()

    def test_without_an_input_of_its_own(self, small_synthetic):
        assert porting.port(small_synthetic.checkpoint).pixels is None


SUBTRACTED = normalising([("SUB", RGB_MEAN), ("DIV", RGB_STD)], cast=True)
SCALED = normalising([("MUL", 255.0), ("ADD", -127.0)], quantised=BYTES)
PLAIN = normalising(quantised=("uint8", 1 / 128, 128))
HALVED = normalising([("MUL", 0.5), ("ADD", 0.5)], quantised=("uint8", 1 / 128, 128))
TURNED = type("Turned", (Normalised,), {"steps": [("SUB", 255.0, True)], "cast": True})

MUTANTS = {
    "SUB read as ADD": (
        SUBTRACTED, input_spec,
        'offset + constant if kind == "ADD" else offset - constant', "offset + constant",
    ),
    "DIV read as MUL": (
        SUBTRACTED, input_spec,
        'constant if kind == "MUL" else 1.0 / constant', "constant",
    ),
    "an offset that a later factor leaves alone": (
        SUBTRACTED, input_spec, "scale, offset = scale * factor, offset * factor",
        "scale, offset = scale * factor, offset",
    ),
    "a subtraction from a constant read as one of it": (
        TURNED, input_spec, "scale, offset = -scale, constant - offset",
        "offset = offset - constant",
    ),
    "constants in the order BGR": (
        SUBTRACTED, input_spec,
        ".astype(np.float64).ravel()", ".astype(np.float64).ravel()[::-1]",
    ),
    "mean and deviation exchanged": (
        SUBTRACTED, input_spec,
        "return replace(entry, mean=_as_tuple(mean), std=_as_tuple(std))",
        "return replace(entry, mean=_as_tuple(std), std=_as_tuple(mean))",
    ),
    "the offset added": (
        SCALED, input_spec, "mean = mean - offset * std", "mean = mean + offset * std",
    ),
    "quantisation ignored": (
        HALVED, input_spec,
        "if info is not None and storage in BYTES and info.range is not None:", "if False:",
    ),
    "a zero point off by one": (
        PLAIN, input_spec, "np.full(channels, -low * std)", "np.full(channels, -low * std + 1)",
    ),
    "a scale read as of 256 steps": (
        SCALED, input_spec, "std = 255 / (high - low)\n", "std = 256 / (high - low)\n",
    ),
    "the family's deviation": (
        SCALED, input_spec, "whole.mean, whole.std, evidence", "whole.mean, std, evidence",
    ),
    "the family's mean": (
        SCALED, input_spec, "whole.mean, whole.std, evidence", "mean, whole.std, evidence",
    ),
    "what the source is fed for what the network takes": (
        SCALED, input_spec, "whole.mean, whole.std, evidence", "entry.mean, entry.std, evidence",
    ),
    "channels of the mean in the order BGR": (
        SUBTRACTED, input_spec, "return _affine(pixels, self.mean, self.std)",
        "return _affine(pixels, self.mean[::-1], self.std)",
    ),
}  # fmt: skip
"""Name -> a kind of file, and a place of a module with what stands there instead."""


class TestMutants:
    @pytest.mark.parametrize(("kind", "module", "old", "new"), MUTANTS.values(), ids=MUTANTS)
    def test_a_wrong_convention_is_seen(self, file_of, monkeypatch, kind, module, old, new):
        path = file_of(kind)
        walked(path, pixels=seeded_pixels(1, 64))
        plant(monkeypatch, module, old, new)
        result = porting.port(path, pixels=seeded_pixels(1, 64))
        # All taps agree: both runs start after the fault.
        assert all(tap.agrees for tap in result.comparison.taps)
        assert not result.pixels.agrees
        assert not result.comparison
        assert result.comparison.refusals == (result.pixels.summary(),)

    def test_nothing_is_released(self, file_of, monkeypatch, tmp_path):
        plant(monkeypatch, *MUTANTS["the family's deviation"][1:])
        result = porting.port(file_of(SCALED), pixels=seeded_pixels(1, 64))
        expected = r"NOT at parity with .*: fed pixels 0..255 as uint8, the source as it is and"
        with pytest.raises(NotAtParity, match=expected):
            write_release(result, tmp_path / "out")
        assert not list((tmp_path / "out").glob("*"))

    def test_compare_refuses_too(self, file_of, monkeypatch):
        path = file_of(SCALED)
        model = create_model(MNASNET, num_classes=1000)
        model.load_state_dict(porting.port(path, verify=False).state_dict)
        pixels = seeded_pixels(1, 64)
        assert porting.compare(path, model.eval(), pixels, name=MNASNET)
        plant(monkeypatch, *MUTANTS["the family's deviation"][1:])
        comparison = porting.compare(path, model.eval(), pixels, name=MNASNET)
        assert not comparison
        assert "port by its input convention differ" in repr(comparison)

    def test_where_taps_disagree_they_alone_are_named(self, file_of):
        path = file_of(SCALED)
        model = create_model(MNASNET, num_classes=1000)
        state = porting.port(path, verify=False).state_dict
        state["conv_stem.weight"] = state["conv_stem.weight"] * 1.01
        model.load_state_dict(state)
        comparison = porting.compare(path, model.eval(), seeded_pixels(1, 64), name=MNASNET)
        assert not comparison
        assert comparison.refusals == ()


class TestIntegers:
    def test_a_run_that_lies_too_far_away(self):
        sound = PixelCheck(
            "LiteRT", "2", 2, "int8", 0.0, 1.0, "proved", "classifier", 1e-6, 1.0, 1e-6, 1.0, 8.0,
            True, 0.1, 2,
        )  # fmt: skip
        assert sound.agrees
        assert sound.to_json()["share_limit"] == pixel_check.SHARE
        far = replace(sound, share=0.9)
        assert not far.agrees
        assert "the source's integers lie 0.9 of their size away from the port" in far.summary()

    def test_where_taps_disagree_the_convention_is_not_blamed(self):
        far = PixelCheck(
            "LiteRT", "2", 2, "float32", -1.0, 1.0, "proved", "classifier", 0.02, 1.0, 1e-6, 2e4,
            8.0, False, None, 0,
        )  # fmt: skip
        assert "by its input convention differ" in far.to_json()["summary"]
        summary = far.to_json(taps_agree=False)["summary"]
        assert "by its input convention" not in summary
        assert "says nothing of the input convention while taps disagree" in summary
        sound = replace(far, within_noise=True)
        assert sound.summary(taps_agree=False) == sound.summary()

    @pytest.mark.parametrize("images", [1, 2])
    def test_the_share_is_of_root_mean_squares(self, images):
        from porting.mapping.input_spec import InputConvention

        taken = InputConvention(8, 3, 4, (0.0,), (255.0,), "", "", "proved")
        running = pixel_check.RunningPixelCheck("int8", taken, "classifier", None)
        judge = np.array([[3.0, -4.0, 0.0, 0.0]], np.float32)
        moved = judge + np.float32(0.5)
        for _ in range(images):
            assert running.more
            running.add([judge, moved], judge, np.array([1e-6]))
        road = running.result("judge", "1")
        assert (road.images, road.same_answers, road.max_abs) == (images, images, 0)
        sizes = [np.sqrt(np.mean(values**2)) for values in (judge, moved)]
        assert road.share == pytest.approx(0.5 / max(sizes), rel=1e-5)
        assert running.more == (images < pixel_check.IMAGES)
