"""Networks as different exporters write them: recognised, and at parity with LiteRT."""

from __future__ import annotations

from dataclasses import replace

import pytest

import porting
from genmobilenet import get_config
from parity_tests.building import tflite_variants as variants
from parity_tests.building.tflite_networks import NetworkFile
from porting.errors import MappingError
from porting.parity.inputs import seeded_pixels

PLAIN, EXCITED, HARD = "tf_mnasnet_small", "tf_semnasnet_050", "tf_mobilenetv3_small_075"
RELU6 = "tf_mobilenetv2_035"


@pytest.fixture
def written(tmp_path):
    """The path of a network's file, as a kind of :class:`NetworkFile` writes it."""

    def write(kind, model, **options):
        config = options.pop("config", replace(get_config(model), num_classes=17))
        path = tmp_path / "model.tflite"
        path.write_bytes(kind(config, **options).build())
        return path

    return write


def at_parity(path, model, classes=17):
    result = porting.port(path, pixels=seeded_pixels(1, 64))
    assert result.model == model
    assert result.comparison, result.comparison.summary()
    assert result.comparison["classifier"]
    return result


def joined(*kinds):
    return type("Joined", kinds, {})


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        (variants.OwnActivations, PLAIN),
        (variants.OwnActivations, RELU6),
        (variants.OwnActivations, HARD),
        (variants.AveragePools, PLAIN),
        (variants.AveragePools, EXCITED),
        (variants.AveragePools, HARD),
        (variants.NegativeAxes, EXCITED),
        (variants.NegativeAxes, HARD),
        (variants.FlatMeans, EXCITED),
        (variants.FlatMeans, HARD),
        (variants.KeptMeans, PLAIN),
        (variants.KeptMeans, EXCITED),
        (variants.ConvolutionClassifier, PLAIN),
        (variants.ConvolutionClassifier, RELU6),
        (variants.DenseSqueezes, EXCITED),
        (variants.Divisions, HARD),
        (variants.SixthsAhead, HARD),
        (joined(variants.SixthsAhead, variants.Padded), HARD),
        (variants.GatesInLayers, HARD),
        (variants.IntegerEnds, PLAIN),
        (joined(variants.DenseSqueezes, variants.OwnActivations), EXCITED),
        (joined(variants.ConvolutionClassifier, variants.AveragePools), EXCITED),
        (joined(variants.IntegerEnds, variants.ConvolutionClassifier, variants.Padded), PLAIN),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_what_exporters_write(written, kind, model):
    at_parity(written(kind, model), model)


@pytest.mark.parametrize("kind", [NetworkFile, variants.Divisions])
@pytest.mark.parametrize("spelled_out", [False, True])
def test_hard_swish_as_one_operator_or_as_three(written, kind, spelled_out):
    at_parity(written(kind, HARD, spelled_out=spelled_out), HARD)


def test_a_clamp_at_six_is_not_one_at_nothing(written):
    config = replace(get_config(RELU6), activation="relu")
    with pytest.raises(MappingError, match=r"operator 1 RELU 'stem/relu'.*\n.* relu6\)"):
        porting.port(written(variants.OwnActivations, RELU6, config=config), RELU6)


def test_a_division_of_six_by_the_gate_is_another_function(written):
    class Turned(variants.Divisions):
        def times(self, x, name, shape, factor):
            output = super().times(x, name, shape, factor)
            self.file.graph.operators[-1].inputs.reverse()
            return output

    with pytest.raises(MappingError, match=r"source:  operator \d+ DIV 'block_0/se/divided'"):
        porting.port(written(Turned, HARD), HARD, verify=False)


def test_a_grey_stem_written_as_a_depthwise_convolution(written):
    class Grey(NetworkFile):
        def conv(self, x, name, *numbers, **options):
            if name != "stem":
                return super().conv(x, name, *numbers, **options)
            output = super().conv(x, name, *numbers, depthwise=True)
            self.file.graph.operators[-1].builtinOptions.depthMultiplier = output[2]
            return output

    config = replace(get_config(RELU6), num_classes=17, in_chans=1)
    result = porting.port(written(Grey, RELU6, config=config))
    assert result.model == RELU6
    assert result.comparison, result.comparison.summary()


