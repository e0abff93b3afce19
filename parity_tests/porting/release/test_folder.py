"""Release folders: made, made again, and checked after every kind of change."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import porting
from genmobilenet import get_config
from parity_tests.building.command import porting as run
from parity_tests.building.tflite_networks import network_file
from porting.card import read_card
from porting.errors import BadInput, NotAtParity, OutputError
from porting.parity.inputs import seeded_pixels
from porting.release import write_release
from porting.release.folder import make_release, sums_of
from porting.release.safetensors_file import read_safetensors, write_safetensors
from porting.release.verification import verify_release
from porting.sha256 import sha256_of

pytest.importorskip("safetensors")

MODEL = "tf_mobilenetv2_035"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A source and the weights of its port, of a network that timm has too."""
    folder = tmp_path_factory.mktemp("small")
    source = folder / "small.tflite"
    config = replace(get_config(MODEL), num_classes=10)
    source.write_bytes(network_file(config, seed=4))
    return source, write_release(
        porting.port(source, pixels=seeded_pixels(1, 64)), folder / "ported"
    ).weights


@pytest.fixture(scope="module")
def released(small, tmp_path_factory):
    source, weights = small
    return make_release(weights, tmp_path_factory.mktemp("released") / "r", source)


@pytest.fixture
def release(released, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(released.folder, tmp_path / "release")


def sum_again(folder):
    (folder / "SHA256SUMS").write_text(sums_of(folder))


def test_its_files(small, released):
    weights = released.weights
    assert weights.name == small[1].name
    assert weights.read_bytes() == small[1].read_bytes()
    assert {file.name for file in released.folder.iterdir()} == {
        weights.name, f"{weights.stem}.json", "model.safetensors", "parity.json", "parity.html",
        "README.md", "config.json", "SHA256SUMS",
    }  # fmt: skip
    assert released.summary.startswith("at parity with LiteRT")
    config = json.loads((released.folder / "config.json").read_text())
    assert config["architecture"] == "mobilenetv2_035"
    assert config["model_args"] == {"pad_type": "same", "bn_eps": 0.001}
    entry = config["pretrained_cfg"]
    assert entry["input_size"] == [3, 64, 64]
    np.testing.assert_allclose(entry["mean"], (0.5, 0.5, 0.5))
    np.testing.assert_allclose(entry["std"], (0.5, 0.5, 0.5))
    assert (entry["interpolation"], entry["crop_mode"]) == ("bilinear", "squash")
    assert entry["crop_pct"] == 0.875
    readme = (released.folder / "README.md").read_text()
    assert readme.startswith('---\nlicense: "unknown"\nlibrary_name: "timm"\n')
    assert released.summary.split(",")[0] in readme
    card = read_card(weights, sha256_of(weights))
    assert card.source.lay_at is None
    assert card.verdict["coverage"]["weights"] > 0


def test_it_is_made_twice_byte_for_byte_and_names_no_folder(small, released, tmp_path):
    again = make_release(small[1], tmp_path / "again", small[0]).folder
    for file in released.folder.iterdir():
        content = file.read_bytes()
        assert content == (again / file.name).read_bytes(), file.name
        for folder in (str(tmp_path.parent), str(small[0].parent), str(Path.cwd())):
            assert folder.encode() not in content, file.name
    # An earlier release is replaced.
    result = make_release(small[1], again, None, allow_unverified=True)
    assert result.weights.exists()
    assert not (again / "parity.json").exists()
    (again / "mine.txt").write_text("")
    with pytest.raises(OutputError, match="holds other files"):
        make_release(small[1], again, small[0])
    assert (again / "mine.txt").exists()
    assert [file.name for file in tmp_path.iterdir()] == ["again"]


def test_the_safetensors_are_the_weights_with_the_card(released):
    from safetensors import safe_open
    from safetensors.torch import load_file

    state = torch.load(released.weights, weights_only=True)
    tensors = load_file(released.folder / "model.safetensors")
    assert tensors.keys() == state.keys()
    assert all(torch.equal(values, state[key]) for key, values in tensors.items())
    with safe_open(released.folder / "model.safetensors", framework="pt") as file:
        assert file.metadata()["card"] == released.weights.with_suffix(".json").read_text()


def test_what_cannot_be_judged_is_refused_or_says_so_in_name_and_card(small, tmp_path):
    with pytest.raises(BadInput, match="cannot be judged: its source is not at hand"):
        make_release(small[1], tmp_path / "r", None)
    assert not (tmp_path / "r").exists()
    result = make_release(small[1], tmp_path / "r", None, allow_unverified=True)
    assert result.weights.name.startswith(f"{MODEL}-unverified-")
    card = json.loads(result.weights.with_suffix(".json").read_text())
    assert card["verdict"]["verified"] is False
    assert "when it was ported it was at parity" in card["verdict"]["summary"]
    assert "**Unverified**" in (result.folder / "README.md").read_text()
    verify_release(result.folder)


def test_other_weights_are_not_released(small, faulty, tmp_path):
    with pytest.raises(BadInput, match="no card beside it"):
        make_release(faulty, tmp_path / "r", small[0])
    card = json.loads(small[1].with_suffix(".json").read_text())
    card["weights"]["sha256"] = sha256_of(faulty)
    faulty.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(NotAtParity, match="nothing is released"):
        make_release(faulty, tmp_path / "r", small[0], allow_unverified=True)
    assert not (tmp_path / "r").exists()


def test_a_network_of_strings_has_no_config_for_timm(small, tmp_path):
    strings = "stem_c8_nre | ds_r1_k3_s1_c8 | ir_r2_k3_s2_e3_c16 | pool fc"
    source = tmp_path / "own.tflite"
    source.write_bytes(network_file(get_config(strings)))
    files = write_release(porting.port(source, verify=False), tmp_path / "ported")
    result = make_release(files.weights, tmp_path / "r", source)
    assert result.weights.name.startswith("network-")  # judged now, so without "unverified"
    assert not (result.folder / "config.json").exists()
    assert (
        "no `config.json` for timm: the network is in no table"
        in (result.folder / "README.md").read_text()
    )
    verify_release(result.folder, source)


def changed_byte(name):
    def change(folder):
        [file] = folder.glob(name)
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)

    return change


