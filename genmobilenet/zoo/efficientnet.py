"""EfficientNet B0 to B7, EfficientNet-Lite0 to Lite4, and EfficientNet-EdgeTPU S, M and L.

Sources: tensorflow/tpu ``models/official/efficientnet``: ``efficientnet_builder.py`` (blocks and
coefficients of B0 to B7), ``lite/efficientnet_lite_builder.py``,
``edgetpu/efficientnet_edgetpu_builder.py``, and ``efficientnet_model.py`` (scaling, head,
squeeze-excite). Tan and Le, arXiv:1905.11946.

Squeeze-excite has swish inside, as all of B0 to B7; its width is a quarter of the block's input.
Lite has ReLU6 and no squeeze-excite, and its stem and head, first and last stage are not scaled.

EdgeTPU's fused blocks expand from a *declared* width of 24, where the stem gives 32. In
``efficientnet_es`` and its larger forms, timm's networks since its pull request 414, the first
convolution of such a block has the stride. In ``tf_efficientnet_es``, Google's, the projection has
it. No shape shows the difference: with SAME padding the two begin at different pixels.
"""

from __future__ import annotations

import math
from dataclasses import replace

from genmobilenet.arch import parse_stage
from genmobilenet.config import NetworkConfig

_GOOGLE = "tensorflow/tpu models/official/efficientnet"

_B0 = NetworkConfig(
    blocks=(
        "ds_r1_k3_s1_c16_se0.25",
        "ir_r2_k3_s2_e6_c24_se0.25",
        "ir_r2_k5_s2_e6_c40_se0.25",
        "ir_r3_k3_s2_e6_c80_se0.25",
        "ir_r3_k5_s1_e6_c112_se0.25",
        "ir_r4_k5_s2_e6_c192_se0.25",
        "ir_r1_k3_s1_e6_c320_se0.25",
    ),
    source=f"{_GOOGLE}/efficientnet_builder.py, efficientnet",
    activation="silu",
    squeeze_activation="silu",
    head_scaling="up",
)

_LITE0 = NetworkConfig(
    blocks=(
        "ds_r1_k3_s1_c16",
        "ir_r2_k3_s2_e6_c24",
        "ir_r2_k5_s2_e6_c40",
        "ir_r3_k3_s2_e6_c80",
        "ir_r3_k5_s1_e6_c112",
        "ir_r4_k5_s2_e6_c192",
        "ir_r1_k3_s1_e6_c320",
    ),
    source=f"{_GOOGLE}/lite/efficientnet_lite_builder.py, efficientnet_lite",
    fixed_stem=True,
    activation="relu6",
)

_EDGETPU_S = NetworkConfig(
    blocks=(
        "er_r1_k3_s1_e4_i24_c24_noskip",
        "er_r2_k3_s2_e8_c32",
        "er_r4_k3_s2_e8_c48",
        "ir_r5_k5_s2_e8_c96",
        "ir_r4_k5_s1_e8_c144",
        "ir_r2_k5_s2_e8_c192",
    ),
    source=f"{_GOOGLE}/edgetpu/efficientnet_edgetpu_builder.py; strides as in timm",
    head_scaling="up",
)

_TF_EDGETPU_S = replace(
    _EDGETPU_S.tensorflow_form(),
    blocks=(
        _EDGETPU_S.blocks[0],
        "erp_r2_k3_s2_e8_c32",
        "erp_r4_k3_s2_e8_c48",
        *_EDGETPU_S.blocks[3:],
    ),
    source=f"{_GOOGLE}/edgetpu/efficientnet_edgetpu_builder.py, efficientnet_edgetpu",
)


def _scaled(
    base: NetworkConfig, width: float, depth: float, size: int, drop_rate: float
) -> NetworkConfig:
    """A network with the width and depth coefficients of the builders' tables.

    Widths are rounded as ever. Each stage is repeated ``depth`` times as often, rounded up, but in
    a network with a fixed stem the first and the last. Source: ``round_repeats`` and
    ``Model._build`` (``fix_head_stem``) in tensorflow/tpu ``efficientnet_model.py``.
    """
    ends = (0, len(base.blocks) - 1) if base.fixed_stem else ()
    blocks = []
    for number, text in enumerate(base.blocks):
        specs = parse_stage(text)
        if number not in ends:
            specs = tuple(replace(s, repeats=math.ceil(depth * s.repeats)) for s in specs)
        blocks.append(" ".join(spec.format() for spec in specs))
    return replace(base, blocks=tuple(blocks), width=width, input_size=size, drop_rate=drop_rate)


_PLAIN: dict[str, NetworkConfig] = {
    "efficientnet_b0": _B0,
    "efficientnet_b1": _scaled(_B0, 1.0, 1.1, 240, 0.2),
    "efficientnet_b2": _scaled(_B0, 1.1, 1.2, 260, 0.3),
    "efficientnet_b3": _scaled(_B0, 1.2, 1.4, 300, 0.3),
    "efficientnet_b4": _scaled(_B0, 1.4, 1.8, 380, 0.4),
    "efficientnet_b5": _scaled(_B0, 1.6, 2.2, 456, 0.4),
    "efficientnet_b6": _scaled(_B0, 1.8, 2.6, 528, 0.5),
    "efficientnet_b7": _scaled(_B0, 2.0, 3.1, 600, 0.5),
    "efficientnet_lite0": _LITE0,
    "efficientnet_lite1": _scaled(_LITE0, 1.0, 1.1, 240, 0.2),
    "efficientnet_lite2": _scaled(_LITE0, 1.1, 1.2, 260, 0.3),
    "efficientnet_lite3": _scaled(_LITE0, 1.2, 1.4, 280, 0.3),
    "efficientnet_lite4": _scaled(_LITE0, 1.4, 1.8, 300, 0.3),
    "efficientnet_es": _EDGETPU_S,
    "efficientnet_em": _scaled(_EDGETPU_S, 1.0, 1.1, 240, 0.2),
    "efficientnet_el": _scaled(_EDGETPU_S, 1.2, 1.4, 300, 0.3),
}

NETWORKS: dict[str, NetworkConfig] = {
    **_PLAIN,
    **{f"tf_{name}": config.tensorflow_form() for name, config in _PLAIN.items()},
    "tf_efficientnet_es": _TF_EDGETPU_S,
    "tf_efficientnet_em": _scaled(_TF_EDGETPU_S, 1.0, 1.1, 240, 0.2),
    "tf_efficientnet_el": _scaled(_TF_EDGETPU_S, 1.2, 1.4, 300, 0.3),
}

ALIASES: dict[str, str] = {}
