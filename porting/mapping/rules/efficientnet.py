"""Variable names of Google's EfficientNet code: B0 to B7, Lite and EdgeTPU.

Layers are called in the scope of the stem, of their block or of the head, and counted there in the
order of their calls. Batch norms are named after the TPU, also where none was used.

Source: ``Model.call`` in tensorflow/tpu ``models/official/efficientnet/efficientnet_model.py``;
``utils.py`` there for the batch norms.
"""

from __future__ import annotations

from porting.graph.layers import NetworkLayers
from porting.mapping.rules import mnasnet
from porting.mapping.rules.ruleset import RuleSet

_NORM = "tpu_batch_normalization"

PATTERN = (
    r"(?P<root>(?:[^/]+/)*?)(?P<scope>stem|head|blocks_\d+(?:/se)?)/"
    r"(?P<layer>conv2d|depthwise_conv2d|tpu_batch_normalization|dense)(?:_(?P<counter>\d{1,9}))?/"
    r"(?P<variable>\w+)"
)


def _layer(kind: str) -> str:
    return _NORM if kind == "batch_normalization" else kind


VARIABLES = {(_layer(kind), variable): rule for (kind, variable), rule in mnasnet.VARIABLES.items()}


def places(layers: NetworkLayers) -> dict[tuple[str, str], list[str]]:
    """Module paths in order of the calls, by scope and kind of layer."""
    return {
        (scope.removeprefix("mnas_"), _layer(kind)): paths
        for (scope, kind), paths in mnasnet.places(layers).items()
    }


EFFICIENTNET = RuleSet("efficientnet", PATTERN, VARIABLES, places)
