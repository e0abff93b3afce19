"""Layer names of keras.applications' MobileNets, as data.

A layer of Keras and its batch norm have names of their own; a block's begin
with a prefix that counts through the network, and the first block's often does
not count. In a ``.weights.h5`` of older versions the layers have no names but their class
and a number, which follows the flow of the data.

Sources: ``applications/mobilenet.py``, ``mobilenet_v2.py``, ``mobilenet_v3.py``
of Keras 3; of Keras 2 for the names with slashes; ``_save_container_state`` in
``saving/saving_lib.py`` for the numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from genmobilenet.config import Block, NetworkConfig

Names = tuple[str, str]
"""A layer, and the batch norm behind it; an empty name for one that is not there."""

_PARTS: dict[str, dict[str, Names]] = {
    "ds": {"depthwise": ("conv_dw", "bn1"), "project": ("conv_pw", "bn2")},
    "dsa": {"depthwise": ("conv_dw", "bn1"), "project": ("conv_pw", "bn2")},
    "ir": {
        "expand": ("conv_pw", "bn1"),
        "depthwise": ("conv_dw", "bn2"),
        "project": ("conv_pwl", "bn3"),
    },
    "cn": {"last": ("conv", "bn1")},
}
"""Block type -> role -> modules of the block, in the order data passes them."""
_SQUEEZE = {"reduce": "se.conv_reduce", "widen": "se.conv_expand"}


@dataclass(frozen=True)
class KerasNaming:
    """The names of one family, with ``{prefix}`` and ``{number}`` (from 1) for a block's.

    ``prefixes`` are the first block's and the others', these with ``{index}``
    (from 0). ``roles`` has the layers of blocks and, under ``stem``, ``head``
    and ``classifier``, the others.
    """

    roles: Mapping[str, Names]
    prefixes: tuple[str, str] = ("", "")

    def names(self, role: str, index: int = 0) -> Names:
        """Keras's names for a role of the block with this index."""
        prefix = self.prefixes[index > 0].format(index=index)
        layer, norm = self.roles[role]
        return (
            layer.format(prefix=prefix, number=index + 1),
            norm.format(prefix=prefix, number=index + 1),
        )


KERAS_NAMES: dict[str, KerasNaming] = {
    "keras mobilenet": KerasNaming(
        {
            "stem": ("conv1", "conv1_bn"),
            "depthwise": ("conv_dw_{number}", "conv_dw_{number}_bn"),
            "project": ("conv_pw_{number}", "conv_pw_{number}_bn"),
            "classifier": ("conv_preds", ""),
        }
    ),
    "keras mobilenet_v2": KerasNaming(
        {
            "stem": ("Conv1", "bn_Conv1"),
            "expand": ("{prefix}expand", "{prefix}expand_BN"),
            "depthwise": ("{prefix}depthwise", "{prefix}depthwise_BN"),
            "project": ("{prefix}project", "{prefix}project_BN"),
            "head": ("Conv_1", "Conv_1_bn"),
            "classifier": ("predictions", ""),
        },
        ("expanded_conv_", "block_{index}_"),
    ),
    "keras mobilenet_v3": KerasNaming(
        {
            "stem": ("conv", "conv_bn"),
            "expand": ("{prefix}expand", "{prefix}expand_bn"),
            "depthwise": ("{prefix}depthwise", "{prefix}depthwise_bn"),
            "reduce": ("{prefix}squeeze_excite_conv", ""),
            "widen": ("{prefix}squeeze_excite_conv_1", ""),
            "project": ("{prefix}project", "{prefix}project_bn"),
            "last": ("conv_1", "conv_1_bn"),
            "head": ("conv_2", ""),
            "classifier": ("logits", ""),
        },
        ("expanded_conv_", "expanded_conv_{index}_"),
    ),
    "keras 2 mobilenet_v3": KerasNaming(
        {
            "stem": ("Conv", "Conv/BatchNorm"),
            "expand": ("{prefix}expand", "{prefix}expand/BatchNorm"),
            "depthwise": ("{prefix}depthwise", "{prefix}depthwise/BatchNorm"),
            "reduce": ("{prefix}squeeze_excite/Conv", ""),
            "widen": ("{prefix}squeeze_excite/Conv_1", ""),
            "project": ("{prefix}project", "{prefix}project/BatchNorm"),
            "last": ("Conv_1", "Conv_1/BatchNorm"),
            "head": ("Conv_2", ""),
            "classifier": ("Logits", ""),
        },
        ("expanded_conv/", "expanded_conv_{index}/"),
    ),
}
"""Naming -> its names. Keras 2 named V1 and V2 as Keras 3 does."""


def modules_by_name(config: NetworkConfig, naming: KerasNaming) -> dict[str, str]:
    """Keras's layers of a network -> paths of our modules, in the order data passes them."""
    found = {}
    for role, index, modules in _roles(config):
        if role not in naming.roles:
            return {}
        for name, module in zip(naming.names(role, index), modules, strict=True):
            if module:
                found[name] = module
    return found


def modules_by_number(config: NetworkConfig) -> dict[str, str]:
    """Groups of a ``.weights.h5`` without names (``conv2d_3``) -> paths of our modules."""
    found = {}
    used: dict[str, int] = defaultdict(int)
    for role, _, modules in _roles(config):
        kind = "depthwise_conv2d" if role == "depthwise" else "conv2d"
        # V2 alone ends in a dense layer.
        dense = role == "classifier" and config.head == "conv"
        for group, module in zip(
            ("dense" if dense else kind, "batch_normalization"), modules, strict=True
        ):
            if module:
                found[f"{group}_{used[group]}" if used[group] else group] = module
                used[group] += 1
    return found


def _roles(config: NetworkConfig) -> Iterator[tuple[str, int, Names]]:
    """Role, index of the block and modules of every layer, in the order data passes them."""
    yield "stem", 0, ("conv_stem", "bn1")
    for block in config.resolve():
        for role, modules in _block_roles(block):
            yield role, block.index, modules
    if config.head != "none":
        yield "head", 0, ("conv_head", "bn2" if config.head == "conv" else "")
    yield "classifier", 0, ("classifier", "")


def _block_roles(block: Block) -> Iterator[tuple[str, Names]]:
    for role, (conv, norm) in _PARTS.get(block.type, {}).items():
        if role == "project" and block.squeeze:
            for name, module in _SQUEEZE.items():
                yield name, (f"{block.path}.{module}", "")
        yield role, (f"{block.path}.{conv}", f"{block.path}.{norm}")