def renamed(folder):
    [weights] = folder.glob("*.pth")
    weights.rename(weights.with_name(f"{MODEL}-01234567.pth"))
    weights.with_suffix(".json").rename(folder / f"{MODEL}-01234567.json")
    sum_again(folder)


def edited(name, change):
    """A JSON file changed, and its checksum brought up to date."""

    def edit(folder):
        [file] = folder.glob(name)
        data = json.loads(file.read_text())
        change(data)
        file.write_text(json.dumps(data, indent=1) + "\n")
        sum_again(folder)

    return edit


def another_model(folder):
    edited(f"{MODEL}*.json", lambda card: card.update(model="tf_mobilenetv1_025"))(folder)


def with_link(folder):
    (folder / "labels.txt").symlink_to("/etc/hostname")


def link_for_a_file(folder):
    (folder / "README.md").rename(folder.parent / "elsewhere.md")
    (folder / "README.md").symlink_to(folder.parent / "elsewhere.md")


def with_folder(folder):
    (folder / "more").mkdir()


def line(text):
    def add(folder):
        with (folder / "SHA256SUMS").open("a") as sums:
            sums.write(text)

    return add


def other_tensors(folder):
    tensors, card = read_safetensors(folder / "model.safetensors")
    tensors["classifier.bias"][0] += 1e-3
    write_safetensors(tensors, card, folder / "model.safetensors")
    sum_again(folder)


def changed_figure(card):
    card["verdict"]["logits_relative_difference"] /= 10


CHANGES = [
    (changed_byte("*.pth"), "its SHA-256 is"),
    (changed_byte("model.safetensors"), "its SHA-256 is"),
    (changed_byte("README.md"), "its SHA-256 is"),
    (renamed, "it was renamed, or is another file"),
    (another_model, "the card names tf_mobilenetv1_025"),
    (edited(f"{MODEL}*.json", changed_figure), r"verdict.logits_relative_difference is [\d]"),
    (edited(f"{MODEL}*.json", lambda card: card["input"].update(mean=[0] * 3)), "README.md is not"),
    (edited("parity.json", lambda data: data.update(summary="at parity")), "verdict.summary is"),
    (edited("parity.json", lambda data: data.clear()), "not figures as a release has them"),
    (edited("config.json", lambda data: data["model_args"].clear()), "config.json is not"),
    (other_tensors, "1 tensors of model.safetensors differ, classifier.bias first"),
    (with_link, "is a link or a folder"),
    (link_for_a_file, "is a link or a folder"),
    (with_folder, "is a link or a folder"),
    (line(f"{'0' * 64}  ../x\n"), "is not a checksum, two spaces and the name of a file"),
    (line(f"{'0' * 64}  x\n"), "x: missing, and listed in SHA256SUMS"),
    (lambda folder: (folder / "x").write_text(""), "x: not listed in SHA256SUMS"),
    (lambda folder: (folder / "SHA256SUMS").unlink(), "and so is not a release"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), CHANGES, ids=[text for _, text in CHANGES])
def test_a_changed_release_is_refused_and_the_change_named(release, change, message):
    change(release)
    with pytest.raises(BadInput, match=message):
        verify_release(release)


def test_weights_with_code_are_refused_and_nothing_runs(release, tmp_path):
    class Code:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path / 'ran'}",))

    [weights] = release.glob("*.pth")
    card = json.loads(weights.with_suffix(".json").read_text())
    torch.save({"classifier.bias": Code()}, weights)
    digest = sha256_of(weights)
    evil = weights.rename(release / f"{MODEL}-{digest[:8]}.pth")
    weights.with_suffix(".json").unlink()
    card["weights"] = {"file": evil.name, "sha256": digest}
    evil.with_suffix(".json").write_text(json.dumps(card))
    sum_again(release)
    with pytest.raises(BadInput, match="no code from a file is run"):
        verify_release(release)
    assert not (tmp_path / "ran").exists()


def test_the_commands(small, tmp_path):
    source, weights = small
    result = run(
        "release", weights.parent, "--source", source, "--out", tmp_path / "r", "--jobs", 1
    )
    assert result.returncode == 0, result.stderr
    assert "1 released, 0 not at parity, 0 refused" in result.stdout
    folder = tmp_path / "r" / weights.stem
    result = run("verify", folder, "--source", source)
    assert result.returncode == 0, result.stderr
    assert "judged now  at parity with LiteRT" in result.stdout
    changed_byte("*.pth")(folder)
    result = run("verify", folder)
    assert result.returncode == 2
    assert "its SHA-256 is" in result.stderr
