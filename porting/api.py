"""Porting from Python: :func:`port` takes a source and returns a state dict with its proof."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from genmobilenet.config import NetworkConfig
from porting.carry_out import module_target, network_target
from porting.catalog.local import open_published
from porting.errors import BadInput, BadSource
from porting.mapping.input_spec import InputConvention, convention_of, parse_affine
from porting.mapping.plan import Plan
from porting.sources import Source

if TYPE_CHECKING:
    import torch
    from torch import nn

    from porting.card import Calibration
    from porting.parity.compare import Comparison
    from porting.parity.inputs import Images
    from porting.parity.pixel_check import PixelCheck
    from porting.parity.structure_evidence import StructureEvidence

Progress = Callable[[int, int], None]
"""Called with the number of steps done and their total."""


@dataclass(frozen=True, repr=False)
class Port:
    """The state dict of one network, filled from a source.

    ``comparison`` is the judge's verdict, truthy at parity, or None without one, and ``inputs``
    says on which images it was given. ``quantised`` is the distance to the run with int8 weights,
    where the source has them; it is reported, not judged. ``pixels`` is the check from pixels
    through the source as it is, None where it has no input of its own. ``basis`` is the evidence
    for the structure that judge and network share. ``calibration`` is set where the batch norms
    were calibrated. ``labels`` names the network's classes in order, where the source does. For a
    user-defined module ``config`` is None, and ``onto`` names the module.
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
        # Without the state dict: it has millions of numbers.
        verdict = "no judge was run" if self.comparison is None else self.comparison.summary()
        return f"<Port of {self.source.name} onto {self.model}: {verdict}>"


def port(  # noqa: PLR0913 - by keyword, each what an option of the command is
    source: Source | str | PathLike[str],
    model: str | None = None,
    *,
    weights: str | None = None,
    classes: str = "keep",
    backbone: bool = False,
    onto: nn.Module | str | None = None,
    normalisation: str = "strip",
    verify: bool = True,
    pixels: np.ndarray | None = None,
    bn: str = "identity",
    images: Images | None = None,
    mean: float | Sequence[float] | str | None = None,
    std: float | Sequence[float] | str | None = None,
    signature: str | None = None,
    progress: Progress | None = None,
) -> Port:
    """Port a source onto one of the networks, and have a judge compare the two.

    Args:
        source: a path, or an opened source.
        model: a network's name; by default the only one that fits.
        weights: ``"ema"`` or ``"raw"``; by default the averages where there are any.
        classes: ``"keep"``, or ``"drop-background"`` to drop class 0 of 1001.
        backbone: port the longest part of the graph, from its input, that is a mobile network, as
            of a detector; the network gives the features behind its last block.
        onto: a module of your own, or ``package.module:callable`` that builds one, to
            fill instead of a network; the module itself is not changed.
        normalisation: ``"strip"`` for a network that takes normalised input, or
            ``"keep"`` for one that normalises as the source's graph does.
        verify: run the judge (LiteRT, TensorFlow or Keras) on ``pixels``.
        pixels: images (N, H, W, C), 0..255, at least one; by default eight
            photographs and two random images of the source's own size.
        bn: how to fill batch norms that the source has folded: as an ``"identity"``,
            or ``"calibrate"`` with the statistics of ``images``, which leaves the function
            the same and makes the port trainable.
        images: a folder, an array (N, H, W, C) or arrays (H, W, C), values
            0..255, to calibrate on.
        mean, std: how RGB pixels 0..255 become what the network's first layer
            takes, where the file does not say it: ``(x - mean) / std``, one
            number or one a channel.
        signature: of the signatures of a SavedModel or a TFLite file that is given as a
            path, the one to port; by default ``serving_default``, else the only one.
        progress: called with the number of inputs done and their total; first while
            calibrating, then while judging.

    A judge that disagrees raises nothing here: see ``port(...).comparison``.

    Raises:
        BadInput: the source cannot be read, does not fit, contradicts ``mean`` and ``std``, or
            the judge is not installed.
    """
    _check_options(model, classes, backbone, onto, normalisation, bn, images)
    source = source if isinstance(source, Source) else open_published(source, signature)
    drop_background = classes == "drop-background"
    if onto is None:
        target = network_target(
            source, model, weights, drop_background, normalisation == "keep", backbone
        )
    else:
        target = module_target(source, onto, weights, drop_background)
    match = target.match
    convention = convention_of(source, match, parse_affine(mean, std))
    result = Port(
        match.model, target.config, source, match.plan,
        convention.taken_in() if match.normalises else convention,
        target.state_dict(source, convention),
        onto=onto if onto is None or isinstance(onto, str) else type(onto).__qualname__,
    )  # fmt: skip
    result = _with_labels(result, first_class=int(drop_background))
    if images is not None:
        result = _calibrated(result, images, progress)
    if not verify:
        return result
    from porting.parity.inputs import INPUTS, image_stream
    from porting.parity.verify import verify_port

    any_size = source.graph is None
    stream = image_stream(pixels, INPUTS, convention.size, convention.channels, any_size)
    verdict = verify_port(
        source, match, target.network(result.state_dict), convention, stream.plain(),
        details=False, progress=_advance(progress, stream.total),
    )  # fmt: skip
    return replace(
        result, comparison=verdict.comparison, quantised=verdict.quantised, pixels=verdict.pixels,
        basis=verdict.basis, inputs=stream.what,
    )  # fmt: skip


def _check_options(
    model: str | None, classes: str, backbone: bool, onto: nn.Module | str | None,
    normalisation: str, bn: str, images: Images | None,
) -> None:  # fmt: skip
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
    if backbone and (model is not None or classes != "keep"):
        raise BadInput(
            "--backbone finds the network itself, which has no classes: leave out --model and "
            "--classes"
        )
    if onto is None:
        return
    for conflicts, option in (
        (model is not None, "--model"),
        (backbone, "--backbone"),
        (normalisation != "strip", "--normalisation keep"),
        (bn != "identity", "--bn calibrate"),
    ):
        if conflicts:
            raise BadInput(
                f"{option} is for the networks of this package; leave it out with --onto"
            )


def _with_labels(result: Port, first_class: int) -> Port:
    """The port with its classes' names, or with a note why those of the source do not fit."""
    plan, classes = result.plan, result.convention.classes
    try:
        labels = result.source.labels
    except BadSource as error:
        return replace(result, plan=plan.noted(f"its labels are not taken: {error}"))
    if labels is None:
        return result
    if len(labels) - first_class != classes:
        note = f"its {len(labels)} labels are not taken: there are {classes} classes"
        return replace(result, plan=plan.noted(note))
    return replace(result, labels=labels[first_class:])


def _calibrated(result: Port, images: Images, progress: Progress | None) -> Port:
    from porting.calibration import calibrate, check_folded
    from porting.parity.inputs import image_stream

    assert result.config is not None  # _check_options refused the rest
    check_folded(result.plan, result.source.path)
    convention = result.convention
    stream = image_stream(images, 0, convention.size, convention.channels)
    plan, state, calibration = calibrate(
        result.plan, result.state_dict, result.config, convention, stream,
        _advance(progress, stream.total),
    )  # fmt: skip
    return replace(result, plan=plan, state_dict=state, calibration=calibration)


def _advance(progress: Progress | None, total: int | None) -> Callable[[int], None]:
    """Report the number of images done with their total, where that is known."""

    def advance(count: int) -> None:
        if progress is not None and total is not None:
            progress(count, total)

    return advance
