"""Names of tensors in a Keras file: ``<layer>/<variable>``, whatever the layout.

In an ``.h5`` as Keras 2 lays it out (and Keras 3 for ``model.save("x.h5")``), the root, or its
group ``model_weights``, lists ``layer_names``; each layer's group lists ``weight_names``, which
are paths below it (``Conv1/Conv1/kernel:0``). Format: ``save_weights_to_hdf5_group`` in Keras
``legacy/saving/legacy_h5_format.py``.

In ``.weights.h5``, alone or inside a ``.keras``, nothing is called by its name. A layer's group
is its class in snake case, with a number from the second of its class on; its variables are
numbered: ``layers/conv2d_3/vars/0``. Which layer that is, the configuration says; newer versions
of Keras note it at ``vars`` as well. Format: ``_save_container_state`` and ``H5IOStore`` in Keras
``saving/saving_lib.py``.

A depthwise kernel is ``depthwise_kernel`` here, as in Keras 2; Keras 3 calls it ``kernel``.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from porting.errors import BadSource, UnsupportedSource
from porting.sources.keras.config import KerasLayer
from porting.sources.keras.hdf5 import HDF5Listing

_LEGACY_ROOTS = ("", "model_weights")
_NUMBERED_ROOTS = ("layers", "_layer_checkpoint_dependencies")
"""The second is what TensorFlow 2.13 wrote."""

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
leave it out.

Sources: ``build`` of the layers in Keras ``layers/convolutional``, ``layers/core/dense.py`` and
``layers/normalization/batch_normalization.py``.
"""

_STATE = {
    "optimizer": "optimizer slot",
    "optimizer_weights": "optimizer slot",
    "metrics": "metric",
}


_INPUT_STATISTICS = re.compile(r"normalization(?:_\d{1,9})?/(?:mean|variance|count|[0-2])")
"""Variables of a ``Normalization`` layer: ``layers/preprocessing/normalization.py`` in Keras."""


def not_a_weight(name: str) -> str | None:
    """The rule by which a tensor is left out, or None for a weight.

    Outside the layers Keras stores the optimizer's variables
    (``optimizer_weights`` in an ``.h5``, else ``optimizer``) and Keras 2 those
    of metrics; inside, the state of a dropout's random numbers, and the statistics by which an
    EfficientNet normalises its input.
    """
    if _INPUT_STATISTICS.fullmatch(name):
        return "normalisation of the input"
    if "/seed_generator/" in name:
        return "random seed"
    return _STATE.get(name.split("/", 1)[0])


def tensor_names(
    listing: HDF5Listing, layers: Sequence[KerasLayer], where: str
) -> tuple[str, dict[str, str]]:
    """The ending that the layout goes by, and path of a dataset -> name of the tensor.

    ``layers`` are those of the configuration, none where the file holds weights alone.

    Raises:
        BadSource: the file is not one of Keras, something that it or its configuration lists is
            not there, a layer has another number of variables than its settings ask for, or the
            layers are in another order than the configuration's.
        UnsupportedSource: a layer is quantised.
    """
    for root in _LEGACY_ROOTS:
        if listing.names(root, "layer_names") is not None:
            return ".h5", legacy_names(listing, root, layers, where)
    for root in _NUMBERED_ROOTS:
        if root in listing.attributes:
            return ".weights.h5", dict(numbered_names(listing, root, layers, "", where))
    raise BadSource(
        f"{where}: HDF5, but not of Keras: it has neither a list of 'layer_names' nor a group "
        "'layers'"
    )


def legacy_names(
    listing: HDF5Listing, root: str, layers: Sequence[KerasLayer], where: str
) -> dict[str, str]:
    """Path of a dataset -> name of the tensor in an ``.h5``, in the order of the layers."""
    kinds = {layer.name: layer.kind for outer in layers for layer in outer}
    models = {layer.name for layer in layers if layer.layers}
    places = {layer.name: place for place, layer in enumerate(layers)}
    names: dict[str, str] = {}
    previous = -1
    layer_names = listing.names(root, "layer_names") or []
    if len(set(layer_names)) < len(layer_names):
        raise BadSource(f"{where}: a layer is listed twice")
    for layer in layer_names:
        group = f"{root}/{layer}" if root else layer
        weights = listing.names(group, "weight_names")
        if weights is None:
            raise BadSource(
                f"{where}: layer {layer!r} is listed, but has no group with weight_names"
            )
        if layers and weights:
            place = places.get(layer)
            if place is None:
                raise BadSource(f"{where}: layer {layer!r} is not in the model's configuration")
            if place < previous:
                raise BadSource(
                    f"{where}: layer {layer!r} comes after {layers[previous].name!r}; in the "
                    "model's configuration it comes before: its layers are in another order"
                )
            previous = place
        paths = [weight.removesuffix(":0").rpartition("/") for weight in weights]
        has_layers = layer in models
        if not layers:
            # Several variables of one name are those of the layers of a model inside the model.
            has_layers = max(Counter(name for *_, name in paths).values(), default=0) > 1
        for weight, (owner, _, variable) in zip(weights, paths, strict=True):
            path = f"{group}/{weight}"
            if path not in listing.datasets:
                raise BadSource(f"{where}: layer {layer!r} lists {weight!r}, which is not there")
            is_depthwise = kinds.get(owner, kinds.get(layer)) == "DepthwiseConv2D"
            plain = "depthwise_kernel" if is_depthwise and variable == "kernel" else variable
            names[path] = "/".join(filter(None, (layer, owner if has_layers else "", plain)))
    return names


