"""The command ``porting``: one file for each subcommand, and what several of them share.

``options.py`` has shared arguments and options, ``processes.py`` runs commands in parallel,
``obtain.py`` finds sources for ``porting port --obtain``.
"""

from typing import Annotated

import typer

from genmobilenet import __version__
from porting.cli import (
    check,
    diagnose,
    diff,
    evaluate,
    export,
    fetch,
    inspect,
    port,
    release,
    report,
    reproduce,
    sources,
    synthesize,
    verify,
)

app = typer.Typer(
    name="porting",
    help="Port mobile networks from TensorFlow to PyTorch, with proof.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _print_version(version_option: bool) -> None:
    if version_option:
        typer.echo(f"porting {__version__}")
        raise typer.Exit


@app.callback()
def _options_of_all_commands(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass


app.command()(inspect.inspect)
app.command()(port.port)
app.command()(check.check)
app.command()(diff.diff)
app.command()(diagnose.diagnose)
app.command()(evaluate.evaluate)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    reproduce.reproduce
)
app.command()(release.release)
app.command()(verify.verify)
app.command()(export.export)
app.command()(report.report)
app.command()(sources.sources)
app.command()(fetch.fetch)
app.command()(synthesize.synthesize)
app.command("rehearse", hidden=True)(synthesize.synthesize)  # the name until 0.1; goes next
