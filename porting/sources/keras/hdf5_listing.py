"""Lists the contents of an HDF5 file, in a process of its own.

HDF5's library crashes, loops or takes memory without end on some damaged
files. So only this script opens a file with it; :mod:`.hdf5` runs it, and
reports a file that it dies of as damaged. Values are not read here: the list
says where in the file they are.

Run as ``python -P hdf5_listing.py FILE``, it writes one JSON object: ``datasets``
(lists in the order of ``Dataset``'s fields) and ``attributes`` by path, or ``bad`` or
``unsupported`` with a message. It imports nothing of this package, so that it starts quickly.
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
MOST_TEXT = 1 << 22
"""Bytes of all attributes; the configuration of a MobileNet takes about 160 KiB, of an
EfficientNet-B7 under 2 MiB."""
DEEPEST = 64
_MEMORY = 128 << 20
"""Of which Python, NumPy and HDF5 take about 52 MiB before a file is opened."""
_LISTS = re.compile(r"(layer_names|weight_names)\d*")
_TEXTS = ("model_config", "name", "dtype", "keras_version")


class Refusal(Exception):
    """A file that is not listed: ``kind`` is ``bad`` or ``unsupported``."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Listing:
    """Datasets and attributes of a file by path, the root's being empty.

    ``path`` is the last that was reached.
    """

    def __init__(self) -> None:
        self.datasets: dict[str, list[Any]] = {}
        self.attributes: dict[str, dict[str, Any]] = {}
        self.path = ""
        self._names = self._text = 0

    def add_group(self, group: Any, path: str, depth: int) -> None:
        """List an h5py group and all below it.

        Raises:
            Refusal: something in it leads elsewhere, or there is too much of it.
        """
        import h5py

        if depth > DEEPEST:
            raise Refusal("bad", f"groups lie over {DEEPEST} deep at {path[:200]!r}")
        self.attributes[path] = self._attributes_of(group, path)
        for name in group:
            self.path = child = self._count_name(f"{path}/{name}" if path else name)
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                file = getattr(link, "filename", None)
                target = f"{link.path!r}" + (f" in another file, {file!r}" if file else "")
                raise Refusal("unsupported", f"{child!r} is a link to {target}, which is not "
                              "followed; Keras writes none")  # fmt: skip
            item = group[name]
            if isinstance(item, h5py.Group):
                self.add_group(item, child, depth + 1)
            elif isinstance(item, h5py.Dataset):
                self._add_dataset(item, child)

    def _add_dataset(self, item: Any, path: str) -> None:
        import h5py

        properties = item.id.get_create_plist()
        if properties.get_external_count():
            file = os.fsdecode(properties.get_external(0)[0])
            raise Refusal("unsupported", f"{path!r} keeps its values in another file, {file!r}")
        if properties.get_layout() != h5py.h5d.CONTIGUOUS:
            raise Refusal("unsupported", f"{path!r} is kept in chunks or parts, which Keras does "
                          "not write; 'h5repack -f NONE -l CONTI' makes it whole")  # fmt: skip
        dtype = item.dtype
        # Types that NumPy lacks come as bytes without meaning, bfloat16 among them.
        numeric = dtype.kind in "fiub" or dtype.str == "|V2"
        self.datasets[path] = [
            [0] if item.shape is None else list(item.shape),
            dtype.str if numeric else ("objects" if dtype.hasobject else str(dtype)),
            dtype.itemsize,
            item.id.get_offset(),
            self._attributes_of(item, path).get("dtype"),
        ]

    def _attributes_of(self, item: Any, path: str) -> dict[str, Any]:
        """The attributes that Keras writes; the size of each is looked up before it is read."""
        import h5py

        values: dict[str, Any] = {}
        for name in item.attrs:
            is_list = bool(_LISTS.fullmatch(name))
            if not is_list and name not in _TEXTS:
                continue
            attribute = item.attrs.get_id(name)
            if is_list and attribute.shape == (0,):  # no names are written as no numbers
                values[name] = []
                continue
            place = f"attribute {name!r} of {path or 'the root'!r}"
            is_text = h5py.check_string_dtype(attribute.dtype) is not None
            if not is_text or len(attribute.shape or ()) != is_list:
                raise Refusal("bad", f"{place} is not {'a list of names' if is_list else 'text'}")
            if (size := attribute.get_storage_size()) > MOST_TEXT:
                raise Refusal("bad", f"{place} takes {size:,} bytes")
            value = item.attrs[name]
            values[name] = (
                [self._count_name(each) for each in value] if is_list else self._count_text(value)
            )
        return values

    def _count_name(self, name: str) -> str:
        self._names += 1
        if self._names > MOST_NAMES:
            raise Refusal("bad", f"holds over {MOST_NAMES:,} groups, datasets and names")
        return self._count_text(name)

    def _count_text(self, value: Any) -> str:
        """Text in Unicode, counted. h5py returns one kind of HDF5's as bytes."""
        raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
        self._text += len(raw)
        if self._text > MOST_TEXT:
            raise Refusal("bad", f"holds over {MOST_TEXT:,} bytes of names and settings")
        return raw.decode("utf-8")


def main(path: str) -> None:
    """Write the list of a file, or why there is none."""
    # Windows has no such limit.
    with contextlib.suppress(ImportError, ValueError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, most))
    import h5py

    listing = Listing()
    try:
        with h5py.File(path, "r", locking=False) as file:
            listing.add_group(file, "", 0)
        output = json.dumps({"datasets": listing.datasets, "attributes": listing.attributes})
    except Refusal as refusal:
        output = json.dumps({refusal.kind: str(refusal)})
    except MemoryError:
        output = json.dumps({"bad": "takes more memory to list than any model's file does"})
    except Exception as error:
        # h5py turns HDF5's errors into whatever built-in exception seems nearest.
        at = f" at {listing.path[:200]!r}" if listing.path else ""
        what = f"{type(error).__name__}: {error}"[:300]
        output = json.dumps({"bad": f"damaged or cut short: HDF5 cannot read it{at}: {what}"})
    sys.stdout.write(output)


if __name__ == "__main__":
    main(sys.argv[1])
