"""What a source is compared with: a ported file, a state dict, or a user-defined module."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from genmobilenet.zoo import get_config, tensorflow_form
from porting.card import Card, read_card
from porting.carry_out import with_normalisation
from porting.errors import BadInput, MappingError
from porting.graph.layers import layers_of
from porting.mapping.match import Match, match_module
from porting.mapping.recognise import find_match
from porting.mapping.rules import choose_weight_set
from porting.own_module import build_module, copied, fill_module
from porting.sha256 import sha256_of
from porting.sources import Source

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Subject:
    """A network to compare, and how the source is mapped onto it.

    ``model`` names the network. ``file`` is None for a module given in Python; ``sha256`` is the
    file's, and ``card`` lies beside it. ``notes`` says what was assumed.
    """

    model: str
    network: nn.Module
    match: Match
    file: Path | None = None
    sha256: str | None = None
    card: Card | None = None
    notes: tuple[str, ...] = ()


def subject_of(
    source: Source,
    model: nn.Module | str | PathLike[str],
    name: str | None = None,
    weights: str | None = None,
) -> Subject:
    """A module, or the file of a state dict, as :func:`porting.compare` takes them.

    Raises:
        BadInput, CheckpointError: as of the two functions below.
    """
    if isinstance(model, (str, PathLike)):
        return subject_from_file(source, model, name, weights)
    return subject_from_module(source, model, name, weights)


def subject_from_file(
    source: Source,
    file: str | PathLike[str],
    model: str | None = None,
    weights: str | None = None,
    onto: str | None = None,
) -> Subject:
    """A state-dict file, loaded into its network.

    The network is ``model``, else the one that the file's card names, else the
    only one that the source fits; ``onto`` (``module:callable``) builds a
    user-defined module instead.

    Raises:
        BadInput: the network is not known, or source and network do not fit, or the card is
            damaged.
        CheckpointError: the file cannot be read or does not fit its network.
    """
    from genmobilenet.factory import create_model, read_stored, strings_in

    path = Path(file)
    state, wrapper_notes = read_stored(path)
    digest = sha256_of(path)
    card = read_card(path, digest)
    if card is not None:
        if card.onto is not None and onto is None:
            raise BadInput(
                f"{path}: was ported onto {card.onto}, a user-defined module; name what builds it "
                "with --onto module:callable"
            )
        model = model or (None if card.onto else card.model)
        if len(source.weight_sets) > 1 and card.source.weight_set in source.weight_sets:
            weights = weights or card.source.weight_set
    if onto is not None:
        network = _judgeable(build_module(onto))
        notes = fill_module(network, state, str(path))
        match = _onto(source, network, model, weights)
        return Subject(onto, network, match, path, digest, card, (*wrapper_notes, *notes))
    model = model or strings_in(state)
    weight = state.get("classifier.weight")
    classes = None if weight is None or weight.ndim == 0 else len(weight)
    match = _matched(source, model, weights, classes)
    name = model or match.model
    stem = state.get("conv_stem.weight")
    channels = get_config(name).in_chans if stem is None or stem.ndim != 4 else stem.shape[1]
    network = create_model(name, in_chans=channels, checkpoint_path=path)
    match = with_normalisation(match) if network.config.normalises else match
    _check_like(network, match)
    notes = () if model else (f"{name} is the only network that fits the source",)
    if card is not None and card.calibration is not None:
        notes += (f"its batch norms are calibrated on {card.calibration.images_are}",)
    return Subject(name, network.eval(), match, path, digest, card, (*wrapper_notes, *notes))


def subject_from_module(
    source: Source, network: nn.Module, model: str | None = None, weights: str | None = None
) -> Subject:
    """A module as it is; where it is not on the CPU or in float32, a copy of it.

    Raises:
        BadInput: source and network do not fit.
    """
    import torch

    from genmobilenet.network import GenMobileNet

    if not isinstance(network, torch.nn.Module):
        raise BadInput(f"the model is a {type(network).__name__}; expected a torch.nn.Module")
    notes: tuple[str, ...] = ()
    if isinstance(before := getattr(network, "_orig_mod", None), torch.nn.Module):
        # A copy of a compiled module runs the original, whose taps are not seen.
        network, notes = before, ("judged as it is before torch.compile",)
    network = _judgeable(network)
    if not isinstance(network, GenMobileNet):
        match = _onto(source, network, model, weights)
        return Subject(type(network).__name__, network, match, notes=notes)
    if model is None and network.config.pool == "none":
        model = network.config.format()
    match = _matched(source, model, weights, network.config.num_classes)
    match = with_normalisation(match) if network.config.normalises else match
    _check_like(network, match)
    return Subject(model or match.model, network, match, notes=notes)


def _judgeable(network: nn.Module) -> nn.Module:
    """The module, or a copy, with its tensors on the CPU and in float32 as those of the judges."""
    import torch

    tensors = [*network.parameters(), *network.buffers()]
    device = next((t.device for t in tensors if t.device.type != "cpu"), None)
    if device is not None:
        try:
            network = copy.deepcopy(network).to("cpu")
        except (NotImplementedError, RuntimeError) as error:
            raise BadInput(
                f"{type(network).__name__}: cannot be copied from the {device} device: {error}"
            ) from error
    if all(t.dtype == torch.float32 for t in tensors if t.is_floating_point()):
        return network
    return copied(network).float()


def _check_like(network: nn.Module, match: Match) -> None:
    """Check that a network of this package has the shapes of the source's network."""
    source_shapes = layers_of(match.config).shapes()
    shapes = {key: tuple(values.shape) for key, values in network.state_dict().items()}
    for key in dict.fromkeys([*source_shapes, *shapes]):
        if source_shapes.get(key) != shapes.get(key):
            raise BadInput(
                f"the source holds {match.model}, which the network is not: {key} is "
                f"{shapes.get(key, 'absent')}, expected {source_shapes.get(key, 'none')}"
            )


def _onto(source: Source, module: nn.Module, model: str | None, weights: str | None) -> Match:
    """Match the source with a user-defined module.

    Where their structures differ, match it with ``model`` or the network that the source holds,
    so that the taps show where they differ.
    """
    if source.graph is None:
        return _matched(source, model, weights, None)
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
    """Match the source with the network's TensorFlow form, or with the plain one if it pads so."""
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
