"""Damaged and hostile HDF5 files are refused with the place of the damage, within limits."""

from __future__ import annotations

import struct

import h5py
import pytest

from parity_tests.building.keras_files import (
    LAYERS,
    values,
    write_legacy,
)
from parity_tests.porting.sources.refusing import refused
from porting.errors import BadSource, UnsupportedSource
from porting.sources.keras import hdf5

CONV = {"Conv1": LAYERS["Conv1"]}


@pytest.mark.parametrize("kept", [8, 100, 0.5, -1])
def test_a_cut_file(tmp_path, kept):
    path = write_legacy(tmp_path / "w.h5")
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * kept) if isinstance(kept, float) else kept])
    refused(path, BadSource, "damaged or cut short: HDF5 cannot read it: OSError")


def test_hdf5_that_is_not_of_keras(tmp_path):
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file["measurements"] = values(3)
    refused(path, BadSource, "HDF5, but not of Keras: it has neither a list of 'layer_names'")


def link(target):
    def change(file):
        file["elsewhere"] = target

    return change


def far(file):
    file.create_dataset("far", (9,), "f4", external=[("/etc/passwd", 0, 36)])


def chunked(file):
    file.create_dataset("bomb", (1 << 40,), "f4", chunks=(1 << 20,), compression="gzip")


def virtual(file):
    layout = h5py.VirtualLayout((9,), "f4")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "x", (9,))
    file.create_virtual_dataset("far", layout)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (link(h5py.SoftLink("/Conv1")), "'elsewhere' is a link to '/Conv1', which is not followed"),
        (
            link(h5py.ExternalLink("/etc/other.h5", "/x")),
            "'elsewhere' is a link to '/x' in another file, '/etc/other.h5'",
        ),
        (far, "'far' keeps its values in another file, '/etc/passwd'"),
        (virtual, "'far' is kept in chunks or parts, which Keras does not write"),
        (chunked, "'bomb' is kept in chunks or parts, which Keras does not write; 'h5repack"),
    ],
    ids=["soft link", "external link", "external storage", "virtual", "chunks"],
)
def test_what_leads_elsewhere_or_unfolds(tmp_path, change, message):
    refused(write_legacy(tmp_path / "w.h5", change=change), UnsupportedSource, message)


def test_a_dataset_that_claims_more_than_the_file(tmp_path):
    path = write_legacy(tmp_path / "w.h5", layers=CONV)
    raw = bytearray(path.read_bytes())
    # A shape as HDF5 stores it: sides of eight bytes, twice.
    sides, larger = struct.pack("<4Q", 3, 3, 3, 8), struct.pack("<4Q", 3, 3, 3, 1 << 40)
    assert raw.count(sides) == 2
    path.write_bytes(raw.replace(sides, larger))
    refused(path, BadSource, r"cannot read it at 'Conv1/Conv1/kernel:0': .*invalid dataset size")


def test_the_reader_compares_claims_with_the_file(tmp_path):
    claimed = hdf5.Dataset((1 << 40,), "<f4", 4, 64, None)
    with pytest.raises(BadSource, match=r"'a' of shape .* claims 4,398,046,511,104 bytes at byte"):
        hdf5.check_extent("a", claimed, 2048, "w.h5")
    with pytest.raises(BadSource, match=r"'a' of shape .* has no values in the file"):
        hdf5.check_extent("a", hdf5.Dataset((3,), "<f4", 4, None, None), 2048, "w.h5")


def test_a_dataset_that_was_never_written(tmp_path):
    def change(file):
        file.create_dataset("empty", (1 << 40,), "f4")

    path = write_legacy(tmp_path / "w.h5", change=change)
    refused(path, BadSource, r"'empty' of shape \(1099511627776,\) has no values in the file")


def without(*names):
    def change(file):
        for name in names:
            del file[name]

    return change


def listed(names):
    def change(file):
        file.attrs["layer_names"] = names

    return change


def text_for_a_list(file):
    file.attrs["layer_names"] = "Conv1"


def numbers_for_names(file):
    file["Conv1"].attrs["weight_names"] = [1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("Conv1"), "layer 'Conv1' is listed, but has no group with weight_names"),
        (without("Conv1/Conv1/kernel:0"), "layer 'Conv1' lists 'Conv1/kernel:0', which is not th"),
        (listed([b"Conv1", b"Conv1"]), "a layer is listed twice"),
        (text_for_a_list, "attribute 'layer_names' of 'the root' is not a list of names"),
        (numbers_for_names, "attribute 'weight_names' of 'Conv1' is not a list of names"),
    ],
)
def test_lists_and_groups_that_differ(tmp_path, change, message):
    refused(write_legacy(tmp_path / "w.h5", layers=CONV, change=change), BadSource, message)


def test_more_groups_than_any_model_has(tmp_path):
    """One group under many names, within itself: a hundred bytes stand for endless paths."""

    def change(file):
        group = file.create_group("a")
        group["again"] = group
        group["and again"] = group

    path = write_legacy(tmp_path / "w.h5", change=change)
    refused(path, BadSource, "groups lie over 64 deep at 'a/again/again")


def test_names_longer_than_any_model_has(tmp_path):
    def change(file):
        kind = h5py.string_dtype()
        file.attrs.create("layer_names0", ["x" * 60_000] * 80, dtype=kind)

    path = write_legacy(tmp_path / "w.h5", change=change)
    refused(path, BadSource, "holds over 4,194,304 bytes of names and settings")
