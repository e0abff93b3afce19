"""``model.json`` of TensorFlow.js: what a model computes, and where its weights lie.

Format: ``ModelJSON`` in tfjs-core's ``io/types.ts``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from porting.errors import BadSource, UnsupportedSource
from porting.sources.archive import Display
from porting.sources.labels import labels_beside
from porting.sources.tfjs.weights import ShardedWeights

MODEL = "model.json"
"""The file of a model's folder, by its usual name."""

_METADATA = "metadata.json"
"""What Teachable Machine writes beside it."""
_LARGEST = 4 << 20
"""Most bytes of a description; a network's takes some hundred thousand."""
_TOPOLOGY = b'"modelTopology"'
_TEACHABLE_IMAGE = "@teachablemachine/image"
_TEACHABLE_NORMALISATION = ((127.0,), (127.0,))
"""``capture`` in ``libraries/image/src/utils/tf.ts`` of
github.com/googlecreativelab/teachablemachine-community."""


@dataclass(frozen=True)
class ModelJSON:
    """A description of a model; ``display`` gives the path that messages call a file by."""

    file: Path
    content: Mapping[str, Any]
    display: Display

    @property
    def topology(self) -> Mapping[str, Any]:
        """What the model computes."""
        topology = self.content.get("modelTopology")
        if not isinstance(topology, dict):
            raise BadSource(f"{self.display(self.file)}: its modelTopology is no object")
        return topology

    @property
    def is_graph(self) -> bool:
        """Whether it is a graph of operations, and not Keras's layers.

        Before version 1.0 nothing states the format.
        """
        form = self.content.get("format")
        return form == "graph-model" if isinstance(form, str) else "node" in self.topology

    @property
    def outputs(self) -> tuple[str, ...]:
        """The tensors that the signature names as outputs; none where there is no signature."""
        metadata = self.content.get("userDefinedMetadata")
        older = metadata.get("signature") if isinstance(metadata, dict) else None
        signature = self.content.get("signature") or older
        outputs = signature.get("outputs") if isinstance(signature, dict) else None
        infos = outputs.values() if isinstance(outputs, dict) else ()
        names = (info.get("name") for info in infos if isinstance(info, dict))
        return tuple(name for name in names if isinstance(name, str) and name)

    @cached_property
    def weights(self) -> ShardedWeights:
        """The weights.

        Raises:
            BadSource: their manifest makes no sense, or shards are missing or of another size.
        """
        manifest = self.content.get("weightsManifest")
        path = self.display(self.file)
        return ShardedWeights(manifest, self.file.parent, path, self.display)

    @cached_property
    def teachable_machine(self) -> Mapping[str, Any]:
        """What Teachable Machine states of its model in a file beside it; empty for others."""
        try:
            content = read_json(self.file.with_name(_METADATA), self.display)
        except (BadSource, UnsupportedSource):
            return {}
        return content

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The names of the classes, as Teachable Machine or a file beside the model states them."""
        labels = self.teachable_machine.get("labels")
        if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels):
            return labels_beside(self.file)
        return tuple(labels) or None

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Mean and deviation of pixels 0..255, where Teachable Machine has made the model."""
        name = self.teachable_machine.get("packageName")
        return _TEACHABLE_NORMALISATION if name == _TEACHABLE_IMAGE else None


def model_file(path: Path) -> Path | None:
    """The description of a TensorFlow.js model: this file, or the one of this folder; or None."""
    if path.is_dir():
        files = [path / MODEL] if (path / MODEL).is_file() else sorted(path.glob("*.json"))
        files = [file for file in files if _describes_a_model(file)]
        return files[0] if len(files) == 1 else None
    return path if _describes_a_model(path) else None


def _describes_a_model(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            head = stream.read(_LEAST_HEAD)
            return begins_like_json(head) and _TOPOLOGY in head + stream.read(_LARGEST)
    except OSError:
        return False


_LEAST_HEAD = 32


def begins_like_json(head: bytes) -> bool:
    """Whether the first bytes of a file are those of an object in JSON."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")


def read_model(file: Path, display: Display) -> ModelJSON:
    """Read a description; weights are not read yet.

    Raises:
        BadSource: it is no object in JSON.
        UnsupportedSource: it is larger than any network's.
    """
    return ModelJSON(file, read_json(file, display), display)


def read_json(file: Path, display: Display) -> dict[str, Any]:
    """An object from a file in JSON."""
    path = display(file)
    try:
        with file.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise UnsupportedSource(
                f"{path}: larger than {_LARGEST >> 20} MiB; no mobile network's description is"
            )
        content = json.loads(data.decode("utf-8-sig"))
    except OSError as error:
        raise BadSource(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadSource(f"{path}: damaged or cut short, as JSON: {error}") from error
    if not isinstance(content, dict):
        raise BadSource(f"{path}: no object in JSON")
    return content
