"""Published sources by their name and checksum, and what counts as a source in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from genmobilenet import get_config
from parity_tests.building.archives import archive_of, packed
from parity_tests.building.checkpoints import write_network
from parity_tests.building.command import porting_in
from parity_tests.building.keras_models import build, write_as_keras_2
from parity_tests.building.tflite_networks import network_file
from porting.api import port
from porting.catalog import CATALOG, downloads
from porting.catalog.downloads import LOCK, ChecksumMismatch
from porting.catalog.local import open_published, published_as, source_path, sources_in
from porting.errors import BadInput, BadSource
from porting.judges.keras import Application
from porting.release import card_of
from porting.sha256 import sha256_of

NAME, FILE = "mnasnet_1.0_224", "mnasnet_1.0_224_09_07_2018.tgz"
HOSTED = archive_of(**{"mnasnet/b.tflite": network_file(get_config("tf_mnasnet_small"))})
"""A small network under a large one's name: what is tested here does not look into it."""


@pytest.fixture
def google(tmp_path, monkeypatch):
    """An empty folder of downloads, in the folder that paths are relative to."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "checkpoints" / "google"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def downloaded(google):
    (google / FILE).write_bytes(HOSTED)
    return source_path(Path(NAME), google)


def test_a_name_stands_for_its_file_which_is_recorded(downloaded, google):
    assert downloaded == google / FILE
    assert json.loads((google / LOCK).read_text())[FILE]["sha256"] == sha256_of(downloaded)


def test_and_held_to_its_record(downloaded, google):
    downloaded.write_bytes(HOSTED[:-1] + b"x")
    with pytest.raises(ChecksumMismatch, match=f"{FILE}: its sha256 is"):
        source_path(Path(NAME), google)


def test_a_folder_that_cannot_be_written_to_is_no_hindrance(google, monkeypatch):
    def full(*_, **__):
        raise PermissionError

    (google / FILE).write_bytes(HOSTED)
    monkeypatch.setattr(downloads.Path, "write_text", full)
    assert source_path(Path(NAME), google) == google / FILE
    assert published_as(open_published(google / FILE)) is None


def test_a_path_that_exists_goes_before_a_name(downloaded, google, tmp_path):
    Path(NAME).write_bytes(b"mine")
    assert source_path(Path(NAME), google) == Path(NAME)
    write_network(tmp_path / "mnasnet-small", "tf_mnasnet_small")  # a prefix: no file of that name
    assert source_path(Path("mnasnet-small"), google) == Path("mnasnet-small")


def test_what_is_not_here_yet(google):
    with pytest.raises(BadInput, match=r"^mnasnet-a1: is published, and not in .*google; download"):
        source_path(Path("mnasnet-a1"), google)
    (google / "mnasnet-a1.tgz.part").write_bytes(bytes(12_345))
    with pytest.raises(BadInput, match=r"\(12,345 bytes of it are\); .* porting fetch mnasnet-a1$"):
        source_path(Path("mnasnet-a1"), google)


def test_what_is_neither_keeps_its_message_and_says_what_is_near(google):
    with pytest.raises(BadSource) as error_info:
        source_path(Path("mnasnet_1.0_224.tflite"), google)
    text = str(error_info.value)
    assert text.startswith("mnasnet_1.0_224.tflite: no such file; expected a TFLite file, ")
    assert text.endswith(
        "(model.json). Published sources: mnasnet_1.0_224, mnasnet_1.3_224, mnasnet_1.0_192"
    )


@pytest.mark.parametrize("path", ["absent.tflite", "a\0b", "x" * 5000, "", "model.ckpt-3"])
def test_what_is_near_to_nothing_is_left_to_the_reader(google, path):
    assert source_path(Path(path), google) == Path(path)


def test_a_file_is_known_by_its_name_and_its_record(downloaded, google, tmp_path):
    assert published_as(open_published(downloaded)).name == NAME
    copy = tmp_path / FILE
    copy.write_bytes(HOSTED)
    assert published_as(open_published(copy)) is None
    (tmp_path / LOCK).write_text("{")
    assert published_as(open_published(copy)) is None
    downloaded.rename(google / "mine.tgz")
    assert published_as(open_published(google / "mine.tgz")) is None


def test_a_file_that_changed_since_is_not(downloaded, google):
    downloaded.write_bytes(archive_of(b=network_file(get_config("tf_mnasnet_small")))[:-8])
    record = json.loads((google / LOCK).read_text())
    downloaded.write_bytes(HOSTED)
    record[FILE]["sha256"] = "0" * 64
    (google / LOCK).write_text(json.dumps(record))
    assert published_as(open_published(downloaded)) is None


def test_the_card_says_what_was_published(downloaded):
    source = card_of(port(downloaded, verify=False), "x.pth", "0").to_json()["source"]
    assert source["published"] == {
        "name": NAME,
        "url": f"https://storage.googleapis.com/download.tensorflow.org/models/tflite/{FILE}",
        "size": 224,
        "top1": 74.08,
        "top5": 91.75,
        "stated_in": "TensorFlow Lite, hosted_models.md",
    }
    downloaded.rename(downloaded.with_name("mine.tgz"))
    mine = port(downloaded.with_name("mine.tgz"), verify=False)
    assert "published" not in card_of(mine, "x.pth", "0").to_json()["source"]


def test_a_checkpoint_takes_the_size_of_its_images_from_the_catalog(google, tmp_path):
    (tmp_path / "in").mkdir()
    write_network(tmp_path / "in" / "model.ckpt-9", "tf_semnasnet_035")
    packed(tmp_path / "in", google / "mnasnet-a1_d0.35_i96.tgz")
    unknown = port(google / "mnasnet-a1_d0.35_i96.tgz", verify=False).convention
    assert (unknown.size, unknown.certainty) == (224, "assumed")
    assert "nothing in the file says so" in unknown.evidence
    path = source_path(Path("mnasnet-a1_d0.35_i96"), google)
    known = port(path, verify=False).convention
    assert (known.size, known.certainty) == (96, "proved")
    assert known.evidence.endswith("training code, as published with mnasnet-a1_d0.35_i96")


def test_where_published_sources_contradict_each_other_nothing_is_proved(downloaded):
    """Two input conventions are published for the hosted MNASNets; the catalog says so."""
    assert port(downloaded, verify=False).convention.certainty == "assumed"


@pytest.mark.slow
def test_so_do_weights_of_keras(google):
    pytest.importorskip("tensorflow")
    small = Application("MobileNetV2", 0.35, classes=7, size=96)
    file = google / CATALOG["keras-v2_0.35_96"].file_name
    write_as_keras_2(build(small), file)
    assert port(file, verify=False).convention.size == 224
    ported = port(source_path(Path("keras-v2_0.35_96"), google))
    assert ported.convention.size == 96
    assert ported.comparison
    assert card_of(ported, "x.pth", "0").to_json()["source"]["published"]["size"] == 96


def test_the_commands_take_names(google, tmp_path):
    (google / FILE).write_bytes(HOSTED)
    result = porting_in(tmp_path, "port", NAME, "--no-verify", "--json")
    assert result.returncode == 0, result.stderr
    data = json.loads(result.stdout)
    assert data["source"] == f"checkpoints/google/{FILE}, mnasnet/b.tflite"
    card = json.loads((tmp_path / data["card"]).read_text())
    assert card["source"]["published"]["name"] == NAME
    result = porting_in(tmp_path, "inspect", NAME, "--json")
    assert json.loads(result.stdout)["models"] == ["tf_mnasnet_small"]
    result = porting_in(tmp_path, "diff", "mnasnet-a1", tmp_path / data["weights"])
    assert result.returncode == 2
    assert result.stderr == (
        "porting: mnasnet-a1: is published, and not in checkpoints/google; download it with "
        "porting fetch mnasnet-a1\n"
    )


def test_what_counts_as_a_source(tmp_path):
    write_network(tmp_path / "loose.ckpt-3", "tf_mnasnet_small")
    (training := tmp_path / "training").mkdir()
    for step in (1, 2):
        write_network(training / f"model.ckpt-{step}", "tf_mnasnet_small")
    (training / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-2"')
    (training / "as.tflite").write_bytes(b"damaged")
    (deep := tmp_path / "a" / "b").mkdir(parents=True)
    (deep / "k.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (tmp_path / "x.tgz").write_bytes(archive_of(a=b"b"))
    for name in ("x.tgz.part", "x.tgz.refused", ".hidden.tgz", "notes.txt", "catalog.lock.json"):
        (tmp_path / name).write_bytes(archive_of(a=b"b") if "tgz" in name else b"{}")

    def named(**options):
        actual = sources_in(tmp_path, **options)
        return [str(place.relative_to(tmp_path)) for place in actual]

    assert named() == ["a/b/k.h5", "loose.ckpt-3", "training", "training/as.tflite", "x.tgz"]
    assert named(newest_alone=False) == [
        "a/b/k.h5", "loose.ckpt-3", "training/as.tflite", "training/model.ckpt-1",
        "training/model.ckpt-2", "x.tgz",
    ]  # fmt: skip
