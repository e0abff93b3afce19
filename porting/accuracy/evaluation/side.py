"""What answers in an evaluation: a judge or a network, and the pixels that it is given."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from porting.mapping.families import Affine

Runs = Literal["judge", "checkpoint", "source"]
"""The source's judge; the file of a network; the network ported anew from the source."""


@dataclass(frozen=True)
class Inputs:
    """The files of an evaluation, and how they are to be read; one of the two may be None.

    ``normalisation`` is the user's mean and deviation of pixels 0..255, where stated.
    """

    source: Path | None
    checkpoint: Path | None
    model: str | None = None
    weights: str | None = None
    onto: str | None = None
    normalisation: Affine | None = None


@dataclass(frozen=True)
class Side:
    """One that answers.

    ``pipeline`` is the text of what makes pixels of an image, ``mean`` and
    ``std`` are of those (a channel each); a judge's lead to what the source's own input
    stands for. ``background`` is 1 where the first of its classes is none of
    the data set's. ``weights`` is the source's weight set for what is ported anew.
    """

    name: str
    runs: Runs
    pipeline: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    background: int
    weights: str | None = None

    @property
    def on_device(self) -> bool:
        """Whether it can run on a GPU: a network of PyTorch's; a judge keeps to the CPU."""
        return self.runs != "judge"

    def to_json(self) -> dict[str, Any]:
        """Plain data for the journal and the report."""
        return asdict(self)
