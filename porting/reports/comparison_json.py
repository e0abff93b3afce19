"""A comparison as plain data: what ``porting diff --json`` writes and the HTML is made from.

``schema.json`` beside this file describes it. Numbers that JSON does not have
are the strings "Infinity", "-Infinity" and "NaN"; figures that only plots use
are rounded to four digits.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict
from typing import Any

from porting.diff import Diff
from porting.mapping.plan import CONSTANTS, Plan
from porting.parity.compare import Comparison, TapResult
from porting.parity.figures import TapFigures
from porting.plain_json import encoded
from porting.release.card import versions
from porting.reports.report_files import COMPARISON, COMPARISON_VERSION


def comparison_report(diff: Diff) -> dict[str, Any]:
    """Everything that the reports say."""
    comparison, quantised = diff.verdict.comparison, diff.verdict.quantised
    check = diff.verdict.pixels
    data = {
        **figures_json(comparison),
        "source": {
            "file": diff.source.path.name,
            "format": diff.source.format,
            "sha256": diff.source.sha256,
            "weight_set": diff.subject.match.plan.weight_set,
        },
        "subject": {
            "model": diff.subject.model,
            "file": diff.subject.file.name if diff.subject.file else None,
            "sha256": diff.subject.sha256,
            "notes": list(diff.subject.notes),
        },
        "plan": plan_summary(diff.subject.match.plan),
        "inputs": {
            "count": comparison.inputs,
            "what": diff.images.what,
            "convention": diff.convention.to_json(),
            "skipped": [{"file": name, "reason": why} for name, why in diff.images.skipped],
            "thumbnails": diff.images.thumbnails,
        },
        "rests_on": None if diff.verdict.basis is None else diff.verdict.basis.to_json(),
        "quantised": None if quantised is None else _quantised_json(quantised),
        "pixels": None if check is None else check.to_json(all(t.agrees for t in comparison.taps)),
        "versions": versions(),
    }
    return dict(encoded(data))


def plan_summary(plan: Plan) -> dict[str, Any]:
    """How the source was mapped: by what, how much, and what was changed on the way."""
    constants = Counter(fill.constant for fill in plan.fills if fill.constant is not None)
    scale_count = sum(fill.factor != 1 or fill.offset != 0 for fill in plan.fills)
    notes = [f"{count} keys are {CONSTANTS[name]}" for name, count in constants.items()]
    if any(fill.first_row for fill in plan.fills):
        notes.append("class 0, the background, is left off")
    if scale_count:
        notes.append(f"{scale_count} tensors take a constant of the hard sigmoid in")
    return {
        "model": plan.model,
        "naming": plan.naming,
        "weight_set": plan.weight_set,
        "filled": len(plan.fills),
        "left_out": dict(Counter(entry.reason for entry in plan.left_out)),
        "notes": notes,
    }


def figures_json(comparison: Comparison) -> dict[str, Any]:
    """What the comparison itself has to say, without where its sides came from."""
    data = {
        "schema": COMPARISON,
        "version": COMPARISON_VERSION,
        "agrees": bool(comparison),
        "summary": comparison.summary(),
        "unsound": comparison.unsound,
        "refusals": list(comparison.refusals),
        "culprit": comparison.culprit.tap if comparison.culprit else None,
        "before": comparison.before,
        "spread": comparison.spread,
        "noise_share": comparison.noise_share,
        "coverage": None if comparison.coverage is None else comparison.coverage.to_json(),
        "judge": {"name": comparison.judge, "version": comparison.judge_version},
        "tolerance": asdict(comparison.tolerance),
        "needed": asdict(comparison.needed),
        "unmatched": list(comparison.unmatched),
        "not_comparable": [
            {"tap": tap, "reason": reason} for tap, reason in comparison.not_comparable.items()
        ],
        "taps": [_tap(result) for result in comparison.taps],
        "weights": None if comparison.weights is None else comparison.weights.to_json(),
    }
    return dict(encoded(data))


def _tap(result: TapResult) -> dict[str, Any]:
    return {
        "tap": result.tap,
        "judge_name": result.judge_name,
        "depth": result.depth,
        "shape": list(result.shape),
        "agrees": result.agrees,
        "mistaken": result.mistaken,
        "accumulated": _figures(result.accumulated),
        "isolated": _figures(result.isolated),
        "dense": _figures(result.dense),
    }


def _figures(figures: TapFigures | None) -> dict[str, Any] | None:
    if figures is None:
        return None
    data = asdict(figures)
    details = {name: _round_figures(values) for name, values in (data.pop("details") or {}).items()}
    return {**data, "relative": figures.relative, "details": details}


def _round_figures(values: Any) -> Any:
    if isinstance(values, (list, tuple)):
        return [_round_figures(value) for value in values]
    return (
        values if isinstance(values, int) or not math.isfinite(values) else float(f"{values:.4g}")
    )


def _quantised_json(comparison: Comparison) -> dict[str, Any]:
    """The distance to the quantised run, in quantisation steps where a tap has them."""
    taps = []
    for result in comparison.taps:
        figures, step = result.figures, result.step
        taps.append(
            {
                "tap": result.tap,
                "max_abs": figures.max_abs,
                "relative": figures.relative,
                "step": step,
                "steps": figures.max_abs / step if step else None,
                "mean_steps": figures.mean_abs / step if step else None,
            }
        )
    return {"judge": comparison.judge, "version": comparison.judge_version, "taps": taps}
