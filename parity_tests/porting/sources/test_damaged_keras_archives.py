"""Damaged and hostile Keras archives and configurations are refused, with the place named."""

from __future__ import annotations

import struct
import zipfile

import numpy as np
import pytest

from parity_tests.building.keras_files import (
    LAYERS,
    configuration,
    entry,
    values,
    write_archive,
    write_legacy,
)
from parity_tests.porting.sources.refusing import refused
from porting.errors import BadSource, UnsupportedSource
from porting.sources import open_source
from porting.sources.keras import hdf5_listing

CONV = {"Conv1": LAYERS["Conv1"]}


def test_layers_in_another_order_than_the_configuration(tmp_path):
    entries = [entry(name, "Conv2D", {"use_bias": False}) for name in ("b", "a")]
    layers = {name: {"kernel": values(1, 1, 2, 2)} for name in ("a", "b")}
    path = write_legacy(tmp_path / "m.h5", layers=layers, config=configuration(entries))
    refused(path, BadSource, "layer 'b' comes after 'a'; in the model's configuration it comes")
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
    path = write_archive(tmp_path / "n.keras", change=lambda file: file.pop("layers/dense"))
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
    huge = " " * (hdf5_listing.MOST_TEXT + 1)
    refused(
        write_archive(tmp_path / "m.keras", config=huge, packed=zipfile.ZIP_DEFLATED),
        BadSource,
        "config.json unpacks to 4,194,305 bytes; up to 4,194,304 are read",
    )
    refused(write_legacy(tmp_path / "m.h5", config=huge), BadSource, "over 4,194,304 bytes of name")


def test_a_member_that_unpacks_beyond_its_stated_size(tmp_path):
    path = write_archive(tmp_path / "m.keras", packed=zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("model.weights.h5")
    raw = bytearray(path.read_bytes())
    place = raw.rfind(b"model.weights.h5") - 22
    assert struct.unpack_from("<I", raw, place)[0] == member.file_size
    struct.pack_into("<I", raw, place, 4096)
    path.write_bytes(raw)
    refused(path, BadSource, "model.weights.h5 does not unpack to 4,096 bytes, as it states")


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