def test_a_softmax_by_another_beta_is_not_that_behind_the_logits(written):
    class Sharper(NetworkFile):
        def head(self, x):
            self.softmax = True
            logits = super().head(x)
            self.file.graph.operators[-1].builtinOptions.beta = 2.0
            return logits

    with pytest.raises(MappingError, match=r"SOFTMAX 'output' \(softmax with beta 2\)"):
        porting.port(written(Sharper, PLAIN), PLAIN, verify=False)


def test_a_swish_that_divides_twice_and_never_multiplies(written):
    class Twice(NetworkFile):
        def hard_swish(self, x, name, shape):
            clamped = self.plus_three(x, name, shape)
            return self.times(self.times(clamped, name, shape, 1 / 6), name, shape, 1 / 6)

    with pytest.raises(MappingError, match=r"\(hard_sigmoid\)\n.*conv_stem.*hard_swish"):
        porting.port(written(Twice, HARD), HARD, verify=False)


MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
GREY = (127.5,) * 3


@pytest.mark.parametrize(
    ("steps", "mean", "std"),
    [
        ([("SUB", 127.5, 0), ("DIV", 127.5, 0)], GREY, GREY),
        ([("SUB", [127.5], 0), ("MUL", [1 / 127.5], 1)], GREY, GREY),
        ([("MUL", 1 / 127.5, 1), ("ADD", -1, 1)], GREY, GREY),
        ([("MUL", [1 / 127.5], 0), ("SUB", [1], 0)], GREY, GREY),
        ([("DIV", 255, 0)], (0,) * 3, (255,) * 3),
        ([("SUB", MEAN, 0), ("DIV", STD, 0)], MEAN, STD),
        ([("SUB", [[[MEAN]]], 0), ("MUL", [[[[1 / s for s in STD]]]], 1)], MEAN, STD),
        ([("ADD", [-m for m in MEAN], 1), ("DIV", STD, 0)], MEAN, STD),
        ([("DIV", 255, 0), ("SUB", [m / 255 for m in MEAN], 0),
          ("DIV", [s / 255 for s in STD], 0)], MEAN, STD),
    ],
)  # fmt: skip
@pytest.mark.parametrize("cast", [False, True])
def test_normalisation_in_the_graph(written, steps, mean, std, cast):
    kind = type("Kind", (variants.Normalised,), {"steps": steps, "cast": cast})
    result = at_parity(written(kind, PLAIN), PLAIN)
    assert result.convention.mean == pytest.approx(mean, rel=1e-5)
    assert result.convention.std == pytest.approx(std, rel=1e-5)
    assert ", ".join(step[0] for step in steps) in result.convention.evidence


@pytest.mark.parametrize(
    "steps",
    [
        [("MUL", 0, 0)],
        [("DIV", [1, 0, 1], 0)],
        [("SUB", [1, float("nan"), 1], 0)],
        [("ADD", float("inf"), 0)],
        [("SUB", [[[1, 2, 3]] * 64] * 64, 0)],
        [("SUB", [1, 2], 0)],
        [("SUB", [], 0)],
    ],
)
def test_normalisation_that_no_mean_and_std_stand_for(written, steps):
    kind = type("Kind", (variants.Normalised,), {"steps": steps})
    kinds = r"(SUB|MUL|DIV|ADD)"
    with pytest.raises(MappingError, match=rf"source:  operator 0 {kinds} 'step0/out'"):
        porting.port(written(kind, PLAIN), verify=False)


def test_a_constant_less_the_pixels_turns_them_around(written):
    kind = type("Kind", (variants.Normalised,), {"steps": [("SUB", 255, 1), ("DIV", STD, 0)]})
    result = at_parity(written(kind, PLAIN), PLAIN)
    assert result.pixels.agrees
    assert result.convention.mean == pytest.approx((255,) * 3, rel=1e-5)
    assert result.convention.std == pytest.approx([-deviation for deviation in STD], rel=1e-5)
    assert "(SUB from a constant, DIV)" in result.convention.evidence


def test_a_constant_over_the_pixels_is_no_normalisation(written):
    kind = type("Kind", (variants.Normalised,), {"steps": [("DIV", 255, 1)]})
    with pytest.raises(MappingError, match=r"operator 0 DIV 'step0/out'\n.*conv_stem"):
        porting.port(written(kind, PLAIN), verify=False)
