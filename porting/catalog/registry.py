"""All official sources in one table, and its look-up."""

from __future__ import annotations

import difflib
from fnmatch import fnmatchcase
from pathlib import PurePath

from genmobilenet.zoo import tensorflow_form
from porting.catalog import keras, mnasnet, mobilenet
from porting.catalog.entry import CatalogEntry
from porting.errors import BadInput

ENTRIES = (*mnasnet.ENTRIES, *mobilenet.ENTRIES, *keras.ENTRIES)

CATALOG: dict[str, CatalogEntry] = {entry.name: entry for entry in ENTRIES}

BY_FILE: dict[str, CatalogEntry] = {entry.file_name: entry for entry in ENTRIES}

_FIRST_SEEN = {model: i for i, model in enumerate(dict.fromkeys(e.model for e in ENTRIES))}

_ENDINGS = (".tgz", ".tflite", ".h5", ".keras")
_LIKE = 0.75  # of difflib's ratio: a slip of the finger, and not any two names of a family


def find_published(model: str) -> CatalogEntry | None:
    """The first entry that holds a network, or None."""
    return next((entry for entry in CATALOG.values() if entry.model == model), None)


def find_entry(name: str) -> CatalogEntry:
    """An entry by its own name or its file's, or the first that holds the network of that name.

    Raises:
        BadInput: there is none; the message lists the nearest names.
    """
    model = name if name.startswith("tf_") else f"tf_{name}"
    entry = CATALOG.get(name) or BY_FILE.get(name) or find_published(model)
    if entry is None:
        near = difflib.get_close_matches(name, CATALOG, n=5, cutoff=0.3)
        hint = (
            f"the nearest are {', '.join(near)}" if near else "porting sources lists what there is"
        )
        raise BadInput(f"no published source is called {name!r}; {hint}")
    return entry


def find_entries(pattern: str | None, model: str | None) -> list[CatalogEntry]:
    """Entries whose name or network has the pattern in it, those of a network together.

    ``*``, ``?`` and ``[...]`` stand for what they do in a shell.

    Raises:
        UnknownModel: ``model`` is no network.
        BadInput: there are none.
    """
    form = None if model is None else tensorflow_form(model)
    wanted = f"*{pattern or ''}*".lower()
    found = [
        entry
        for entry in CATALOG.values()
        if form in (None, entry.model)
        and any(fnmatchcase(text.lower(), wanted) for text in (entry.name, entry.model))
    ]
    if not found:
        asked = [f"like {pattern!r}"] * (pattern is not None) + [f"of {model}"] * (form is not None)
        raise BadInput(f"nothing is published {' and '.join(asked)}; porting sources lists all")
    return sorted(found, key=lambda entry: _FIRST_SEEN[entry.model])


def near_names(text: str) -> list[str]:
    """Names that somebody who typed ``text`` may have meant, the nearest first; often none."""
    plain = PurePath(text).name
    for ending in _ENDINGS:
        plain = plain.removesuffix(ending)
    return difflib.get_close_matches(plain, CATALOG, n=3, cutoff=_LIKE)
