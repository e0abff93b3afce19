"""What every data set has in common."""

from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from parity_tests.accuracy.datasets.making import (
    SHARK,
    TENCH,
    by_name,
    jpeg,
    refused,
    write_files,
    write_tar,
)
from porting.accuracy.datasets import Example, open_dataset

OPEN = Path("/proc/self/fd")
FILES = [f"{TENCH}/a.jpg", f"{TENCH}/b.jpg", f"{SHARK}/c.jpg"]


@pytest.fixture(params=["folder", "tar", "webdataset", "records"])
def path(request, tmp_path):
    """A small data set in each format."""
    if request.param == "folder":
        return write_files(tmp_path / "v", FILES)
    if request.param == "tar":
        return write_tar(tmp_path / "v.tar", FILES)
    if request.param == "webdataset":
        files = {f"{n}.{e}": c for n in range(3) for e, c in (("jpg", jpeg(n)), ("cls", f"{n}"))}
        return write_tar(tmp_path / "v.tar", files)
    write, slim = (request.getfixturevalue(name) for name in ("write_records", "slim"))
    return write(tmp_path / "v.tfrecord", [slim(n, n) for n in range(3)])


def test_it_goes_to_other_processes_and_threads(path):
    dataset = open_dataset(path)
    dataset.read(0)  # files left open by a first read must not interfere
    expected = [dataset.read(number) for number in range(3)]
    assert by_name(pickle.loads(pickle.dumps(dataset))) == by_name(dataset)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(dataset.read, range(3))) == expected
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(dataset.read, [0, 1, 2] * 50)) == expected * 50


def test_numbers_out_of_range(path):
    dataset = open_dataset(path)
    for number in (-1, 3):
        with pytest.raises(IndexError, match=rf"has no example {number}, but 0\.\.2"):
            dataset.example(number)
        with pytest.raises(IndexError):
            dataset.read(number)


def test_no_file_stays_open(path):
    before = set(OPEN.iterdir())
    dataset = open_dataset(path)
    for number in range(3):
        dataset.read(number)
    assert set(OPEN.iterdir()) == before


def test_the_fingerprint_is_that_of_names_labels_and_sizes(tmp_path):
    def fingerprint(name, files, **options):
        return open_dataset(write_files(tmp_path / name, files), **options).fingerprint

    files = dict.fromkeys(FILES, b"xyz")
    first = fingerprint("a", files)
    assert len(first) == 64
    assert fingerprint("b", files) == first
    changed = [
        fingerprint("c", files | {FILES[0]: b"xy"}),
        fingerprint("d", {name.replace("b.jpg", "d.jpg"): b"xyz" for name in FILES}),
        fingerprint("e", files, classes=2),
        fingerprint("f", dict.fromkeys(FILES[:2], b"xyz")),
    ]
    assert len({first, *changed}) == 5


def test_an_example_is_a_name_and_a_label(tmp_path):
    dataset = open_dataset(write_files(tmp_path, FILES))
    assert dataset.example(2) == Example(f"{SHARK}/c.jpg", 2)


def test_nothing_heavy_is_imported(tmp_path):
    write_files(tmp_path, FILES)
    code = (
        "import sys; from porting.accuracy.datasets import open_dataset\n"
        f"open_dataset({str(tmp_path)!r}).read(0)\n"
        "print([n for n in ('torch', 'tensorflow', 'PIL', 'google_crc32c') if n in sys.modules])"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "[]"


def test_not_one_usable_example(tmp_path):
    write_tar(tmp_path / "v.tar", {"a.jpg": b"x", "a.cls": ""})
    refused(tmp_path, r"not one of 1 examples can be used; v.tar:a.jpg: its label cannot be read")
