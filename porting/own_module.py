"""A PyTorch module of somebody's own: built, named, filled."""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porting.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor, nn


def build_module(spec: str) -> nn.Module:
    """The module that ``package.module:callable`` makes when called without arguments.

    Raises:
        BadInput: it cannot be imported, fails, or makes something else.
    """
    from torch import nn

    name, _, attribute = spec.partition(":")
    if not attribute:
        raise BadInput(f"{spec!r}: expected package.module:callable")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        made = getattr(importlib.import_module(name), attribute)()
    except (Exception, SystemExit) as error:
        # A user's code may raise anything; whatever it is, it is about this module.
        raise BadInput(f"{spec}: cannot be built: {type(error).__name__}: {error}") from error
    if not isinstance(made, nn.Module):
        raise BadInput(f"{spec}: makes a {type(made).__name__}, expected a torch.nn.Module")
    return made.eval()


def name_of(onto: nn.Module | str) -> str:
    """What a module is called in file names and messages: its class, or the callable."""
    return onto.rpartition(":")[2] if isinstance(onto, str) else type(onto).__name__


def copied(module: nn.Module, share: bool = False) -> nn.Module:
    """A copy, so that the module itself stays as it is.

    With ``share`` its parameters and buffers have the same memory, for whoever only reads them.

    Raises:
        BadInput: it cannot be copied.
    """
    try:
        return copy.deepcopy(module, _shared(module) if share else None)
    except Exception as error:
        # A user's code may raise anything; whatever it is, it is about this module.
        raise BadInput(
            f"{type(module).__name__}: cannot be copied: {type(error).__name__}: {error}"
        ) from error


def _shared(module: nn.Module) -> dict[int, Any]:
    """What a copy takes for its own tensors: others on the same memory."""
    from torch import nn

    kept: dict[int, Any] = {id(p): nn.Parameter(p.detach(), False) for p in module.parameters()}
    return kept | {id(buffer): buffer.detach() for buffer in module.buffers()}


def fill_module(network: nn.Module, state: Mapping[str, Tensor], origin: str) -> tuple[str, ...]:
    """Load a state dict: by its keys, or where they differ by order and shape.

    Returns what is to be told about it.

    Raises:
        BadInput: the two differ in number or in a shape; the first place is named.
    """
    target = network.state_dict()
    if set(target) == set(state):
        _check_shapes(list(target.items()), [(key, state[key]) for key in target], origin)
        network.load_state_dict(dict(state))
        return ()
    keys = [(key, values) for key, values in target.items() if not key.endswith("_tracked")]
    given = [(key, values) for key, values in state.items() if not key.endswith("_tracked")]
    if len(keys) != len(given):
        raise BadInput(
            f"{origin}: holds {len(given)} tensors, {type(network).__name__} takes {len(keys)}, "
            "and their keys differ"
        )
    _check_shapes(keys, given, origin)
    filled = {key: values for (key, _), (_, values) in zip(keys, given, strict=True)}
    network.load_state_dict({**target, **filled})
    return (f"keys differ; {len(keys)} tensors were matched by order and shape",)


def _check_shapes(
    target: Sequence[tuple[str, Tensor]], given: Sequence[tuple[str, Tensor]], origin: str
) -> None:
    for place, ((key, expected), (name, found)) in enumerate(zip(target, given, strict=True)):
        if expected.shape != found.shape:
            raise BadInput(
                f"{origin}: tensor {place} is {name} {tuple(found.shape)}, where the network has "
                f"{key} {tuple(expected.shape)}"
            )
