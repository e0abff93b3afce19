"""The command ``porting release``: make the release folder of a port."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from porting.cli.options import JobsOption, JsonOption
from porting.errors import BadInput
from porting.folders import DOWNLOADS, PORTS, RELEASES, SYNTHETIC
from porting.reports.terminal import print_lines, progress_bar, show

if TYPE_CHECKING:
    from porting.release.folder import Release


def release(
    port: Annotated[
        Path, typer.Argument(metavar="PORTED", help="A ported .pth with its card, or a folder.")
    ] = PORTS,
    source: Annotated[
        list[Path] | None,
        typer.Option(
            "--source", help="A source that has moved, or a folder to search; may be repeated."
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option("--out", help="Folder of the release; of a folder of ports, one for each."),
    ] = RELEASES,
    allow_unverified: Annotated[
        bool,
        typer.Option(
            "--allow-unverified",
            help="Release what cannot be judged, with that in its name and its card.",
        ),
    ] = False,
    evaluation: Annotated[
        Path | None,
        typer.Option("--evaluation", help="What porting evaluate --json wrote of these weights."),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option("--licence", help="Licence of the weights by the hub's name, as apache-2.0."),
    ] = None,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the release folder of a port, if the judge agrees with the files in it.

    The source is found by the checksum in the port's card, as porting check finds it. Exits with
    1 and writes nothing where the judge disagrees.
    """
    from porting.cli.check import find_sources
    from porting.release.folder import make_release
    from porting.release.port_files import read_port_card

    if port.is_dir():
        if evaluation is not None:
            raise BadInput("--evaluation is of one port: name its .pth, not a folder")
        options = [word for place in source or () for word in ("--source", str(place))]
        options += ["--allow-unverified"] * allow_unverified
        options += ["--licence", licence] if licence else []
        _release_each(port, out, options, jobs, as_json)
    card = read_port_card(port)
    places = find_sources({port: card}, [*(source or ()), DOWNLOADS, SYNTHETIC])
    with progress_bar("judging") as progress:
        result = make_release(
            port, out, places[port], allow_unverified=allow_unverified, evaluation=evaluation,
            licence=licence, progress=progress,
        )  # fmt: skip
    show(as_json, lambda: _to_json(result), lambda: print_lines(_lines(result)))


def _release_each(
    folder: Path, out: Path, options: list[str], jobs: int | None, as_json: bool
) -> NoReturn:
    """Release each port of a folder in a process of its own; exit with the worst exit code."""
    from porting.cli.processes import Wording, run_each, show_outcomes

    ports = sorted(folder.glob("*.pth"))
    if not ports:
        raise BadInput(f"{folder}: no ported file in it; port something first")
    commands = {
        port: ["release", "--json", *options, "--out", str(out / port.stem), "--", str(port)]
        for port in ports
    }

    def read_result(_: Path, output: str) -> tuple[str, str | None]:
        data = json.loads(output)
        return data["summary"], data["folder"]

    wording = Wording("releasing", "released", "refused")
    show_outcomes(run_each(commands, jobs, read_result, wording), wording, as_json)


def _to_json(result: Release) -> dict[str, object]:
    return {
        "folder": str(result.folder),
        "weights": str(result.weights),
        "verified": result.verified,
        "summary": result.summary,
        "timm": result.timm,
    }


def _lines(result: Release) -> list[tuple[str, str]]:
    timm = "reads it (config.json)" if result.timm else "cannot build it; README.md says why"
    return [
        ("release", str(result.folder)),
        ("weights", result.weights.name),
        ("verdict", result.summary),
        ("timm", timm),
    ]
