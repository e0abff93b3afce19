"""What turns pixels into scores: a judge on the source, or a network in its deploy form.

Built anew in each process that evaluates.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from porting.accuracy.evaluation.side import Inputs, Side
from porting.catalog.at_hand import open_published

if TYPE_CHECKING:
    from torch import nn

    from porting.mapping.module_match import ModuleMatch
    from porting.mapping.recognise import Match
    from porting.sources import Source

Predictor = Callable[[np.ndarray, Side], np.ndarray]
"""Pixels (N, H, W, C), 0..255, float32, as a side normalises them -> scores (N, classes), float32.

One serves all sides that run the same.
"""


def predictor_of(inputs: Inputs, side: Side, device: str) -> Predictor:
    """The predictor of a side, and of every other that ``runs`` the same with the same weights.

    Raises:
        BadInput: a file cannot be read, or does not fit.
        MissingJudge: the judge's package is not installed.
    """
    if side.runs == "judge":
        return judge_of(inputs)
    return _on_device(network_of(inputs, side), device)


def judge_of(inputs: Inputs) -> Predictor:
    """The source's judge, asked for its logits alone."""
    from porting.parity.answering import answering

    judge = answering(*_judged(inputs))

    def predict(pixels: np.ndarray, side: Side) -> np.ndarray:
        given = pixels if judge.normalises else _normalised(pixels, side)
        # Some files have the classes as channels of one pixel.
        return np.asarray(judge.logits(given), np.float32).reshape(len(pixels), -1)

    return predict


@lru_cache(maxsize=1)
def _judged(inputs: Inputs) -> tuple[Source, Match | ModuleMatch]:
    from porting.mapping.recognise import find_match
    from porting.subject import subject_from_file

    assert inputs.source is not None  # a judge has one
    source = open_published(inputs.source)
    if inputs.checkpoint is None:
        return source, find_match(source, inputs.model, inputs.weights)
    subject = subject_from_file(
        source, inputs.checkpoint, inputs.model, inputs.weights, inputs.onto
    )
    return source, subject.match


def network_of(inputs: Inputs, side: Side) -> nn.Module:
    """The network of a file, or the one ported anew from the source, as it is."""
    from genmobilenet.factory import build, create_model

    if side.runs == "source":
        from porting.api import port

        assert inputs.source is not None  # as above
        ported = port(inputs.source, inputs.model, weights=side.weights, verify=False)
        assert ported.config is not None  # no module of somebody's own was given
        return build(ported.config, ported.state_dict)
    assert inputs.checkpoint is not None  # as above
    if inputs.onto is not None:
        return _own_module(inputs)
    assert inputs.model is not None  # who made the side looked it up
    return create_model(inputs.model, checkpoint_path=inputs.checkpoint).eval()


def _own_module(inputs: Inputs) -> nn.Module:
    from genmobilenet.factory import read_state_dict
    from porting.own_module import build_module, fill_module

    assert inputs.onto is not None and inputs.checkpoint is not None
    module = build_module(inputs.onto)
    fill_module(module, read_state_dict(inputs.checkpoint), str(inputs.checkpoint))
    return module.eval()


def _on_device(network: nn.Module, device: str) -> Predictor:
    import torch

    fitted = lru_cache(maxsize=1)(partial(_deployed, network, device))

    def predict(pixels: np.ndarray, side: Side) -> np.ndarray:
        # (N, H, W, C) to (N, C, H, W) in channels-last order: a view, no copy.
        given = torch.from_numpy(_normalised(pixels, side)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            scores: Any = fitted(pixels.shape[1:3])(given.to(device))
        return np.asarray(scores.float().cpu().numpy())

    return predict


def _deployed(network: nn.Module, device: str, size: tuple[int, int]) -> nn.Module:
    """A network of this package in its deploy form for images of a size; another as it is."""
    from genmobilenet import deploy
    from genmobilenet.network import GenMobileNet

    if isinstance(network, GenMobileNet):
        network = deploy(network, size)
    return network.to(device)


def _normalised(pixels: np.ndarray, side: Side) -> np.ndarray:
    mean, std = (np.asarray(values, np.float32) for values in (side.mean, side.std))
    return (pixels - mean) / std
