"""Downloads from a server on this machine: whole, resumed, refused."""

from __future__ import annotations

import gzip
import hashlib
import json

import numpy as np
import pytest

from parity_tests.building.server import serving
from porting.catalog import CATALOG, downloads
from porting.catalog.downloads import LOCK, ChecksumMismatch, DownloadFailed, fetch
from porting.errors import BadInput, BadSource, OutputError

ENTRY = CATALOG["mnasnet-a1"]
PATH = "/cloud-tpu-checkpoints/mnasnet/mnasnet-a1.tgz"
STEP = 1 << 16
CONTENT = gzip.compress(np.random.default_rng(0).bytes(3_000_000), 1, mtime=0)


@pytest.fixture
def server():
    with serving({PATH: CONTENT}) as result:
        yield result


def test_a_download_is_whole_and_recorded(server, tmp_path):
    seen = []
    actual = fetch(ENTRY, tmp_path / "google", server[1], lambda *step: seen.append(step))
    assert actual.path == tmp_path / "google" / "mnasnet-a1.tgz"
    assert actual.path.read_bytes() == CONTENT
    assert actual.sha256 == hashlib.sha256(CONTENT).hexdigest()
    record = json.loads((tmp_path / "google" / LOCK).read_text())["mnasnet-a1.tgz"]
    assert (record["sha256"], record["bytes"]) == (actual.sha256, len(CONTENT))
    assert record["url"].startswith("https://storage.googleapis.com/cloud-tpu-checkpoints/")
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert {p.name for p in actual.path.parent.iterdir()} == {"mnasnet-a1.tgz", LOCK}


def test_what_is_here_is_not_asked_for_again(server, tmp_path):
    fetch(ENTRY, tmp_path, server[1])
    fetch(ENTRY, tmp_path, server[1])
    assert len(server[0].requests) == 1


def test_a_download_that_breaks_off_is_taken_up_where_it_stopped(server, tmp_path):
    server[0].break_at = [10 * STEP, 20 * STEP]
    assert fetch(ENTRY, tmp_path, server[1]).path.read_bytes() == CONTENT
    assert [asked for _, asked in server[0].requests] == [
        None, f"bytes={10 * STEP}-", f"bytes={20 * STEP}-",
    ]  # fmt: skip


def test_what_has_come_is_kept_for_the_next_time(server, tmp_path):
    server[0].break_at = [STEP, 2 * STEP, 3 * STEP]
    with pytest.raises(DownloadFailed, match=r"interrupted 3 times .*mnasnet-a1.tgz.part is kept"):
        fetch(ENTRY, tmp_path, server[1])
    assert (tmp_path / "mnasnet-a1.tgz.part").stat().st_size == 3 * STEP
    assert not (tmp_path / "mnasnet-a1.tgz").exists()
    assert fetch(ENTRY, tmp_path, server[1]).path.read_bytes() == CONTENT
    assert server[0].requests[-1][1] == f"bytes={3 * STEP}-"


def test_a_file_that_changed_meanwhile_begins_anew(server, tmp_path):
    server[0].break_at = [5 * STEP]
    other = gzip.compress(np.random.default_rng(1).bytes(3_000_000), 1, mtime=0)

    def change(done, _total):
        if done == 5 * STEP:
            server[0].files[PATH] = other

    assert fetch(ENTRY, tmp_path, server[1], change).path.read_bytes() == other


def test_without_a_mark_nothing_is_resumed(server, tmp_path):
    server[0].etags, server[0].break_at = False, [5 * STEP]
    assert fetch(ENTRY, tmp_path, server[1]).path.read_bytes() == CONTENT
    assert [asked for _, asked in server[0].requests] == [None, None]


def test_a_part_that_does_not_fit_is_thrown_away(server, tmp_path):
    (tmp_path / "mnasnet-a1.tgz.part").write_bytes(CONTENT + b"more")
    (tmp_path / "mnasnet-a1.tgz.part.etag").write_text(f'"{hash(CONTENT)}"')
    assert fetch(ENTRY, tmp_path, server[1]).path.read_bytes() == CONTENT


def test_other_bytes_under_the_same_name_are_refused(server, tmp_path):
    path = fetch(ENTRY, tmp_path, server[1]).path
    path.unlink()
    server[0].files[PATH] = CONTENT[:-1] + b"x"
    with pytest.raises(ChecksumMismatch, match=r"mnasnet-a1.tgz: its sha256 is .* it was"):
        fetch(ENTRY, tmp_path, server[1])
    assert not path.exists()
    assert (tmp_path / "mnasnet-a1.tgz.refused").read_bytes() == server[0].files[PATH]
    assert {p.name for p in tmp_path.iterdir()} == {"mnasnet-a1.tgz.refused", LOCK}


