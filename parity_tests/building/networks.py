"""Small networks: with every kind of block, and with statistics other than the initial ones."""

from __future__ import annotations

import re

import torch

from genmobilenet import create_model, list_models
from genmobilenet.config import NetworkConfig

TRIED = [
    name
    for name in list_models()
    if not re.fullmatch(r"efficientnet_.+|tf_efficientnet_(b[1-7]|lite[1-4]|e[ml])", name)
]
"""All networks but most EfficientNets: the larger ones repeat and widen the blocks of the smallest.

What builds and runs every network leaves them out; their shapes are tested with all others'.
"""
WITHOUT_CHECKPOINTS = [
    name for start in ("mixnet", "mobilenetv4", "proxyless") for name in list_models(f"tf_{start}*")
]
"""Networks of which no checkpoint is read: their graphs are ported alone."""

NARROW = {"source": "made in a test", "stem_channels": 8, "head_channels": 16, "num_classes": 5,
          "input_size": 32}  # fmt: skip
TINY = {
    "excited": NetworkConfig(
        ("ds_r1_k3_s1_c8", "ir_r2_k3_s2_e2_c8_se0.25", "ir_r1_k5_s2_e2_c16"), **NARROW
    ),
    "swished": NetworkConfig(
        ("ds_r1_k3_s2_c8_se0.25", "ir_r1_k5_s2_e2_c16_se0.25", "cn_r1_k1_s1_c16"),
        activation="hard_swish", gate="hard_sigmoid", squeeze_from="expansion",
        head="after_pool", **NARROW,
    ),
    "activated": NetworkConfig(("dsa_r1_k3_s1_c8", "dsa_r1_k3_s2_c16"), activation="relu6",
                               head="none", **NARROW),
}  # fmt: skip
"""Networks that run fast, with every kind of block, head, gate and activation."""


def drawn(name, **options):
    """A network with random statistics and biases."""
    torch.manual_seed(len(name))
    return with_random_statistics(create_model(name, num_classes=7, **options).eval())


def with_random_statistics(model):
    """The network, whose batch norms are no longer the initial ones."""
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.weight, 0.5, 1.5)
            torch.nn.init.normal_(part.bias, 0, 0.1)
            torch.nn.init.normal_(part.running_mean, 0, 0.1)
            torch.nn.init.uniform_(part.running_var, 0.5, 2)
    return model
