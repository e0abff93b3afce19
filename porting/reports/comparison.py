"""The output of ``porting port`` and ``porting diff``: text of at most 100 columns, or JSON.

``schema.json`` beside this file describes the JSON of a comparison. Numbers that JSON does not
have are the strings "Infinity", "-Infinity" and "NaN"; figures that only plots use are rounded to
four digits.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict
from typing import Any

from porting.api import Port
from porting.diff import Diff
from porting.mapping.plan import CONSTANTS, Plan
from porting.parity.compare import Comparison, TapResult
from porting.parity.figures import TapFigures
from porting.plain_json import encoded
from porting.release import ReleaseFiles, verdict_json, versions
from porting.reports.documents import COMPARISON, COMPARISON_VERSION
from porting.reports.sources import input_lines
from porting.reports.terminal import print_lines, print_table

WORST_TAPS = 10
WIDTH = 100

NOT_FROM_PIXELS = "not judged: the judge is fed what the network's first layer takes"

HEADINGS = (
    "\nlargest\ndifference", "\nover\nscale", "\nfloat32\nnoise", "accu-\nmulated\n/ noise",
    "\nisolated\n/ noise", "\ndense\n/ noise",
)  # fmt: skip


def port_json(port: Port, files: ReleaseFiles | None) -> dict[str, Any]:
    """The outcome of a port as plain data; ``files`` is None where nothing was written."""
    return {
        "source": str(port.source.path),
        "source_sha256": port.source.sha256,
        "model": port.model,
        "weight_set": port.plan.weight_set,
        "weight_sets": list(port.source.weight_sets),
        "naming": port.plan.naming,
        "filled": len(port.plan.fills),
        "left_out": len(port.plan.left_out),
        "notes": list(port.plan.notes),
        "verdict": verdict_json(port),
        "input": port.convention.to_json(),
        "weights": str(files.weights) if files else None,
        "card": str(files.card) if files else None,
    }


def print_port(port: Port, files: ReleaseFiles | None) -> None:
    """Print it as text."""
    plan, comparison = port.plan, port.comparison
    others = [name for name in port.source.weight_sets if name != plan.weight_set]
    also = f" ({', '.join(others)} also in the source)" if others else ""
    pairs = [
        ("source", str(port.source.path)),
        ("model", port.model),
        ("weights", plan.weight_set + also),
        ("plan", f"by {plan.naming}: {len(plan.fills)} keys filled, {len(plan.left_out)} source "
         "tensors left out"),
        *(("note", note) for note in plan.notes),
        ("verdict", "no judge was run" if comparison is None else comparison.summary()),
    ]  # fmt: skip
    if comparison is not None:
        if port.basis is not None:
            pairs.append(("rests on", port.basis.summary()))
        relative = comparison.logits.figures.relative
        pairs.append(("logits", f"largest difference {relative:.2g} of their scale"))
        pixels = NOT_FROM_PIXELS if port.pixels is None else port.pixels.summary()
        pairs.append(("pixels", pixels))
    if port.quantised is not None:
        relative = port.quantised.logits.figures.relative
        pairs.append(("int8 run", f"logits {relative:.2g} of their scale away; not judged"))
    pairs += input_lines(port.convention, port.model)
    if files is not None:
        pairs += [("wrote", str(files.weights)), ("", str(files.card))]
    print_lines(pairs)


def diff_json(diff: Diff) -> dict[str, Any]:
    """A comparison of a source and a network as plain data, by ``schema.json``."""
    verdict, subject = diff.verdict, diff.subject
    comparison, check = verdict.comparison, verdict.pixels
    taps_agree = all(tap.agrees for tap in comparison.taps)
    data = {
        **comparison_json(comparison),
        "source": {
            "file": diff.source.name,
            "format": diff.source.format,
            "sha256": diff.source.sha256,
            "weight_set": subject.match.plan.weight_set,
            "signature": diff.source.signature,
        },
        "subject": {
            "model": subject.model,
            "file": subject.file.name if subject.file else None,
            "sha256": subject.sha256,
            "notes": list(subject.notes),
        },
        "plan": _plan_json(subject.match.plan),
        "inputs": {
            "count": comparison.inputs,
            "what": diff.images.what,
            "convention": diff.convention.to_json(),
            "skipped": [{"file": name, "reason": why} for name, why in diff.images.skipped],
            "thumbnails": diff.images.thumbnails,
        },
        "rests_on": None if verdict.basis is None else verdict.basis.to_json(),
        "quantised": _quantised_json(verdict.quantised),
        "pixels": None if check is None else check.to_json(taps_agree),
        "versions": versions(),
    }
    return dict(encoded(data))


def _plan_json(plan: Plan) -> dict[str, Any]:
    """How the source was mapped: by which rules, how many tensors, and what was changed."""
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


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison itself as plain data, without source, network and inputs."""
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
        "taps": [
            {
                "tap": tap.tap,
                "judge_name": tap.judge_name,
                "depth": tap.depth,
                "shape": list(tap.shape),
                "agrees": tap.agrees,
                "mistaken": tap.mistaken,
                "accumulated": _figures_json(tap.accumulated),
                "isolated": _figures_json(tap.isolated),
                "dense": _figures_json(tap.dense),
            }
            for tap in comparison.taps
        ],
        "weights": None if comparison.weights is None else comparison.weights.to_json(),
    }
    return dict(encoded(data))