def test_a_file_that_is_cut_short_is_not_held_against_later_ones(server, tmp_path):
    (tmp_path / "mnasnet-a1.tgz").write_bytes(CONTENT[:100_000])
    with pytest.raises(BadSource, match=r"damaged or cut short .*; delete it, and download"):
        fetch(ENTRY, tmp_path, server[1])
    assert not (tmp_path / LOCK).exists()
    (tmp_path / "mnasnet-a1.tgz").unlink()
    assert fetch(ENTRY, tmp_path, server[1]).path.read_bytes() == CONTENT


def test_an_answer_that_is_shorter_than_the_file_is_not_taken_for_it(server, tmp_path):
    server[0].files[PATH] = CONTENT[:100_000]  # as a proxy gives it, with a length of its own
    with pytest.raises(DownloadFailed, match=r"damaged or cut short .*a proxy before it"):
        fetch(ENTRY, tmp_path, server[1])
    assert [path.name for path in tmp_path.iterdir()] == []
    server[0].files[PATH] = CONTENT
    assert fetch(ENTRY, tmp_path, server[1]).path.read_bytes() == CONTENT


def test_an_endless_answer_is_cut_off(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "MOST_BYTES", 1 << 20)
    with pytest.raises(DownloadFailed, match="sends over 1 MiB, which no published file has"):
        fetch(ENTRY, tmp_path, server[1])
    assert not (tmp_path / "mnasnet-a1.tgz").exists()


def test_weights_of_keras_that_are_cut_short(tmp_path):
    import h5py

    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file["kernel"] = np.zeros(1000, np.float32)
    content = (tmp_path / "whole.h5").read_bytes()
    entry = CATALOG["keras-v2_0.35_96"]
    path = entry.url.removeprefix("https://storage.googleapis.com")
    with serving({path: content[:-100]}) as (server, address):
        with pytest.raises(DownloadFailed, match=rf"cut short: .* of {len(content):,} bytes"):
            fetch(entry, tmp_path / "here", address)
        assert [file.name for file in (tmp_path / "here").iterdir()] == []
        server.files[path] = content
        fetch(entry, tmp_path / "here", address)


def test_a_damaged_record(server, tmp_path):
    (tmp_path / LOCK).write_text("{")
    with pytest.raises(BadInput, match="not a readable record of checksums"):
        fetch(ENTRY, tmp_path, server[1])


def test_no_such_file_and_no_such_server(server, tmp_path):
    with pytest.raises(DownloadFailed, match="the server answers 404"):
        fetch(CATALOG["mnasnet-small"], tmp_path, server[1])
    with pytest.raises(DownloadFailed, match="cannot be reached"):
        fetch(ENTRY, tmp_path, "http://127.0.0.1:9")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        fetch(ENTRY, tmp_path / "file" / "google", server[1])


def test_what_is_no_archive_is_not_taken_in(server, tmp_path):
    server[0].files[PATH] = b"<html>not here</html>"
    with pytest.raises(DownloadFailed, match=r"sent is not a \.tgz file: it begins b'<h'"):
        fetch(ENTRY, tmp_path, server[1])
    assert list(tmp_path.iterdir()) == []


def test_weights_of_keras_are_hdf5(tmp_path):
    path = "/tensorflow/keras-applications/mobilenet_v2/"
    path += "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96.h5"
    content = b"\x89HDF\r\n\x1a\n" + bytes(100)
    entry = CATALOG["keras-v2_0.35_96"]
    with serving({path: content}) as (server, address):
        assert fetch(entry, tmp_path / "good", address).path.read_bytes() == content
        server.files[path] = CONTENT
        with pytest.raises(DownloadFailed, match=r"_96\.h5: what .* is not a \.h5 file: it"):
            fetch(entry, tmp_path / "bad", address)
    assert list((tmp_path / "bad").iterdir()) == []


def test_a_mirror_may_have_a_path_and_end_with_a_stroke(server, tmp_path):
    server[0].files[f"/google{PATH}"] = CONTENT
    assert fetch(ENTRY, tmp_path, f"{server[1]}/google/").path.read_bytes() == CONTENT
