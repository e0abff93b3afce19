"""What Google's code calls a network, its layers and its variables.

Written from the order in which that code constructs its layers, and not from
the tables of ``porting.mapping``: a judge must not share their mistakes.

Source: tensorflow/tpu ``models/official/mnasnet/mnasnet_model.py``.
``MnasBlock._build`` constructs expansion, depthwise, squeeze-excite and
projection; ``MnasNetModel._build`` constructs all blocks before stem and head.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from genmobilenet.config import NetworkConfig
from porting.errors import BadInput
from porting.judges.reference.blocks import ReferenceBlock, reference_blocks


@dataclass(frozen=True)
class Scheme:
    """How layers are named: in which scope, and over what their counters run."""

    layer_scope: str
    count_whole_network: bool


SCHEMES = {
    # use_keras=True: Keras layers below the model's own scope, counted through the network.
    "keras": Scheme("mnas_net_model/", True),
    # use_keras=False: tf.layers in the scope that calls them, counted there.
    "layers": Scheme("", False),
}

SLIM = "slim"
"""The scheme of slim's MobileNets, where every layer has a scope of its own."""

ROOTS: dict[str, tuple[str, str]] = {
    "mobilenetv1": ("MobilenetV1", SLIM),
    "mobilenetv2": ("MobilenetV2", SLIM),
    "mobilenetv3": ("MobilenetV3", SLIM),
    "spnasnet": ("single-path", "keras"),
    "semnasnet": ("mnasnet-a1", "keras"),
    "mnasnet_small": ("mnasnet-small", "keras"),
    "mnasnet_d1_320": ("mnasnet-d1-320", "layers"),
    "mnasnet_d1": ("mnasnet-d1", "layers"),
    "mnasnet": ("mnasnet-b1", "keras"),
}
"""Start of a network's name -> Google's name for it, and the scheme it was trained under."""


def root_and_scheme(model: str) -> tuple[str, str]:
    """Google's name and scheme for one of our networks (``tf_`` in front or not)."""
    plain = model.removeprefix("tf_")
    return next(entry for start, entry in ROOTS.items() if plain.startswith(start))


def layer_scopes(config: NetworkConfig, scheme: str) -> dict[str, str]:
    """Module path in the PyTorch network -> variable scope of the layer or batch norm."""
    names = _LayerCounter(SCHEMES[scheme])
    for block in reference_blocks(config):
        _name_block(names, block)
    names.layer("conv_stem", "mnas_stem", "conv2d")
    names.norm("bn1", "mnas_stem")
    names.layer("conv_head", "mnas_head", "conv2d")
    names.norm("bn2", "mnas_head")
    names.layer("classifier", "mnas_head", "dense")
    return names.scopes


class _LayerCounter:
    """Hands out names as the layers are constructed."""

    def __init__(self, scheme: Scheme) -> None:
        self.scheme = scheme
        self.counts: Counter[tuple[str, str]] = Counter()
        self.scopes: dict[str, str] = {}

    def layer(self, path: str, scope: str, kind: str) -> None:
        home = "" if self.scheme.count_whole_network else scope
        self.scopes[path] = f"{self.scheme.layer_scope}{scope}/{self._next_name(home, kind)}"

    def norm(self, path: str, scope: str) -> None:
        self.scopes[path] = f"{scope}/{self._next_name(scope, 'batch_normalization')}"

    def _next_name(self, home: str, kind: str) -> str:
        number = self.counts[home, kind]
        self.counts[home, kind] += 1
        return f"{kind}_{number}" if number else kind


def _name_block(names: _LayerCounter, block: ReferenceBlock) -> None:
    scope, path = f"mnas_blocks_{block.index}", block.path
    if block.expands:
        names.layer(f"{path}.conv_pw", scope, "conv2d")
    names.layer(f"{path}.conv_dw", scope, "depthwise_conv2d")
    if block.reduced_filters:
        names.layer(f"{path}.se.conv_reduce", f"{scope}/se", "conv2d")
        names.layer(f"{path}.se.conv_expand", f"{scope}/se", "conv2d")
    names.layer(f"{path}.{block.projection}", scope, "conv2d")
    for number in range(1, 4 if block.expands else 3):
        names.norm(f"{path}.bn{number}", scope)


_STEMS = {
    "keras": re.compile(r"(?P<root>.+?)/mnas_net_model/mnas_stem/conv2d(?:_\d+)?/kernel"),
    "layers": re.compile(r"(?P<root>.+?)/mnas_stem/conv2d(?:_\d+)?/kernel"),
    SLIM: re.compile(r"(?P<root>.+?)/(?:Conv2d_0|Conv)/weights"),
}


def detect_scheme(names: Iterable[str]) -> tuple[str, str]:
    """Scheme and root scope of a checkpoint, by the name of its stem's kernel.

    Raises:
        BadInput: there is no such variable.
    """
    for name in names:
        for scheme, pattern in _STEMS.items():
            if match := pattern.fullmatch(name):
                return scheme, match["root"]
    raise BadInput(
        "no variable .../mnas_stem/conv2d/kernel or .../Conv/weights: not a checkpoint of Google's "
        "MnasNet or of slim's MobileNets"
    )
