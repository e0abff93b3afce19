"""The published networks: widths, residuals, parameters, names."""

import pytest

from genmobilenet.errors import UnknownModel
from genmobilenet.zoo import get_config, list_models
from genmobilenet.zoo.mnasnet import ALIASES, NETWORKS

WIDTHS_B1 = ("035", "050", "075", "100", "130", "140")
WIDTHS_A1 = ("035", "050", "075", "100", "140")
PLAIN = [
    *(f"mnasnet_{width}" for width in WIDTHS_B1),
    *(f"semnasnet_{width}" for width in WIDTHS_A1),
    "mnasnet_small",
    "mnasnet_d1",
    "mnasnet_d1_320",
]

# Millions, from tensorflow/tpu models/official/mnasnet/README.md; B1 from arXiv:1807.11626.
PUBLISHED_PARAMETERS = {
    "semnasnet_140": 6.1,
    "semnasnet_100": 3.9,
    "semnasnet_075": 2.9,
    "semnasnet_050": 2.1,
    "semnasnet_035": 1.7,
    "mnasnet_small": 2.0,
    "mnasnet_100": 4.4,
}


def residuals(name):
    return [block.index for block in get_config(name).resolve() if block.residual]


def test_every_network_of_the_family_is_there():
    assert sorted(NETWORKS) == sorted([*PLAIN, *(f"tf_{name}" for name in PLAIN)])


@pytest.mark.parametrize("name", PLAIN)
def test_the_tensorflow_form_pads_same_with_its_epsilon(name):
    plain, form = get_config(name), get_config(f"tf_{name}")
    assert (plain.padding, plain.bn_epsilon) == ("symmetric", 1e-5)
    assert (form.padding, form.bn_epsilon) == ("same", 1e-3)


@pytest.mark.parametrize(("name", "published"), PUBLISHED_PARAMETERS.items())
def test_parameters_are_as_published(name, published):
    from genmobilenet import create_model

    count = sum(p.numel() for p in create_model(name).parameters()) / 1e6
    assert count == pytest.approx(published, abs=0.06)


def test_squeeze_excite_widths_come_from_the_block_input():
    blocks = get_config("semnasnet_100").resolve()
    assert [b.squeeze for b in blocks if b.squeeze] == [6, 10, 10, 20, 28, 28, 40, 40]


def test_the_head_keeps_its_width():
    assert {get_config(name).head_channels for name in NETWORKS} == {1280}


def test_d1_is_not_rounded_where_no_multiplier_was_given():
    assert {b.out_channels for b in get_config("mnasnet_d1").resolve()} >= {36}


def test_google_declares_mnasnet_small_without_its_first_residual():
    assert 0 in residuals("mnasnet_small")
    assert 0 not in residuals("tf_mnasnet_small")
    assert residuals("mnasnet_small")[1:] == residuals("tf_mnasnet_small")


def test_mnasnet_small_gains_the_residual_at_half_width():
    from dataclasses import replace

    half = replace(get_config("tf_mnasnet_small"), width=0.5)
    assert half.resolve()[0].residual


def test_narrow_b1_gains_a_residual_where_two_stages_round_to_one_width():
    assert residuals("mnasnet_035") == sorted([*residuals("mnasnet_100"), 10])


def test_aliases():
    assert ALIASES == {
        "tflite_mnasnet_100": "tf_mnasnet_100",
        "tflite_semnasnet_100": "tf_semnasnet_100",
    }
    assert get_config("tflite_mnasnet_100") is get_config("tf_mnasnet_100")


def test_list_models_takes_a_pattern():
    assert list_models("tf_mnasnet_1*") == ["tf_mnasnet_100", "tf_mnasnet_130", "tf_mnasnet_140"]


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(UnknownModel, match="'mnasnet100'; the nearest names are mnasnet_100"):
        get_config("mnasnet100")
