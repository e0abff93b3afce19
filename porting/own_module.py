"""User-defined PyTorch modules: build, name, copy and fill them."""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porting.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor, nn


def build_module(spec: str) -> nn.Module:
    """The module that ``package.module:callable`` returns when called without arguments.

    Raises:
        BadInput: it cannot be imported, fails, or returns something else.
    """
    from torch import nn

    name, _, attribute = spec.partition(":")
    if not attribute:
        raise BadInput(f"{spec!r}: expected package.module:callable")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = getattr(importlib.import_module(name), attribute)()
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        raise BadInput(f"{spec}: cannot be built: {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise BadInput(f"{spec}: makes a {type(module).__name__}, expected a torch.nn.Module")
    return module.eval()


def name_of(onto: nn.Module | str) -> str:
    """The name of a module in file names and messages: its class, or the callable."""
    return onto.rpartition(":")[2] if isinstance(onto, str) else type(onto).__name__


def copied(module: nn.Module, share: bool = False) -> nn.Module:
    """A copy of a module; with ``share`` its tensors use the same memory, to read only.

    Raises:
        BadInput: it cannot be copied.
    """
    from torch import nn

    tensors: dict[int, Any] = {}
    if share:
        tensors = {id(p): nn.Parameter(p.detach(), False) for p in module.parameters()}
        tensors |= {id(buffer): buffer.detach() for buffer in module.buffers()}
    try:
        return copy.deepcopy(module, tensors)
    except Exception as error:  # a user's code may raise anything
        raise BadInput(
            f"{type(module).__name__}: cannot be copied: {type(error).__name__}: {error}"
        ) from error


def fill_module(network: nn.Module, state: Mapping[str, Tensor], origin: str) -> tuple[str, ...]:
    """Load a state dict: by its keys, or where they differ by order and shape.

    Returns notes for the report.

    Raises:
        BadInput: the two differ in number or in a shape; the first difference is named.
    """
    target = network.state_dict()
    notes: tuple[str, ...] = ()
    if set(target) == set(state):
        pairs = [(key, key) for key in target]
    else:
        keys, names = (
            [key for key in tensors if not key.endswith("_tracked")] for tensors in (target, state)
        )
        if len(keys) != len(names):
            raise BadInput(
                f"{origin}: holds {len(names)} tensors, {type(network).__name__} takes "
                f"{len(keys)}, and their keys differ"
            )
        pairs = list(zip(keys, names, strict=True))
        notes = (f"keys differ; {len(keys)} tensors were matched by order and shape",)
    for place, (key, name) in enumerate(pairs):
        shape, expected_shape = tuple(state[name].shape), tuple(target[key].shape)
        if shape != expected_shape:
            raise BadInput(
                f"{origin}: tensor {place} is {name} {shape}, where the network has {key} "
                f"{expected_shape}"
            )
    network.load_state_dict({**target, **{key: state[name] for key, name in pairs}})
    return notes
