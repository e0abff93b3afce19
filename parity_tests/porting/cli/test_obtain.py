"""Sources that are ported if none is named: on disk, downloaded, or synthetic."""

from __future__ import annotations

import json

import pytest

from genmobilenet import get_config
from parity_tests.building.archives import archive_of
from parity_tests.building.checkpoints import write_network
from parity_tests.building.command import porting, porting_in
from parity_tests.building.sampling import sampled
from parity_tests.building.server import serving
from parity_tests.building.tflite_networks import network_file
from porting.catalog.downloads import ChecksumMismatch
from porting.cli.obtain import obtain_sources
from porting.errors import BadInput, BadSource
from porting.judges.reference import synthesize as module
from porting.sources import open_source

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def google(tmp_path):
    """A folder after downloads: an archive, a checkpoint, and files that are not sources."""
    folder = tmp_path / "google"
    folder.mkdir()
    hosted = archive_of(
        **{"mnasnet/b.tflite": network_file(get_config("tf_mnasnet_small")), "mnasnet/b.pb": b"x"}
    )
    (folder / "mnasnet_small.tgz").write_bytes(hosted)
    (folder / "a1").mkdir()
    write_network(folder / "a1" / "model.ckpt-9", "tf_semnasnet_035")
    (folder / "catalog.lock.json").write_text("{}")
    (folder / "other.tgz.part").write_bytes(hosted[:100])
    (folder / "notes.txt").write_text("mine")
    return folder


def names(places):
    return [place.name for place in places]


def obtain(google, synthetic, model, weights, mirror=NOWHERE):
    google.mkdir(exist_ok=True)
    return obtain_sources(model, weights, downloads=google, synthetic=synthetic, mirror=mirror)


@pytest.fixture
def synthesized(tmp_path, monkeypatch):
    """Synthetic files by name, without TensorFlow: lists the networks requested."""
    models = []

    def make(model, folder):
        models.append(model)
        prefix = folder / "checkpoint" / "synthetic.ckpt"
        prefix.parent.mkdir(parents=True, exist_ok=True)
        write_network(prefix, "tf_mnasnet_small")
        return module.SyntheticFiles(model, *[prefix.parent] * 3)

    monkeypatch.setattr(module, "synthesize", make)
    return models


def test_what_lies_there_is_taken(google, tmp_path):
    assert names(obtain(google, tmp_path, "mnasnet_small", None)) == ["mnasnet_small.tgz"]
    assert names(obtain(google, tmp_path, "semnasnet_035", "raw")) == ["model.ckpt-9"]


