"""Reports as JSON: written whole, and read back by the schema that they name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from porting.errors import BadInput
from porting.reports.json_schema import problems

COMPARISON, COMPARISON_VERSION = "genmobilenet.comparison", 3
EVALUATION, EVALUATION_VERSION = "genmobilenet.evaluation", 2


@dataclass(frozen=True)
class Kind:
    """What writes a kind of report, the file of its schema, and its version."""

    command: str
    file: str
    version: int


KINDS = {
    COMPARISON: Kind("porting diff --json", "schema.json", COMPARISON_VERSION),
    EVALUATION: Kind("porting evaluate --json", "evaluation_schema.json", EVALUATION_VERSION),
}


def write_report(data: dict[str, Any], path: Path) -> None:
    """Write a report's data, whole or not at all.

    Raises:
        OutputError: the path cannot be written.
    """
    from porting.atomic_files import write_text

    write_text(path, json.dumps(data, separators=(",", ":")) + "\n")


def read_report(path: Path, *names: str) -> dict[str, Any]:
    """Read a report's data back; of the kinds of ``names``, without any of all in ``KINDS``.

    Raises:
        BadInput: it is not a report, or one of another kind or version.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not a readable report ({error})") from error
    kinds = names or tuple(KINDS)
    name = data.get("schema") if isinstance(data, dict) else None
    if name not in kinds:
        commands = " or ".join(f"`{KINDS[known].command}`" for known in kinds)
        raise BadInput(f"{path}: not a report of {commands}")
    _check(data, KINDS[name], path)
    return dict(data)


def read_together(comparison: Path, evaluation: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a comparison's data and those of an evaluation of the same source and network.

    Raises:
        BadInput: as above; they are of different files.
    """
    comparison_data, evaluation_data = (
        read_report(comparison, COMPARISON),
        read_report(evaluation, EVALUATION),
    )
    made_from = evaluation_data["made_from"]
    for what, one, other in (
        ("source", comparison_data["source"], made_from.get("source")),
        ("network", comparison_data["subject"], made_from.get("checkpoint")),
    ):
        if other is None:
            raise BadInput(f"{evaluation}: evaluates no {what}; {comparison}: compares "
                           f"{one['file']}")  # fmt: skip
        if one["sha256"] is None:
            raise BadInput(
                f"{comparison}: compares a {what} that was in memory, of which no file can be told "
                "to be the same; run porting diff on the file"
            )
        if one["sha256"] != other["sha256"]:
            raise BadInput(
                f"{evaluation}: evaluates the {what} {other['file']} (SHA-256 {other['sha256']}), "
                f"{comparison}: compares {one['file']} (SHA-256 {one['sha256']}); expected the same"
            )
    return comparison_data, evaluation_data


def schema(name: str = COMPARISON) -> dict[str, Any]:
    """The JSON Schema of a kind of report."""
    place = resources.files("porting.reports").joinpath(KINDS[name].file)
    return dict(json.loads(place.read_text(encoding="utf-8")))


def _check(data: dict[str, Any], kind: Kind, path: Path) -> None:
    version = data.get("version")
    if version != kind.version:
        raise BadInput(f"{path}: a report of version {version}; version {kind.version} is read")
    wrong = next(problems(data, schema(data["schema"])), None)
    if wrong is not None:
        raise BadInput(f"{path}: {wrong}")
