"""A judge's verdict on a port."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from genmobilenet.config import NetworkConfig
from porting.judges.litert import LiteRTJudge
from porting.judges.run import Run
from porting.judges.tensorflow import TensorFlowJudge
from porting.mapping.convention import InputConvention
from porting.mapping.recognise import Match
from porting.parity.compare import Comparer, Comparison
from porting.sources.checkpoint import CheckpointSource
from porting.sources.source import Source
from porting.sources.tflite import TFLiteSource

INPUTS = 4
"""Inputs of a verification where none are given."""

INPUT_TAP = "input"
"""The judge's tap for what the network proper gets, behind any normalisation."""

Judge = Callable[[np.ndarray], Run]


@dataclass(frozen=True)
class Verdict:
    """``comparison`` decides. ``quantised`` is set where the source computes
    with int8 weights: the distance to that run, which is reported, not judged."""

    comparison: Comparison
    quantised: Comparison | None = None


def verify_port(
    source: Source,
    match: Match,
    state: dict,  # type: ignore[type-arg]  # str -> torch.Tensor; torch is not imported here
    convention: InputConvention,
    pixels: np.ndarray,
    progress: Callable[[int, int], None] | None = None,
) -> Verdict:
    """Run judge and port on pixels (N, H, W, C) 0..255 and compare every tap.

    Raises:
        MissingJudge: the judge's package is not installed.
    """
    judges = _judges(source, match)
    names = _names(source, match)
    comparers = [Comparer(names) for _ in judges]
    models = _both_precisions(match.config, state)
    inputs = _judge_inputs(match, convention, pixels)
    last: list[Run] = []
    for done, image in enumerate(inputs, start=1):
        last = [judge(image[None]) for judge in judges]
        given = last[0].taps.get(INPUT_TAP, image[None])
        runs = [_run(model, given, names) for model in models]
        for comparer, run in zip(comparers, last, strict=True):
            comparer.add(_rows(run.taps, match), *runs)
        if progress is not None:
            progress(done, len(inputs))
    comparisons = [c.finish(r.judge, r.version) for c, r in zip(comparers, last, strict=True)]
    return Verdict(comparisons[0], *comparisons[1:])


def _both_precisions(config: NetworkConfig, state: dict):  # type: ignore
    import torch

    from genmobilenet.network import GenMobileNet

    with torch.device("meta"):
        model = GenMobileNet(config)
    model.load_state_dict(state, assign=True)
    return model.eval(), copy.deepcopy(model).double().eval()


def _run(model, inputs: np.ndarray, names: dict[str, str]) -> dict[str, np.ndarray]:  # type: ignore
    from porting.parity.taps import run_network

    return run_network(model, inputs, names)


def _names(source: Source, match: Match) -> dict[str, str]:
    """What the judge calls each tap."""
    if match.alignment is not None:
        return dict(match.alignment.taps)
    return TensorFlowJudge.names(match.config)


def _judges(source: Source, match: Match) -> list[Judge]:
    """The judge that decides, first; then the quantised run, where there is one."""
    if isinstance(source, TFLiteSource):
        assert match.alignment is not None  # a TFLite file is always matched by its graph
        taps = dict(match.alignment.taps)
        if match.alignment.normalisation:
            taps[INPUT_TAP] = match.alignment.data
        hybrid = source.quantised_weights
        judges = [LiteRTJudge(source, dequantised=True)] if hybrid else []
        judges.append(LiteRTJudge(source))
        return [lambda inputs, judge=judge: judge.run(inputs, taps) for judge in judges]
    assert isinstance(source, CheckpointSource)
    judge = TensorFlowJudge(source.prefix, match.config, match.plan.weight_set)
    return [judge.run]


def _judge_inputs(match: Match, convention: InputConvention, pixels: np.ndarray) -> np.ndarray:
    """What the judge is given: pixels where it normalises them itself."""
    if match.alignment is not None and match.alignment.normalisation:
        return pixels.astype(np.float32)
    return convention.normalise(pixels)


def _rows(taps, match: Match):  # type: ignore
    """The judge's taps with the background class dropped where the port drops it."""
    first = max(fill.first_row for fill in match.plan.fills)
    if not first:
        return taps
    return {**taps, "classifier": taps["classifier"][:, first:]}
