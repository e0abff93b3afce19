"""MixNet: depthwise convolutions that mix kernels, pointwise ones in shares of the channels.

Sources: tensorflow/tpu ``models/official/mnasnet/mixnet/mixnet_builder.py`` (block strings, stem,
head, dropout), ``mixnet_model.py`` (squeeze-excite, rounding) and ``custom_layers.py`` (shares of
the channels); Tan and Le, "MixConv: Mixed Depthwise Convolutional Kernels", arXiv:1907.09595.
L is M at a width of 1.3.
"""

from __future__ import annotations

from dataclasses import replace

from genmobilenet.config import NetworkConfig

_GOOGLE = "tensorflow/tpu models/official/mnasnet/mixnet/mixnet_builder.py"

_S = NetworkConfig(
    blocks=(
        "ds_r1_k3_s1_c16",
        "ir_r1_k3_a1.1_p1.1_s2_e6_c24 ir_r1_k3_a1.1_p1.1_s1_e3_c24",
        "ir_r1_k3.5.7_s2_e6_c40_se0.5_nsw ir_r3_k3.5_a1.1_p1.1_s1_e6_c40_se0.5_nsw",
        "ir_r1_k3.5.7_p1.1_s2_e6_c80_se0.25_nsw ir_r2_k3.5_p1.1_s1_e6_c80_se0.25_nsw",
        "ir_r1_k3.5.7_a1.1_p1.1_s1_e6_c120_se0.5_nsw ir_r2_k3.5.7.9_a1.1_p1.1_s1_e3_c120_se0.5_nsw",
        "ir_r1_k3.5.7.9.11_s2_e6_c200_se0.5_nsw ir_r2_k3.5.7.9_p1.1_s1_e6_c200_se0.5_nsw",
    ),
    source=f"{_GOOGLE}, mixnet_s",
    stem_channels=16,
    head_channels=1536,
    squeeze_activation="silu",
)

_M = NetworkConfig(
    blocks=(
        "ds_r1_k3_s1_c24",
        "ir_r1_k3.5.7_a1.1_p1.1_s2_e6_c32 ir_r1_k3_a1.1_p1.1_s1_e3_c32",
        "ir_r1_k3.5.7.9_s2_e6_c40_se0.5_nsw ir_r3_k3.5_a1.1_p1.1_s1_e6_c40_se0.5_nsw",
        "ir_r1_k3.5.7_s2_e6_c80_se0.25_nsw ir_r3_k3.5.7.9_a1.1_p1.1_s1_e6_c80_se0.25_nsw",
        "ir_r1_k3_s1_e6_c120_se0.5_nsw ir_r3_k3.5.7.9_a1.1_p1.1_s1_e3_c120_se0.5_nsw",
        "ir_r1_k3.5.7.9_s2_e6_c200_se0.5_nsw ir_r3_k3.5.7.9_p1.1_s1_e6_c200_se0.5_nsw",
    ),
    source=f"{_GOOGLE}, mixnet_m",
    stem_channels=24,
    head_channels=1536,
    squeeze_activation="silu",
    drop_rate=0.25,
)

_L = replace(_M, width=1.3, source=f"{_GOOGLE}, mixnet_l")

_PLAIN = {"mixnet_s": _S, "mixnet_m": _M, "mixnet_l": _L}

NETWORKS: dict[str, NetworkConfig] = {
    **_PLAIN,
    **{f"tf_{name}": config.tensorflow_form() for name, config in _PLAIN.items()},
}

ALIASES: dict[str, str] = {}
