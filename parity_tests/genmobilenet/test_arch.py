"""Block strings: every token, every error, and formatting."""

import pytest

from genmobilenet.arch import (
    BlockSpec,
    DenseSpec,
    parse_block,
    parse_dense,
    parse_stage,
    round_channels,
)
from genmobilenet.config import parse_network
from genmobilenet.errors import ArchitectureError
from genmobilenet.zoo import NETWORKS, get_config


def test_every_field_is_read():
    assert parse_block("ir_r3_k5_s2_e6_i24_c40_se0.25_noskip") == BlockSpec(
        type="ir",
        repeats=3,
        kernels=(5,),
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


def test_mixed_kernels_and_shares_of_pointwise_convolutions():
    spec = parse_block("ir_r1_k3.5.7_a1.1_p1.1_s2_e6_c24")
    assert (spec.kernels, spec.start_kernels, spec.end_kernels) == ((3, 5, 7), (1, 1), (1, 1))
    plain = parse_block("ir_r1_k3_a1_p1_s2_e6_c24")
    assert plain.format() == "ir_r1_k3_s2_e6_c24"


def test_universal_inverted_residuals():
    spec = parse_block("uir_r1_a3_k0_p5_s2_e4_c24")
    assert (spec.kernels, spec.start_kernels, spec.end_kernels) == ((0,), (3,), (5,))
    assert parse_block("uir_r1_a0_k5_p0_s1_e4_c24").format() == "uir_r1_k5_s1_e4_c24"


@pytest.mark.parametrize(
    "text", ["ir_r2_k3.5.7_a1.1_p1.1.1_s2_e6_c24_se0.5", "uir_r1_a3_k0_p5_s2_e4_c24",
             "ds_r1_k3.9_p1.1_s1_c24"],
)  # fmt: skip
def test_kernels_format_back(text):
    assert parse_block(text).format() == text


def test_groups_and_activations():
    spec = parse_block("ds_r1_k5_s1_c64_g2_nhs")
    assert (spec.groups, spec.activation) == (2, "hard_swish")
    assert parse_block("ir_r1_k3_s1_e6_c8").activation is None


def test_an_expansion_is_of_the_declared_input():
    """Source: ``filters`` in ``MBConvBlock._build``, tensorflow/tpu ``efficientnet_model.py``."""
    config = parse_network("stem_c32_nre | er_r2_k3_s1_e4_i24_c24_noskip | cn_c64 pool fc")
    assert [(b.in_channels, b.mid_channels) for b in config.resolve()] == [(32, 96), (24, 96)]


def test_the_projection_has_the_stride_where_the_block_says_so():
    from genmobilenet.network import GenMobileNet

    config = parse_network("stem_c8_nre | er_r1_k3_s2_e4_c8 erp_r2_k3_s2_e4_c16 | cn_c64 pool fc")
    blocks = GenMobileNet(config).blocks[0]
    strides = [(block.conv_exp.stride[0], block.conv_pwl.stride[0]) for block in blocks]
    assert strides == [(2, 1), (1, 2), (1, 1)]
    assert [block.type for block in config.resolve()] == ["er", "erp", "er"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("xx_r1_k3_s1_c8", "unknown block type 'xx'; known are ds"),
        ("ir_r1_k3_s1_e6_c8_q4", "unknown token 'q4'"),
        ("ir_r1_k3_s1_e6_c8_k5", "kernels is given twice, again by 'k5'"),
        ("ir_r1_s1_e6_c8", "no token for kernels"),
        ("ir_r1_k3_s1_c8", "no token for expansion"),
        ("ir_r1.5_k3_s1_e6_c8", "'r1.5' takes a whole number"),
        ("ir_r0_k3_s1_e6_c8", "repeats must be above zero"),
        ("ds_r1_k3_s1_e6_c8", "has no expansion; use ir"),
        ("ir_r1_k3_s1_e6_c8_skip", "unknown token 'skip'"),
        ("ir_r1_k3_s1_e6_c8_", "unknown token ''"),
        ("cn_r1_k3.5_s1_c8", "a convolution block mixes no kernels"),
        ("uir_r1_a3.5_k3_s1_e2_c8", "a universal inverted residual block mixes no kernels"),
        ("uir_r1_a0_k0_s2_e2_c8", "without a depthwise convolution has no stride"),
        ("ir_r1_k0_s1_e2_c8", "kernels must be above zero"),
        ("ds_r1_k3_a1.1_s1_c8", "a is of ir and uir blocks"),
        ("er_r1_k3_p1.1_s1_e2_c8", "p is of ds and dsa and ir and uir blocks"),
        ("ir_r1_k3_a1.3_s1_e2_c8", "the kernels of a are 1 for each share"),
        ("ir_r1_k3_p1.1_s1_e2_c8_g2", "or shuffled groups (g)"),
        ("ir_r1_k3.3333333_s1_e2_c8", "is not below 1,000,000"),
        (f"ir_r1_k{'.'.join('3' * 17)}_s1_e2_c8", "mixes more than 16 kernels"),
        ("ir_r1_k3.5._s1_e2_c8", "unknown token 'k3.5.'"),
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


@pytest.mark.parametrize(
    ("text", "layer"),
    [
        ("fc_c100_nre", DenseSpec(100, "relu")),
        ("fc_c1001", DenseSpec(1001)),
        ("fc_c20_nhs_nobias", DenseSpec(20, "hard_swish", bias=False)),
        ("fc_c20_bn_nre", DenseSpec(20, "relu", norm=True)),
        ("bn", DenseSpec(0, norm=True)),
    ],
)
def test_dense_layers(text, layer):
    assert parse_dense(text) == layer
    assert layer.format() == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fc_c100_q4", "unknown token 'q4'; expected c with a number below 1,000,000, bn, nre"),
        ("fc_c0", "unknown token 'c0'"),
        ("bn_nobias", "expected a dense layer with its channels, as fc_c100, or a batch norm"),
        ("fc_nre", "expected a dense layer with its channels, as fc_c100"),
        ("cn_c100", "expected a dense layer with its channels"),
        ("fc_c1_c2", "channels is given twice, again by 'c2'"),
        ("fc_c1_nobias_nobias", "bias is given twice"),
    ],
)
def test_a_dense_layer_that_cannot_be(text, message):
    with pytest.raises(ArchitectureError, match=message):
        parse_dense(text)


