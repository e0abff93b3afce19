"""The output of ``porting fetch``."""

from __future__ import annotations

from typing import Any

from porting.catalog.downloads import Download
from porting.catalog.published import CatalogEntry
from porting.reports.terminal import print_lines


def summarise_download(entry: CatalogEntry, download: Download) -> dict[str, Any]:
    """The outcome as plain data."""
    return {**vars(entry), "path": str(download.path), "sha256": download.sha256}


def print_download(data: dict[str, Any]) -> None:
    """Print it as text."""
    accuracy = [f"top-{n} {data[f'top{n}']}" for n in (1, 5) if data[f"top{n}"] is not None]
    pairs = [
        ("source", data["name"]),
        ("model", f"{data['model']}, {data['format']}, {data['size']}x{data['size']}"),
        ("input", f"{data['input']}; {data['classes']} classes"),
        ("stated", f"{', '.join(accuracy)} ({data['stated_in']})" if accuracy else "no accuracy"),
        ("path", data["path"]),
        ("sha256", data["sha256"]),
    ]
    print_lines(pairs)
