"""The ``config.json`` by which timm builds a network and loads a release's weights into it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from genmobilenet.config import SEPARATOR, NetworkConfig
from genmobilenet.zoo import get_config
from porting.card import Card
from porting.errors import BadInput
from porting.mapping.input_spec import InputConvention

TIMM_NAMES = frozenset(
    "efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4 "
    "efficientnet_b5 efficientnet_b6 efficientnet_b7 efficientnet_el efficientnet_em "
    "efficientnet_es efficientnet_lite0 efficientnet_lite1 efficientnet_lite2 efficientnet_lite3 "
    "efficientnet_lite4 fbnetc_100 mixnet_l mixnet_m mixnet_s mnasnet_050 mnasnet_075 mnasnet_100 "
    "mnasnet_140 mnasnet_small mobilenet_edgetpu_100 mobilenetv1_100 mobilenetv2_035 "
    "mobilenetv2_050 mobilenetv2_075 mobilenetv2_100 mobilenetv2_140 mobilenetv3_large_075 "
    "mobilenetv3_large_100 mobilenetv3_small_075 mobilenetv3_small_100 mobilenetv4_conv_large "
    "mobilenetv4_conv_medium mobilenetv4_conv_small mobilenetv4_conv_small_035 "
    "mobilenetv4_conv_small_050 semnasnet_050 semnasnet_075 semnasnet_100 semnasnet_140 "
    "spnasnet_100 tf_efficientnet_b0 tf_efficientnet_b1 tf_efficientnet_b2 tf_efficientnet_b3 "
    "tf_efficientnet_b4 tf_efficientnet_b5 tf_efficientnet_b6 tf_efficientnet_b7 "
    "tf_efficientnet_el tf_efficientnet_em tf_efficientnet_es tf_efficientnet_lite0 "
    "tf_efficientnet_lite1 tf_efficientnet_lite2 tf_efficientnet_lite3 tf_efficientnet_lite4 "
    "tf_mixnet_l tf_mixnet_m tf_mixnet_s tf_mobilenetv3_large_075 tf_mobilenetv3_large_100 "
    "tf_mobilenetv3_large_minimal_100 tf_mobilenetv3_small_075 tf_mobilenetv3_small_100 "
    "tf_mobilenetv3_small_minimal_100".split()
)
"""Networks of this package that timm 1.0.31 has too: ``timm/models/efficientnet.py`` and
``mobilenetv3.py``, the functions below ``@register_model``."""

_KERNELS = ("bilinear", "bicubic", "nearest", "lanczos")
"""timm's names of kernels that this package has too; timm has no ``area``."""

_STRIDE = 32
"""Pixels of the image for each place before the pooling."""


def timm_config(card: Card, config: NetworkConfig) -> dict[str, Any]:
    """timm's description of a network and its input; ``config`` is that of the weights.

    Raises:
        BadInput: timm cannot build the network; the message says why.
    """
    if SEPARATOR in card.model:
        raise BadInput("the network is in no table, and timm has no name for it")
    plain = card.model.removeprefix("tf_")
    name = card.model if card.model in TIMM_NAMES else plain
    if name not in TIMM_NAMES:
        raise BadInput(f"timm has no network {plain}")
    if name != card.model:
        form, own = get_config(plain).tensorflow_form(), get_config(card.model)
        if replace(form, source=own.source, input_size=own.input_size) != own:
            raise BadInput(f"timm's {plain} has not the same blocks")
    if config.normalises:
        raise BadInput("the network normalises its input itself, which timm's does not")
    table_config = replace(
        get_config(card.model), num_classes=config.num_classes, in_chans=config.in_chans
    )
    if replace(table_config, drop_rate=config.drop_rate) != config:
        raise BadInput(f"the head is not as wide as that of timm's {name}")
    if card.input is None:
        raise BadInput("the card does not say what the network takes")
    arguments: dict[str, Any] = {
        "pad_type": "same" if config.padding == "same" else "", "bn_eps": config.bn_epsilon,
    }  # fmt: skip
    if config.in_chans != 3:
        arguments["in_chans"] = config.in_chans
    size = card.input.size
    result = {
        "architecture": name,
        "num_classes": config.num_classes,
        "num_features": config.classifier_inputs,
        "global_pool": "avg",
        "model_args": arguments,
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": [config.in_chans, size, size],
            "fixed_input_size": False,
            **_preprocessing(card.input),
            # timm's numbers are for pixels 0..1.
            "mean": [mean / 255 for mean in card.input.mean],
            "std": [std / 255 for std in card.input.std],
            "num_classes": config.num_classes,
            "pool_size": [math.ceil(size / _STRIDE)] * 2,
            "first_conv": "conv_stem",
            "classifier": "classifier",
        },
    }
    if card.labels is not None:
        result["label_names"] = list(card.labels)
    return result


def _preprocessing(convention: InputConvention) -> dict[str, Any]:
    """timm's nearest equivalent of a pipeline: the kernel, and how much of the image it takes."""
    from porting.accuracy.preprocessing.pipeline import parse_pipeline
    from porting.accuracy.preprocessing.steps import (
        Centre,
        Crop,
        DecodeAndCrop,
        Fraction,
        Padded,
        Resize,
        ResizeShorter,
        Square,
    )

    pipeline = parse_pipeline(convention.preprocessing)
    kernel, share, mode = "bilinear", 1.0, "squash"
    shorter: int | None = None
    for step in (pipeline.decode, *pipeline.steps):
        if isinstance(step, (Resize, ResizeShorter)):
            kernel = step.kernel if step.kernel in _KERNELS else kernel
            shorter = step.size if isinstance(step, ResizeShorter) else shorter
        if isinstance(step, (Crop, DecodeAndCrop)):
            rule, mode = step.rule, "center"
            if isinstance(rule, (Fraction, Square)):
                share = rule.fraction
                # A fraction of both sides, then resized to a square: timm squeezes the same way.
                mode = "squash" if isinstance(rule, Fraction) else mode
            elif isinstance(rule, Padded):
                share = rule.size / (rule.size + rule.padding)
            elif isinstance(rule, Centre) and shorter:
                share = rule.side / shorter
    return {"interpolation": kernel, "crop_pct": share, "crop_mode": mode}