NETWORK = "stem_c16_nr6 padding=symmetric | ds_r1_k3_s1_c8 | cn_c64 pool fc_c20_nre fc_nobias"


@pytest.mark.parametrize(
    "text",
    [
        NETWORK,
        "stem_c8_nhs gate=hard_sigmoid bn_epsilon=1e-05 | ir_r1_k3_s2_e3.7_c8 | pool cn_c9 fc",
        "stem_c8_nre | er_r2_k3_s2_e4_c16_noskip cn_r1_k1_s1_c8_nno | pool",
        "stem_c8_nre | dsa_r2_k3_s2_c16 | pool fc_c20",
        "stem_c8_nsw squeeze_activation=silu | erp_r2_k3_s2_e4_c16 ds_r1_k3_s1_c8_se0.5 | pool fc",
    ],
)
def test_a_network_of_strings_alone(text):
    config = parse_network(text)
    assert config.format() == text
    assert get_config(text) == config
    assert bool(config.num_classes) == text.rpartition(" ")[2].startswith("fc") or "c20" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("stem_c16", "stem_q16"), "'stem_q16_nr6': expected a stem as stem_c32_nre"),
        (("nr6", "nr7"), "'stem_c16_nr7': expected a stem"),
        (("padding=symmetric", "padding=odd"), "padding 'odd': expected 'same' or 'symmetric'"),
        (
            ("padding=symmetric", "width=2"),
            "'width=2': expected one of padding, gate, squeeze_activation, bn_epsilon",
        ),
        (("padding=symmetric", "bn_epsilon=x"), "'bn_epsilon=x': expected one of"),
        ((" | ds_r1_k3_s1_c8", ""), "then stages and a head between bars"),
        (("k3", "q3"), "unknown token 'q3'"),
        (("cn_c64 pool", "cn_c64"), "expected a head as 'cn_c1280 pool fc'"),
        (("cn_c64 pool", "cn_c64 cn_c64 pool"), "expected a head"),
        (("fc_c20_nre", "fc_q20"), "expected a head"),
        (("fc_c20_nre", "fc_c20_q"), "unknown token 'q'"),
        ((NETWORK, " | "), "'': expected a stem as stem_c32_nre"),
        (("ds_r1_k3_s1_c8", ""), "'': a stage without a block"),
        (("padding=symmetric", "padding=same padding=symmetric"), "padding is given twice"),
        (("padding=symmetric", "bn_epsilon=nan"), "bn_epsilon nan: must be finite"),
        (("padding=symmetric", "bn_epsilon=-1"), "bn_epsilon -1.0: must be finite, and at least 0"),
        (("ds_r1_k3_s1_c8", "ir_r1_k3_s1_e0.01_c8"), "16 channels by 0.01 leaves none"),
        (("ds_r1_k3_s1_c8", "ds_r1_k3_s1_c8_g3"), "16, 16 and 8 channels, not all in 3 groups"),
        (("ds_r1_k3_s1_c8", "su_r1_k3_s1_c8"), "a shuffle unit from 16 to 8 channels"),
        (("ds_r1_k3_s1_c8", "su_r1_k3_s2_c9"), "a shuffle unit from 16 to 9 channels"),
    ],
)
def test_strings_of_no_network(change, message):
    with pytest.raises(ArchitectureError, match=message):
        get_config(NETWORK.replace(*change))


