"""MobileNet V1, V2 and V3, and MobileNetEdgeTPU, at every published width.

Sources: tensorflow/models ``research/slim/nets``: ``mobilenet_v1.py``,
``mobilenet/mobilenet_v2.py``, ``mobilenet/mobilenet_v3.py``, ``mobilenet/conv_blocks.py``;
keras.applications, which has the same networks. Howard et al., arXiv:1704.04861;
Sandler et al., arXiv:1801.04381; Howard et al., arXiv:1905.02244.

V1 has no head, and its widths are cut to whole numbers, at least 8. V2's head
is 1280 wide below a multiplier of 1 and scales above (slim's
``finegrain_classification_mode``; Keras). V3's head is a convolution with bias
behind the pooling; its width is kept in Google's files and in Keras, while
slim's plain ``depth_multiplier`` scales it: 960 at 0.75. V3's minimalistic
networks have 3x3 kernels, ReLU and no squeeze-excite.

``mobilenet_edgetpu_100`` is timm's network. In ``tf_mobilenet_edgetpu_100``, slim's, the first
block is a projection, without the ReLU that timm's has there.
"""

from __future__ import annotations

from dataclasses import replace

from genmobilenet.config import NetworkConfig

_SLIM = "tensorflow/models research/slim/nets"

_V1 = NetworkConfig(
    blocks=(
        "dsa_r1_k3_s1_c64",
        "dsa_r2_k3_s2_c128",
        "dsa_r2_k3_s2_c256",
        "dsa_r6_k3_s2_c512",
        "dsa_r2_k3_s2_c1024",
    ),
    source=f"{_SLIM}/mobilenet_v1.py, MOBILENETV1_CONV_DEFS",
    activation="relu6",
    rounding="down",
    head="none",
    drop_rate=0.001,
)

_V2 = NetworkConfig(
    blocks=(
        "ds_r1_k3_s1_c16",
        "ir_r2_k3_s2_e6_c24",
        "ir_r3_k3_s2_e6_c32",
        "ir_r4_k3_s2_e6_c64",
        "ir_r3_k3_s1_e6_c96",
        "ir_r3_k3_s2_e6_c160",
        "ir_r1_k3_s1_e6_c320",
    ),
    source=f"{_SLIM}/mobilenet/mobilenet_v2.py, V2_DEF",
    activation="relu6",
    head_scaling="up",
)

_V3 = NetworkConfig(
    blocks=(),
    source=f"{_SLIM}/mobilenet/mobilenet_v3.py",
    stem_channels=16,
    activation="hard_swish",
    gate="hard_sigmoid",
    squeeze_from="expansion",
    head="after_pool",
    head_scaling="up",
)

_V3_LARGE = replace(
    _V3,
    blocks=(
        "ds_r1_k3_s1_c16_nre",
        "ir_r1_k3_s2_e4_c24_nre ir_r1_k3_s1_e3_c24_nre",
        "ir_r3_k5_s2_e3_c40_se0.25_nre",
        "ir_r1_k3_s2_e6_c80 ir_r1_k3_s1_e2.5_c80 ir_r2_k3_s1_e2.3_c80",
        "ir_r2_k3_s1_e6_c112_se0.25",
        "ir_r3_k5_s2_e6_c160_se0.25",
        "cn_r1_k1_s1_c960",
    ),
    source=f"{_V3.source}, V3_LARGE",
)

_V3_SMALL = replace(
    _V3,
    blocks=(
        "ds_r1_k3_s2_c16_se0.25_nre",
        "ir_r1_k3_s2_e4.5_c24_nre ir_r1_k3_s1_e3.67_c24_nre",
        "ir_r1_k5_s2_e4_c40_se0.25 ir_r2_k5_s1_e6_c40_se0.25",
        "ir_r2_k5_s1_e3_c48_se0.25",
        "ir_r3_k5_s2_e6_c96_se0.25",
        "cn_r1_k1_s1_c576",
    ),
    source=f"{_V3.source}, V3_SMALL",
    head_channels=1024,
)

