"""A source's judge where its logits alone are needed, as for accuracy, and no taps before them."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable

import numpy as np

from porting.errors import MissingJudge
from porting.mapping.match import Match
from porting.parity.judge_set import judges_of
from porting.parity.tap_names import CLASSIFIER
from porting.sources import Source
from porting.sources.keras import KerasSource
from porting.sources.tflite import TFLiteSource

Logits = Callable[[np.ndarray], np.ndarray]
"""What a source's own input stands for, (N, H, W, C), to logits: all classes, those that a port
drops too."""


def logits_judge(source: Source, match: Match, in_float: bool = False) -> Logits:
    """The judge of :func:`judges_of` that runs the source as it is, as fast as possible.

    With ``in_float`` it runs a TFLite file with everything in float32.

    Raises:
        MissingJudge: the judge's package is not installed.
        UnsupportedSource: with ``in_float``, the file has no counterpart in float32.
    """
    if not isinstance(source, TFLiteSource):
        judge = judges_of(source, match).with_one_tap(CLASSIFIER)
        return lambda inputs: judge.run(inputs).taps[CLASSIFIER]
    from porting.judges.litert import LiteRTJudge

    tensors = {CLASSIFIER: dict(match.taps)[CLASSIFIER]}
    runner = LiteRTJudge(source, in_float, only=tensors[CLASSIFIER])
    return lambda inputs: runner.run(inputs, tensors).taps[CLASSIFIER]


def judge_label(source: Source) -> str:
    """Name and version of a source's judge, without starting it.

    Raises:
        MissingJudge: the judge's package is not installed.
    """
    if isinstance(source, TFLiteSource):
        from porting.judges.litert import installed_runtime

        return installed_runtime()
    package = "keras" if isinstance(source, KerasSource) else "tensorflow"
    name = {"keras": "Keras", "tensorflow": "TensorFlow"}[package]
    precision = " in float32" if isinstance(source, KerasSource) and source.dtype_policies else ""
    try:
        return f"{name} {importlib.metadata.version(package)}{precision}"
    except importlib.metadata.PackageNotFoundError:
        raise MissingJudge(
            f"the judge of {source.path} is {name}, which is not installed: "
            "pip install 'genmobilenet[tensorflow]', or leave --source out"
        ) from None
