"""MobileNet V4, the convolutional networks: small, medium and large.

Sources: tensorflow/models ``official/vision/modeling/backbones/mobilenet.py``,
``MNV4ConvSmall_BLOCK_SPECS``, ``_mnv4_conv_medium_block_specs`` and ``MNV4ConvLarge_BLOCK_SPECS``;
Qin et al., "MobileNetV4", arXiv:2404.10518, tables 11 to 13 (sizes of the images in table 5);
the stages, and small at narrower widths, are timm's (``mobilenetv3.py``, ``_gen_mobilenet_v4``).
"""

from __future__ import annotations

from dataclasses import replace

from genmobilenet.config import NetworkConfig

_OFFICIAL = "tensorflow/models official/vision/modeling/backbones/mobilenet.py"

_SMALL = NetworkConfig(
    blocks=(
        "cn_r1_k3_s2_c32 cn_r1_k1_s1_c32",
        "cn_r1_k3_s2_c96 cn_r1_k1_s1_c64",
        "uir_r1_a5_k5_s2_e3_c96 uir_r4_k3_s1_e2_c96 uir_r1_a3_k0_s1_e4_c96",
        "uir_r1_a3_k3_s2_e6_c128 uir_r1_a5_k5_s1_e4_c128 uir_r1_k5_s1_e4_c128 "
        "uir_r1_k5_s1_e3_c128 uir_r2_k3_s1_e4_c128",
        "cn_r1_k1_s1_c960",
    ),
    source=f"{_OFFICIAL}, MNV4ConvSmall_BLOCK_SPECS",
    head="norm_after_pool",
)

_MEDIUM = NetworkConfig(
    blocks=(
        "er_r1_k3_s2_e4_c48",
        "uir_r1_a3_k5_s2_e4_c80 uir_r1_a3_k3_s1_e2_c80",
        "uir_r1_a3_k5_s2_e6_c160 uir_r2_a3_k3_s1_e4_c160 uir_r1_a3_k5_s1_e4_c160 "
        "uir_r1_a3_k3_s1_e4_c160 uir_r1_a3_k0_s1_e4_c160 uir_r1_k0_s1_e2_c160 "
        "uir_r1_a3_k0_s1_e4_c160",
        "uir_r1_a5_k5_s2_e6_c256 uir_r1_a5_k5_s1_e4_c256 uir_r2_a3_k5_s1_e4_c256 "
        "uir_r1_k0_s1_e4_c256 uir_r1_a3_k0_s1_e4_c256 uir_r1_a3_k5_s1_e2_c256 "
        "uir_r1_a5_k5_s1_e4_c256 uir_r2_k0_s1_e4_c256 uir_r1_a5_k0_s1_e2_c256",
        "cn_r1_k1_s1_c960",
    ),
    source=f"{_OFFICIAL}, _mnv4_conv_medium_block_specs",
    head="norm_after_pool",
    input_size=256,
)

_LARGE = NetworkConfig(
    blocks=(
        "er_r1_k3_s2_e4_c48",
        "uir_r1_a3_k5_s2_e4_c96 uir_r1_a3_k3_s1_e4_c96",
        "uir_r1_a3_k5_s2_e4_c192 uir_r3_a3_k3_s1_e4_c192 uir_r1_a3_k5_s1_e4_c192 "
        "uir_r5_a5_k3_s1_e4_c192 uir_r1_a3_k0_s1_e4_c192",
        "uir_r4_a5_k5_s2_e4_c512 uir_r1_a5_k0_s1_e4_c512 uir_r1_a5_k3_s1_e4_c512 "
        "uir_r2_a5_k0_s1_e4_c512 uir_r1_a5_k3_s1_e4_c512 uir_r1_a5_k5_s1_e4_c512 "
        "uir_r3_a5_k0_s1_e4_c512",
        "cn_r1_k1_s1_c960",
    ),
    source=f"{_OFFICIAL}, MNV4ConvLarge_BLOCK_SPECS",
    stem_channels=24,
    head="norm_after_pool",
    input_size=384,
)

_PLAIN = {
    "mobilenetv4_conv_small_035": replace(_SMALL, width=0.35, fixed_stem=True),
    "mobilenetv4_conv_small_050": replace(_SMALL, width=0.5, fixed_stem=True),
    "mobilenetv4_conv_small": _SMALL,
    "mobilenetv4_conv_medium": _MEDIUM,
    "mobilenetv4_conv_large": _LARGE,
}

NETWORKS: dict[str, NetworkConfig] = {
    **_PLAIN,
    **{f"tf_{name}": config.tensorflow_form() for name, config in _PLAIN.items()},
}

ALIASES: dict[str, str] = {}
