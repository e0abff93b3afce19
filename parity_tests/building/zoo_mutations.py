"""Single mistakes in the configuration that network and judge are both built from.

Each is applied with ``monkeypatch`` to the zoo's tables, to the rules of its configuration, or to
the code of the reference graphs, and leaves a network that can be built.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from genmobilenet import zoo


@dataclass(frozen=True)
class Mutation:
    """A mistake in ``model``: ``sides`` says whether judge, network or both then compute it."""

    model: str
    apply: Callable[[pytest.MonkeyPatch, str], None]
    told: str
    sides: tuple[str, ...] = ("judge", "network")


def in_zoo(monkeypatch, model, **changes):
    """Change a network's entry in the zoo's table, wherever it is looked up."""
    table = {**zoo.NETWORKS, model: replace(zoo.NETWORKS[model], **changes)}
    monkeypatch.setattr(zoo, "NETWORKS", table)


def fields(**changes):
    return lambda monkeypatch, model: in_zoo(monkeypatch, model, **changes)


def blocks(*exchanges):
    """Replace parts of a network's block strings."""

    def apply(monkeypatch, model):
        strings = " / ".join(zoo.NETWORKS[model].blocks)
        for old, new in exchanges:
            assert old in strings
            strings = strings.replace(old, new)
        in_zoo(monkeypatch, model, blocks=tuple(strings.split(" / ")))

    return apply


def taken_from(other):
    """Replace a network's blocks and activation by those of another network."""

    def apply(monkeypatch, model):
        source = zoo.NETWORKS[other]
        in_zoo(monkeypatch, model, blocks=source.blocks, activation=source.activation)

    return apply


def epsilon(monkeypatch, model):
    from porting.judges.reference import graphs

    in_zoo(monkeypatch, model, bn_epsilon=1e-5)
    monkeypatch.setattr(graphs, "BATCH_NORM_EPSILON", 1e-5)