def _figures_json(figures: TapFigures | None) -> dict[str, Any] | None:
    if figures is None:
        return None
    data = asdict(figures)
    details = {name: _rounded(values) for name, values in (data.pop("details") or {}).items()}
    return {**data, "relative": figures.relative, "details": details}


def _rounded(values: Any) -> Any:
    """Numbers, in lists of lists, to four digits."""
    if isinstance(values, (list, tuple)):
        return [_rounded(value) for value in values]
    if isinstance(values, int) or not math.isfinite(values):
        return values
    return float(f"{values:.4g}")


def _quantised_json(comparison: Comparison | None) -> dict[str, Any] | None:
    """The distance to the quantised run, in quantisation steps where a tap has them."""
    if comparison is None:
        return None
    taps = [
        {
            "tap": tap.tap,
            "max_abs": tap.figures.max_abs,
            "relative": tap.figures.relative,
            "step": tap.step,
            "steps": tap.figures.max_abs / tap.step if tap.step else None,
            "mean_steps": tap.figures.mean_abs / tap.step if tap.step else None,
        }
        for tap in comparison.taps
    ]
    return {"judge": comparison.judge, "version": comparison.judge_version, "taps": taps}


def print_diff(diff: Diff) -> None:
    """Print the comparison of a source and a network as text."""
    verdict, subject, comparison = diff.verdict, diff.subject, diff.comparison
    weights, tolerance, failures = comparison.weights, comparison.needed, diff.images.skipped
    file = None if subject.file is None else subject.file.name
    pairs = [
        ("source", f"{diff.source.name} ({subject.match.plan.weight_set})"),
        ("network", ", ".join(filter(None, (subject.model, file)))),
        *(("", note) for note in subject.notes),
        ("verdict", comparison.summary()),
    ]
    if weights is not None:
        pairs += [("weights", weights.headline()), *(("", line) for line in weights.lines())]
    if verdict.basis is not None:
        pairs.append(("rests on", verdict.basis.summary()))
    pairs += [
        ("needed", f"{tolerance.factor:.3g} times the noise, or an absolute tolerance of "
         f"{tolerance.atol:.3g}, to agree everywhere"),
        ("inputs", diff.images.what + (f", {len(failures)} skipped" if failures else "")),
        *(("skipped", f"{name}: {reason}") for name, reason in failures),
        *input_lines(diff.convention, diff.subject.model),
    ]  # fmt: skip
    pixels = NOT_FROM_PIXELS
    if verdict.pixels is not None:
        pixels = verdict.pixels.summary(all(tap.agrees for tap in comparison.taps))
    pairs.append(("pixels", pixels))
    if verdict.quantised is not None:
        worst = max(verdict.quantised.taps, key=lambda tap: tap.figures.relative)
        last = verdict.quantised.taps[-1]
        pairs.append((
            "int8 run",
            f"{verdict.quantised.judge} ({verdict.quantised.judge_version}) as the file is: "
            f"{last.tap} within {_in_steps(last)}, the worst is {worst.tap} with "
            f"{_in_steps(worst)}; reported, not judged",
        ))  # fmt: skip
    pairs += [("unmatched", tap) for tap in comparison.unmatched]
    pairs += [("left out", f"{tap}: {why}") for tap, why in comparison.not_comparable.items()]
    pairs += [
        ("not finite", f"{tap.tap}: {count} NaN or infinite values, the same on both sides")
        for tap in comparison.taps
        if (count := max(figures.nonfinite for figures in tap.readings))
    ]
    print_lines(pairs)
    _print_worst(comparison)


def _in_steps(tap: TapResult) -> str:
    """How far a tap of the quantised run is off, in words."""
    if not tap.step:
        return f"{tap.figures.relative:.2g} of its scale"
    return f"{tap.figures.max_abs / tap.step:.1f} quantisation steps"


def _print_worst(comparison: Comparison) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    legend = "" if all(tap.agrees for tap in comparison.taps) else " (* disagree)"
    table.add_column(f"\n\nthe worst taps{legend}", overflow="fold")
    for name in HEADINGS:
        table.add_column(name, justify="right", no_wrap=True)
    for tap in sorted(comparison.taps, key=lambda tap: tap.ratio, reverse=True)[:WORST_TAPS]:
        figures, readings = tap.figures, (tap.accumulated, tap.isolated, tap.dense)
        table.add_row(
            tap.tap + ("" if tap.agrees else " *"), f"{figures.max_abs:.2g}",
            f"{figures.relative:.2g}", f"{figures.noise:.2g}",
            *("" if reading is None else f"{reading.ratio:.3g}" for reading in readings),
            style=None if tap.agrees else "red",
        )  # fmt: skip
    print_table(table, WIDTH)
