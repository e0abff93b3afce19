"""Networks that take no time, with every kind of block, head, gate and activation."""

from __future__ import annotations

from genmobilenet.config import NetworkConfig

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
