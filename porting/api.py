"""Porting from Python: source in, port with its proof out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from genmobilenet.config import NetworkConfig
from porting.catalog.local import open_published
from porting.errors import BadInput, BadSource
from porting.mapping.convention import InputConvention, convention_of, parse_affine
from porting.mapping.plan import Plan
from porting.sources import Source
from porting.target import Target, module_target, network_target

if TYPE_CHECKING:
    import torch
    from torch import nn

    from porting.calibration import Calibration
    from porting.parity.compare import Comparison
    from porting.parity.inputs import Images
    from porting.parity.pixel_check import PixelCheck
    from porting.parity.structure_evidence import StructureEvidence

Progress = Callable[[int, int], None]
"""Called with the steps done and the steps in all."""


@dataclass(frozen=True, repr=False)
class Port:
    """A source carried over to one network.

    ``comparison`` is the judge's verdict, truthy at parity, and None where
    none was asked for, and ``inputs`` says on what. ``quantised`` is
    the distance to the run with int8 weights, where the source has them; it is
    reported, not judged. ``pixels`` is the check from pixels through the source
    as it is, None where it has no input of its own. ``basis`` is the evidence for the
    structure that judge and network share. ``calibration`` is set where
    the batch norms were calibrated. ``labels`` names the network's classes in
    order, where the source does. ``config`` is None, and ``onto`` says what was filled, where that
    is a module of somebody's own.
    """

    model: str
    config: NetworkConfig | None
    source: Source
    plan: Plan
    convention: InputConvention
    state_dict: dict[str, torch.Tensor]
    comparison: Comparison | None = None
    quantised: Comparison | None = None
    pixels: PixelCheck | None = None
    basis: StructureEvidence | None = None
    inputs: str | None = None
    calibration: Calibration | None = None
    onto: str | None = None
    labels: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        # A state dict has millions of numbers; nobody wants them at a prompt.
        verdict = "no judge was run" if self.comparison is None else self.comparison.summary()
        return f"<Port of {self.source.name} onto {self.model}: {verdict}>"


def port(  # noqa: PLR0913 - by keyword, each what an option of the command is
    source: Source | str | PathLike[str],
    model: str | None = None,
    *,
    weights: str | None = None,
    classes: str = "keep",
    onto: nn.Module | str | None = None,
    normalisation: str = "strip",
    verify: bool = True,
    pixels: np.ndarray | None = None,
    bn: str = "identity",
    images: Images | None = None,
    mean: float | Sequence[float] | str | None = None,
    std: float | Sequence[float] | str | None = None,
    progress: Progress | None = None,
) -> Port:
    """Port a source onto one of the networks, and have a judge compare the two.

    Args:
        source: a path, or an opened source.
        model: a network's name; by default the only one that fits.
        weights: ``"ema"`` or ``"raw"``; by default the averages where there are any.
        classes: ``"keep"``, or ``"drop-background"`` for class 0 of 1001.
        onto: a module of your own, or ``package.module:callable`` that makes one, to
            fill instead of a network; the module itself stays as it is.
        normalisation: ``"strip"`` for a network that takes normalised input, or
            ``"keep"`` for one that normalises as the source's graph does.
        verify: run the judge (LiteRT, TensorFlow or Keras) on ``pixels``.
        pixels: images (N, H, W, C), 0..255, at least one; by default eight
            photographs and two random images of the source's own size.
        bn: what becomes of batch norms that the source has folded: ``"identity"``,
            or ``"calibrate"`` for the statistics of ``images``, the function
            being the same. The port is then trainable.
        images: a folder, an array (N, H, W, C) or arrays (H, W, C), values
            0..255, to calibrate on.
        mean, std: how RGB pixels 0..255 become what the network's first layer
            takes, where the file does not say it: ``(x - mean) / std``, one
            number or one a channel.
        progress: called with inputs done and inputs in all; first with those
            calibrated on, then with those judged.

    A judge that disagrees raises nothing here: ask ``port(...).comparison``.

    Raises:
        BadInput: the source cannot be read, does not fit, contradicts ``mean`` and ``std``, or
            the judge is not installed.
    """
    _check_choices(classes, normalisation, bn, images)
    opened = source if isinstance(source, Source) else open_published(source)
    drop = classes == "drop-background"
    target = _target_of(opened, model, onto, weights, drop, normalisation, bn)
    convention = convention_of(opened, target.match, parse_affine(mean, std))
    ported = _labelled(_carried(opened, target, convention, onto), first_class=int(drop))
    if images is not None:
        ported = _calibrated(ported, images, progress)
    return _judged(ported, target, convention, pixels, progress) if verify else ported


def _target_of(
    source: Source, model: str | None, onto: nn.Module | str | None, weights: str | None,
    drop_background: bool, normalisation: str, bn: str,
) -> Target:  # fmt: skip
    if onto is None:
        return network_target(source, model, weights, drop_background, normalisation == "keep")
    _check_onto(model, normalisation, bn)
    return module_target(source, onto, weights, drop_background)


def _carried(
    source: Source, target: Target, convention: InputConvention, onto: nn.Module | str | None
) -> Port:
    """The port as the plan says; ``convention`` is the source's."""
    match = target.match
    state = target.state_dict(source, convention)
    taken = convention.taken_in() if match.normalises else convention
    named = onto if onto is None or isinstance(onto, str) else type(onto).__qualname__
    return Port(match.model, target.config, source, match.plan, taken, state, onto=named)


