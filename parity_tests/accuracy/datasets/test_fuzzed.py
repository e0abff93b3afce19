"""Tars, TFRecord shards and label files damaged at random: refused, or right, and nothing else."""

from __future__ import annotations

import os

import numpy as np
import pytest

from parity_tests.accuracy.datasets.making import (
    SHARK,
    TENCH,
    TISSUE,
    jpeg,
    validation,
    write_files,
    write_tar,
)
from parity_tests.building.limits import within
from porting.accuracy.datasets import open_dataset
from porting.errors import BadExample, BadInput

ROUNDS = [60, pytest.param(1000, marks=pytest.mark.thorough)]


def damaged(good, rounds):
    """Copies with bytes changed, and some cut short. Zeros are seldom changed: most are padding."""
    generator = np.random.default_rng(int(os.environ.get("FUZZ_SEED", "0")))
    set_bytes = np.flatnonzero(np.frombuffer(good, np.uint8))
    for _ in range(rounds):
        raw = bytearray(good)
        for _ in range(int(generator.integers(0, 4))):
            anywhere = int(generator.integers(len(raw)))
            place = int(generator.choice(set_bytes)) if generator.integers(4) else anywhere
            raw[place] = int(generator.choice([0, 1, 48, 255, generator.integers(256)]))
        cut = not generator.integers(3)
        yield bytes(raw[: int(generator.integers(len(raw)))]) if cut else bytes(raw)


def outcome(path, **options):
    """The images that can be read with their labels; an empty list where all is refused."""
    try:
        dataset = open_dataset(path, **options)
    except BadInput as error:
        assert path.name in str(error)
        return []
    actual = []
    for number in range(len(dataset)):
        try:
            actual.append((dataset.read(number), dataset.example(number).label))
        except BadExample as error:
            assert path.name in str(error)
    assert len(dataset.fingerprint) == 64
    return actual


def fuzz(path, rounds, **options):
    good = path.read_bytes()
    results = []
    for content in damaged(good, rounds):
        path.write_bytes(content)
        with within(mebibytes=64, seconds=20):
            results.append(outcome(path, **options))
    assert any(results)
    assert not all(results)
    return results


@pytest.mark.parametrize("rounds", ROUNDS)
def test_records_are_right_or_refused(tmp_path, rounds, write_records, slim):
    records = [slim(0, 1, TENCH), slim(1, 1000, TISSUE), slim(2, 3, SHARK)]
    path = write_records(tmp_path / "v.tfrecord", records)
    right = [(jpeg(0), 0), (jpeg(1), 999), (jpeg(2), 2)]
    for actual in fuzz(path, rounds):
        assert all(pair in right for pair in actual)  # checksums detect every change


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("form", [0, 1, 2])
def test_tars_raise_nothing_else(tmp_path, rounds, form):
    names = [f"{TENCH}/a.jpg", f"{SHARK}/{'long' * 40}.jpg", f"{TISSUE}/ü.jpg"][: 3 if form else 1]
    fuzz(write_tar(tmp_path / "v.tar", names, form), rounds)


@pytest.mark.parametrize("rounds", ROUNDS)
def test_webdataset_shards_raise_nothing_else(tmp_path, rounds):
    files = {"a.jpg": jpeg(0), "a.cls": "0", "b.jpg": jpeg(1), "b.json": '{"label": 999}'}
    fuzz(write_tar(tmp_path / "v.tar", files), rounds)


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("text", [
    "65\n970\n230\n", "ImageId,PredictionString\n" + "".join(
        f"{name[:-5]},n01440764 1 2 3 4\n" for name in validation(3))])  # fmt: skip
def test_label_files_raise_nothing_else(tmp_path, rounds, text):
    folder = write_files(tmp_path / "images", validation(3))
    path = tmp_path / "labels"
    for content in damaged(text.encode(), rounds):
        path.write_bytes(content)
        try:
            assert len(open_dataset(folder, labels=path)) == 3
        except BadInput as error:
            assert str(path) in str(error)
