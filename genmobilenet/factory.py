"""Networks by name, and weights from a file."""

from __future__ import annotations

import pickle
import re
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from genmobilenet import deployment
from genmobilenet.config import NetworkConfig
from genmobilenet.errors import CheckpointError
from genmobilenet.folded import half_folded, unfolded
from genmobilenet.network import GenMobileNet
from genmobilenet.zoo import get_config

PARALLEL = "module."
"""What ``torch.nn.DataParallel`` puts before every key."""


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    in_chans: int = 3,
    drop_rate: float | None = None,
    checkpoint_path: str | PathLike[str] | None = None,
    deploy: bool = False,
) -> GenMobileNet:
    """Build a network, and fill it from a file if one is given.

    Without ``num_classes`` the classifier has as many classes as the file, or
    1000 without a file. ``drop_rate`` None takes the published one. ``deploy``
    gives the network's form for inference; see :func:`genmobilenet.deploy`.

    Raises:
        UnknownModel: no network has that name; the nearest are listed.
        CheckpointError: the file cannot be read or does not fit.
    """
    state = None if checkpoint_path is None else read_state_dict(checkpoint_path)
    config = replace(get_config(name), in_chans=in_chans)
    if state is not None:
        config = _as_stored(config, state)
    if num_classes is not None:
        config = replace(config, num_classes=num_classes)
    if drop_rate is not None:
        config = replace(config, drop_rate=drop_rate)
    model = GenMobileNet(config)
    if state is not None:
        fill(model, state, origin=str(checkpoint_path))
    return deployment.deploy(model) if deploy else model


def _as_stored(config: NetworkConfig, state: dict[str, torch.Tensor]) -> NetworkConfig:
    """A network with the classes of a state dict, its normalisation, and its width of head.

    MobileNet V3 below a multiplier of 1 is published with a scaled head and with a whole one.
    """
    if "classifier.bias" in state:
        config = replace(config, num_classes=state["classifier.bias"].numel())
    config = replace(config, normalises="normalise.mean" in state)
    varies = config.head == "after_pool" and config.width is not None and config.width < 1
    if varies and "conv_head.bias" in state:
        config = replace(config, head_channels=state["conv_head.bias"].numel())
    return config


def build(config: NetworkConfig, state: dict[str, torch.Tensor]) -> GenMobileNet:
    """A network that takes the tensors of a whole state dict for its own, without a copy."""
    with torch.device("meta"):
        model = GenMobileNet(config)
    model.load_state_dict(state, assign=True)
    return model.eval()


def load_weights(model: torch.nn.Module, path: str | PathLike[str]) -> None:
    """Fill ``model`` from a state-dict file, every key exactly once.

    A file with its batch norms folded into biases fits too.

    Raises:
        CheckpointError: the file cannot be read, or a key is missing, unknown
            or of another shape. One message lists every problem, and the
            model is left as it was.
    """
    fill(model, read_state_dict(path), origin=str(path))


def read_state_dict(path: str | PathLike[str]) -> dict[str, torch.Tensor]:
    """Read a state dict without running code from the file; see :func:`read_stored`."""
    return read_stored(path)[0]


def read_stored(path: str | PathLike[str]) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """Read a state dict, and say what it was wrapped in.

    Training scripts write ``{"state_dict": ..., "epoch": ...}``, and
    ``DataParallel`` puts ``module.`` before every key; both come off. No code
    from the file is run.

    Raises:
        CheckpointError: there is no such file, it is damaged, or it holds
            something other than tensors by name.
    """
    try:
        stored: Any = torch.load(Path(path), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except Exception as error:
        # A damaged pickle may raise anything.
        raise CheckpointError(f"{path}: not a readable state dict ({_reason(error)})") from error
    notes = []
    if isinstance(stored, dict) and isinstance(stored.get("state_dict"), dict):
        others = ", ".join(str(key) for key in stored if key != "state_dict")
        notes.append("its state_dict is taken" + (f", not its {others}" if others else ""))
        stored = stored["state_dict"]
    if not isinstance(stored, dict) or not all(
        isinstance(key, str) and _is_plain(value) for key, value in stored.items()
    ):
        raise CheckpointError(f"{path}: expected tensors by name, found {type(stored).__name__}")
    if stored and all(key.startswith(PARALLEL) for key in stored):
        notes.append(f"{PARALLEL!r} before every key is left off")
        stored = {key.removeprefix(PARALLEL): values for key, values in stored.items()}
    return stored, tuple(notes)


def _is_plain(value: Any) -> bool:
    """Whether it is a tensor with values of its own: not sparse, quantised or without storage."""
    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and not value.is_quantized
        and not value.is_meta
    )


def _reason(error: Exception) -> str:
    """Why a file could not be read, without PyTorch's advice to run what code is in it."""
    text = str(error).strip()
    held = re.search(r"GLOBAL (\S+)", text)
    if held is not None:
        return f"it holds {held[1]}, and no code from a file is run; save a module's state_dict()"
    if isinstance(error, pickle.UnpicklingError):
        return "it is not what torch.save writes"
    return text.splitlines()[0] if text else repr(error)


def fill(model: torch.nn.Module, state: dict[str, torch.Tensor], origin: str) -> None:
    """Copy ``state`` into ``model``; see :func:`load_weights`.

    A state dict with all batch norms folded into biases fits too, as the early
    published ``tflite_*`` files have them; one with some folded does not.
    """
    problems = half_folded(model, state)
    if not problems:
        state = unfolded(model, state)
    problems += _problems(model.state_dict(), state)
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise CheckpointError(
            f"{origin}: does not fit {type(model).__name__}, {count}:\n  " + "\n  ".join(problems)
        )
    model.load_state_dict(state, strict=False)


def _problems(target: dict[str, torch.Tensor], state: dict[str, torch.Tensor]) -> list[str]:
    """Every key that is missing, unknown or of another shape."""
    # A file written before PyTorch counted batches lacks the counters; they weigh nothing.
    missing = [key for key in target.keys() - state.keys() if not key.endswith("_tracked")]
    problems = [f"missing: {key} {tuple(target[key].shape)}" for key in sorted(missing)]
    for key in sorted(state.keys() - target.keys()):
        problems.append(f"unknown: {key} {tuple(state[key].shape)}")
    for key in sorted(target.keys() & state.keys()):
        found, expected = tuple(state[key].shape), tuple(target[key].shape)
        if found != expected:
            problem = f"shape of {key}: found {found}, expected {expected}"
            if key == "classifier.bias" and len(found) == 1:
                problem += f"; the file has num_classes={found[0]}"
            problems.append(problem)
    return problems