def rounding(monkeypatch, model):
    """Round widths without the rule that none may lose more than a tenth."""
    from genmobilenet import config
    from porting.judges.reference import graphs

    def rounded(channels):
        return max(8, int(channels + 4) // 8 * 8)

    in_zoo(monkeypatch, model)  # a new configuration: an existing one has computed its blocks
    monkeypatch.setattr(config, "round_channels", rounded)
    monkeypatch.setattr(graphs, "round_filters", lambda f, m: rounded(f * m) if m else f)
    monkeypatch.setattr(graphs, "make_divisible", rounded)


def judge_pads_valid(monkeypatch, model):
    from porting.judges.reference.graphs import Builder

    real = Builder.depthwise

    def depthwise(self, x, scope, kernel, stride):
        if stride == 1:
            return real(self, x, scope, kernel, stride)
        weight = self.variable(scope, self.names.depthwise, [kernel, kernel, x.shape[-1], 1])
        before = (kernel - 1) // 2
        amounts = [[0, 0], [before, before], [before, before], [0, 0]]
        x = self.tf.pad(x, amounts)
        return self.tf.nn.depthwise_conv2d(x, weight, [1, stride, stride, 1], "VALID")

    monkeypatch.setattr(Builder, "depthwise", depthwise)


def network_pads_at_the_start(monkeypatch, model):
    from genmobilenet import layers

    def forward(self, input):
        pad = layers.F.pad
        high, wide = (
            layers.same_padding(side, self.kernel_size[0], self.stride[0], 1)
            for side in input.shape[2:]
        )
        input = pad(input, [wide - wide // 2, wide // 2, high - high // 2, high // 2])
        return layers.F.conv2d(input, self.weight, None, self.stride, 0, 1, self.groups)

    monkeypatch.setattr(layers.Conv2dSame, "forward", forward)


def judge_gates_by_a_sixth(monkeypatch, model):
    from porting.judges.reference import graphs

    def squeeze_excite(self, x, scope, path, ratio):
        tf, channels = self.tf, int(x.shape[-1])
        gate = tf.reduce_mean(x, [1, 2], keepdims=True)
        squeeze = graphs.make_divisible(channels * ratio)
        gate = tf.nn.relu(self.b.conv(gate, f"{scope}/Conv", squeeze, 1, bias=True))
        gate = self.b.conv(gate, f"{scope}/Conv_1", channels, 1, bias=True)
        return tf.multiply(tf.nn.relu6(gate + 3.0) * (1 / 6), x)

    monkeypatch.setattr(graphs.Slim, "squeeze_excite", squeeze_excite)


def no_sum_in_the_network(monkeypatch, model):
    """A residual that is described but not computed."""
    from genmobilenet.blocks import InvertedResidual

    def forward(self, x):
        x = self.act2(self.bn2(self.conv_dw(self.act1(self.bn1(self.conv_pw(x))))))
        return self.bn3(self.conv_pwl(self.se(x)))

    monkeypatch.setattr(InvertedResidual, "forward", forward)


A1, SMALL = "tf_semnasnet_100", "tf_mnasnet_small"
V3, MINIMAL = "tf_mobilenetv3_large_100", "tf_mobilenetv3_large_minimal_100"
NETWORK, JUDGE = ("network",), ("judge",)

MUTATIONS = {
    "two strides of A1 exchanged": Mutation(
        A1, blocks(("k3_s2_e6_c80", "k3_s1_e6_c80"), ("k3_s1_e6_c112", "k3_s2_e6_c112")),
        "blocks.3.0.conv_dw: described depthwise 3x3, stride 2, padding SAME, 240 channels",
    ),
    "a kernel of B1": Mutation(
        "tf_mnasnet_100", blocks(("k5_s2_e3_c40", "k3_s2_e3_c40")),
        "blocks.2.0.conv_dw: described depthwise 5x5",
    ),
    "ReLU for ReLU6 in V2": Mutation(
        "tf_mobilenetv2_100", fields(activation="relu"), "described relu6, 32 channels",
    ),
    "ReLU6 for hard-swish in V3": Mutation(
        V3, fields(activation="relu6"), "described hard_swish (constant 0.166667), 16 channels",
    ),
    "ReLU6 in one stage of A1": Mutation(
        A1, blocks(("c160_se0.25", "c160_se0.25_nr6")), "blocks.5.0.act1: described relu,", NETWORK,
    ),
    "noskip where there is none": Mutation(
        A1, blocks(("c112_se0.25", "c112_se0.25_noskip")), "blocks.4.1: described add",
    ),
    "i16 dropped from mnasnet-small": Mutation(
        SMALL, blocks(("_i16", "")), "found add, 8 channels",
    ),
    "a hard sigmoid for A1's gate": Mutation(
        A1, fields(gate="hard_sigmoid"), "blocks.2.0.se.gate: described sigmoid", NETWORK,
    ),
    "a sigmoid for V3's gate": Mutation(
        V3, fields(gate="sigmoid"), "blocks.2.0.se.gate: described hard_sigmoid", NETWORK,
    ),
    "A1 squeezed from its expansion": Mutation(
        A1, fields(squeeze_from="expansion"),
        "se.conv_reduce: described conv 1x1, stride 1, padding SAME, 6 channels", NETWORK,
    ),
    "another ratio of squeeze-excite": Mutation(
        A1, blocks(("c40_se0.25", "c40_se0.5")), "blocks.2.0.se.conv_reduce",
    ),
    "squeeze-excite left out": Mutation(
        A1, blocks(("c40_se0.25", "c40")), "blocks.2.0.se.pool: described mean",
    ),
    "a head of another width": Mutation(
        A1, fields(head_channels=1536),
        "conv_head: described conv 1x1, stride 1, padding SAME, 1280",
    ),
    "a head before the pooling in V3": Mutation(
        V3, fields(head="conv"), "described mean",
    ),
    "epsilon in both": Mutation(
        A1, epsilon, "bn1: described norm (epsilon 0.001), 32 channels",
    ),
    "the rounding rule in both": Mutation(
        "tf_semnasnet_075", rounding,
        "blocks.1.0.conv_pwl: described conv 1x1, stride 1, padding SAME, 24",
    ),
    "the rounding rule in both, V3": Mutation(
        "tf_mobilenetv3_small_075", rounding, "blocks.1.0.conv_pwl",
    ),
    "V3 Large without its first residual": Mutation(
        V3, blocks(("c16_nre", "c16_nre_noskip")), "blocks.0.0: described add", NETWORK,
    ),
    "minimalistic with 5x5, squeeze-excite and hard-swish": Mutation(
        MINIMAL, taken_from(V3), "act1: described relu, 16 channels",
    ),
    "minimalistic with one 5x5": Mutation(
        MINIMAL, blocks(("k3_s2_e3_c40", "k5_s2_e3_c40")),
        "blocks.2.0.conv_dw: described depthwise 3x3",
    ),
    "V2's head not scaled above 1": Mutation(
        "tf_mobilenetv2_140", fields(head_scaling="never"), "conv_head", NETWORK,
    ),
    "another expansion": Mutation(
        "tf_mnasnet_100", blocks(("s2_e3_c40", "s2_e6_c40")), "blocks.2.0.conv_pw",
    ),
    "a block too many": Mutation(
        SMALL, blocks(("ir_r4_k5", "ir_r5_k5")), ", blocks.4.0.",
    ),
    "V1 without its second activation": Mutation(
        "tf_mobilenetv1_025", blocks(("dsa_", "ds_")), "blocks.0.0.act2: described relu6", NETWORK,
    ),
    "a stem that is not scaled": Mutation(
        "tf_mobilenetv2_035", fields(fixed_stem=True), "conv_stem", NETWORK,
    ),
    "PyTorch's padding": Mutation(
        A1, fields(padding="symmetric"), "((1, 1), (1, 1)) of sides (64, 67)", NETWORK,
    ),
    "the odd element of padding at the start": Mutation(
        A1, network_pads_at_the_start, "conv_stem: described conv 3x3", NETWORK,
    ),
    "a judge that pads evenly": Mutation(
        A1, judge_pads_valid, "blocks.1.0.conv_dw: described depthwise 3x3, stride 2", JUDGE,
    ),
    "a judge that gates by a sixth": Mutation(
        "tf_mobilenetv3_small_100", judge_gates_by_a_sixth,
        "described hard_sigmoid (constant 0.16667)", JUDGE,
    ),
    "a residual that is described and not computed": Mutation(
        A1, no_sum_in_the_network, "blocks.1.1: described add", NETWORK,
    ),
}  # fmt: skip
