"""A model's configuration as plain data: which layers it has, and how they are set.

Nothing in it is ever run: functions, Lambda layers among them, stay the text
or the numbers that the file holds.

Format: the JSON of ``model.get_config()``, in an ``.h5`` under the attribute
``model_config``, in a ``.keras`` as ``config.json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from porting.errors import BadSource

DEEPEST = 32
"""Largest depth to which models are nested."""


@dataclass(frozen=True)
class KerasLayer:
    """One layer of a model, in the configuration's order.

    ``kind`` is its class (``Conv2D``), ``settings`` what its configuration
    says, under Keras's names: ``strides``, ``padding``, ``activation``,
    ``epsilon``, ``use_bias``; a ``Rescaling`` has ``scale`` and ``offset``.
    ``layers`` are those inside it, where it is a model itself. ``operation``
    is true for what a ``.keras`` lists among the layers but does not count as
    one: a sum or product written in Python. ``calls`` are the ``inbound_nodes`` of the file: what
    the layer is called on, each time that it is.
    """

    name: str
    kind: str
    settings: Mapping[str, Any]
    layers: tuple[KerasLayer, ...] = ()
    operation: bool = False
    calls: Any = ()

    @property
    def dtype_policy(self) -> str | None:
        """The name of its dtype policy (``mixed_float16``); None where it states none.

        Keras 2 and 3 write a policy as its name, or as an object with its
        configuration; one policy for each part of a layer has a default.
        """
        policy = self.settings.get("dtype")
        while isinstance(policy, dict):
            settings = policy.get("config")
            settings = settings if isinstance(settings, dict) else {}
            policy = settings.get("default_policy") or settings.get("name")
        return policy if isinstance(policy, str) else None

    def __iter__(self) -> Iterator[KerasLayer]:
        """Iterate over the layer and all inside it."""
        yield self
        for layer in self.layers:
            yield from layer


def by_path(layers: Iterable[KerasLayer], prefix: str = "") -> Iterator[tuple[str, KerasLayer]]:
    """Each layer that holds no others, in order, by the prefix of its variables' names."""
    for layer in layers:
        path = prefix + layer.name
        if layer.layers:
            yield from by_path(layer.layers, f"{path}/")
        else:
            yield path, layer


def parse_model(text: str, where: str) -> KerasLayer:
    """The model of a configuration, as a layer that holds its layers.

    Raises:
        BadSource: it is not JSON, or not a model's configuration, or its models lie too deep.
    """
    try:
        data = json.loads(text)
        settings = data["config"]
        layers = tuple(_layer(entry, 1) for entry in _entries(settings))
        settings = settings if isinstance(settings, dict) else {}
        return KerasLayer(str(settings.get("name")), str(data.get("class_name")), settings, layers)
    except (ValueError, RecursionError) as error:
        raise BadSource(f"{where}: the model's configuration is damaged: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise BadSource(
            f"{where}: the configuration is not that of a model of layers: "
            f"{type(error).__name__}: {error}"
        ) from error


def _entries(config: Any) -> list[dict[str, Any]]:
    # Before Keras 2.2.3 a Sequential's configuration was the bare list.
    return list(config if isinstance(config, list) else config["layers"])


def _layer(entry: dict[str, Any], depth: int) -> KerasLayer:
    if depth > DEEPEST:
        raise ValueError(f"models lie over {DEEPEST} deep inside each other")
    settings = entry["config"]
    is_model = isinstance(settings, list) or isinstance(settings.get("layers"), list)
    inner = _entries(settings) if is_model else []
    settings = settings if isinstance(settings, dict) else {}
    name, kind = entry.get("name") or settings["name"], entry["class_name"]
    if not isinstance(name, str) or not isinstance(kind, str):
        raise TypeError(f"a layer named {name!r} of class {kind!r}")
    operation = str(entry.get("module", "")).startswith("keras.src.ops")
    layers = tuple(_layer(each, depth + 1) for each in inner)
    return KerasLayer(name, kind, settings, layers, operation, entry.get("inbound_nodes", []))
