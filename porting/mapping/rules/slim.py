"""Variable names of slim's MobileNets.

Every layer has a scope of its own: V1 counts its convolutions from
``Conv2d_0``, V2 and V3 their blocks from ``expanded_conv``.

Sources: tensorflow/models ``research/slim/nets``: ``mobilenet_v1.py``,
``mobilenet/mobilenet.py`` and ``mobilenet/conv_blocks.py``; the gate's
constant, 0.16667 for 1/6, is in ``mobilenet/mobilenet_v3.py``.
"""

from __future__ import annotations

from porting.graph.layers import BlockLayers, NetworkLayers
from porting.mapping.layouts import CONV_TF, DENSE_AS_CONV_TF, DEPTHWISE_TF, VECTOR
from porting.mapping.rules.ruleset import RuleSet

_VARIABLE = r"/(?:(?P<layer>BatchNorm|Conv2d_1c_1x1)/)?(?P<variable>\w+)"

PATTERN_V1 = (
    r"(?P<root>(?:[^/]+/)*?)(?P<scope>Conv2d_\d+(?:_depthwise|_pointwise)?|Logits)" + _VARIABLE
)

PATTERN_V2_V3 = (
    r"(?P<root>(?:[^/]+/)*?)(?P<scope>Conv(?:_\d+)?|Logits|expanded_conv(?:_\d+)?/"
    r"(?:expand|depthwise|project|squeeze_excite/Conv(?:_1)?))" + _VARIABLE
)

VARIABLES = {
    ("", "weights"): ("weight", CONV_TF),
    ("", "biases"): ("bias", VECTOR),
    ("", "depthwise_weights"): ("weight", DEPTHWISE_TF),
    ("BatchNorm", "gamma"): ("weight", VECTOR),
    ("BatchNorm", "beta"): ("bias", VECTOR),
    ("BatchNorm", "moving_mean"): ("running_mean", VECTOR),
    ("BatchNorm", "moving_variance"): ("running_var", VECTOR),
    ("Conv2d_1c_1x1", "weights"): ("weight", DENSE_AS_CONV_TF),
    ("Conv2d_1c_1x1", "biases"): ("bias", VECTOR),
}

GATE_FACTOR = 6 * 0.16667

Places = dict[tuple[str, str], list[str]]


def places_v1(layers: NetworkLayers) -> Places:
    """Module paths by scope and kind of layer, for MobileNet V1."""
    paths = _stem_and_logits(layers, "Conv2d_0")
    for entry in layers.blocks:
        number = entry.block.index + 1
        _add(paths, entry, {"depthwise": f"Conv2d_{number}_depthwise",
                            "project": f"Conv2d_{number}_pointwise"})  # fmt: skip
    return paths


def places_v2_v3(layers: NetworkLayers) -> Places:
    """Module paths by scope and kind of layer, for MobileNet V2, V3 and EdgeTPU."""
    paths = _stem_and_logits(layers, "Conv")
    convolutions = 0
    for entry in layers.blocks:
        number = entry.block.index
        scope = f"expanded_conv_{number}" if number else "expanded_conv"
        if "conv" in entry.main and entry.block.activation != "none":
            convolutions += 1
            _add(paths, entry, {"conv": f"Conv_{convolutions}"})
            continue
        # mbv3_fused of mobilenet_v3.py expands by its only convolution; without an expansion it
        # projects alone.
        names = {"fused": "expand", "conv": "project"}
        _add(paths, entry, {role: f"{scope}/{names.get(role, role)}" for role in entry.main})
        for layer, name in zip(entry.squeeze, ("Conv", "Conv_1"), strict=False):
            paths[f"{scope}/squeeze_excite/{name}", ""] = [layer.path]
    if layers.head is not None:
        scope = f"Conv_{convolutions + 1}"
        paths[scope, ""] = [layers.head.path]
        if layers.head.norm:
            paths[scope, "BatchNorm"] = [layers.head.norm]
    return paths


def _stem_and_logits(layers: NetworkLayers, stem: str) -> Places:
    return {
        (stem, ""): [layers.stem.path],
        (stem, "BatchNorm"): [str(layers.stem.norm)],
        ("Logits", "Conv2d_1c_1x1"): ["classifier"],
    }


def _add(paths: Places, entry: BlockLayers, scopes: dict[str, str]) -> None:
    for role, layer in entry.main.items():
        if role in scopes:
            paths[scopes[role], ""] = [layer.path]
            paths[scopes[role], "BatchNorm"] = [str(layer.norm)]


SLIM_V1 = RuleSet("slim", PATTERN_V1, VARIABLES, places_v1)
SLIM_V2_V3 = RuleSet("slim", PATTERN_V2_V3, VARIABLES, places_v2_v3, GATE_FACTOR)
