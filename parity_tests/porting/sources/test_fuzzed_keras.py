"""Keras files with random damage.

HDF5 itself crashes and loops on some of them; the reader lists a file in a
process of its own, so that this costs no more than an error.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from parity_tests.building.keras_files import (
    GROUPS,
    LAYERS,
    configuration,
    entry,
    write_archive,
    write_legacy,
    write_numbered,
)
from parity_tests.building.limits import within
from parity_tests.porting.sources.refusing import refused
from porting.errors import BadSource, PortingError
from porting.sources import open_source
from porting.sources.keras import hdf5, hdf5_listing


def dying(tmp_path, monkeypatch, code):
    script = tmp_path / "hdf5_listing.py"
    script.write_text(code)
    monkeypatch.setattr(hdf5_listing, "__file__", str(script))
    return write_legacy(tmp_path / "w.h5")


def test_a_crash_of_hdf5_is_an_error(tmp_path, monkeypatch):
    path = dying(tmp_path, monkeypatch, "import os\nos.kill(os.getpid(), 11)")
    refused(path, BadSource, r"damaged: HDF5 crashes on it \(SIGSEGV\)")


def test_a_loop_of_hdf5_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "TIME_LIMIT", 0.5)
    path = dying(tmp_path, monkeypatch, "while True: pass")
    refused(path, BadSource, "damaged: HDF5 does not finish reading it in 0.5 seconds")


def test_a_missing_h5py_is_named(tmp_path, monkeypatch):
    path = dying(tmp_path, monkeypatch, "raise ImportError('No module named h5py')")
    refused(path, BadSource, "cannot be listed: ImportError: No module named h5py")


def exercise(path):
    """Read everything; a refusal must name the file."""
    try:
        source = open_source(path)
        for name in source.tensors:
            source.read(name)
    except PortingError as error:
        assert path.name in str(error)


def fuzz(path, rounds):
    """Change bytes at random, seldom those that are zero: most of HDF5 is padding."""
    generator = np.random.default_rng(int(os.environ.get("FUZZ_SEED", "0")))
    good = path.read_bytes()
    set_bytes = np.flatnonzero(np.frombuffer(good, np.uint8))
    for _ in range(rounds):
        raw = bytearray(good)
        for _ in range(int(generator.integers(1, 5))):
            anywhere = int(generator.integers(len(raw)))
            place = int(generator.choice(set_bytes)) if generator.integers(4) else anywhere
            raw[place] = int(generator.choice([0, 1, 255, generator.integers(256)]))
        end = int(generator.integers(8, len(raw))) if not generator.integers(8) else None
        path.write_bytes(raw[:end])
        with within(mebibytes=64, seconds=20):
            exercise(path)


@pytest.mark.parametrize("layout", ["legacy", "numbered", "archive"])
@pytest.mark.parametrize("rounds", [5, pytest.param(75, marks=pytest.mark.thorough)])
def test_random_damage(tmp_path, layout, rounds, monkeypatch):
    monkeypatch.setattr(hdf5, "TIME_LIMIT", 5)
    small = {name: LAYERS[name] for name in ("Conv1/BatchNorm", "Logits")}
    entries = [entry("Conv1/BatchNorm", "BatchNormalization", {}), entry("Logits", "Dense", {})]
    config = configuration(entries)
    if layout == "legacy":
        path = write_legacy(tmp_path / "m.h5", layers=small, config=config)
    elif layout == "numbered":
        path = write_numbered(tmp_path / "m.weights.h5", layers=small, groups=GROUPS)
    else:
        path = write_archive(tmp_path / "m.keras", layers=small, config=config)
    fuzz(path, rounds)
