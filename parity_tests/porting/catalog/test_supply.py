"""What is ported when nobody names a source: at hand, downloaded, or rehearsed."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile

import pytest

from genmobilenet import get_config
from parity_tests.building.checkpoints import write_network
from parity_tests.building.server import serving
from parity_tests.building.tflite_networks import network_file
from porting.catalog.supply import supply
from porting.errors import BadSource
from porting.sources import open_source

NOWHERE = "http://127.0.0.1:9"


def archive_of(**members):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


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


def test_what_lies_there_is_taken(google, tmp_path):
    assert names(supply(google, tmp_path, None, None, NOWHERE)) == ["a1", "mnasnet_small.tgz"]
    assert names(supply(google, tmp_path, "mnasnet_small", None, NOWHERE)) == ["mnasnet_small.tgz"]
    assert names(supply(google, tmp_path, None, "raw", NOWHERE)) == ["a1"]


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
    assert "cannot be reached; rehearsals are ported instead" in lines[0]
    made = (home / "rehearsal.json").stat().st_mtime_ns
    again = run("--model", model, "--mirror", NOWHERE, "--weights", "raw", *places)
    assert again.stdout.split() == found[:1]
    assert (home / "rehearsal.json").stat().st_mtime_ns == made


def test_an_unknown_network(tmp_path):
    done = run("--model", "resnet", "--folder", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("porting: no network is called 'resnet'")
