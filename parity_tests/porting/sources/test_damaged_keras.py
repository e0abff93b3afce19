"""Damaged and hostile files of Keras: each refused with its place, none at the cost of the process.

HDF5 itself crashes and loops on some of them; the reader lists a file in a
process of its own, so that this costs no more than an error.
"""

from __future__ import annotations

import os
import struct
import zipfile

import h5py
import numpy as np
import pytest

from parity_tests.building.keras_files import (
    GROUPS,
    LAYERS,
    configuration,
    entry,
    values,
    write_archive,
    write_legacy,
    write_numbered,
)
from parity_tests.building.limits import within
from porting.errors import BadSource, PortingError, UnsupportedSource
from porting.sources import open_source
from porting.sources.keras import contents, listing

CONV = {"Conv1": LAYERS["Conv1"]}


def refused(path, kind, message):
    """Opening names the file and says what is wrong, within bounds."""
    with within(mebibytes=64, seconds=60), pytest.raises(kind, match=message) as caught:
        open_source(path)
    assert path.name in str(caught.value)


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
    # A shape as HDF5 keeps it: sides of eight bytes, stated twice.
    sides, larger = struct.pack("<4Q", 3, 3, 3, 8), struct.pack("<4Q", 3, 3, 3, 1 << 40)
    assert raw.count(sides) == 2
    path.write_bytes(raw.replace(sides, larger))
    refused(path, BadSource, r"cannot read it at 'Conv1/Conv1/kernel:0': .*invalid dataset size")


def test_the_reader_compares_claims_with_the_file(tmp_path):
    claimed = contents.Dataset((1 << 40,), "<f4", 4, 64, None)
    with pytest.raises(BadSource, match=r"'a' of shape .* claims 4,398,046,511,104 bytes at byte"):
        contents._check_extent("a", claimed, 2048, "w.h5")
    with pytest.raises(BadSource, match=r"'a' of shape .* has no values in the file"):
        contents._check_extent("a", contents.Dataset((3,), "<f4", 4, None, None), 2048, "w.h5")


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


def test_layers_in_another_order_than_the_configuration(tmp_path):
    entries = [entry(name, "Conv2D", {"use_bias": False}) for name in ("b", "a")]
    layers = {name: {"kernel": values(1, 1, 2, 2)} for name in ("a", "b")}
    path = write_legacy(tmp_path / "m.h5", layers=layers, config=configuration(entries))
    refused(path, BadSource, "layer 'b' stands behind 'a'; in the model's configuration it comes")
    path = write_archive(
        tmp_path / "m.keras", config=configuration(entries), layers=layers,
        groups={"a": "conv2d", "b": "conv2d_1"},
    )  # fmt: skip
    refused(path, BadSource, "'layers/conv2d' holds layer 'a'; by the model's configuration it is")
    path = write_legacy(tmp_path / "n.h5", layers={"c": layers["a"]}, config=configuration(entries))
    refused(path, BadSource, "layer 'c' is not in the model's configuration")


def test_variables_that_differ_from_the_settings(tmp_path):
    biased = configuration([entry("Conv1", "Conv2D", {"use_bias": True})])
    path = write_archive(tmp_path / "m.keras", config=biased, layers=CONV)
    refused(path, BadSource, "layer 'Conv1' holds 1 variables; a Conv2D with its settings has 2")
    path = write_archive(tmp_path / "n.keras", change=without("layers/dense"))
    refused(path, BadSource, "layer 'Logits' has no variables at 'layers/dense'")
    policy = {"dtype": {"class_name": "QuantizedDTypePolicy"}}
    quantised = configuration([entry("Conv1", "Conv2D", policy)])
    path = write_archive(tmp_path / "q.keras", config=quantised, layers=CONV)
    refused(path, UnsupportedSource, "layer 'Conv1' is quantised, which is not read")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "the model's configuration is damaged: Expecting property name"),
        ("[" * 100_000, "the model's configuration is damaged: maximum recursion depth"),
        ("[]", "is not that of a model of layers: TypeError"),
        ('{"config": {"layers": [{"class_name": 3, "config": {"name": "a"}}]}}', "of class 3"),
        ('{"config": {}}', "is not that of a model of layers: KeyError: 'layers'"),
    ],
)
def test_configurations_that_are_none(tmp_path, config, message):
    refused(write_archive(tmp_path / "m.keras", config=config), BadSource, message)
    refused(write_legacy(tmp_path / "m.h5", config=np.bytes_(config[:60_000])), BadSource, message)


