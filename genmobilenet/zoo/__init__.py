"""The networks by name: one file for each family, each a literal table."""

from __future__ import annotations

import difflib
import fnmatch
import re
from dataclasses import replace

from genmobilenet.config import SEPARATOR, NetworkConfig, parse_network
from genmobilenet.errors import UnknownModel
from genmobilenet.zoo import (
    efficientnet,
    mixnet,
    mnasnet,
    mobilenet,
    mobilenetv4,
    proxyless,
    searched,
    shufflenet,
)

FAMILIES = (
    mnasnet, mobilenet, mobilenetv4, efficientnet, mixnet, searched, proxyless, shufflenet,
)  # fmt: skip

NETWORKS: dict[str, NetworkConfig] = {
    name: config for family in FAMILIES for name, config in family.NETWORKS.items()
}

ALIASES: dict[str, str] = {
    alias: name for family in FAMILIES for alias, name in family.ALIASES.items()
}
"""Names of earlier versions, for existing scripts."""

_AT_A_WIDTH = re.compile(
    rf"(?P<family>(tf_)?({'|'.join((*mnasnet.WITH_WIDTHS, *mobilenet.WITH_WIDTHS))}))"
    r"_(?P<hundredths>\d{3})"
)


def list_models(pattern: str = "*") -> list[str]:
    """Sorted names of all networks that match a shell pattern, without aliases."""
    return sorted(fnmatch.filter(NETWORKS, pattern))


def get_config(name: str) -> NetworkConfig:
    """The configuration of a network, by its name, an alias or its own strings.

    Families with a width multiplier exist at any width: ``mobilenetv2_060`` is
    MobileNet V2 at 0.6. A text with bars is that of :func:`~genmobilenet.config.parse_network`.

    Raises:
        UnknownModel: no network has that name.
        ArchitectureError: the text describes no network.
    """
    if SEPARATOR in name:
        return parse_network(name)
    config = NETWORKS.get(ALIASES.get(name, name)) or _at_a_width(name)
    if config is None:
        near = difflib.get_close_matches(name, [*NETWORKS, *ALIASES], n=5, cutoff=0.4)
        hint = f"the nearest names are {', '.join(near)}" if near else "list_models() lists all"
        raise UnknownModel(f"no network is called {name!r}; {hint}")
    return config


def _at_a_width(name: str) -> NetworkConfig | None:
    """A family's network at any multiplier; None if the name is not of that form."""
    match = _AT_A_WIDTH.fullmatch(name)
    if match is None or int(match["hundredths"]) == 0:
        return None
    return replace(NETWORKS[f"{match['family']}_100"], width=int(match["hundredths"]) / 100)


def tensorflow_form(name: str) -> str:
    """The ``tf_`` form of a network, by its plain name, its own, or an alias.

    Raises:
        UnknownModel: no network has that name, or it has no such form.
    """
    get_config(name)  # an unknown name is reported as it was typed
    if SEPARATOR in name:
        return name
    name = ALIASES.get(name, name)
    form = name if name.startswith("tf_") else f"tf_{name}"
    if form not in NETWORKS and _at_a_width(form) is None:
        raise UnknownModel(f"{name} has no TensorFlow form: no TensorFlow source of it is known")
    return form
