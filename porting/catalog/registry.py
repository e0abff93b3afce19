"""All official sources in one table, and its look-up."""

from __future__ import annotations

import difflib

from porting.catalog import mnasnet
from porting.catalog.entry import CatalogEntry
from porting.errors import BadInput

CATALOG: dict[str, CatalogEntry] = {entry.name: entry for entry in mnasnet.ENTRIES}


def find_published(model: str) -> CatalogEntry | None:
    """The first entry that holds a network, or None."""
    return next((entry for entry in CATALOG.values() if entry.model == model), None)


def find_entry(name: str) -> CatalogEntry:
    """An entry by its own name, or the first that holds the network of that name.

    Raises:
        BadInput: there is none; the message lists the nearest names.
    """
    model = name if name.startswith("tf_") else f"tf_{name}"
    entry = CATALOG.get(name) or find_published(model)
    if entry is None:
        near = difflib.get_close_matches(name, CATALOG, n=5, cutoff=0.3)
        hint = f"the nearest are {', '.join(near)}" if near else f"known are {', '.join(CATALOG)}"
        raise BadInput(f"no published source is called {name!r}; {hint}")
    return entry
