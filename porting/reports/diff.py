"""The terminal output of ``porting diff``, at most 100 columns wide."""

from __future__ import annotations

from typing import Any

import typer

from porting.reports.inspection import input_lines, pixels_line
from porting.reports.terminal import print_lines

WORST = 10
WIDTH = 100

READINGS = ("accumulated", "isolated", "dense")

HEADINGS = (
    "\nlargest\ndifference", "\nover\nscale", "\nfloat32\nnoise", "accu-\nmulated\n/ noise",
    "\nisolated\n/ noise", "\ndense\n/ noise",
)  # fmt: skip


def print_diff(data: dict[str, Any]) -> None:
    """Print a report's data as text."""
    subject = data["subject"]
    pairs = [
        ("source", f"{data['source']['file']} ({data['source']['weight_set']})"),
        ("network", ", ".join(filter(None, (subject["model"], subject["file"])))),
        *((("", note)) for note in subject["notes"]),
        ("verdict", data["summary"]),
        *_weights(data.get("weights")),
        *((("rests on", basis["summary"]),) if (basis := data.get("rests_on")) else ()),
        ("needed", _needed_tolerance(data["needed"])),
        ("inputs", _inputs(data["inputs"])),
        *((("skipped", f"{skip['file']}: {skip['reason']}")) for skip in data["inputs"]["skipped"]),
        *input_lines(data["inputs"]["convention"]),
    ]
    pairs.append(pixels_line(data.get("pixels")))  # older reports have none
    if data["quantised"] is not None:
        pairs.append(("int8 run", _quantised_line(data["quantised"])))
    pairs += [("unmatched", tap) for tap in data["unmatched"]]
    pairs += [("left out", f"{tap['tap']}: {tap['reason']}") for tap in data["not_comparable"]]
    pairs += [
        ("not finite", f"{tap['tap']}: {count} NaN or infinite values, the same on both sides")
        for tap in data["taps"]
        if (count := max(tap[r]["nonfinite"] for r in READINGS if tap[r] is not None))
    ]
    print_lines(pairs)
    _print_worst(data["taps"])


def print_written(data: dict[str, Any]) -> None:
    """Say where the reports were written to."""
    for file in data["wrote"]:
        typer.echo(f"wrote    {file}")


def worst_ratio(tap: dict[str, Any]) -> float:
    """A tap's largest ratio of its readings."""
    return max(float(tap[r]["ratio"]) for r in READINGS if tap[r] is not None)


def _print_worst(taps: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if console.width > WIDTH:
        console = Console(highlight=False, width=WIDTH)
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    legend = "" if all(tap["agrees"] for tap in taps) else " (* disagree)"
    table.add_column(f"\n\nthe worst taps{legend}", overflow="fold")
    for name in HEADINGS:
        table.add_column(name, justify="right", no_wrap=True)
    for tap in sorted(taps, key=worst_ratio, reverse=True)[:WORST]:
        table.add_row(*_row(tap), style=None if tap["agrees"] else "red")
    # Captured: rich itself ends the process with 1 where nobody reads on.
    with console.capture() as output:
        console.print()
        console.print(table)
    typer.echo(output.get(), nl=False)


def _row(tap: dict[str, Any]) -> tuple[str, ...]:
    figures = tap["accumulated"] or tap["isolated"] or tap["dense"]
    ratios = [f"{float(tap[r]['ratio']):.3g}" if tap[r] is not None else "" for r in READINGS]
    mark = "" if tap["agrees"] else " *"
    return (
        tap["tap"] + mark, f"{float(figures['max_abs']):.2g}", f"{float(figures['relative']):.2g}",
        f"{float(figures['noise']):.2g}", *ratios,
    )  # fmt: skip


def _weights(weights: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What relates the weights, worst first; older reports do not have it."""
    if weights is None:
        return []
    return [("weights", weights["headline"]), *(("", line) for line in weights["lines"])]


def _needed_tolerance(tolerance: dict[str, float]) -> str:
    return (
        f"{float(tolerance['factor']):.3g} times the noise, or an absolute tolerance of "
        f"{float(tolerance['atol']):.3g}, to agree everywhere"
    )


def _inputs(inputs: dict[str, Any]) -> str:
    skip_count = len(inputs["skipped"])
    return str(inputs["what"]) + (f", {skip_count} skipped" if skip_count else "")


def _quantised_line(quantised: dict[str, Any]) -> str:
    worst = max(quantised["taps"], key=lambda tap: float(tap["relative"]))
    last = quantised["taps"][-1]
    return (
        f"{quantised['judge']} ({quantised['version']}) as the file is: {last['tap']} within "
        f"{_in_steps(last)}, the worst is {worst['tap']} with {_in_steps(worst)}; reported, not "
        "judged"
    )


def _in_steps(tap: dict[str, Any]) -> str:
    """How far a tap of the quantised run is off, in words."""
    if tap["steps"] is None:
        return f"{float(tap['relative']):.2g} of its scale"
    return f"{float(tap['steps']):.1f} quantisation steps"