def test_a_configuration_larger_than_any_model_has(tmp_path):
    huge = " " * (listing.MOST_TEXT + 1)
    refused(
        write_archive(tmp_path / "m.keras", config=huge, packed=zipfile.ZIP_DEFLATED),
        BadSource,
        "config.json unpacks to 1,048,577 bytes; up to 1,048,576 are read",
    )
    refused(write_legacy(tmp_path / "m.h5", config=huge), BadSource, "over 1,048,576 bytes of name")


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
        file.attrs.create("layer_names0", ["x" * 60_000] * 40, dtype=kind)

    path = write_legacy(tmp_path / "w.h5", change=change)
    refused(path, BadSource, "holds over 1,048,576 bytes of names and settings")


def test_a_member_that_unpacks_beyond_its_stated_size(tmp_path):
    path = write_archive(tmp_path / "m.keras", packed=zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("model.weights.h5")
    raw = bytearray(path.read_bytes())
    place = raw.rfind(b"model.weights.h5") - 22
    assert struct.unpack_from("<I", raw, place)[0] == member.file_size
    struct.pack_into("<I", raw, place, 4096)
    path.write_bytes(raw)
    refused(path, BadSource, "not a sound zip archive: Bad CRC-32 for file 'model.weights.h5'")


def test_a_member_that_unpacks_to_more_than_any_model(tmp_path):
    path = write_archive(tmp_path / "m.keras", weights=bytes(1 << 24), packed=zipfile.ZIP_DEFLATED)
    refused(path, BadSource, "model.weights.h5 unpacks to 16,777,216 bytes; up to")


def test_a_member_that_leads_outside(tmp_path):
    for name in ("../../outside", "/etc/outside"):
        path = write_archive(tmp_path / "m.keras", extra=[(name, "x")])
        refused(path, BadSource, f"its member '{name}' leads out of the archive")


def test_packings_that_are_not_read(tmp_path):
    path = write_archive(tmp_path / "m.keras", packed=zipfile.ZIP_LZMA)
    refused(path, UnsupportedSource, "config.json is encrypted or neither stored nor deflated")
    many = [(f"assets/{'x' * 90}{n}", "") for n in range(8_000)]
    path = write_archive(tmp_path / "many.keras", extra=many)
    refused(path, UnsupportedSource, "more members or bytes than a mobile network's has")


@pytest.mark.parametrize("kept", [10, 0.5, -1])
def test_a_cut_archive(tmp_path, kept):
    path = write_archive(tmp_path / "m.keras")
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * kept) if isinstance(kept, float) else kept])
    refused(path, BadSource, "not a sound zip archive: cut short, its directory is missing")


def test_an_archive_without_weights(tmp_path):
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", configuration())
    with pytest.raises(BadSource, match="a zip archive"):
        open_source(path)


def dying(tmp_path, monkeypatch, code):
    script = tmp_path / "listing.py"
    script.write_text(code)
    monkeypatch.setattr(listing, "__file__", str(script))
    return write_legacy(tmp_path / "w.h5")


def test_a_crash_of_hdf5_is_an_error(tmp_path, monkeypatch):
    path = dying(tmp_path, monkeypatch, "import os\nos.kill(os.getpid(), 11)")
    refused(path, BadSource, r"damaged: HDF5 itself fails on it \(SIGSEGV\)")


def test_a_loop_of_hdf5_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "TIME_LIMIT", 0.5)
    path = dying(tmp_path, monkeypatch, "while True: pass")
    refused(path, BadSource, "damaged: HDF5 does not come to an end reading it")


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
@pytest.mark.parametrize("rounds", [5, pytest.param(150, marks=pytest.mark.slow)])
def test_random_damage(tmp_path, layout, rounds, monkeypatch):
    monkeypatch.setattr(contents, "TIME_LIMIT", 5)
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
