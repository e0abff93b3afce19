"""A judge's verdict on a port."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from genmobilenet.config import NetworkConfig
from porting.judges.run import Run
from porting.mapping.convention import InputConvention
from porting.mapping.recognise import Match
from porting.parity.compare import Comparer, Comparison
from porting.sources import Source
from porting.sources.checkpoint import CheckpointSource
from porting.sources.tflite import TFLiteSource

if TYPE_CHECKING:
    import torch

    from genmobilenet.network import GenMobileNet

INPUTS = 4
"""Inputs of a verification where none are given."""

INPUT_TAP = "input"
"""The judge's tap for what the network proper gets, behind any normalisation."""

Judge = Callable[[np.ndarray], Run]
"""Inputs (N, H, W, C) to a run of every tap."""

StateDict = Mapping[str, "torch.Tensor"]


@dataclass(frozen=True)
class Verdict:
    """What the judge says.

    ``comparison`` decides. ``quantised`` is set where the source computes with
    int8 weights: the distance to that run, which is reported and not judged.
    """

    comparison: Comparison
    quantised: Comparison | None = None


@dataclass(frozen=True)
class Panel:
    """The judges of one source, the deciding one first, and their names for the taps."""

    judges: tuple[Judge, ...]
    names: Mapping[str, str]


def verify_port(
    source: Source,
    match: Match,
    state: StateDict,
    convention: InputConvention,
    pixels: np.ndarray,
    progress: Callable[[int, int], None] | None = None,
) -> Verdict:
    """Run judge and port on pixels (N, H, W, C) 0..255 and compare every tap.

    Raises:
        MissingJudge: the judge's package is not installed.
    """
    panel = _panel(source, match)
    comparers = [Comparer(panel.names) for _ in panel.judges]
    model, exact = _both_precisions(match.config, state)
    inputs = _judge_inputs(match, convention, pixels)
    runs: list[Run] = []
    for done, image in enumerate(inputs, start=1):
        runs = [judge(image[None]) for judge in panel.judges]
        given = runs[0].taps.get(INPUT_TAP, image[None])
        port = _port_runs(model, exact, given, panel.names)
        for comparer, run in zip(comparers, runs, strict=True):
            comparer.add(_kept_classes(run.taps, match), *port)
        if progress is not None:
            progress(done, len(inputs))
    comparisons = [c.finish(r.judge, r.version) for c, r in zip(comparers, runs, strict=True)]
    return Verdict(*comparisons)


def _panel(source: Source, match: Match) -> Panel:
    if isinstance(source, TFLiteSource):
        return _litert_panel(source, match)
    if isinstance(source, CheckpointSource):
        return _tensorflow_panel(source, match)
    raise TypeError(f"no judge for a {source.format} source")


def _litert_panel(source: TFLiteSource, match: Match) -> Panel:
    from porting.judges.litert import LiteRTJudge

    assert match.alignment is not None  # a TFLite file is always matched by its graph
    names = dict(match.alignment.taps)
    asked = dict(names)
    if match.alignment.normalisation:
        asked[INPUT_TAP] = match.alignment.data
    judges = [LiteRTJudge(source)]
    if source.quantised_weights:
        judges.insert(0, LiteRTJudge(source, in_float=True))
    return Panel(tuple(partial(judge.run, taps=asked) for judge in judges), names)


def _tensorflow_panel(source: CheckpointSource, match: Match) -> Panel:
    from porting.judges.reference.naming import detect_scheme
    from porting.judges.tensorflow import TensorFlowJudge

    scheme, root = detect_scheme(source.tensors)
    judge = TensorFlowJudge(source.prefix, match.config, scheme, root, match.plan.weight_set)
    names = judge.tap_names
    return Panel((partial(judge.run, taps=names),), names)


def _both_precisions(config: NetworkConfig, state: StateDict) -> tuple[GenMobileNet, GenMobileNet]:
    """The port in float32 and in float64."""
    import torch

    from genmobilenet.network import GenMobileNet

    with torch.device("meta"):
        model = GenMobileNet(config)
    model.load_state_dict(state, assign=True)
    return model.eval(), copy.deepcopy(model).double().eval()


def _port_runs(
    model: GenMobileNet, exact: GenMobileNet, inputs: np.ndarray, taps: Mapping[str, str]
) -> tuple[dict[str, np.ndarray], ...]:
    """The port's runs that a comparison takes: as it is, in float64, summed one by one."""
    from porting.parity.taps import run_network

    return (
        run_network(model, inputs, taps),
        run_network(exact, inputs, taps),
        run_network(model, inputs, taps, one_by_one=True),
    )


def _judge_inputs(match: Match, convention: InputConvention, pixels: np.ndarray) -> np.ndarray:
    """What the judge is given: plain pixels where it normalises them itself."""
    if match.alignment is not None and match.alignment.normalisation:
        return pixels.astype(np.float32)
    return convention.normalise(pixels)


def _kept_classes(taps: Mapping[str, np.ndarray], match: Match) -> Mapping[str, np.ndarray]:
    """The judge's taps with the background class dropped where the port drops it."""
    first = max(fill.first_row for fill in match.plan.fills)
    if not first:
        return taps
    logits = taps["classifier"]
    return {**taps, "classifier": logits[..., first:]}
