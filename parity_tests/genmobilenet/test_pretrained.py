"""Weights of releases: from folders, files and addresses, and everything that is refused."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from genmobilenet import CheckpointError, create_model, list_models
from genmobilenet.factory import with_strings
from parity_tests.building.server import CERTIFICATE, serving

ROOT = Path(__file__).resolve().parents[2]
MODEL = "tf_mobilenetv1_025"
STRINGS = "stem_c8_nre | ds_r1_k3_s1_c8 | pool fc"


def write_weights(folder, state, model=MODEL, stem=None):
    """A weight file and its card, under names with the file's hash."""
    folder.mkdir(exist_ok=True)
    torch.save(state, folder / "new")
    digest = hashlib.sha256((folder / "new").read_bytes()).hexdigest()
    path = (folder / "new").rename(folder / f"{stem or model}-{digest[:8]}.pth")
    card = {"model": model, "weights": {"file": path.name, "sha256": digest}}
    path.with_suffix(".json").write_text(json.dumps(card))
    sums = (path, path.with_suffix(".json"))
    lines = (f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in sums)
    (folder / "SHA256SUMS").write_text("".join(lines))
    return path


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return create_model(MODEL, num_classes=7, in_chans=1).eval()


@pytest.fixture
def weights(network, tmp_path):
    return write_weights(tmp_path / "release", network.state_dict())


def same(one, other):
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


def test_a_folder_and_a_file_with_or_without_the_networks_name(network, weights):
    for place in (weights.parent, str(weights)):
        assert same(create_model(MODEL, pretrained=place), network)
        assert same(create_model(pretrained=place), network)


def test_a_network_of_strings(tmp_path):
    network = create_model(STRINGS, num_classes=3, in_chans=2)
    state = with_strings(network.state_dict(), STRINGS)
    path = write_weights(tmp_path / "r", state, STRINGS, "network")
    assert same(create_model(pretrained=path.parent), network)
    assert same(create_model(STRINGS, pretrained=path), network)
    with pytest.raises(CheckpointError, match="is of the network stem_c8"):
        create_model(MODEL, pretrained=path)


def test_a_hub_entry(network, weights, monkeypatch):
    monkeypatch.setattr(torch.hub, "_validate_not_a_forked_repo", lambda *_: None)
    loaded = torch.hub.load(str(ROOT), MODEL, source="local", pretrained=weights.parent)
    assert same(loaded, network)
    names = subprocess.run(
        [sys.executable, "-c", "import hubconf; print(*vars(hubconf))"], cwd=ROOT, text=True,
        capture_output=True, check=True,
    ).stdout.split()  # fmt: skip
    assert set(list_models()) <= set(names)
    assert all(n.startswith("_") or n in (*list_models(), "dependencies", "Any", "Callable")
               for n in names)  # fmt: skip


def change_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def rename(path):
    path.rename(path.with_name(f"{MODEL}-01234567.pth"))


def without_hash(path):
    path.rename(path.with_name(f"{MODEL}.pth"))


def another_card(path):
    card = json.loads(path.with_suffix(".json").read_text())
    card["weights"]["sha256"] = "0" * 64
    path.with_suffix(".json").write_text(json.dumps(card))


def card_of_another_model(path):
    card = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(card | {"model": "tf_mnasnet_100"}))


def deep_card(path):
    path.with_suffix(".json").write_text("[" * 100_000)


def link(path):
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def second(path):
    (path.parent / "other-01234567.pth").write_bytes(b"")


