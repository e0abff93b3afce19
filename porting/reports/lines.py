"""Label and value, a line each, as the commands print them."""

from __future__ import annotations

from collections.abc import Iterable


def print_lines(pairs: Iterable[tuple[str, str]]) -> None:
    """Print pairs in two columns; long values wrap under their column."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in pairs:
        table.add_row(Text(label, style="bold"), Text(value))
    Console(highlight=False).print(table)
