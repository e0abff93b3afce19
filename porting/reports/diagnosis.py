"""The output of ``porting diagnose``: text of 80 columns, or JSON."""

from __future__ import annotations

from typing import Any

import typer

from porting.diagnosing import PortDiagnosis
from porting.exits import shown
from porting.parity.diagnosis.cause import Diagnosis, NamedCause, Trial, Unexplained
from porting.plain_json import encoded
from porting.release import versions
from porting.reports.terminal import print_lines

MOST_PLACES = 4
"""Most places of a cause, and most trials of a piece, that are listed in the terminal."""

DIAGNOSIS, DIAGNOSIS_VERSION = "genmobilenet.diagnosis", 1


def diagnosis_json(result: PortDiagnosis) -> dict[str, Any]:
    """A diagnosis as plain data."""
    source, subject, diagnosis = result.source, result.subject, result.diagnosis
    before = diagnosis.before
    judge = None if before is None else {"name": before.judge, "version": before.judge_version}
    after = diagnosis.after
    data = {
        "schema": DIAGNOSIS,
        "version": DIAGNOSIS_VERSION,
        **diagnosis.to_json(),
        "before": None if before is None else before.summary(),
        "after": None if after is None else after.summary(),
        "judge": judge,
        "source": {"file": source.name, "format": source.format, "sha256": source.sha256},
        "subject": {
            "model": subject.model,
            "file": subject.file.name if subject.file else None,
            "sha256": subject.sha256,
            "notes": list(subject.notes),
        },
        "inputs": result.inputs,
        "versions": versions(),
    }
    return dict(encoded(data))


def print_diagnosis(result: PortDiagnosis) -> None:
    """Print a diagnosis as text, a paragraph for each cause."""
    source, subject, diagnosis = result.source, result.subject, result.diagnosis
    before, after = diagnosis.before, diagnosis.after
    file = None if subject.file is None else subject.file.name
    pairs = [
        ("source", f"{source.name} ({subject.match.plan.weight_set})"),
        ("network", ", ".join(filter(None, (subject.model, file)))),
        *(("", note) for note in subject.notes),
    ]
    if before is not None:
        pairs.append(("verdict", before.summary()))
    pairs.append(("result", _headline(diagnosis)))
    print_lines(pairs)
    for number, cause in enumerate(diagnosis.causes, 1):
        typer.echo("\n" + typer.style(shown(f"{number}. {_title(cause)}"), bold=True))
        print_lines(_cause_lines(cause))
    for piece in diagnosis.unexplained:
        typer.echo("\n" + typer.style(shown(f"not explained: {piece.tap}"), bold=True))
        print_lines(_unexplained_lines(piece))
    rest = [("note", note) for note in diagnosis.notes]
    if after is not None:
        rest.append(("mended", after.summary()))
    rest.append(("inputs", f"{result.inputs}; {diagnosis.held_out} of them held out"
                 if diagnosis.held_out else result.inputs))  # fmt: skip
    typer.echo()
    print_lines(rest)


def _headline(diagnosis: Diagnosis) -> str:
    if diagnosis.at_parity:
        return "nothing: source and network are at parity"
    count = len(diagnosis.causes)
    if not count:
        return "no cause that is proved"
    causes = f"{count} cause{'s' if count > 1 else ''}, proved by mending a copy of the network"
    return causes if diagnosis.complete else f"{causes}; they do not account for everything"


def _title(cause: NamedCause) -> str:
    """The name of a cause, and in which ways it may have come about."""
    variants = " or ".join(cause.variants)
    return cause.cause if variants in ("", cause.cause) else f"{cause.cause}: {variants}"


def _where(cause: NamedCause) -> str:
    """At which of the places of its sort a cause is."""
    if cause.everywhere:
        return f"all {cause.of}, {cause.places[0]} first"
    listed = ", ".join(cause.places[:MOST_PLACES])
    more = len(cause.places) - MOST_PLACES
    listed += f" and {more} more" if more > 0 else ""
    return listed if cause.of < 2 else f"{listed} ({len(cause.places)} of {cause.of})"


def _cause_lines(cause: NamedCause) -> list[tuple[str, str]]:
    pairs = [("wrong", cause.sentence), ("where", _where(cause))]
    if cause.differences:
        worst = cause.largest
        pairs.append((
            "proof",
            f"{worst.tap} is {worst.before:.2g} of its scale off, mended {worst.after:.2g} "
            f"(noise of float32: up to {worst.limit:.2g}), on images that were held out",
        ))  # fmt: skip
    return [*pairs, ("why", cause.explanation), ("remedy", cause.remedy)]


def _unexplained_lines(piece: Unexplained) -> list[tuple[str, str]]:
    pairs = [
        ("judge's", piece.judge_name),
        ("off by", f"{piece.before:.2g} of its scale (noise of float32: up to {piece.limit:.2g})"),
        *(("seen", remark) for remark in piece.remarks),
    ]
    trials = sorted(piece.trials, key=lambda trial: trial.difference.after)
    pairs += [("tried", _trial(trial)) for trial in trials[:MOST_PLACES]]
    if len(trials) > MOST_PLACES:
        pairs.append(("", f"and {len(trials) - MOST_PLACES} more changes, which helped less"))
    if not trials:
        pairs.append(("tried", "nothing: no known cause fits what was measured"))
    return pairs


def _trial(trial: Trial) -> str:
    what = trial.cause if trial.variant == trial.cause else f"{trial.cause} ({trial.variant})"
    difference = trial.difference
    return f"{what} at {trial.place}: {difference.before:.2g} becomes {difference.after:.2g}"
