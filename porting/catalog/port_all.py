"""What ``make port-all`` does: port whatever is on disk, a process a core.

Run as ``python -m porting.catalog.port_all [FOLDER...]``. A source that is
refused or not at parity stops no other; at the end each has a line of its own.
Exits with 1 where any is not at parity, else with 2 where any is refused.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porting import folders
from porting.catalog.children import Children
from porting.catalog.fetch import NO_SOURCES
from porting.catalog.lock import check_recorded
from porting.errors import BadInput, BadSource
from porting.exits import DONE, NOT_AT_PARITY, WRONG_USE, end_with
from porting.one_thread import ONE_THREAD
from porting.release.writing import check_folder
from porting.sources import claims_to_be_a_source
from porting.sources.checkpoint import locate, looks_like_checkpoint, looks_like_v1
from porting.sources.graphdef import looks_like_saved_model

PORTED, DISAGREES, REFUSED = "ported", "not at parity", "refused"

_DEPTH = 3
_COMMAND = (sys.executable, "-m", "porting", "port", "--json")


@dataclass(frozen=True)
class Outcome:
    """What became of one source: ``kind`` and, in a line, the files written or the reason."""

    source: Path
    kind: str
    told: str


def sources_in(folder: Path, depth: int = _DEPTH) -> Iterator[Path]:
    """What claims to be a source in a folder and those below, or is the file named itself.

    Of a folder with a ``checkpoint`` file it is the newest checkpoint, else each one.
    """
    if not folder.is_dir():
        yield folder
        return
    if looks_like_saved_model(folder):
        yield folder  # and not its variables by themselves
        return
    state = folder / "checkpoint"
    newest = state.is_file() and not looks_like_v1(state)
    if newest:
        yield folder
    seen = set()
    for place in sorted(folder.iterdir()):
        if place.name.startswith(".") or place.suffix in NO_SOURCES:
            continue
        if place.is_dir():
            yield from sources_in(place, depth - 1) if depth else ()
        elif looks_like_checkpoint(place):
            prefix = _prefix(place)
            if not newest and prefix not in seen:
                seen.add(prefix)
                yield prefix
        elif claims_to_be_a_source(place):
            yield place


def _prefix(file: Path) -> Path:
    """By what a checkpoint's several files are one source; damage is for the port to tell."""
    try:
        return locate(file).prefix
    except BadSource:
        return file


def port_all(places: Iterable[Path], out: Path, jobs: int) -> Iterator[Outcome]:
    """Port sources, so many at a time, and yield what becomes of each as it ends.

    However this is left, no process goes on.
    """
    children = Children()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            waiting = [pool.submit(_port, place, out, children) for place in places]
            for ended in as_completed(waiting):
                yield ended.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            children.stop()


def _port(place: Path, out: Path, children: Children) -> Outcome:
    try:
        if place.is_file():
            check_recorded(place)
        words = [*_COMMAND, "--out", str(out), "--", str(place)]
        done = children.run(words, {**os.environ, **ONE_THREAD})
    except (BadInput, OSError) as error:
        return Outcome(place, REFUSED, _in_a_line(str(error), place))
    if done.returncode == DONE:
        return Outcome(place, PORTED, _written(json.loads(done.stdout)))
    kind = DISAGREES if done.returncode == NOT_AT_PARITY else REFUSED
    return Outcome(place, kind, _in_a_line(_complaint(done), place))


def _written(data: dict[str, Any]) -> str:
    return f"{data['weights']}; {data['verdict']['summary']}"


def _complaint(done: subprocess.CompletedProcess[str]) -> str:
    """What a command said last of itself; libraries write to standard error as well."""
    if done.returncode < 0:
        return f"ended by signal {-done.returncode}"
    said = done.stderr.rpartition("porting: ")[2]
    return said or f"ended with {done.returncode} and said nothing"


def _in_a_line(text: str, place: Path) -> str:
    return " ".join(text.split()).removeprefix(f"{place}: ")


def summary(outcomes: Iterable[Outcome]) -> list[str]:
    """A line a source, those that were ported first, and a line of counts."""
    order = (PORTED, DISAGREES, REFUSED)
    grouped = [[o for o in outcomes if o.kind == kind] for kind in order]
    width = max(map(len, order)) + 2
    lines = [f"{o.kind:{width}}{o.source}: {o.told}" for group in grouped for o in group]
    counts = (f"{len(group)} {kind}" for group, kind in zip(grouped, order, strict=True))
    return [*lines, ", ".join(counts)]


def _cores() -> int:
    """Cores that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def _all_in(google: Path, folders: Iterable[Path]) -> list[Path]:
    """What is to be ported, each place once.

    Raises:
        BadInput: a folder that was named is not there, or there is nothing to port.
    """
    named = list(folders)
    for folder in named:
        if not folder.exists():
            raise BadInput(f"{folder}: no such folder")
    searched = [*filter(Path.is_dir, [google]), *named]
    found = {p.resolve(): p for folder in searched for p in sources_in(folder)}
    if not found:
        where = ", ".join(map(str, dict.fromkeys([google, *named])))
        raise BadInput(
            f"nothing to port in {where}; porting sources lists what there is, porting fetch NAME "
            "downloads it, make port-all FROM=folder takes what lies elsewhere"
        )
    return list(found.values())


def main() -> None:
    """Port all, and say what became of it.

    Raises:
        BadInput: there is nothing to port.
        SystemExit: with the exit code that the outcomes have.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--google", type=Path, default=folders.DOWNLOADED)
    parser.add_argument("--out", type=Path, default=folders.PORTED)
    parser.add_argument("--jobs", type=int, default=_cores())
    asked = parser.parse_args()
    if asked.jobs < 1:
        parser.error(f"--jobs {asked.jobs}: expected at least 1")
    check_folder(asked.out)
    places = _all_in(asked.google, asked.folders)
    outcomes = {}
    for number, outcome in enumerate(port_all(places, asked.out, asked.jobs), 1):
        outcomes[outcome.source] = outcome
        print(f"{number}/{len(places)} {outcome.kind}: {outcome.source}", file=sys.stderr)
    print(*summary([outcomes[place] for place in places]), sep="\n")
    kinds = {outcome.kind for outcome in outcomes.values()}
    sys.exit(NOT_AT_PARITY if DISAGREES in kinds else WRONG_USE if REFUSED in kinds else DONE)


if __name__ == "__main__":
    end_with(main)
