"""What Keras calls the variables of a layer, and which variables are no weights.

A depthwise kernel is ``depthwise_kernel`` here, as in Keras 2; Keras 3 calls
it ``kernel``.

Sources: ``build`` of the layers in Keras ``layers/convolutional``,
``layers/core/dense.py`` and ``layers/normalization/batch_normalization.py``.
"""

from __future__ import annotations

from porting.errors import BadSource, UnsupportedSource
from porting.sources.keras.config import KerasLayer

_BIAS = ("bias", "use_bias")
VARIABLES: dict[str, tuple[tuple[str, str | None], ...]] = {
    "Conv2D": (("kernel", None), _BIAS),
    "DepthwiseConv2D": (("depthwise_kernel", None), _BIAS),
    "SeparableConv2D": (("depthwise_kernel", None), ("pointwise_kernel", None), _BIAS),
    "Dense": (("kernel", None), _BIAS),
    "BatchNormalization": (
        ("gamma", "scale"),
        ("beta", "center"),
        ("moving_mean", None),
        ("moving_variance", None),
    ),
}
"""Class -> its variables in the order in which they are numbered, each with the setting that can
leave it off."""


def variables_of(layer: KerasLayer, count: int, where: str) -> tuple[str, ...] | None:
    """Names of a layer's numbered variables; None for a class that is not known.

    Raises:
        BadSource: the file holds another number of them than the settings ask for.
        UnsupportedSource: the layer is quantised.
    """
    if layer.kind not in VARIABLES:
        return None
    policy = layer.settings.get("dtype")
    if isinstance(policy, dict) and "Quantized" in str(policy.get("class_name")):
        raise UnsupportedSource(f"{where}: layer {layer.name!r} is quantised, which is not read")
    names = tuple(
        name
        for name, setting in VARIABLES[layer.kind]
        if setting is None or layer.settings.get(setting, True)
    )
    if len(names) != count:
        raise BadSource(
            f"{where}: layer {layer.name!r} holds {count} variables; a {layer.kind} with its "
            f"settings has {len(names)} ({', '.join(names)})"
        )
    return names


def variables_by_count(kind: str, count: int) -> tuple[str, ...] | None:
    """Names where no settings are known: all, or those that are never left off."""
    every = VARIABLES.get(kind, ())
    for names in ([n for n, _ in every], [n for n, setting in every if setting is None]):
        if names and len(names) == count:
            return tuple(names)
    return None


_STATE = {
    "optimizer": "optimizer slot",
    "optimizer_weights": "optimizer slot",
    "metrics": "metric",
}


def not_a_weight(name: str) -> str | None:
    """The rule by which a tensor is left out, or None for a weight.

    Outside the layers Keras stores the optimizer's variables
    (``optimizer_weights`` in an ``.h5``, else ``optimizer``) and Keras 2 those
    of metrics; inside, the state of a dropout's random numbers.
    """
    if "/seed_generator/" in name:
        return "random seed"
    return _STATE.get(name.split("/", 1)[0])
