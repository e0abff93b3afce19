"""What is ported when nobody names a source: at hand, downloaded, or rehearsed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from genmobilenet import get_config
from parity_tests.building.archives import archive_of
from parity_tests.building.checkpoints import write_network
from parity_tests.building.server import serving
from parity_tests.building.tflite_networks import network_file
from porting.catalog import supply as module
from porting.catalog.lock import ChecksumMismatch
from porting.catalog.supply import supply
from porting.errors import BadInput, BadSource
from porting.sources import open_source

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def google(tmp_path):
    """A folder as it looks after downloads: an archive, a checkpoint, and what is no source."""
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


@pytest.fixture
def rehearsed(tmp_path, monkeypatch):
    """Rehearsals by name, without TensorFlow: lists what was asked for."""
    asked = []

    def made(folder, model, _which):
        asked.append(model)
        prefix = folder / model / "checkpoint" / "rehearsal.ckpt"
        prefix.parent.mkdir(parents=True, exist_ok=True)
        write_network(prefix, "tf_mnasnet_small")
        return [prefix.parent]

    monkeypatch.setattr(module, "_rehearsed", made)
    return asked


def test_what_lies_there_is_taken(google, tmp_path):
    assert names(supply(google, tmp_path, "mnasnet_small", None, NOWHERE)) == ["mnasnet_small.tgz"]
    assert names(supply(google, tmp_path, "semnasnet_035", "raw", NOWHERE)) == ["a1"]


def test_what_is_wanted_and_does_not_lie_there_is_rehearsed(google, tmp_path, rehearsed, capsys):
    write_network(google / "a1" / "model.ckpt-9", "tf_semnasnet_100")
    found = supply(google, tmp_path / "made", None, None, NOWHERE)
    assert names(found) == ["a1", "mnasnet_small.tgz", "checkpoint"]
    assert rehearsed == ["tf_mnasnet_100"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "cannot be reached; a rehearsal of tf_mnasnet_100 is ported instead" in lines[0]


def test_of_two_downloads_one_cannot_be_had(tmp_path, rehearsed, capsys):
    content = archive_of(**{"m.tflite": network_file(get_config("tf_mnasnet_100"))})
    path = "/download.tensorflow.org/models/tflite/mnasnet_1.0_224_09_07_2018.tgz"
    with serving({path: content}) as (_, address):
        found = supply(tmp_path / "google", tmp_path / "made", None, None, address)
    assert names(found) == ["mnasnet_1.0_224_09_07_2018.tgz", "checkpoint"]
    assert rehearsed == ["tf_semnasnet_100"]
    assert "a rehearsal of tf_semnasnet_100 is" in capsys.readouterr().err


def test_weights_that_a_source_does_not_have_are_said_not_dropped(google, tmp_path, capsys):
    with pytest.raises(BadInput, match="nothing to port: no source has raw weights"):
        supply(google, tmp_path, "mnasnet_small", "raw", NOWHERE)
    said = capsys.readouterr().err
    assert "mnasnet_small.tgz" in said
    assert "has no raw weights to choose; its weights: as stored; left out" in said


@pytest.mark.parametrize("name", ["mnasnet_small.tgz", "cut.tflite"])
def test_a_damaged_file_is_named(google, tmp_path, name):
    whole = (google / "mnasnet_small.tgz").read_bytes()
    (google / name).write_bytes(whole[:1000] if name.endswith("tgz") else b"\0\0\0\0TFL3" + whole)
    with pytest.raises(BadSource, match=name):
        supply(google, tmp_path, "semnasnet_035", None, NOWHERE)


def test_a_file_that_is_not_what_was_first_seen_is_refused(google, tmp_path):
    record = {"mnasnet_small.tgz": {"sha256": "0" * 64, "first_seen": "2020-01-01"}}
    (google / "catalog.lock.json").write_text(json.dumps(record))
    with pytest.raises(ChecksumMismatch, match=r"mnasnet_small.tgz: its sha256 is .* 2020-01-01"):
        supply(google, tmp_path, "mnasnet_small", None, NOWHERE)


def test_a_checkpoint_lying_there_without_a_folder_is_one_source(tmp_path):
    write_network(tmp_path / "model.ckpt", "tf_mnasnet_small")
    assert len(supply(tmp_path, tmp_path, "mnasnet_small", None, NOWHERE)) == 1


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
        found = supply(tmp_path / "google", tmp_path, "mnasnet_050", None, address)
    assert found == [tmp_path / "google" / "mnasnet_0.5_224_09_07_2018.tgz"]


def run(*words):
    return subprocess.run(
        [sys.executable, "-m", "porting.catalog.supply", *map(str, words)],
        capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mnasnet_small", "tf_mnasnet_small"])
def test_offline_it_is_rehearsed_and_one_line_says_so(tmp_path, model):
    pytest.importorskip("tensorflow")
    places = ["--folder", tmp_path / "google", "--rehearsals", tmp_path / "made"]
    done = run("--model", model, "--mirror", NOWHERE, *places)
    assert done.returncode == 0, done.stderr
    found = done.stdout.split()
    home = tmp_path / "made" / "tf_mnasnet_small"
    assert found[0] == str(home / "checkpoint")
    assert len(found) == 3
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert "cannot be reached; a rehearsal of tf_mnasnet_small is ported instead" in lines[0]
    made = (home / "rehearsal.json").stat().st_mtime_ns
    again = run("--model", model, "--mirror", NOWHERE, "--weights", "raw", *places)
    assert again.stdout.split() == found[:1]
    assert (home / "rehearsal.json").stat().st_mtime_ns == made


def test_an_unknown_network(tmp_path):
    done = run("--model", "resnet", "--folder", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("porting: no network is called 'resnet'")
