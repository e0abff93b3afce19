"""Layer names of keras.applications' MobileNets and EfficientNets, and what Keras calls each tap.

A layer of Keras and its batch norm have names of their own; a block's begin
with a prefix that counts through the network, and the first block's often does
not count. In a ``.weights.h5`` of older versions the layers have no names but
their class and a number, which follows the flow of the data.

Sources: ``applications/mobilenet.py``, ``mobilenet_v2.py``, ``mobilenet_v3.py`` and
``efficientnet.py`` of Keras 3; of Keras 2 for the names with slashes; ``_save_container_state`` in
``saving/saving_lib.py`` for the numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from genmobilenet.config import Block
from porting.errors import MappingError
from porting.graph.layers import BlockLayers, Layer, NetworkLayers
from porting.mapping.layouts import CONV_TF, DENSE_AS_CONV_TF, DENSE_TF, DEPTHWISE_TF, VECTOR
from porting.mapping.rules.ruleset import RuleSet

Names = tuple[str, str]
"""A layer, and the batch norm behind it; an empty name if there is none."""


@dataclass(frozen=True)
class KerasNaming:
    """The names of one family, with ``{prefix}`` and ``{number}`` (from 1) for a block's.

    ``prefixes`` are the first block's and the others', these with ``{index}`` (from 0), or with
    ``{stage}`` (from 1) and ``{letter}`` for the place of the block in its stage. ``roles`` has the
    layers of blocks and, under ``stem``, ``head`` and ``classifier``, the others.
    """

    roles: Mapping[str, Names]
    prefixes: tuple[str, str] = ("", "")

    def names(self, role: str, block: Block | None = None) -> Names:
        """Keras's names for a role, of this block if it is one of a block's."""
        index, prefix = 0, ""
        if block is not None:
            index = block.index
            _, stage, place = block.path.split(".")
            prefix = self.prefixes[index > 0].format(
                index=index, stage=int(stage) + 1, letter=chr(ord("a") + int(place))
            )
        layer, norm = self.roles[role]
        return (
            layer.format(prefix=prefix, number=index + 1),
            norm.format(prefix=prefix, number=index + 1),
        )


_V2_ROLES: dict[str, Names] = {
    "stem": ("Conv1", "bn_Conv1"),
    "expand": ("{prefix}expand", "{prefix}expand_BN"),
    "depthwise": ("{prefix}depthwise", "{prefix}depthwise_BN"),
    "project": ("{prefix}project", "{prefix}project_BN"),
    "head": ("Conv_1", "Conv_1_bn"),
}

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
        {**_V2_ROLES, "classifier": ("predictions", "")},
        ("expanded_conv_", "block_{index}_"),
    ),
    "keras mobilenet_v2 of TensorFlow 1": KerasNaming(
        {**_V2_ROLES, "classifier": ("Logits", "")},
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
            "conv": ("conv_1", "conv_1_bn"),
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
            "conv": ("Conv_1", "Conv_1/BatchNorm"),
            "head": ("Conv_2", ""),
            "classifier": ("Logits", ""),
        },
        ("expanded_conv/", "expanded_conv_{index}/"),
    ),
    "keras efficientnet": KerasNaming(
        {
            "stem": ("stem_conv", "stem_bn"),
            "expand": ("{prefix}expand_conv", "{prefix}expand_bn"),
            "depthwise": ("{prefix}dwconv", "{prefix}bn"),
            "reduce": ("{prefix}se_reduce", ""),
            "widen": ("{prefix}se_expand", ""),
            "project": ("{prefix}project_conv", "{prefix}project_bn"),
            "head": ("top_conv", "top_bn"),
            "classifier": ("predictions", ""),
        },
        ("block{stage}{letter}_", "block{stage}{letter}_"),
    ),
}
"""Naming -> its names. Keras 2 named V1 and V2 as Keras 3 does.

