"""The output of ``porting port``."""

from __future__ import annotations

from typing import Any

from porting.api import Port
from porting.places import as_known
from porting.release import ReleaseFiles
from porting.release.card import verdict_json
from porting.reports.inspection import input_lines, pixels_line
from porting.reports.terminal import print_lines


def summarise_port(port: Port, files: ReleaseFiles | None) -> dict[str, Any]:
    """The outcome as plain data; without files where none were written."""
    return {
        "source": as_known(str(port.source.path)),
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


def print_port(data: dict[str, Any]) -> None:
    """Print it as text."""
    other = [name for name in data["weight_sets"] if name != data["weight_set"]]
    others = f" ({', '.join(other)} also in the source)" if other else ""
    verdict = data["verdict"]
    pairs = [
        ("source", data["source"]),
        ("model", data["model"]),
        ("weights", data["weight_set"] + others),
        (
            "plan",
            f"by {data['naming']}: {data['filled']} keys filled, {data['left_out']} source "
            "tensors left out",
        ),
        *(("note", note) for note in data["notes"]),
        ("verdict", verdict["summary"]),
    ]
    if verdict["verified"]:
        relative = verdict["logits_relative_difference"]
        if "rests_on" in verdict:
            pairs.append(("rests on", verdict["rests_on"]))
        pairs.append(("logits", f"largest difference {relative:.2g} of their scale"))
        pairs.append(pixels_line(verdict.get("pixels")))
    if "quantised_run" in verdict:
        relative = verdict["quantised_run"]["logits_relative_difference"]
        pairs.append(("int8 run", f"logits {relative:.2g} of their scale away; not judged"))
    pairs += input_lines(data["input"])
    if data["weights"] is not None:
        pairs += [("wrote", data["weights"]), ("", data["card"])]
    print_lines(pairs)
