"""The card of a port: what it was made from, how, and what the judge said."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import TYPE_CHECKING, Any

from porting.api import Port
from porting.catalog.at_hand import published_as
from porting.places import origin
from porting.sources import Source

if TYPE_CHECKING:
    from porting.parity.compare import TapResult

CARD_VERSION = 1
PACKAGE = "genmobilenet"


def card_of(port: Port, name: str, digest: str) -> dict[str, Any]:
    """The card as plain data; ``name`` and ``digest`` are those of the weight file."""
    card: dict[str, Any] = {
        "card_version": CARD_VERSION,
        "model": port.model,
        "weights": {"file": name, "sha256": digest},
        "source": {
            "file": port.source.path.name,
            "format": port.source.format,
            "sha256": port.source.sha256,
            "weight_set": port.plan.weight_set,
            "lay_at": str(origin(port.source.path).absolute()),
            **_published(port.source),
        },
        "verdict": verdict_of(port),
        "input": port.convention.to_json(),
        "plan": port.plan.to_json(),
        "versions": versions(),
    }
    if port.labels is not None:
        card["labels"] = list(port.labels)
    if port.onto is not None:
        card["onto"] = port.onto
    if port.calibration is not None:
        card["calibration"] = port.calibration.to_json()
    return card


def _published(source: Source) -> dict[str, Any]:
    """What is stated of a source that comes from the catalog; nothing for any other."""
    entry = published_as(source)
    if entry is None:
        return {}
    told = ("name", "url", "size", "top1", "top5", "stated_in")
    return {"published": {field: getattr(entry, field) for field in told}}


def verdict_of(port: Port) -> dict[str, Any]:
    """The judge's verdict in short: the worst tap, not all of them."""
    comparison = port.comparison
    if comparison is None:
        return {"verified": False, "summary": "no judge was run"}
    worst = comparison.worst
    verdict: dict[str, Any] = {
        "verified": True,
        "at_parity": bool(comparison),
        "summary": comparison.summary(),
        "judge": comparison.judge,
        "judge_version": comparison.judge_version,
        "inputs": comparison.inputs,
        "inputs_are": port.inputs,
        "taps": len(comparison.taps),
        "factor": comparison.tolerance.factor,
        "worst_tap": _tap_in_short(worst),
        "logits_relative_difference": comparison.logits.figures.relative,
        "pixels": None if port.pixels is None else port.pixels.to_json(),
    }
    if port.basis is not None:
        verdict["rests_on"] = port.basis.summary()
    if port.quantised is not None:
        verdict["quantised_run"] = {
            "judge": port.quantised.judge,
            "logits_relative_difference": port.quantised.logits.figures.relative,
        }
    return verdict


def _tap_in_short(result: TapResult) -> dict[str, Any]:
    figures = result.figures
    return {
        "tap": result.tap,
        "judge_name": result.judge_name,
        "max_abs": figures.max_abs,
        "scale": figures.scale,
        "noise": figures.noise,
        "ratio": figures.ratio,
        "worst_input": figures.worst_input,
        "worst_channel": figures.worst_channel,
        "worst_position": list(figures.worst_position),
    }


def versions() -> dict[str, str]:
    """Versions of what had a part in the port, this package among them."""
    import numpy
    import torch

    try:
        own = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        own = "not installed"
    return {
        PACKAGE: own,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
    }
