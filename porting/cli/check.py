"""The command ``porting check``."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from porting.cli.options import JobsOption, JsonOption, ReportsOption
from porting.errors import BadInput
from porting.exits import WRONG_USE, say
from porting.folders import DOWNLOADS, PORTS, REPORTS, SYNTHETIC

if TYPE_CHECKING:
    from porting.card import Card


def check(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of ports.")] = PORTS,
    source: Annotated[
        list[Path] | None,
        typer.Option(
            "--source", help="A source that has moved, or a folder to search; may be repeated."
        ),
    ] = None,
    reports: ReportsOption = REPORTS,
    junit: Annotated[
        Path | None,
        typer.Option("--junit", help="Write the outcomes as JUnit XML, for CI.", metavar="FILE"),
    ] = None,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare all ports in a folder with their sources, tap by tap; write a report of each.

    A source is found by the checksum in the port's card: in --source, among downloads and
    synthetic files, and where it was when it was ported. The worst outcome gives the exit code.
    """
    from porting.atomic_files import check_files, check_folder, write_text
    from porting.card import read_card
    from porting.cli.processes import Outcome, Wording, junit_xml, run_each, show_outcomes
    from porting.reports.documents import write_report
    from porting.sha256 import sha256_of

    cards: dict[Path, Card | None] = {}
    outcomes: dict[Path, Outcome] = {}
    try:
        ports = sorted(folder.glob("*.pth"))
        for port in ports:
            try:
                cards[port] = read_card(port, sha256_of(port))
            except BadInput as error:
                outcomes[port] = Outcome(port, WRONG_USE, str(error))
    except OSError as error:
        raise BadInput(f"{folder}: cannot be read: {error.strerror}") from error
    if not ports:
        raise BadInput(f"{folder}: no ported file in it; port something first")
    check_folder(reports)
    check_files([] if junit is None else [junit])
    wording = Wording("comparing", "at parity", "not compared")
    commands = {}
    for port, place in find_sources(cards, [*(source or ()), DOWNLOADS, SYNTHETIC]).items():
        card = cards[port]
        if card is not None and card.onto is not None:
            say(f"{port}: left out: porting diff SOURCE {port} --onto MODULE ({card.onto})")
        elif place is None:
            text = "its source is neither where it lay nor in the folders given"
            say(f"{port}: {text}; name it with --source, or remove the port")
            outcomes[port] = Outcome(port, WRONG_USE, text)
        else:
            page = str(reports / f"{port.stem}.html")
            commands[port] = ["diff", "--json", "-", "--report", page, "--", str(place), str(port)]

    def read_result(port: Path, output: str) -> tuple[str, str]:
        data = json.loads(output)
        write_report(data, reports / f"{port.stem}.json")
        return data["summary"], str(reports / f"{port.stem}.html")

    outcomes |= {o.file: o for o in run_each(commands, jobs, read_result, wording)}
    in_order = [outcomes[port] for port in ports if port in outcomes]
    if junit is not None:
        write_text(junit, junit_xml(in_order))
    show_outcomes(in_order, wording, as_json)


def find_sources(
    cards: Mapping[Path, Card | None], folders: Iterable[Path]
) -> dict[Path, Path | None]:
    """The source of each ported file by the checksum in its card; None where it is nowhere.

    The folders are searched before the place that a card remembers.
    """
    from porting.catalog.local import search_folders
    from porting.sources import open_source

    places = search_folders(folders, newest_alone=False)
    places += [Path(card.source.lay_at) for card in cards.values() if card and card.source.lay_at]
    by_checksum: dict[str, Path] = {}
    for place in dict.fromkeys(places):
        with contextlib.suppress(BadInput):
            by_checksum.setdefault(open_source(place).sha256, place)
    return {
        port: by_checksum.get(card.source.sha256) if card else None for port, card in cards.items()
    }
