"""Names in ``.weights.h5``, alone or inside a ``.keras``: nothing in it is called by its name.

A layer's group is its class in snake case, with a number from the second of
its class on; its variables are numbered: ``layers/conv2d_3/vars/0``. Which
layer that is, the configuration says; newer versions of Keras note it at
``vars`` as well.

Format: ``_save_container_state`` and ``H5IOStore`` in Keras
``saving/saving_lib.py``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from porting.errors import BadSource
from porting.sources.keras.config import KerasLayer
from porting.sources.keras.contents import Contents
from porting.sources.keras.variables import VARIABLES, variables_by_count, variables_of

_ROOTS = ("layers", "_layer_checkpoint_dependencies")
"""The second is what TensorFlow 2.13 wrote."""
_WORD = re.compile(r"(?<=.)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])")
_NUMBER = re.compile(r"_\d+$")


def numbered_root(contents: Contents) -> str | None:
    """The group that holds the layers; None where the file is laid out otherwise."""
    return next((root for root in _ROOTS if root in contents.attributes), None)


def numbered_names(
    contents: Contents, root: str, layers: Sequence[KerasLayer], where: str
) -> dict[str, str]:
    """Path of a dataset -> name of the tensor.

    ``layers`` may be empty, where the file holds weights alone: then layers are
    called as Keras notes at ``vars``, or by their group where it notes nothing.

    Raises:
        BadSource: a layer of the configuration has no group, another number of
            variables, or the group of another layer.
        UnsupportedSource: a layer is quantised.
    """
    named: list[tuple[str, str]] = []
    if layers:
        named += _configured(contents, root, layers, "", where)
    else:
        kinds = {_snake_case(kind): kind for kind in VARIABLES}
        for group, variables in _groups(contents, root).items():
            name = contents.attributes[f"{group}/vars"].get("name")
            own = group.removeprefix(f"{root}/")
            kind = kinds.get(_NUMBER.sub("", own), "")
            names = variables_by_count(kind, len(variables))
            named += _joined(variables, name or own, names)
    return dict(named)


def _configured(
    contents: Contents, root: str, layers: Sequence[KerasLayer], prefix: str, where: str
) -> Iterator[tuple[str, str]]:
    """Paths and names below one group of layers, and below the models among them."""
    groups = _groups(contents, root)
    used: dict[str, int] = defaultdict(int)
    for layer in layers:
        if layer.operation:
            continue
        own = _snake_case(layer.kind)
        group = f"{root}/{own}" + (f"_{used[own]}" if used[own] else "")
        used[own] += 1
        if layer.layers:
            inner = f"{group}/layers"
            yield from _configured(contents, inner, layer.layers, f"{prefix}{layer.name}/", where)
        variables = groups.get(group, [])
        if variables:
            _check_name(contents, group, layer, where)
        elif layer.kind in VARIABLES:
            raise BadSource(f"{where}: layer {layer.name!r} has no variables at {group!r}")
        names = variables_of(layer, len(variables), where) if variables else None
        yield from _joined(variables, prefix + layer.name, names)


def _check_name(contents: Contents, group: str, layer: KerasLayer, where: str) -> None:
    noted = contents.attributes[f"{group}/vars"].get("name", layer.name)
    if noted != layer.name:
        raise BadSource(
            f"{where}: {group!r} holds layer {noted!r}; by the model's configuration it is "
            f"{layer.name!r}: its layers are in another order"
        )


def _groups(contents: Contents, root: str) -> dict[str, list[str]]:
    """Group of a layer directly below the root -> paths of its variables by number."""
    place = re.compile(re.escape(root) + r"/[^/]+(?=/vars/\d+$)")
    found: dict[str, list[str]] = defaultdict(list)
    for path in contents.datasets:
        if match := place.match(path):
            found[match[0]].append(path)
    return {group: sorted(paths, key=_last_number) for group, paths in found.items()}


def _last_number(path: str) -> int:
    return int(path.rsplit("/", 1)[-1])


def _joined(
    paths: Sequence[str], layer: str, names: Sequence[str] | None
) -> Iterator[tuple[str, str]]:
    for number, path in enumerate(paths):
        yield path, f"{layer}/{names[number] if names else number}"


def _snake_case(kind: str) -> str:
    return _WORD.sub("_", re.sub(r"\W", "", kind)).lower()