CHANGES = [
    (change_byte, "its SHA-256 is"),
    (rename, "renamed|not listed"),
    (without_hash, "does not end in a checksum|it is not listed"),
    (another_card, "is the card of other weights|in SHA256SUMS"),
    (card_of_another_model, "the card beside it tf_mnasnet_100|in SHA256SUMS"),
    (deep_card, "not a card of porting port|in SHA256SUMS"),
    (link, "is a link"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES, ids=[c.__name__ for c, _ in CHANGES])
def test_what_is_not_what_it_says_is_refused(weights, change, message):
    change(weights)
    [place] = weights.parent.glob("*.pth")
    for pretrained in (weights.parent, place):
        with pytest.raises(CheckpointError, match=message):
            create_model(pretrained=pretrained)


def test_other_refusals(weights, tmp_path):
    with pytest.raises(CheckpointError, match=f"is of {MODEL}, not of tf_mnasnet_100"):
        create_model("tf_mnasnet_100", pretrained=weights)
    with pytest.raises(CheckpointError, match="both name weights"):
        create_model(MODEL, pretrained=weights, checkpoint_path=weights)
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        create_model(MODEL, pretrained=tmp_path / "none")
    with pytest.raises(CheckpointError, match="name a network"):
        create_model()
    second(weights)
    with pytest.raises(CheckpointError, match="2 files of weights"):
        create_model(MODEL, pretrained=weights.parent)


def test_no_code_of_a_file_runs(tmp_path):
    class Code:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path / 'ran'}",))

    path = write_weights(tmp_path / "r", {"classifier.bias": Code()})
    with pytest.raises(CheckpointError, match="no code from a file is run"):
        create_model(pretrained=path.parent)
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """torch.hub's folder, and a client that trusts the server."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def server(weights, hub):
    content = weights.read_bytes()
    with serving({f"/{weights.name}": content}, tls=True) as (server, address):
        server.content, server.url = content, f"{address}/{weights.name}"
        yield server


def test_an_address_is_downloaded_once(network, weights, server, hub):
    assert same(create_model(MODEL, pretrained=f"{server.url}#part"), network)
    assert [file.name for file in hub.iterdir()] == [weights.name]
    assert same(create_model(pretrained=server.url), network)
    assert len(server.requests) == 1
    change_byte(hub / weights.name)
    with pytest.raises(CheckpointError, match="it is damaged or was renamed"):
        create_model(pretrained=server.url)


@pytest.mark.parametrize("ignores_ranges", [False, True])
def test_a_download_that_breaks_off_goes_on(network, server, ignores_ranges):
    server.ignores_ranges = ignores_ranges
    server.break_at = [2 << 16, 3 << 16]
    assert same(create_model(pretrained=server.url), network)
    assert [asked for _, asked in server.requests] == [None, "bytes=131072-", "bytes=196608-"]


def broken(server):
    server.break_at = [1000] * 9


def other_bytes(server):
    for path, content in server.files.items():
        server.files[path] = content[:-1] + b"?"


def redirected(target):
    def redirect(server):
        [path] = server.files
        server.redirects[path] = target

    return redirect


def absent(server):
    server.files.clear()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (broken, "broke off 3 times"),
        (other_bytes, "and its name says"),
        (redirected("http://127.0.0.1:9/x"), "redirects to http://127.0.0.1:9/x, which is not an"),
        (redirected("file:///etc/hostname"), "redirects to file:///etc/hostname, which is not an"),
        (absent, "the server answers 404"),
    ],
)
def test_a_bad_server_leaves_nothing(server, hub, spoil, message):
    spoil(server)
    with pytest.raises(CheckpointError, match=message):
        create_model(pretrained=server.url)
    assert list(hub.iterdir()) == []


def test_endless_redirects(server, hub):
    redirected(server.url)(server)
    with pytest.raises(CheckpointError, match="more than 5 redirects"):
        create_model(pretrained=server.url)
    assert list(hub.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://127.0.0.1:9/m-01234567.pth", "is not an https address"),
        ("file:///tmp/m-01234567.pth", "is not an https address"),
        ("https://127.0.0.1:9/model.pth", "does not end in a checksum"),
        ("https://127.0.0.1:9/..%2F..%2Fm-0123456z.pth", "does not end in a checksum"),
        ("https://127.0.0.1:9/m-01234567.pth", "cannot be downloaded"),
    ],
)
def test_other_addresses(hub, address, message):
    with pytest.raises(CheckpointError, match=message):
        create_model(pretrained=address)
    assert not hub.exists() or list(hub.iterdir()) == []


def test_a_server_that_nobody_vouches_for(server, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(CheckpointError, match="cannot be downloaded"):
        create_model(pretrained=server.url)