NINES = "9" * 5000  # more digits than Python makes an integer of


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("s1_c8", f"s1_c{NINES}"), "9' is not below 1,000,000"),
        (("k3_s1_c8", "k3_s1_c8_se1000000"), "'se1000000' is not below 1,000,000"),
        (("stem_c16", f"stem_c{NINES}"), "of channels below 1,000,000"),
        (("cn_c64", f"cn_c{NINES}"), "expected a head"),
        (("fc_c20_nre", f"fc_c{NINES}"), "expected c with a number below 1,000,000"),
        (("ds_r1", "ds_r999999"), "a network of 1,000,000 blocks and dense layers"),
        (("fc_c20_nre", "fc_c2 " * 1001), "a network of 1,002 blocks and dense layers"),
        (("ds_r1_k3", "ds_r1_k99999"), "weights or so; at most 536,870,912 are built"),
        (("s1_c8", "s1_c999999 ds_r1_k3_s1_c999"), "weights or so"),
        (("ds_r1_k3_s1_c8", "er_r1_k5_s1_e99999_c8"), "weights or so"),
        (("ds_r1_k3_s1_c8", "cn_r1_k9999_s1_c8"), "weights or so"),
        (("k3_s1_c8", "k3_s1_c9999 ds_r1_k3_s1_c8_se99.5"), "weights or so"),
        (("cn_c64 pool fc_c20_nre", "cn_c99999 pool fc_c99999"), "weights or so"),
        (("fc_nobias", "x" * 10**6), "of 1,000,073 characters; at most 50,000 are read"),
    ],
)
def test_strings_of_a_network_that_is_too_large_to_build(change, message):
    with pytest.raises(ArchitectureError, match=message):
        get_config(NETWORK.replace(*change))


def test_a_scaled_network_has_a_name_and_no_strings():
    with pytest.raises(ArchitectureError, match="scaled widths"):
        get_config("mobilenetv2_035").format()
