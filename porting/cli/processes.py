"""Run several commands in parallel processes, and print the outcome of each."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import typer

from porting.exits import DEFECT, NOT_AT_PARITY, SUCCESS, WRONG_USE, Interrupted, say
from porting.one_thread import ONE_THREAD, cores
from porting.reports.terminal import print_lines, progress_bar, show

PORTING = (sys.executable, "-m", "porting")

GRACE = 10.0
"""Seconds that an interrupted process has to clean up."""

_SEVERITY = (SUCCESS, WRONG_USE, NOT_AT_PARITY, DEFECT)


class Wording(NamedTuple):
    """Words for what is done to each file, for its success, and for a refusal (exit code 2)."""

    action: str
    success: str
    refusal: str

    def of(self, code: int) -> str:
        """The word for a command's exit code."""
        return {SUCCESS: self.success, NOT_AT_PARITY: "not at parity"}.get(code, self.refusal)


@dataclass(frozen=True)
class Outcome:
    """The outcome of the command for one file: exit code, verdict or message, result file."""

    file: Path
    code: int
    text: str
    result: str | None = None


def run_each(
    commands: Mapping[Path, Sequence[str]],
    jobs: int | None,
    read_result: Callable[[Path, str], tuple[str, str | None]],
    wording: Wording,
) -> list[Outcome]:
    """Run a command for each file, ``jobs`` at a time, by default one for each core.

    ``read_result`` takes text and result of an outcome from the output of a command that exits
    with 0 or 1. Parallel processes have one thread each. An interruption ends all.
    """
    at_once = min(jobs or cores(), len(commands) or 1)
    environment = {**os.environ, **(ONE_THREAD if at_once > 1 else {})}
    outcomes: dict[Path, Outcome] = {}
    total = len(commands)

    async def run(file: Path, places: asyncio.Semaphore) -> Outcome:
        async with places:
            code, output, complaints = await _run([*PORTING, *commands[file]], environment)
        if code in (SUCCESS, NOT_AT_PARITY) and output:
            return Outcome(file, code, *read_result(file, output))
        return Outcome(
            file, code if code in _SEVERITY else WRONG_USE, _complaint(code, complaints, file)
        )

    async def run_all(progress: Callable[[int, int], None] | None) -> None:
        this = asyncio.current_task()
        assert this is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, this.cancel)
        places = asyncio.Semaphore(at_once)
        tasks = [asyncio.create_task(run(file, places)) for file in commands]  # begin in order
        for task in asyncio.as_completed(tasks):
            outcome = await task
            outcomes[outcome.file] = outcome
            if progress is not None:
                progress(len(outcomes), total)
            else:
                say(f"{len(outcomes)}/{total} {wording.of(outcome.code)}: {outcome.file}")

    handler = signal.getsignal(signal.SIGINT)
    try:
        with progress_bar(f"{wording.action} {total} files") as progress:
            asyncio.run(run_all(progress))
    except asyncio.CancelledError:
        raise Interrupted from None
    finally:
        signal.signal(signal.SIGINT, handler)
    return [outcomes[file] for file in commands]


async def _run(words: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str, str]:
    """A command's exit code and output; the command is interrupted where this is cancelled."""
    process = await asyncio.create_subprocess_exec(
        *words, env=environment, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    try:
        streams = await process.communicate()
    except asyncio.CancelledError:
        process.send_signal(signal.SIGINT)
        try:
            await asyncio.wait_for(process.wait(), GRACE)
        except TimeoutError:
            process.kill()
            await process.wait()
        raise
    output, complaints = (stream.decode(errors="replace") for stream in streams)
    return await process.wait(), output, complaints


def show_outcomes(outcomes: Sequence[Outcome], wording: Wording, as_json: bool) -> NoReturn:
    """Print the outcomes, successes first, and exit with the worst exit code.

    A defect is worse than a disagreement, and a disagreement worse than bad input.
    """
    kinds = (wording.success, "not at parity", wording.refusal)
    by_kind = {kind: [o for o in outcomes if wording.of(o.code) == kind] for kind in kinds}

    def to_json() -> dict[str, Any]:
        rows = [{**asdict(o), "file": str(o.file), "outcome": wording.of(o.code)} for o in outcomes]
        return {"outcomes": rows, "counts": {kind: len(of) for kind, of in by_kind.items()}}

    def print_text() -> None:
        for kind, of_kind in by_kind.items():
            for outcome in of_kind:
                parts = (str(outcome.file), outcome.result, outcome.text)
                print_lines([(kind.ljust(13), ": ".join(filter(None, parts)))])
        typer.echo(", ".join(f"{len(of_kind)} {kind}" for kind, of_kind in by_kind.items()))

    show(as_json, to_json, print_text)
    raise typer.Exit(
        max((outcome.code for outcome in outcomes), key=_SEVERITY.index, default=SUCCESS)
    )


def junit_xml(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as JUnit XML, which continuous integration reads: a test case for each file.

    A disagreement is a failure, and what could not be compared an error.
    """
    from xml.etree import ElementTree

    kinds = [
        None if o.code == SUCCESS else "failure" if o.code == NOT_AT_PARITY else "error"
        for o in outcomes
    ]
    suite = ElementTree.Element(
        "testsuite", name="porting", tests=str(len(outcomes)),
        failures=str(kinds.count("failure")), errors=str(kinds.count("error")),
    )  # fmt: skip
    for outcome, kind in zip(outcomes, kinds, strict=True):
        name, text = (
            # XML has no control characters.
            "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)
            for words in (str(outcome.file), outcome.text)
        )
        case = ElementTree.SubElement(suite, "testcase", classname="porting", name=name)
        if kind is not None:
            ElementTree.SubElement(case, kind, message=text)
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode") + "\n"


def _complaint(code: int, complaints: str, file: Path) -> str:
    """The last message of a command; libraries write to standard error as well."""
    if code < 0:
        return f"ended by signal {-code}"
    text = " ".join(complaints.rpartition("porting: ")[2].split())
    return text.removeprefix(f"{file}: ") or f"ended with {code} and said nothing"
