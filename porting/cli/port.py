"""The command ``porting port``: one source, or several side by side."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from porting.cli.options import (
    SOURCE_HELP,
    JobsOption,
    JsonOption,
    MeanOption,
    ModelOption,
    OntoOption,
    SignatureOption,
    StdOption,
    WeightsOption,
    given_options,
)
from porting.errors import BadInput, NotAtParity, PortingError
from porting.exits import WRONG_USE
from porting.folders import DOWNLOADS, PORTS
from porting.reports.terminal import progress_bar, show


def port(
    context: typer.Context,
    sources: Annotated[
        list[Path] | None, typer.Argument(metavar="SOURCE...", help=SOURCE_HELP)
    ] = None,
    model: ModelOption = None,
    weights: WeightsOption = None,
    classes: Annotated[
        Literal["keep", "drop-background"],
        typer.Option("--classes", help="Keep all classes, or drop class 0 of 1001."),
    ] = "keep",
    backbone: Annotated[
        bool,
        typer.Option(
            "--backbone",
            help="Port the longest part from the input that is a mobile network, as of a detector.",
        ),
    ] = False,
    onto: OntoOption = None,
    normalisation: Annotated[
        Literal["keep", "strip"],
        typer.Option("--normalisation", help="Keep what normalises in the graph, or move it out."),
    ] = "strip",
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.")] = PORTS,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Have the judge compare every tap.")
    ] = True,
    bn: Annotated[
        Literal["identity", "calibrate"],
        typer.Option(
            "--bn",
            help="Make folded batch norms identities, or give them the statistics of images.",
        ),
    ] = "identity",
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder of images for --bn calibrate.")
    ] = None,
    mean: MeanOption = None,
    std: StdOption = None,
    signature: SignatureOption = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help=f"Port all sources in the folders SOURCE, by default {DOWNLOADS}."
        ),
    ] = False,
    obtain: Annotated[
        bool,
        typer.Option(
            "--obtain",
            help="Without SOURCE: port what is on disk of --model (by default all, and MNASNet-B1 "
            "and -A1), else its download, else synthetic files.",
        ),
    ] = False,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Port sources to PyTorch; write the weights and their cards.

    Exits with 1 and writes nothing where the judge disagrees. Several sources are ported in
    parallel; a failure does not stop the others, and the worst outcome gives the exit code.
    """
    from porting.atomic_files import check_folder

    check_folder(out)
    places = _places(sources or [], everything, obtain, model, weights)
    if obtain:
        model = None  # each source fits the network that it was chosen for
    if everything or len(places) > 1:
        options = given_options(context, "model", "everything", "obtain", "jobs", "as_json")
        options += ["--model", model] if model else []
        _port_each(places, options, jobs, as_json)

    from porting.api import port as port_source
    from porting.catalog.local import source_path
    from porting.release import write_release
    from porting.reports.comparison import port_json, print_port

    with progress_bar("judging" if images is None else "calibrating, judging") as progress:
        result = port_source(
            source_path(places[0], DOWNLOADS), model, weights=weights, classes=classes,
            backbone=backbone, onto=onto, normalisation=normalisation, verify=verify, bn=bn,
            images=images, mean=mean, std=std, signature=signature, progress=progress,
        )  # fmt: skip
    files, failure = None, None
    try:
        files = write_release(result, out)
    except PortingError as error:
        failure = error
    # The verdict took minutes: it is printed even if no file could be written. A disagreement is
    # its own message.
    if as_json or not isinstance(failure, NotAtParity):
        show(as_json, lambda: port_json(result, files), lambda: print_port(result, files))
    if failure is not None:
        raise failure


def _places(
    sources: Sequence[Path], everything: bool, obtain: bool, model: str | None, weights: str | None
) -> list[Path]:
    """The sources to port, each once.

    Raises:
        BadInput: there are none, or a folder is not there.
    """
    if obtain:
        from porting.cli.obtain import obtain_sources

        if sources or everything:
            raise BadInput("--obtain chooses the sources itself: leave SOURCE and --all out")
        return obtain_sources(model, weights)
    if not everything:
        if not sources:
            raise BadInput("nothing to port: name a SOURCE, or let --all or --obtain choose")
        return list(dict.fromkeys(sources))
    from porting.catalog.local import search_folders

    folders = sources or [DOWNLOADS]
    places = search_folders(folders)
    if not places:
        raise BadInput(
            f"nothing to port in {', '.join(map(str, folders))}; porting sources lists what is "
            "published, porting fetch NAME downloads it, porting port --all FOLDER takes what lies "
            "elsewhere"
        )
    return places


def _port_each(
    places: Sequence[Path], options: Sequence[str], jobs: int | None, as_json: bool
) -> NoReturn:
    """Port each source in its own process, and exit with the worst exit code."""
    from porting.catalog.downloads import check_recorded
    from porting.cli.processes import Outcome, Wording, run_each, show_outcomes

    wording = Wording("porting", "ported", "refused")
    outcomes = {}
    for place in places:
        try:
            if place.is_file():
                check_recorded(place)
        except (BadInput, OSError) as error:
            outcomes[place] = Outcome(place, WRONG_USE, str(error).removeprefix(f"{place}: "))
    commands = {
        place: ["port", "--json", *options, "--", str(place)]
        for place in places if place not in outcomes
    }  # fmt: skip

    def read_result(_: Path, output: str) -> tuple[str, str | None]:
        data = json.loads(output)
        return data["verdict"]["summary"], data["weights"]

    for outcome in run_each(commands, jobs, read_result, wording):
        outcomes[outcome.file] = outcome
    show_outcomes([outcomes[place] for place in places], wording, as_json)
