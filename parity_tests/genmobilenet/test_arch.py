"""Block strings: every token, every error, and formatting."""

import pytest

from genmobilenet.arch import BlockSpec, parse_block, parse_stage, round_channels
from genmobilenet.errors import ArchitectureError
from genmobilenet.zoo import NETWORKS


def test_every_field_is_read():
    assert parse_block("ir_r3_k5_s2_e6_i24_c40_se0.25_noskip") == BlockSpec(
        type="ir",
        repeats=3,
        kernel=5,
        stride=2,
        expansion=6,
        channels=40,
        se_ratio=0.25,
        declared_in=24,
        skip=False,
    )


def test_depthwise_separable_needs_no_expansion():
    assert parse_block("ds_r1_k3_s1_c16").expansion == 1


@pytest.mark.parametrize("text", sorted({b for c in NETWORKS.values() for b in c.blocks}))
def test_format_gives_the_string_back(text):
    assert " ".join(spec.format() for spec in parse_stage(text)) == text


@pytest.mark.parametrize("text", ["ir_r1_k3_s1_e0.1234567_c8_se0.0123456789", "ir_r2_k5_s2_e6_c8"])
def test_no_digit_is_lost(text):
    assert parse_block(text).format() == text


def test_groups_and_activations():
    spec = parse_block("ds_r1_k5_s1_c64_g2_nhs")
    assert (spec.groups, spec.activation) == (2, "hard_swish")
    assert parse_block("ir_r1_k3_s1_e6_c8").activation is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("xx_r1_k3_s1_c8", "unknown block type 'xx'; known are ds"),
        ("ir_r1_k3_s1_e6_c8_q4", "unknown token 'q4'"),
        ("ir_r1_k3_s1_e6_c8_k5", "kernel is given twice, again by 'k5'"),
        ("ir_r1_s1_e6_c8", "no token for kernel"),
        ("ir_r1_k3_s1_c8", "no token for expansion"),
        ("ir_r1.5_k3_s1_e6_c8", "'r1.5' takes a whole number"),
        ("ir_r0_k3_s1_e6_c8", "repeats must be above zero"),
        ("ds_r1_k3_s1_e6_c8", "has no expansion; use ir"),
        ("ir_r1_k3_s1_e6_c8_skip", "unknown token 'skip'"),
        ("ir_r1_k3_s1_e6_c8_", "unknown token ''"),
    ],
)
def test_a_bad_string_is_named(text, message):
    with pytest.raises(ArchitectureError, match="^" + repr(text).replace(".", r"\.")) as error_info:
        parse_block(text)
    assert message in str(error_info.value)


@pytest.mark.parametrize(
    ("channels", "rounded"),
    [(2.8, 8), (11.2, 16), (16 * 0.5, 8), (24 * 0.35, 8), (40 * 0.35, 16), (80 * 1.3, 104)],
)
def test_round_channels(channels, rounded):
    assert round_channels(channels) == rounded