def numbered_names(
    listing: HDF5Listing, root: str, layers: Sequence[KerasLayer], prefix: str, where: str
) -> Iterator[tuple[str, str]]:
    """Path of a dataset and name of the tensor, below one group of layers and models among them.

    Without ``layers`` they are called as Keras notes at ``vars``, or by their group where it
    notes nothing.
    """
    place = re.compile(re.escape(root) + r"/[^/]+(?=/vars/\d+$)")
    groups: dict[str, list[str]] = defaultdict(list)
    for path in listing.datasets:
        if match := place.match(path):
            groups[match[0]].append(path)
    for paths in groups.values():
        paths.sort(key=lambda path: int(path.rsplit("/", 1)[-1]))
    if not layers and not prefix:
        kinds = {_snake_case(kind): kind for kind in VARIABLES}
        for group, paths in groups.items():
            own = group.removeprefix(f"{root}/")
            variables = VARIABLES.get(kinds.get(re.sub(r"_\d+$", "", own), ""), ())
            # No settings say what is left out: all variables are there, or the indispensable.
            candidates: tuple[Sequence[str | int], ...] = (
                [name for name, _ in variables],
                [name for name, setting in variables if setting is None],
                range(len(paths)),
            )
            names = next(names for names in candidates if len(names) == len(paths))
            layer_name = listing.attributes[f"{group}/vars"].get("name") or own
            yield from zip(paths, (f"{layer_name}/{each}" for each in names), strict=True)
    counts: Counter[str] = Counter()
    for layer in layers:
        if layer.operation:
            continue
        own = _snake_case(layer.kind)
        group = f"{root}/{own}" + (f"_{counts[own]}" if counts[own] else "")
        counts[own] += 1
        if layer.layers:
            inner = f"{group}/layers"
            yield from numbered_names(listing, inner, layer.layers, f"{prefix}{layer.name}/", where)
        paths = groups.get(group, [])
        if paths:
            noted_name = listing.attributes[f"{group}/vars"].get("name", layer.name)
            if noted_name != layer.name:
                raise BadSource(
                    f"{where}: {group!r} holds layer {noted_name!r}; by the model's configuration "
                    f"it is {layer.name!r}: its layers are in another order"
                )
            names = _variables_of(layer, len(paths), where)
            yield from zip(paths, (f"{prefix}{layer.name}/{each}" for each in names), strict=True)
        elif layer.kind in VARIABLES:
            raise BadSource(f"{where}: layer {layer.name!r} has no variables at {group!r}")


class LayerVariables:
    """The names of a file's tensors by the layer's path among the models, and the variable's name.

    In an ``.h5`` the layers of a model inside the model are called by their own names, in whatever
    models they lie: those are told apart by as much of their path as the file has.
    """

    def __init__(self, tensors: Iterable[str], suffix: str) -> None:
        self._tensors, self._has_paths = frozenset(tensors), suffix != ".h5"
        self._owners: dict[tuple[str, str], list[str]] = defaultdict(list)
        for name in self._tensors:
            top, _, rest = name.partition("/")
            owner, _, variable = rest.rpartition("/")
            self._owners[top, variable].append(owner)

    def __call__(self, path: tuple[str, ...], variable: str) -> str | None:
        """The name of a tensor; None where the file has none, or several that it might be."""
        spellings = (variable, "kernel") if variable == "depthwise_kernel" else (variable,)
        for spelling in spellings:
            name = f"{'/'.join(path)}/{spelling}"
            if name in self._tensors:
                return name
            if len(path) < 2 or self._has_paths:
                continue
            top, owners = path[0], self._owners[path[0], spelling]
            for owner in (path[-1], *("/".join(path[start:]) for start in range(len(path) - 1))):
                if owner in owners:
                    return f"{top}/{owner}/{spelling}"
            ends = [owner for owner in owners if owner.endswith(f"/{path[-1]}")]
            if len(ends) == 1:
                return f"{top}/{ends[0]}/{spelling}"
        return None


def _variables_of(layer: KerasLayer, count: int, where: str) -> Sequence[str | int]:
    """Names of a layer's variables by its settings; numbers for a class that is not known."""
    if layer.kind not in VARIABLES:
        return range(count)
    policy = layer.settings.get("dtype")
    if isinstance(policy, dict) and "Quantized" in str(policy.get("class_name")):
        raise UnsupportedSource(f"{where}: layer {layer.name!r} is quantised, which is not read")
    names = [
        name
        for name, setting in VARIABLES[layer.kind]
        if setting is None or layer.settings.get(setting, True)
    ]
    if len(names) != count:
        raise BadSource(
            f"{where}: layer {layer.name!r} holds {count} variables; a {layer.kind} with its "
            f"settings has {len(names)} ({', '.join(names)})"
        )
    return names


def _snake_case(kind: str) -> str:
    words = re.sub(r"(?<=.)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", re.sub(r"\W", "", kind))
    return words.lower()
