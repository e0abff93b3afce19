"""The command ``porting inspect``."""

from porting.cli.options import JsonOption, SignatureOption, SourceArgument
from porting.reports.terminal import show


def inspect(
    source: SourceArgument, signature: SignatureOption = None, as_json: JsonOption = False
) -> None:
    """Say what a source holds and which networks it fits."""
    from porting.catalog.local import open_published
    from porting.reports.sources import inspect_source, print_inspection

    inspection = inspect_source(open_published(source, signature))
    show(as_json, inspection.to_json, lambda: print_inspection(inspection))
