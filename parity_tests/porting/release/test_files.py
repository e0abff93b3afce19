"""The files that a port writes, and those that it does not."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import porting
from genmobilenet import create_model, get_config
from parity_tests.building.tflite_networks import network_file
from porting.errors import NotAtParity, OutputError
from porting.parity.inputs import photographs_version
from porting.release import write_release
from porting.release.port_files import _save


@pytest.fixture(scope="module")
def ported(tmp_path_factory):
    path = tmp_path_factory.mktemp("release") / "small.tflite"
    path.write_bytes(network_file(get_config("tf_mnasnet_small")))
    return porting.port(path)


def test_weights_and_card(ported, tmp_path):
    files = write_release(ported, tmp_path / "out")
    digest = hashlib.sha256(files.weights.read_bytes()).hexdigest()
    assert files.weights.name == f"tf_mnasnet_small-{digest[:8]}.pth"
    assert files.card.name == f"tf_mnasnet_small-{digest[:8]}.json"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        [files.weights.name, files.card.name]
    )
    state = torch.load(files.weights, weights_only=True)
    assert all(torch.equal(state[key], value) for key, value in ported.state_dict.items())
    create_model("tf_mnasnet_small", checkpoint_path=files.weights)
    card = json.loads(files.card.read_text())
    source = hashlib.sha256(ported.source.file.read_bytes()).hexdigest()
    assert card["weights"] == {"file": files.weights.name, "sha256": digest}
    assert (card["source"]["file"], card["source"]["sha256"]) == ("small.tflite", source)
    assert card["source"]["weight_set"] == "as stored"
    assert card["verdict"]["at_parity"] is True
    assert card["verdict"]["worst_tap"]["tap"]
    assert card["input"]["size"] == 64
    assert len(card["plan"]["fills"]) == len(state)
    assert {"python", "torch", "numpy", "genmobilenet"} <= set(card["versions"])
    assert (
        card["verdict"]["inputs_are"]
        == f"8 photographs (set {photographs_version()}) and 2 random images (seed 0)"
    )
    assert card["source"]["lay_at"] == str(ported.source.path)


def test_the_same_port_gives_the_same_bytes(ported, tmp_path):
    first, second = (write_release(ported, tmp_path / n).weights for n in ("a", "b"))
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def test_a_port_that_no_judge_saw_has_no_release_name(ported, tmp_path):
    files = write_release(replace(ported, comparison=None), tmp_path)
    assert files.weights.name.startswith("tf_mnasnet_small-unverified-")
    assert json.loads(files.card.read_text())["verdict"]["verified"] is False


def test_where_the_judge_disagrees_nothing_is_written(ported, tmp_path):
    taps = ported.comparison.taps
    bad = replace(taps[5], accumulated=replace(taps[5].figures, agrees=False, ratio=99.0))
    comparison = replace(ported.comparison, taps=(*taps[:5], bad, *taps[6:]))
    with pytest.raises(NotAtParity, match=f"the worst is {bad.tap}"):
        write_release(replace(ported, comparison=comparison), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made(ported, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written: Not a directory"):
        write_release(ported, tmp_path / "file" / "out")
    with pytest.raises(OutputError, match="cannot be written: File exists"):
        write_release(ported, tmp_path / "file")


def test_a_full_disk_leaves_nothing(ported, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_release(ported, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_same_weights_from_another_source_get_a_name_of_their_own(ported, tmp_path):
    first = write_release(ported, tmp_path)
    before = first.card.read_text()
    elsewhere = copy.copy(ported.source)
    elsewhere.sha256 = "0123456789abcdef" * 4
    second = write_release(replace(ported, source=elsewhere), tmp_path)
    assert second.weights.name == f"{first.weights.stem}-01234567.pth"
    assert first.card.read_text() == before
    assert write_release(ported, tmp_path) == first


def test_a_full_disk_is_what_pytorch_hides():
    with (
        Path("/dev/full").open("wb", buffering=0) as stream,
        pytest.raises(OSError, match="No space left"),
    ):
        _save({"weight": torch.zeros(1 << 18)}, stream)
