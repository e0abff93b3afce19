"""What an HDF5 file holds, listed by a process of its own.

HDF5's library crashes, loops or takes memory without end on some damaged
files. So only this script opens a file with it; :mod:`.contents` runs it, and
its death is one more way in which a file can be damaged. Values are not read
here: the list says where in the file they lie.

Run as ``python -P listing.py FILE``, it writes one JSON object: ``datasets``
and ``attributes`` by path, or ``bad`` or ``unsupported`` with a message. It
imports nothing of ours, so that it starts quickly.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from typing import Any

MOST_NAMES = 20_000
"""Groups, datasets and names in lists; a MobileNet with its optimizer has about 2,500."""
MOST_TEXT = 1 << 20
"""Bytes of all attributes; a model's configuration takes about 160 KiB."""
DEEPEST = 64
_MEMORY = 128 << 20
"""Of which Python, NumPy and HDF5 take about 52 MiB before a file is opened."""
_LISTS = re.compile(r"(layer_names|weight_names)\d*")
_TEXTS = ("model_config", "name", "dtype")


class Refused(Exception):
    """A file that is not listed: ``kind`` is ``bad`` or ``unsupported``."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Listing:
    """Datasets and attributes of a file by path, the root's being empty.

    ``place`` is the path that was reached.
    """

    def __init__(self) -> None:
        self.datasets: dict[str, dict[str, Any]] = {}
        self.attributes: dict[str, dict[str, Any]] = {}
        self.place = ""
        self._names = self._text = 0

    def read(self, path: str) -> None:
        """List a file.

        Raises:
            Refused: something in it leads elsewhere, or there is too much of it.
        """
        import h5py

        with h5py.File(path, "r", locking=False) as file:
            self._group(file, "", 0)

    def _group(self, group: Any, path: str, depth: int) -> None:
        import h5py

        if depth > DEEPEST:
            raise Refused("bad", f"groups lie over {DEEPEST} deep at {path[:200]!r}")
        self.attributes[path] = self._attributes_of(group, path)
        for name in group:
            self.place = place = self._counted(f"{path}/{name}" if path else name)
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise Refused("unsupported", f"{place!r} is a link {_target(link)}, which is not "
                              "followed; Keras writes none")  # fmt: skip
            item = group[name]
            if isinstance(item, h5py.Group):
                self._group(item, place, depth + 1)
            elif isinstance(item, h5py.Dataset):
                self.datasets[place] = self._dataset(item, place)

    def _dataset(self, item: Any, place: str) -> dict[str, Any]:
        import h5py

        plan = item.id.get_create_plist()
        if plan.get_external_count():
            file = os.fsdecode(plan.get_external(0)[0])
            raise Refused("unsupported", f"{place!r} keeps its values in another file, {file!r}")
        if plan.get_layout() != h5py.h5d.CONTIGUOUS:
            raise Refused("unsupported", f"{place!r} is kept in chunks or parts, which Keras does "
                          "not write; 'h5repack -f NONE -l CONTI' makes it whole")  # fmt: skip
        kind = item.dtype
        # Types that NumPy lacks come as bytes without meaning, bfloat16 among them.
        numbers = kind.kind in "fiub" or kind.str == "|V2"
        return {
            "shape": [0] if item.shape is None else list(item.shape),
            "dtype": kind.str if numbers else ("objects" if kind.hasobject else str(kind)),
            "size": kind.itemsize,
            "offset": item.id.get_offset(),
            "mark": self._attributes_of(item, place).get("dtype"),
        }

    def _attributes_of(self, item: Any, path: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name in item.attrs:
            listed = bool(_LISTS.fullmatch(name))
            if listed or name in _TEXTS:
                place = f"attribute {name!r} of {path or 'the root'!r}"
                value = _attribute(item.attrs, name, listed, place)
                values[name] = [self._counted(v) for v in value] if listed else self._kept(value[0])
        return values

    def _counted(self, name: str) -> str:
        self._names += 1
        if self._names > MOST_NAMES:
            raise Refused("bad", f"holds over {MOST_NAMES:,} groups, datasets and names")
        return self._kept(name)

    def _kept(self, value: Any) -> str:
        """Text in Unicode, counted. h5py gives one kind of HDF5's as bytes."""
        raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
        self._text += len(raw)
        if self._text > MOST_TEXT:
            raise Refused("bad", f"holds over {MOST_TEXT:,} bytes of names and settings")
        return raw.decode("utf-8")


def _target(link: Any) -> str:
    file = getattr(link, "filename", None)
    return f"to {link.path!r}" + (f" in another file, {file!r}" if file else "")


def _attribute(attributes: Any, name: str, listed: bool, place: str) -> list[Any]:
    """The texts of one attribute, before which its size is looked at."""
    import h5py

    stored = attributes.get_id(name)
    if stored.shape == (0,):
        # A list of no names is written as one of no numbers.
        return []
    if h5py.check_string_dtype(stored.dtype) is None or len(stored.shape or ()) != listed:
        raise Refused("bad", f"{place} is not {'a list of names' if listed else 'text'}")
    if stored.get_storage_size() > MOST_TEXT:
        raise Refused("bad", f"{place} takes {stored.get_storage_size():,} bytes")
    return list(attributes[name]) if listed else [attributes[name]]


def _limit_memory() -> None:
    # Windows has no such limit.
    with contextlib.suppress(ImportError, ValueError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, most))


def main(path: str) -> None:
    """Write the list of a file, or why there is none."""
    _limit_memory()
    listing = Listing()
    try:
        listing.read(path)
        found = json.dumps({"datasets": listing.datasets, "attributes": listing.attributes})
    except Refused as refusal:
        found = json.dumps({refusal.kind: str(refusal)})
    except MemoryError:
        found = json.dumps({"bad": "takes more memory to list than any model's file does"})
    except Exception as error:
        # h5py turns HDF5's errors into whatever built-in exception seems nearest.
        at = f" at {listing.place[:200]!r}" if listing.place else ""
        what = f"{type(error).__name__}: {error}"[:300]
        found = json.dumps({"bad": f"damaged or cut short: HDF5 cannot read it{at}: {what}"})
    sys.stdout.write(found)


if __name__ == "__main__":
    main(sys.argv[1])