``mobilenet_v2.py`` of TensorFlow 1's ``tf.keras.applications``, with which the published weights
of V2 were written, calls the last layer ``Logits``.
"""

_CLASSIFIERS = r"(?P<layer>conv_preds|predictions|[Ll]ogits)"
_VARIABLE = r"/(?P<variable>[^/]+)"

_V2 = (
    r"Conv1|bn_Conv1|(?:expanded_conv|block_\d+)_(?:expand|depthwise|project)(?:_BN)?|"
    r"Conv_1(?:_bn)?"
)

PATTERNS: dict[str, str] = {
    "keras mobilenet": rf"(?P<scope>(?:conv1|conv_[dp]w_\d+)(?:_bn)?|{_CLASSIFIERS}){_VARIABLE}",
    "keras mobilenet_v2": rf"(?P<scope>{_V2}|(?P<layer>predictions)){_VARIABLE}",
    "keras mobilenet_v2 of TensorFlow 1": rf"(?P<scope>{_V2}|(?P<layer>Logits)){_VARIABLE}",
    "keras mobilenet_v3": (
        r"(?P<scope>conv(?:_\d)?(?:_bn)?|expanded_conv(?:_\d+)?_(?:(?:expand|depthwise|project)"
        rf"(?:_bn)?|squeeze_excite_conv(?:_1)?)|{_CLASSIFIERS}){_VARIABLE}"
    ),
    "keras 2 mobilenet_v3": (
        r"(?P<scope>Conv(?:_\d)?(?:/BatchNorm)?|expanded_conv(?:_\d+)?/(?:(?:expand|depthwise|"
        rf"project)(?:/BatchNorm)?|squeeze_excite/Conv(?:_1)?)|{_CLASSIFIERS}){_VARIABLE}"
    ),
    "keras efficientnet": (
        r"(?P<scope>(?:stem|top)_(?:conv|bn)|block\d[a-z]_(?:(?:expand|project)_(?:conv|bn)|"
        rf"dwconv|bn|se_reduce|se_expand)|(?P<layer>predictions)){_VARIABLE}"
    ),
}
"""Naming -> what its variables' names look like."""

PATTERN_NUMBERED = (
    r"(?P<scope>)(?P<layer>conv2d|depthwise_conv2d|batch_normalization|dense)(?:_(?P<counter>\d+))?"
    + _VARIABLE
)

_PARTS = {
    "kernel": ("weight", CONV_TF),
    "depthwise_kernel": ("weight", DEPTHWISE_TF),
    "bias": ("bias", VECTOR),
    "gamma": ("weight", VECTOR),
    "beta": ("bias", VECTOR),
    "moving_mean": ("running_mean", VECTOR),
    "moving_variance": ("running_var", VECTOR),
}
_LAYERS = ("", "conv2d", "depthwise_conv2d", "batch_normalization", "dense", "conv_preds",
           "predictions", "Logits", "logits")  # fmt: skip

VARIABLES = {
    **{(layer, variable): rule for layer in _LAYERS for variable, rule in _PARTS.items()},
    # V1 and V3 end in a convolution of one place, V2 in a dense layer.
    **{
        (layer, "kernel"): ("weight", DENSE_AS_CONV_TF)
        for layer in ("conv_preds", "Logits", "logits")
    },
    **{(layer, "kernel"): ("weight", DENSE_TF) for layer in ("predictions", "dense")},
}


def modules_by_name(layers: NetworkLayers, naming: KerasNaming) -> dict[str, str]:
    """Keras's layers of a network -> paths of our modules, in the order data passes them."""
    paths = {}
    for role, block, layer in _roles(layers):
        if role not in naming.roles:
            return {}
        name, norm = naming.names(role, block)
        paths[name] = layer.path
        if layer.norm:
            paths[norm] = layer.norm
    return paths


def _roles(layers: NetworkLayers) -> Iterator[tuple[str, Block | None, Layer]]:
    """Role, block and layer, in the order data passes them."""
    yield "stem", None, layers.stem
    for block in layers.blocks:
        for role, layer in block.main.items():
            if role == "project" and block.squeeze:
                reduce, widen = block.squeeze
                yield "reduce", block.block, reduce
                yield "widen", block.block, widen
            yield role, block.block, layer
    if layers.head is not None:
        yield "head", None, layers.head
    if layers.classifier is not None:
        yield "classifier", None, layers.classifier


def _rule_set(name: str) -> RuleSet:
    naming = KERAS_NAMES[name]
    classifier = naming.roles["classifier"][0]

    def places(layers: NetworkLayers) -> dict[tuple[str, str], list[str]]:
        return {
            (keras, keras if keras == classifier else ""): [path]
            for keras, path in modules_by_name(layers, naming).items()
        }

    variables = VARIABLES
    if "v2" in name:
        variables = {**VARIABLES, (classifier, "kernel"): ("weight", DENSE_TF)}
    return RuleSet(name, PATTERNS[name], variables, places)


