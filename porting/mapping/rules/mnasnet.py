"""Variable names of Google's MnasNet code, in both of its schemes.

With Keras layers (``use_keras=True``) convolutions live below
``mnas_net_model/`` and are counted through the whole network; with
``tf.layers`` they live in the block's scope and are counted there. Batch norms
are counted a block in both. Within a scope the order of the counters is the
order of construction, which is all that the mapping needs.

Source: ``MnasBlock`` and ``MnasNetModel`` in tensorflow/tpu
``models/official/mnasnet/mnasnet_model.py``; names as TensorFlow 1.15 gives
them to that code.
"""

from __future__ import annotations

from porting.graph.layers import NetworkLayers
from porting.mapping.layouts import CONV_TF, DENSE_TF, DEPTHWISE_TF, VECTOR
from porting.mapping.rules.ruleset import RuleSet

PATTERN = (
    r"(?P<root>(?:[^/]+/)*?)(?:mnas_net_model(?:_\d+)?/)?"
    r"(?P<scope>mnas_stem|mnas_head|mnas_blocks_\d+(?:/se)?)/"
    r"(?P<layer>conv2d|depthwise_conv2d|batch_normalization|dense)(?:_(?P<counter>\d{1,9}))?/"
    r"(?P<variable>\w+)"
)

VARIABLES = {
    ("conv2d", "kernel"): ("weight", CONV_TF),
    ("conv2d", "bias"): ("bias", VECTOR),
    ("depthwise_conv2d", "depthwise_kernel"): ("weight", DEPTHWISE_TF),
    ("batch_normalization", "gamma"): ("weight", VECTOR),
    ("batch_normalization", "beta"): ("bias", VECTOR),
    ("batch_normalization", "moving_mean"): ("running_mean", VECTOR),
    ("batch_normalization", "moving_variance"): ("running_var", VECTOR),
    ("dense", "kernel"): ("weight", DENSE_TF),
    ("dense", "bias"): ("bias", VECTOR),
}


def places(layers: NetworkLayers) -> dict[tuple[str, str], list[str]]:
    """Module paths in order of construction, by scope and kind of layer."""
    paths: dict[tuple[str, str], list[str]] = {
        ("mnas_stem", "conv2d"): ["conv_stem"],
        ("mnas_stem", "batch_normalization"): ["bn1"],
        ("mnas_head", "conv2d"): ["conv_head"],
        ("mnas_head", "batch_normalization"): ["bn2"],
        ("mnas_head", "dense"): ["classifier"],
    }
    for entry in layers.blocks:
        scope = f"mnas_blocks_{entry.block.index}"
        main = entry.main
        paths[scope, "conv2d"] = [layer.path for layer in main.values() if layer.kind == "conv"]
        paths[scope, "depthwise_conv2d"] = [
            layer.path for layer in main.values() if layer.kind == "depthwise"
        ]
        paths[scope, "batch_normalization"] = [str(layer.norm) for layer in main.values()]
        if entry.squeeze:
            paths[f"{scope}/se", "conv2d"] = [layer.path for layer in entry.squeeze]
    return paths


MNASNET = RuleSet("mnasnet", PATTERN, VARIABLES, places)
