"""Weights as a ``.safetensors`` file with the card in its metadata.

The safetensors library orders metadata at random; the header is written again with its keys in
order, so that the same weights give the same bytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from porting.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

CARD_KEY = "card"

_LENGTH = 8
"""Bytes of the header's length, little-endian, and what the header's end is aligned to; see
https://huggingface.co/docs/safetensors, "Format"."""


def write_safetensors(state: Mapping[str, Tensor], card: str, path: Path) -> None:
    """Write tensors, with the card's JSON as metadata."""
    _check_installed()
    from safetensors.torch import save

    tensors = {key: values.contiguous() for key, values in state.items()}
    data = save(tensors, {"format": "pt", CARD_KEY: card})
    end = _LENGTH + int.from_bytes(data[:_LENGTH], "little")
    header = json.loads(data[_LENGTH:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _LENGTH)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(_LENGTH, "little") + text)
        stream.write(memoryview(data)[end:])


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """The tensors of a file, and the card's JSON from its metadata; None where it has none.

    Raises:
        BadInput: it is not a readable safetensors file.
    """
    _check_installed()
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {key: file.get_tensor(key) for key in file.keys()}, metadata.get(CARD_KEY)  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInput(f"{path}: not a readable safetensors file ({error})") from error


def _check_installed() -> None:
    try:
        import safetensors  # noqa: F401
    except ImportError as error:
        raise BadInput(
            "a release needs safetensors, which is not installed: pip install safetensors"
        ) from error
