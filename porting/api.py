"""Porting from Python: source in, port with its proof out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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

    from porting.parity.compare import Comparison

Progress = Callable[[int, int], None]
"""Called with the steps done and the steps in all."""


@dataclass(frozen=True, repr=False)
class Port:
    """A source carried over to one network.

    ``comparison`` is the judge's verdict, truthy at parity, and None where
    none was asked for, and ``inputs`` says on what. ``quantised`` is
    the distance to the run with int8 weights, where the source has them; it is
    reported, not judged.
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

    def __repr__(self) -> str:
        # A state dict has millions of numbers; nobody wants them at a prompt.
        verdict = "no judge was run" if self.comparison is None else self.comparison.summary()
        return f"<Port of {self.source.path.name} onto {self.model}: {verdict}>"


def port(
    source: Source | str | PathLike[str],
    model: str | None = None,
    *,
    weights: str | None = None,
    classes: str = "keep",
    verify: bool = True,
    pixels: np.ndarray | None = None,
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
        progress: called with judged inputs and inputs in all.

    A judge that disagrees raises nothing here: ask ``port(...).comparison``.

    Raises:
        BadInput: the source cannot be read, does not fit, or the judge is not installed.
    """
    if classes not in ("keep", "drop-background"):
        raise BadInput(f"classes {classes!r}: expected 'keep' or 'drop-background'")
    opened = source if isinstance(source, Source) else open_source(source)
    match = find_match(opened, model, weights, classes == "drop-background")
    convention = convention_of(opened, match)
    state = carry_out(match.plan, opened, match.config)
    ported = Port(match.model, match.config, opened, match.plan, convention, state)
    if not verify:
        return ported
    from genmobilenet.factory import build
    from porting.parity.inputs import image_stream
    from porting.parity.verify import INPUTS, verify_port

    any_size = opened.graph is None
    images = image_stream(pixels, INPUTS, convention.size, convention.channels, any_size)

    def advance(done: int) -> None:
        if progress is not None and images.total is not None:
            progress(done, images.total)

    network = build(match.config, state)
    verdict = verify_port(opened, match, network, convention, images.plain(), progress=advance)
    return Port(**{**vars(ported), **vars(verdict), "inputs": images.what})