_V3_LARGE_MINIMAL = replace(
    _V3,
    blocks=(
        "ds_r1_k3_s1_c16",
        "ir_r1_k3_s2_e4_c24 ir_r1_k3_s1_e3_c24",
        "ir_r3_k3_s2_e3_c40",
        "ir_r1_k3_s2_e6_c80 ir_r1_k3_s1_e2.5_c80 ir_r2_k3_s1_e2.3_c80",
        "ir_r2_k3_s1_e6_c112",
        "ir_r3_k3_s2_e6_c160",
        "cn_r1_k1_s1_c960",
    ),
    source=f"{_V3.source}, V3_LARGE_MINIMALISTIC",
    activation="relu",
)

_V3_SMALL_MINIMAL = replace(
    _V3,
    blocks=(
        "ds_r1_k3_s2_c16",
        "ir_r1_k3_s2_e4.5_c24 ir_r1_k3_s1_e3.67_c24",
        "ir_r1_k3_s2_e4_c40 ir_r2_k3_s1_e6_c40",
        "ir_r2_k3_s1_e3_c48",
        "ir_r3_k3_s2_e6_c96",
        "cn_r1_k1_s1_c576",
    ),
    source=f"{_V3.source}, V3_SMALL_MINIMALISTIC",
    activation="relu",
    head_channels=1024,
)

_EDGETPU = NetworkConfig(
    blocks=(
        "cn_r1_k1_s1_c16",
        "er_r1_k3_s2_e8_c32 er_r3_k3_s1_e4_c32",
        "er_r1_k3_s2_e8_c48 er_r3_k3_s1_e4_c48",
        "ir_r1_k3_s2_e8_c96 ir_r3_k3_s1_e4_c96",
        "ir_r1_k3_s1_e8_c96_noskip ir_r3_k3_s1_e4_c96",
        "ir_r1_k5_s2_e8_c160 ir_r3_k5_s1_e4_c160",
        "ir_r1_k3_s1_e8_c192",
    ),
    source=f"{_V3.source}, V3_EDGETPU; the first block as in timm",
    head_scaling="up",
)

_TF_EDGETPU = replace(
    _EDGETPU.tensorflow_form(),
    blocks=("cn_r1_k1_s1_c16_nno", *_EDGETPU.blocks[1:]),
    source=f"{_V3.source}, V3_EDGETPU; edge_tpu_075",
)

_PLAIN: dict[str, NetworkConfig] = {
    "mobilenetv1_025": replace(_V1, width=0.25),
    "mobilenetv1_050": replace(_V1, width=0.5),
    "mobilenetv1_075": replace(_V1, width=0.75),
    "mobilenetv1_100": _V1,
    "mobilenetv2_035": replace(_V2, width=0.35),
    "mobilenetv2_050": replace(_V2, width=0.5),
    "mobilenetv2_075": replace(_V2, width=0.75),
    "mobilenetv2_100": _V2,
    "mobilenetv2_130": replace(_V2, width=1.3),
    "mobilenetv2_140": replace(_V2, width=1.4),
    "mobilenetv3_large_075": replace(_V3_LARGE, width=0.75),
    "mobilenetv3_large_100": _V3_LARGE,
    "mobilenetv3_small_075": replace(_V3_SMALL, width=0.75),
    "mobilenetv3_small_100": _V3_SMALL,
    "mobilenetv3_large_minimal_100": _V3_LARGE_MINIMAL,
    "mobilenetv3_small_minimal_100": _V3_SMALL_MINIMAL,
    "mobilenet_edgetpu_075": replace(_EDGETPU, width=0.75),
    "mobilenet_edgetpu_100": _EDGETPU,
}

NETWORKS: dict[str, NetworkConfig] = {
    **_PLAIN,
    **{f"tf_{name}": config.tensorflow_form() for name, config in _PLAIN.items()},
    "tf_mobilenet_edgetpu_075": replace(_TF_EDGETPU, width=0.75),
    "tf_mobilenet_edgetpu_100": _TF_EDGETPU,
}

WITH_WIDTHS = (
    "mobilenetv1", "mobilenetv2", "mobilenetv3_large", "mobilenetv3_small",
    "mobilenetv3_large_minimal", "mobilenetv3_small_minimal", "mobilenet_edgetpu",
)  # fmt: skip
"""Families with a width multiplier; their networks exist at any width."""

ALIASES: dict[str, str] = {
    "mobilenetv3_100": "mobilenetv3_large_100",
    "tf_mobilenetv3_100": "tf_mobilenetv3_large_100",
}
