"""What is compared with a source: a ported file, a state dict, or somebody's own module."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genmobilenet.zoo import get_config, tensorflow_form
from porting.errors import BadInput, MappingError
from porting.graph.layers import layers_of
from porting.mapping.match import Match
from porting.mapping.recognise import find_match
from porting.mapping.rules import choose_weight_set
from porting.own_module import copied
from porting.sha256 import sha256_of
from porting.sources import Source
from porting.target import with_normalisation

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Subject:
    """A network to compare, and how the source is mapped onto its like.

    ``model`` names the network. ``file`` is None for a module handed over in
    Python; ``sha256`` is the file's. ``notes`` says what was assumed.
    """

    model: str
    network: nn.Module
    match: Match
    file: Path | None = None
    sha256: str | None = None
    notes: tuple[str, ...] = ()


def subject_from_file(
    source: Source,
    file: str | PathLike[str],
    model: str | None = None,
    weights: str | None = None,
    onto: str | None = None,
) -> Subject:
    """A state-dict file in its network.

    The network is ``model``, else the one that the file's card names, else the
    only one that the source fits; ``onto`` (``module:callable``) builds a
    module of somebody's own instead.

    Raises:
        BadInput: no network can be told, or source and network do not fit.
        CheckpointError: the file cannot be read or does not fit its network.
    """
    from genmobilenet.factory import create_model, read_stored

    path = Path(file)
    state, unwrapped = read_stored(path)
    digest = sha256_of(path)
    card = card_beside(path, digest)
    built_by = card.get("onto")
    if built_by is not None and onto is None:
        raise BadInput(
            f"{path}: was ported onto {built_by}, a module of somebody's own; name what builds it "
            "with --onto module:callable"
        )
    model = model or (None if built_by else card.get("model"))
    weights = weights or _listed(card.get("source", {}).get("weight_set"), source)
    if onto is not None:
        from porting.own_module import build_module, fill_module

        network = _in_float32(_on_cpu(build_module(onto)))
        notes = fill_module(network, state, str(path))
        match = _onto(source, network, model, weights)
        return Subject(onto, network, match, path, digest, (*unwrapped, *notes))
    match = _matched(source, model, weights, _classes(state))
    name = model or match.model
    stem = state.get("conv_stem.weight")
    channels = get_config(name).in_chans if stem is None or stem.ndim != 4 else stem.shape[1]
    network = create_model(name, in_chans=channels, checkpoint_path=path)
    match = with_normalisation(match) if network.config.normalises else match
    _check_like(network, match)
    notes = () if model else (f"{name} is the only network that fits the source",)
    notes += _calibration_note(card)
    return Subject(name, network.eval(), match, path, digest, (*unwrapped, *notes))


def subject_from_module(
    source: Source, network: nn.Module, model: str | None = None, weights: str | None = None
) -> Subject:
    """A module as it stands; it is not changed, and where it is not on the CPU a copy is taken.

    Raises:
        BadInput: source and network do not fit.
    """
    import torch

    from genmobilenet.network import GenMobileNet

    if not isinstance(network, torch.nn.Module):
        raise BadInput(f"the model is a {type(network).__name__}; expected a torch.nn.Module")
    notes: tuple[str, ...] = ()
    if isinstance(before := getattr(network, "_orig_mod", None), torch.nn.Module):
        # A copy would run the original all the same, in which no tap is seen.
        network, notes = before, ("judged as it is before torch.compile",)
    network = _in_float32(_on_cpu(network))
    if not isinstance(network, GenMobileNet):
        match = _onto(source, network, model, weights)
        return Subject(type(network).__name__, network, match, notes=notes)
    match = _matched(source, model, weights, network.config.num_classes)
    match = with_normalisation(match) if network.config.normalises else match
    _check_like(network, match)
    return Subject(model or match.model, network, match, notes=notes)


def _on_cpu(network: nn.Module) -> nn.Module:
    """The module, or a copy on the CPU, where the judges' values are."""
    tensors = [*network.parameters(), *network.buffers()]
    elsewhere = next((t.device for t in tensors if t.device.type != "cpu"), None)
    if elsewhere is None:
        return network
    try:
        return copy.deepcopy(network).to("cpu")
    except (NotImplementedError, RuntimeError) as error:
        raise BadInput(
            f"{type(network).__name__}: cannot be copied from the {elsewhere} device: {error}"
        ) from error


def _in_float32(network: nn.Module) -> nn.Module:
    """The module, or a copy in float32, in which it is judged."""
    import torch

    tensors = [*network.parameters(), *network.buffers()]
    if all(t.dtype == torch.float32 for t in tensors if t.is_floating_point()):
        return network
    return copied(network).float()


def _check_like(network: nn.Module, match: Match) -> None:
    """See that a network of this package is one of the source's shapes."""
    expected = layers_of(match.config).shapes()
    found = {key: tuple(values.shape) for key, values in network.state_dict().items()}
    for key in dict.fromkeys([*expected, *found]):
        if expected.get(key) != found.get(key):
            raise BadInput(
                f"the source holds {match.model}, which the network is not: {key} is "
                f"{found.get(key, 'absent')}, expected {expected.get(key, 'none')}"
            )


def _onto(source: Source, module: nn.Module, model: str | None, weights: str | None) -> Match:
    """The source onto a user-defined module.

    Where their structures differ, it is compared as ``model``, or the network that the source
    holds: then the taps show where.
    """
    if source.graph is None:
        return _matched(source, model, weights, None)
    from porting.mapping.match import match_module

    weight_set = choose_weight_set(source, weights)
    first: BadInput | None = None
    for drop in (False, True):
        try:
            return match_module(source, module, type(module).__name__, weight_set, drop)
        except BadInput as error:
            first = first or error
    try:
        return _matched(source, model, weights, None)
    except MappingError:
        assert first is not None  # the loop ran
        raise first from None


def _matched(source: Source, model: str | None, weights: str | None, classes: int | None) -> Match:
    """The source onto the network's TensorFlow form, or onto the plain one if it pads so."""
    form = None if model is None else tensorflow_form(model)
    try:
        match = find_match(source, form, weights)
    except MappingError:
        if model in (None, form) or source.graph is None:
            raise
        form = model
        match = find_match(source, form, weights)
    if classes == 1000 and match.config.num_classes == 1001:
        return find_match(source, form, weights, drop_background=True)
    return match


def _classes(state: dict[str, Tensor]) -> int | None:
    bias = state.get("classifier.bias")
    return None if bias is None else bias.numel()


def _listed(weights: Any, source: Source) -> str | None:
    """The weight set that a card names, where this source has it."""
    return weights if weights in source.weight_sets and len(source.weight_sets) > 1 else None


def _calibration_note(card: dict[str, Any]) -> tuple[str, ...]:
    """That a file's batch norms are not those of the source's plan, as its card has it."""
    found = card.get("calibration")
    if not isinstance(found, dict):
        return ()
    return (f"its batch norms are calibrated on {found.get('images_are')}",)


def card_beside(path: Path, digest: str | None) -> dict[str, Any]:
    """The card beside a ported file, if it is that file's; else nothing."""
    try:
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return dict(card) if card["weights"]["sha256"] == digest else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
