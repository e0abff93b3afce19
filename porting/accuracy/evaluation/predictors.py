"""The sides of an evaluation: the source's judge, and networks in their deploy form.

A side is plain data; its predictor is built anew in each process that evaluates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from porting.catalog.local import open_published
from porting.mapping.families import Affine

if TYPE_CHECKING:
    from torch import nn

    from porting.mapping.match import Match
    from porting.sources import Source
    from porting.subject import Subject

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
    signature: str | None = None


@dataclass(frozen=True)
class Side:
    """A judge or a network, and the pixels that it is given.

    ``pipeline`` is the text of its preprocessing, ``mean`` and
    ``std`` are of those (a channel each); a judge's lead to what the source's own input
    stands for. ``background`` is 1 where the first of its classes is none of
    the data set's. ``weights`` is the source's weight set for what is ported anew.
    Sides that differ in their name alone are equal: they answer the same.
    """

    name: str = field(compare=False)
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


Predictor = Callable[[np.ndarray, Side], np.ndarray]
"""Pixels (N, H, W, C), 0..255, float32, as a side normalises them -> scores (N, classes), float32.

One serves all sides that run the same.
"""


class Files:
    """The files of an evaluation, each read once a process.

    Raises, of each:
        BadInput: it cannot be read, or does not fit.
    """

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs

    @cached_property
    def source(self) -> Source:
        """The source, which must be given."""
        assert self.inputs.source is not None
        return open_published(self.inputs.source, self.inputs.signature)

    @cached_property
    def subject(self) -> Subject:
        """The network of the checkpoint, and how the source is mapped onto its like."""
        from porting.subject import subject_from_file

        inputs = self.inputs
        assert inputs.checkpoint is not None  # callers check
        return subject_from_file(
            self.source, inputs.checkpoint, inputs.model, inputs.weights, inputs.onto
        )


def predictor_of(files: Files, side: Side, device: str) -> Predictor:
    """The predictor of a side, and of every other that ``runs`` the same with the same weights.

    Raises:
        BadInput: a file cannot be read, or does not fit.
        MissingJudge: the judge's package is not installed.
    """
    if side.runs == "judge":
        return judge_of(files)
    import torch

    from genmobilenet import deploy
    from genmobilenet.network import GenMobileNet

    network = network_of(files, side)

    @lru_cache(maxsize=1)
    def network_for(size: tuple[int, int]) -> nn.Module:
        """A network of this package in its deploy form for images of a size; another as it is."""
        runnable = deploy(network, size) if isinstance(network, GenMobileNet) else network
        return runnable.to(device)

    def predict(pixels: np.ndarray, side: Side) -> np.ndarray:
        # (N, H, W, C) to (N, C, H, W) in channels-last order: a view, no copy.
        inputs = torch.from_numpy(normalised(pixels, side)).permute(0, 3, 1, 2)
        with torch.inference_mode(), _exact():
            scores: Any = network_for(pixels.shape[1:3])(inputs.to(device))
        return np.asarray(scores.float().cpu().numpy())

    return predict


@contextmanager
def _exact() -> Iterator[None]:
    """On a GPU, sum in float32 and in the same order each time, which is not cuDNN's default."""
    from torch.backends import cuda, cudnn

    allow_tf32, cuda.matmul.allow_tf32 = cuda.matmul.allow_tf32, False
    try:
        with cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            yield
    finally:
        cuda.matmul.allow_tf32 = allow_tf32


def judge_of(files: Files, in_float: bool = False) -> Predictor:
    """The source's judge, asked for its logits alone; of a TFLite file ``in_float`` on request."""
    from porting.mapping.recognise import find_match
    from porting.parity.judge_set import logits_judge

    inputs, source = files.inputs, files.source
    if inputs.checkpoint is None:
        match: Match = find_match(source, inputs.model, inputs.weights)
    else:
        match = files.subject.match
    judge = logits_judge(source, match, in_float)

    def predict(pixels: np.ndarray, side: Side) -> np.ndarray:
        # Some files have the classes as channels of one pixel.
        logits = judge(normalised(pixels, side))
        return np.asarray(logits, np.float32).reshape(len(pixels), -1)

    return predict


def network_of(files: Files, side: Side) -> nn.Module:
    """The network of the checkpoint, or the one ported anew from the source; not in deploy form."""
    from genmobilenet.factory import build, create_model

    inputs = files.inputs
    if side.runs == "source":
        from porting.api import port

        result = port(files.source, inputs.model, weights=side.weights, verify=False)
        assert result.config is not None  # no user-defined module was given
        return build(result.config, result.state_dict)
    if inputs.source is not None:
        return files.subject.network.eval()
    assert inputs.model is not None  # sides of a checkpoint have it
    return create_model(inputs.model, checkpoint_path=inputs.checkpoint).eval()


def normalised(pixels: np.ndarray, side: Side) -> np.ndarray:
    """Pixels (N, H, W, C) as a side's network or judge takes them, float32."""
    rows = pixels.reshape(*pixels.shape[:2], -1)
    # Along whole rows, an image at a time: over three channels numpy takes three times as long.
    mean, std = (
        np.tile(np.broadcast_to(np.asarray(values, np.float32), pixels.shape[3:]), pixels.shape[2])
        for values in (side.mean, side.std)
    )
    result = np.empty(rows.shape, np.float32)
    for image, out in zip(rows, result, strict=True):
        np.divide(np.subtract(image, mean, out=out), std, out=out)
    return result.reshape(pixels.shape)
