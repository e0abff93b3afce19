"""The command ``porting inspect``."""

from porting.cli.options import JsonOption, SourceArgument
from porting.reports.terminal import show


def inspect(source: SourceArgument, as_json: JsonOption = False) -> None:
    """Say what a source holds and which networks it fits."""
    from porting.catalog.local import open_published
    from porting.reports.inspection import inspect_source, print_inspection

    show(inspect_source(open_published(source)), as_json, print_inspection)
