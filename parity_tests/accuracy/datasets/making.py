"""Small data sets in every supported format."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from porting.accuracy.datasets import open_dataset
from porting.errors import BadInput

TENCH, GOLDFISH, SHARK, TISSUE = "n01440764", "n01443537", "n01484850", "n15075141"
"""Classes 0, 1, 2 and 999."""


def jpeg(seed):
    """A JPEG that is different for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 9, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def write_files(root, names):
    """An image, or the given bytes or text, under each name."""
    contents = names if isinstance(names, dict) else {name: jpeg(n) for n, name in enumerate(names)}
    for name, content in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def write_tar(path, names, form=tarfile.PAX_FORMAT, mode="w"):
    """A tar of the same; a list of pairs may hold a name twice."""
    pairs = names
    if isinstance(names, dict):
        pairs = list(names.items())
    elif names and isinstance(names[0], str):
        pairs = [(name, jpeg(n)) for n, name in enumerate(names)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode, format=form) as archive:
        for name, content in pairs:
            raw = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return path


def validation(count):
    """Names of the first validation images."""
    return [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, count + 1)]


def labels(dataset):
    """The labels of all examples."""
    return [dataset.example(number).label for number in range(len(dataset))]


def by_name(dataset):
    """Label and image of all examples, by name."""
    examples = [dataset.example(number) for number in range(len(dataset))]
    return {e.name: (e.label, dataset.read(n)) for n, e in enumerate(examples)}


def refused(path, match, **options):
    """Check that opening fails with a message that matches and names the path."""
    with pytest.raises(BadInput, match=match) as error_info:
        open_dataset(path, **options)
    return str(error_info.value)