def places_numbered(layers: NetworkLayers) -> dict[tuple[str, str], list[str]]:
    """Module paths by kind of layer, in the order that the numbers count."""
    paths: dict[tuple[str, str], list[str]] = defaultdict(list)
    # V2 and EfficientNet end in a dense layer.
    dense = layers.head is not None and not layers.pools_first
    for role, _, layer in _roles(layers):
        kind = "depthwise_conv2d" if role == "depthwise" else "conv2d"
        paths["", "dense" if role == "classifier" and dense else kind].append(layer.path)
        if layer.norm:
            paths["", "batch_normalization"].append(layer.norm)
    return dict(paths)


KERAS = (
    *(_rule_set(name) for name in KERAS_NAMES),
    RuleSet("keras, numbered", PATTERN_NUMBERED, VARIABLES, places_numbered),
)


NORMALISING = ("Rescaling", "Normalization")
"""Layers that normalise."""

_PASSING = ("InputLayer", *NORMALISING, "ZeroPadding2D", "Dropout", "Flatten", "Reshape")
"""Steps that return their input unchanged, or that come before the port's input."""

_CONVOLUTIONS = {
    "conv": ("Conv2D",),
    "depthwise": ("DepthwiseConv2D",),
    "dense": ("Dense", "Conv2D"),
}
_ACTIVATIONS = ("ReLU", "Activation")
_MEANS = ("GlobalAveragePooling2D",)

NetworkStep = tuple[str, tuple[str, ...]]
"""A tap ("" for a step without one in the port), and the Keras classes that compute it."""


class Step(Protocol):
    """One layer or operation of a model: its name, its class, and its activation's name."""

    @property
    def name(self) -> str:
        """The name by which the judge knows it."""

    @property
    def kind(self) -> str:
        """The name of its class."""

    @property
    def activation(self) -> str:
        """The activation inside it, empty for none."""


def keras_taps(flow: Iterable[Step], layers: NetworkLayers) -> dict[str, str]:
    """Module path in the network -> the Keras step that computes the same values.

    Raises:
        MappingError: at the first step that is not what the network has there.
    """
    steps = [step for step in flow if step.kind not in _PASSING]
    network = list(_network(layers))
    names: dict[str, str] = {}
    for place, (tap, kinds) in enumerate(network):
        if place == len(steps) and tap == "softmax":
            return names
        step = steps[place] if place < len(steps) else None
        if step is None or step.kind not in kinds:
            model_step = "the end" if step is None else f"{step.name} ({step.kind})"
            raise MappingError(
                f"model and network differ after {place} steps in agreement:\n"
                f"  model:   {model_step}\n"
                f"  network: {tap or 'a part of a gate'} ({' or '.join(kinds)})"
            )
        if tap:
            names[tap] = step.name
    if len(steps) > len(network):
        extra = steps[len(network)]
        raise MappingError(f"the model goes on behind the network: {extra.name} ({extra.kind})")
    return names


def last_normalising(flow: Iterable[Step]) -> str | None:
    """The last normalising step before the first convolution; None if there is none."""
    last = None
    for step in flow:
        if step.kind in _CONVOLUTIONS["conv"]:
            break
        if step.kind in NORMALISING:
            last = step.name
    return last


def _network(layers: NetworkLayers) -> Iterator[NetworkStep]:
    yield from _layer(layers.stem)
    for block in layers.blocks:
        yield from _block(block, layers.gate)
    if layers.head is not None and not layers.pools_first:
        yield from _layer(layers.head)
    yield "global_pool", _MEANS
    if layers.head is not None and layers.pools_first:
        yield from _layer(layers.head)
    if layers.classifier is not None:
        yield from _layer(layers.classifier)
    yield "softmax", ("Activation", "Softmax")


def _layer(layer: Layer) -> Iterator[NetworkStep]:
    yield layer.path, _CONVOLUTIONS[layer.kind]
    if layer.norm is not None:
        yield layer.norm, ("BatchNormalization",)
    if layer.activation != "none":
        yield layer.tap, _ACTIVATIONS


def _block(block: BlockLayers, gate: str) -> Iterator[NetworkStep]:
    path = block.block.path
    for role, layer in block.main.items():
        if role == "project" and block.squeeze:
            yield f"{path}.se.pool", _MEANS
            for squeeze in block.squeeze:
                yield from _layer(squeeze)
            if gate == "hard_sigmoid":
                # relu6(x + 3) * (1 / 6), a step each.
                yield "", ("Add",)
                yield "", _ACTIVATIONS
                yield f"{path}.se.gate", ("Multiply",)
            else:
                yield f"{path}.se.gate", _ACTIVATIONS
            yield f"{path}.se", ("Multiply",)
        yield from _layer(layer)
    if block.block.residual:
        yield path, ("Add",)