def _labelled(ported: Port, first_class: int) -> Port:
    """The port with its classes' names; a note where those of the source cannot be its."""
    plan, classes = ported.plan, ported.convention.classes
    try:
        labels = ported.source.labels
    except BadSource as error:
        return replace(ported, plan=plan.noted(f"its labels are not taken: {error}"))
    if labels is None:
        return ported
    if len(labels) - first_class != classes:
        note = f"its {len(labels)} labels are not taken: there are {classes} classes"
        return replace(ported, plan=plan.noted(note))
    return replace(ported, labels=labels[first_class:])


def _judged(
    ported: Port, target: Target, convention: InputConvention, pixels: np.ndarray | None,
    progress: Progress | None,
) -> Port:  # fmt: skip
    """The port with its judge's verdict; ``convention`` is the source's."""
    from porting.parity.inputs import INPUTS, image_stream
    from porting.parity.verify import verify_port

    source = ported.source
    any_size = source.graph is None
    judged = image_stream(pixels, INPUTS, convention.size, convention.channels, any_size)
    verdict = verify_port(
        source, target.match, target.network(ported.state_dict), convention, judged.plain(),
        details=False, progress=_advance(progress, judged.total),
    )  # fmt: skip
    return Port(**{**vars(ported), **vars(verdict), "inputs": judged.what})


def _advance(progress: Progress | None, total: int | None) -> Callable[[int], None]:
    """The progress of a run over images, where anybody watches and knows how many there are."""

    def advance(done: int) -> None:
        if progress is not None and total is not None:
            progress(done, total)

    return advance


def _check_choices(classes: str, normalisation: str, bn: str, images: Images | None) -> None:
    for what, value, choices in (
        ("classes", classes, ("keep", "drop-background")),
        ("normalisation", normalisation, ("strip", "keep")),
        ("bn", bn, ("identity", "calibrate")),
    ):
        if value not in choices:
            raise BadInput(f"{what} {value!r}: expected {' or '.join(map(repr, choices))}")
    if bn == "calibrate" and images is None:
        raise BadInput("bn 'calibrate' measures on images and needs them: --images DIR")
    if bn == "identity" and images is not None:
        raise BadInput("images are for calibrating batch norms alone: --bn calibrate uses them")


def _check_onto(model: str | None, normalisation: str, bn: str) -> None:
    """A module of one's own is what it is: nothing of it can be chosen."""
    for given, option in (
        (model is not None, "--model"),
        (normalisation != "strip", "--normalisation keep"),
        (bn != "identity", "--bn calibrate"),
    ):
        if given:
            raise BadInput(
                f"{option} is for the networks of this package; leave it out with --onto"
            )


def _calibrated(ported: Port, images: Images, progress: Progress | None) -> Port:
    from porting.calibration import calibrate, check_folded
    from porting.parity.inputs import image_stream

    assert ported.config is not None  # _check_onto refused the rest
    check_folded(ported.plan, ported.source.path)
    convention = ported.convention
    stream = image_stream(images, 0, convention.size, convention.channels)
    plan, state, calibration = calibrate(
        ported.plan, ported.state_dict, ported.config, convention, stream,
        _advance(progress, stream.total),
    )  # fmt: skip
    return replace(ported, plan=plan, state_dict=state, calibration=calibration)
