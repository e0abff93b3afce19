"""Porting from Python: source in, port with its proof out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from genmobilenet.config import NetworkConfig
from porting.carry_out import carry_out
from porting.errors import BadInput
from porting.mapping.convention import InputConvention, convention_of
from porting.mapping.plan import Plan
from porting.mapping.recognise import find_match
from porting.sources import Source, open_source

if TYPE_CHECKING:
    import torch

    from porting.calibration.calibrate import Calibration
    from porting.parity.compare import Comparison
    from porting.parity.inputs import Images

Progress = Callable[[int, int], None]
"""Called with the steps done and the steps in all."""


@dataclass(frozen=True, repr=False)
class Port:
    """A source carried over to one network.

    ``comparison`` is the judge's verdict, truthy at parity, and None where
    none was asked for, and ``inputs`` says on what. ``quantised`` is
    the distance to the run with int8 weights, where the source has them; it is
    reported, not judged. ``calibration`` is set where the batch norms were
    calibrated.
    """

    model: str
    config: NetworkConfig
    source: Source
    plan: Plan
    convention: InputConvention
    state_dict: dict[str, torch.Tensor]
    comparison: Comparison | None = None
    quantised: Comparison | None = None
    inputs: str | None = None
    calibration: Calibration | None = None

    def __repr__(self) -> str:
        # A state dict has millions of numbers; nobody wants them at a prompt.
        verdict = "no judge was run" if self.comparison is None else self.comparison.summary()
        return f"<Port of {self.source.path.name} onto {self.model}: {verdict}>"


def port(  # noqa: PLR0913
    source: Source | str | PathLike[str],
    model: str | None = None,
    *,
    weights: str | None = None,
    classes: str = "keep",
    verify: bool = True,
    pixels: np.ndarray | None = None,
    bn: str = "identity",
    images: Images | None = None,
    progress: Progress | None = None,
) -> Port:
    """Port a source onto one of the networks, and have a judge compare the two.

    Args:
        source: a path, or an opened source.
        model: a network's name; by default the only one that fits.
        weights: ``"ema"`` or ``"raw"``; by default the averages where there are any.
        classes: ``"keep"``, or ``"drop-background"`` for class 0 of 1001.
        verify: run the judge (LiteRT, TensorFlow or Keras) on ``pixels``.
        pixels: images (N, H, W, C), 0..255, at least one; by default four
            seeded ones of the source's own size.
        bn: what becomes of batch norms that the source has folded: ``"identity"``,
            or ``"calibrate"`` for the statistics of ``images``, the function
            being the same. The port is then trainable.
        images: a folder, an array (N, H, W, C) or arrays (H, W, C), values
            0..255, to calibrate on.
        progress: called with inputs done and inputs in all; first with those
            calibrated on, then with those judged.

    A judge that disagrees raises nothing here: ask ``port(...).comparison``.

    Raises:
        BadInput: the source cannot be read, does not fit, or the judge is not installed.
    """
    if classes not in ("keep", "drop-background"):
        raise BadInput(f"classes {classes!r}: expected 'keep' or 'drop-background'")
    _check_norms(bn, images)
    opened = source if isinstance(source, Source) else open_source(source)
    match = find_match(opened, model, weights, classes == "drop-background")
    convention = convention_of(opened, match)
    state = carry_out(match.plan, opened, match.config)
    ported = Port(match.model, match.config, opened, match.plan, convention, state)
    if images is not None:
        ported = _calibrated(ported, images, progress)
    if not verify:
        return ported
    from genmobilenet.factory import build
    from porting.parity.inputs import image_stream
    from porting.parity.verify import INPUTS, verify_port

    any_size = opened.graph is None
    judged = image_stream(pixels, INPUTS, convention.size, convention.channels, any_size)
    advance = _advance(progress, judged.total)
    network = build(match.config, ported.state_dict)
    verdict = verify_port(opened, match, network, convention, judged.plain(), progress=advance)
    return Port(**{**vars(ported), **vars(verdict), "inputs": judged.what})


def _advance(progress: Progress | None, total: int | None) -> Callable[[int], None]:
    """The progress of a run over images, where anybody watches and knows how many there are."""

    def advance(done: int) -> None:
        if progress is not None and total is not None:
            progress(done, total)

    return advance


def _check_norms(bn: str, images: Images | None) -> None:
    if bn not in ("identity", "calibrate"):
        raise BadInput(f"bn {bn!r}: expected 'identity' or 'calibrate'")
    if bn == "calibrate" and images is None:
        raise BadInput("bn 'calibrate' measures on images and needs them: --images DIR")
    if bn == "identity" and images is not None:
        raise BadInput("images are for calibrating batch norms alone: --bn calibrate uses them")


def _calibrated(ported: Port, images: Images, progress: Progress | None) -> Port:
    from porting.calibration.calibrate import calibrate, check_folded
    from porting.parity.inputs import image_stream

    check_folded(ported.plan, ported.source.path)
    convention = ported.convention
    stream = image_stream(images, 0, convention.size, convention.channels)
    plan, state, calibration = calibrate(
        ported.plan, ported.state_dict, ported.config, convention, stream,
        _advance(progress, stream.total),
    )  # fmt: skip
    return replace(ported, plan=plan, state_dict=state, calibration=calibration)
