"""MNASNet: B1, A1, small, D1 and D1-320, at every published width.

Sources: tensorflow/tpu ``models/official/mnasnet/mnasnet_models.py`` (block
strings, stem, dropout) and ``mnasnet_model.py`` (head, rounding, residual
rule); Tan et al., "MnasNet: Platform-Aware Neural Architecture Search for
Mobile", arXiv:1807.11626, figure 7 for A1.

``mnasnet_small`` is timm's network: its first block gets 8 channels, gives 8
and adds the residual. ``tf_mnasnet_small`` is Google's: the same block is
declared ``i16 o8`` there, the residual rule compares the declared numbers,
and so it has none. No shape shows the difference; only the numbers do.
"""

from __future__ import annotations

from dataclasses import replace

from genmobilenet.config import NetworkConfig

_GOOGLE = "tensorflow/tpu models/official/mnasnet/mnasnet_models.py"

_B1 = NetworkConfig(
    blocks=(
        "ds_r1_k3_s1_c16_noskip",
        "ir_r3_k3_s2_e3_c24",
        "ir_r3_k5_s2_e3_c40",
        "ir_r3_k5_s2_e6_c80",
        "ir_r2_k3_s1_e6_c96",
        "ir_r4_k5_s2_e6_c192",
        "ir_r1_k3_s1_e6_c320_noskip",
    ),
    source=f"{_GOOGLE}, mnasnet_b1",
)

_A1 = NetworkConfig(
    blocks=(
        "ds_r1_k3_s1_c16_noskip",
        "ir_r2_k3_s2_e6_c24",
        "ir_r3_k5_s2_e3_c40_se0.25",
        "ir_r4_k3_s2_e6_c80",
        "ir_r2_k3_s1_e6_c112_se0.25",
        "ir_r3_k5_s2_e6_c160_se0.25",
        "ir_r1_k3_s1_e6_c320",
    ),
    source=f"{_GOOGLE}, mnasnet_a1",
)

_SMALL = NetworkConfig(
    blocks=(
        "ds_r1_k3_s1_c8",
        "ir_r1_k3_s2_e3_c16",
        "ir_r2_k3_s2_e6_c16",
        "ir_r4_k5_s2_e6_c32_se0.25",
        "ir_r3_k3_s1_e6_c32_se0.25",
        "ir_r3_k5_s2_e6_c88_se0.25",
        "ir_r1_k3_s1_e6_c144",
    ),
    source=f"{_GOOGLE}, mnasnet_small; residual of the first block as in timm",
    stem_channels=8,
    drop_rate=0.0,
)

_TF_SMALL = replace(
    _SMALL.tensorflow_form(),
    blocks=("ds_r1_k3_s1_i16_c8", *_SMALL.blocks[1:]),
    source=f"{_GOOGLE}, mnasnet_small",
)

_D1 = NetworkConfig(
    blocks=(
        "ir_r1_k3_s1_e9_c24",
        "ir_r3_k3_s2_e9_c36",
        "ir_r5_k3_s2_e9_c48",
        "ir_r4_k5_s2_e9_c96",
        "ir_r5_k7_s1_e3_c96",
        "ir_r3_k3_s2_e9_c80",
        "ir_r1_k7_s1_e6_c320_noskip",
    ),
    source=f"{_GOOGLE}, mnasnet_d1",
)

_D1_320 = NetworkConfig(
    blocks=(
        "ir_r3_k5_s1_e6_c24",
        "ir_r4_k7_s2_e9_c36",
        "ir_r5_k5_s2_e9_c48",
        "ir_r5_k7_s2_e6_c96",
        "ir_r5_k3_s1_e9_c144",
        "ir_r5_k5_s2_e6_c160",
        "ir_r1_k7_s1_e9_c320",
    ),
    source=f"{_GOOGLE}, mnasnet_d1_320",
    input_size=320,
)

_PLAIN: dict[str, NetworkConfig] = {
    "mnasnet_035": replace(_B1, width=0.35),
    "mnasnet_050": replace(_B1, width=0.5),
    "mnasnet_075": replace(_B1, width=0.75),
    "mnasnet_100": _B1,
    "mnasnet_130": replace(_B1, width=1.3),
    "mnasnet_140": replace(_B1, width=1.4),
    "semnasnet_035": replace(_A1, width=0.35),
    "semnasnet_050": replace(_A1, width=0.5),
    "semnasnet_075": replace(_A1, width=0.75),
    "semnasnet_100": _A1,
    "semnasnet_140": replace(_A1, width=1.4),
    "mnasnet_small": _SMALL,
    "mnasnet_d1": _D1,
    "mnasnet_d1_320": _D1_320,
}

NETWORKS: dict[str, NetworkConfig] = {
    **_PLAIN,
    **{f"tf_{name}": config.tensorflow_form() for name, config in _PLAIN.items()},
    "tf_mnasnet_small": _TF_SMALL,
}

WITH_WIDTHS = ("mnasnet", "semnasnet")
"""Families with a width multiplier; their networks exist at any width."""

ALIASES: dict[str, str] = {
    "tflite_mnasnet_100": "tf_mnasnet_100",
    "tflite_semnasnet_100": "tf_semnasnet_100",
}