def test_what_is_wanted_and_does_not_lie_there_is_synthesized(
    google, tmp_path, synthesized, capsys
):
    write_network(google / "a1" / "model.ckpt-9", "tf_semnasnet_100")
    actual = obtain(google, tmp_path / "made", None, None)
    assert names(actual) == ["model.ckpt-9", "mnasnet_small.tgz", "checkpoint"]
    assert synthesized == ["tf_mnasnet_100"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "cannot be reached; synthetic files of tf_mnasnet_100 are ported instead" in lines[0]


def test_of_two_downloads_one_cannot_be_had(tmp_path, synthesized, capsys):
    content = archive_of(**{"m.tflite": network_file(get_config("tf_mnasnet_100"))})
    path = "/download.tensorflow.org/models/tflite/mnasnet_1.0_224_09_07_2018.tgz"
    with serving({path: content}) as (_, address):
        actual = obtain(tmp_path / "google", tmp_path / "made", None, None, address)
    assert names(actual) == ["mnasnet_1.0_224_09_07_2018.tgz", "checkpoint"]
    assert synthesized == ["tf_semnasnet_100"]
    assert "synthetic files of tf_semnasnet_100 are" in capsys.readouterr().err


def test_weights_that_a_source_does_not_have_are_said_not_dropped(google, tmp_path, capsys):
    with pytest.raises(BadInput, match="nothing to port: no source has raw weights"):
        obtain(google, tmp_path, "mnasnet_small", "raw")
    text = capsys.readouterr().err
    assert "mnasnet_small.tgz" in text
    assert "has no raw weights to choose; its weights: as stored; left out" in text


@pytest.mark.parametrize("name", ["mnasnet_small.tgz", "cut.tflite"])
def test_a_damaged_file_is_named(google, tmp_path, name):
    whole = (google / "mnasnet_small.tgz").read_bytes()
    (google / name).write_bytes(whole[:1000] if name.endswith("tgz") else b"\0\0\0\0TFL3" + whole)
    with pytest.raises(BadSource, match=name):
        obtain(google, tmp_path, "semnasnet_035", None)


def test_a_file_that_is_not_what_was_first_seen_is_refused(google, tmp_path):
    record = {"mnasnet_small.tgz": {"sha256": "0" * 64, "first_seen": "2020-01-01"}}
    (google / "catalog.lock.json").write_text(json.dumps(record))
    with pytest.raises(ChecksumMismatch, match=r"mnasnet_small.tgz: its sha256 is .* 2020-01-01"):
        obtain(google, tmp_path, "mnasnet_small", None)


def test_a_checkpoint_lying_there_without_a_folder_is_one_source(tmp_path):
    write_network(tmp_path / "model.ckpt", "tf_mnasnet_small")
    assert len(obtain(tmp_path, tmp_path, "mnasnet_small", None)) == 1


def test_an_archive_with_a_tflite_file_is_a_source(google):
    source = open_source(google / "mnasnet_small.tgz")
    assert source.format == "tflite"
    unpacked = source.path
    assert unpacked.name == "b.tflite"
    del source
    assert not unpacked.exists()


def test_an_archive_with_several_tflite_files(tmp_path):
    content = network_file(get_config("tf_mnasnet_small"))
    path = tmp_path / "two.tgz"
    path.write_bytes(archive_of(**{"a.tflite": content, "b.tflite": content}))
    with pytest.raises(BadSource, match=r"several TFLite files: a.tflite, b.tflite; unpack it"):
        open_source(path)


def test_a_folder_with_one_tflite_file_is_a_source(tmp_path):
    (tmp_path / "only.tflite").write_bytes(network_file(get_config("tf_mnasnet_small")))
    assert open_source(tmp_path).path.name == "only.tflite"


def test_else_it_is_downloaded(tmp_path):
    content = archive_of(**{"m.tflite": network_file(get_config("tf_mnasnet_050"))})
    path = "/download.tensorflow.org/models/tflite/mnasnet_0.5_224_09_07_2018.tgz"
    with serving({path: content}) as (_, address):
        actual = obtain(tmp_path / "google", tmp_path, "mnasnet_050", None, address)
    assert actual == [tmp_path / "google" / "mnasnet_0.5_224_09_07_2018.tgz"]


@pytest.mark.slow
@pytest.mark.parametrize("model", sampled(["mnasnet_small", "tf_mnasnet_small"], ["mnasnet_small"]))
def test_offline_files_are_synthesized_and_one_line_says_so(tmp_path, model, capsys):
    pytest.importorskip("tensorflow")
    actual = obtain(tmp_path / "google", tmp_path / "made", model, None)
    home = tmp_path / "made" / "tf_mnasnet_small"
    assert actual[0] == home / "checkpoint"
    assert len(actual) == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "cannot be reached; synthetic files of tf_mnasnet_small are ported instead" in lines[0]
    made = (home / "synthetic.json").stat().st_mtime_ns
    assert obtain(tmp_path / "google", tmp_path / "made", model, "raw") == actual[:1]
    assert (home / "synthetic.json").stat().st_mtime_ns == made


def test_a_networks_plain_name_stands_for_its_tensorflow_form(google, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    google.rename(tmp_path / "checkpoints" / "google")
    words = ["port", "--obtain", "--model", "mnasnet_small", "--no-verify"]
    result = porting_in(tmp_path, *words)
    assert result.returncode == 0, result.stderr
    assert "model    tf_mnasnet_small" in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "resnet"], "no network is called 'resnet'"),
        (["--all"], "--obtain chooses the sources itself"),
        (["file.tflite"], "--obtain chooses the sources itself"),
    ],
)
def test_wrong_use(tmp_path, words, message):
    result = porting("port", "--obtain", *words, "--out", tmp_path / "out")
    assert result.returncode == 2
    assert result.stderr.startswith(f"porting: {message}")
