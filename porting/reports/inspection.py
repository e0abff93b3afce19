"""The output of ``porting inspect``."""

from __future__ import annotations

from collections import Counter
from typing import Any

from porting.errors import MappingError, PortingError
from porting.mapping.convention import convention_of
from porting.mapping.recognise import candidates, find_match
from porting.mapping.rules import choose_weight_set
from porting.places import as_known
from porting.reports.terminal import print_lines
from porting.sources import Source

KNOWN = {
    "proved": "known from", "stated": "stated, not proved", "assumed": "not proved",
    "unknown": "unknown",
}  # fmt: skip
"""How sure an input convention is -> what the terminal says before its evidence."""


def inspect_source(source: Source) -> dict[str, Any]:
    """Everything that can be said of a source without running it, as plain data."""
    weight_set = choose_weight_set(source, None)
    matches = list(candidates(source, weight_set))
    data: dict[str, Any] = {
        "source": as_known(str(source.path)),
        "format": source.format,
        "sha256": source.sha256,
        "weight_sets": list(source.weight_sets),
        "tensors": len(source.tensors),
        "stored_as": dict(Counter(info.stored_as for info in source.tensors.values())),
        "operators": dict(Counter(op.kind for op in source.graph.operators))
        if source.graph is not None
        else {},
        "models": [match.model for match in matches],
        "labels": source.labels,
    }
    if matches:
        data["input"] = convention_of(source, matches[0]).to_json()
        data["classes"] = matches[0].config.num_classes
    else:
        data["why_no_model"] = ""
        try:
            find_match(source, None)
        except (MappingError, PortingError) as error:
            data["why_no_model"] = str(error)
    return data


def print_inspection(data: dict[str, Any]) -> None:
    """Print it as text."""
    pairs = [
        ("source", data["source"]),
        ("format", data["format"]),
        ("sha256", data["sha256"]),
        ("weights", ", ".join(data["weight_sets"])),
        ("tensors", f"{data['tensors']} stored: {_counts_text(data['stored_as'])}"),
    ]
    if data["operators"]:
        total = sum(data["operators"].values())
        pairs.append(("operators", f"{total}: {_counts_text(data['operators'])}"))
    pairs.append(("fits", ", ".join(data["models"]) or data["why_no_model"]))
    if "input" in data:
        pairs += input_lines(data["input"])
        pairs.append(("classes", str(data["classes"])))
    if data["labels"]:
        first, last = data["labels"][0], data["labels"][-1]
        pairs.append(("labels", f"{len(data['labels'])}: {first} ... {last}"))
    print_lines(pairs)


def input_lines(convention: dict[str, Any]) -> list[tuple[str, str]]:
    """The input convention, a line each for values, evidence and, where it is known, files."""
    mean = ", ".join(f"{value:.6g}" for value in convention["mean"])
    std = ", ".join(f"{value:.6g}" for value in convention["std"])
    size = convention["size"]
    text = f"{size}x{size}, RGB 0..255, minus ({mean}), over ({std})"
    lead = KNOWN.get(convention.get("certainty", ""), "known from")  # older reports do not say it
    lines = [("input", text), ("", f"{lead}: {convention['evidence']}")]
    if steps := convention.get("preprocessing"):  # older reports have none
        lines.append(("", f"of image files, as its authors have it: {steps}"))
    return lines


def pixels_line(check: dict[str, Any] | None) -> tuple[str, str]:
    """The result of the check from pixels, or that there is none."""
    none = "not judged: the judge is fed what the network's first layer takes"
    return "pixels", none if check is None else check["summary"]


def _counts_text(counts: dict[str, int]) -> str:
    entries = sorted(counts.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{count} {name}" for name, count in entries)
