"""Names in an ``.h5`` as Keras 2 lays it out, and Keras 3 for ``model.save("x.h5")``.

The root, or its group ``model_weights``, lists ``layer_names``; each layer's
group lists ``weight_names``, which are paths below it
(``Conv1/Conv1/kernel:0``).

Format: ``save_weights_to_hdf5_group`` in Keras
``legacy/saving/legacy_h5_format.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from porting.errors import BadSource
from porting.sources.keras.config import KerasLayer
from porting.sources.keras.contents import Contents

_ROOTS = ("", "model_weights")


def legacy_root(contents: Contents) -> str | None:
    """The group that lists the layers; None where the file is laid out otherwise."""
    for root in _ROOTS:
        if contents.names(root, "layer_names") is not None:
            return root
    return None


def legacy_names(
    contents: Contents, root: str, layers: Sequence[KerasLayer], where: str
) -> dict[str, str]:
    """Path of a dataset -> name of the tensor, in the order of the layers.

    ``layers`` may be empty, where the file holds weights alone.

    Raises:
        BadSource: a layer or weight that is listed is not there, or the layers
            are in another order than the configuration's.
    """
    kinds = {layer.name: layer.kind for outer in layers for layer in outer}
    names: dict[str, str] = {}
    weighted = []
    listed = contents.names(root, "layer_names") or []
    if len(set(listed)) < len(listed):
        raise BadSource(f"{where}: a layer is listed twice")
    for layer in listed:
        group = f"{root}/{layer}" if root else layer
        weights = contents.names(group, "weight_names")
        if weights is None:
            raise BadSource(
                f"{where}: layer {layer!r} is listed, but has no group with weight_names"
            )
        weighted += [layer] if weights else []
        for weight, name in _variables(layer, weights, kinds):
            path = f"{group}/{weight}"
            if path not in contents.datasets:
                raise BadSource(f"{where}: layer {layer!r} lists {weight!r}, which is not there")
            names[path] = name
    if layers:
        _check_order(weighted, [layer.name for layer in layers], where)
    return names


def _variables(
    layer: str, weights: Sequence[str], kinds: dict[str, str]
) -> Iterator[tuple[str, str]]:
    """Each weight of a layer with its tensor's name."""
    plain = [weight.removesuffix(":0") for weight in weights]
    count = Counter(name.rsplit("/", 1)[-1] for name in plain)
    for weight, name in zip(weights, plain, strict=True):
        owner, _, variable = name.rpartition("/")
        kind = kinds.get(owner, kinds.get(layer))
        if kind == "DepthwiseConv2D" and variable == "kernel":
            variable = "depthwise_kernel"
        # Several of one name are those of the layers of a model inside the model.
        inner = owner if max(count.values()) > 1 else ""
        yield weight, "/".join(part for part in (layer, inner, variable) if part)


def _check_order(weighted: Sequence[str], configured: Sequence[str], where: str) -> None:
    places = {layer: place for place, layer in enumerate(configured)}
    last = -1
    for layer in weighted:
        if layer not in places:
            raise BadSource(f"{where}: layer {layer!r} is not in the model's configuration")
        if places[layer] < last:
            raise BadSource(
                f"{where}: layer {layer!r} stands behind {configured[last]!r}; in the model's "
                "configuration it comes before: its layers are in another order"
            )
        last = places[layer]
