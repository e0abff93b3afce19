"""Images in tar files, read without unpacking."""

from __future__ import annotations

import tarfile

import pytest

from parity_tests.accuracy.datasets.making import (
    GOLDFISH,
    SHARK,
    TENCH,
    by_name,
    jpeg,
    labels,
    refused,
    validation,
    write_files,
    write_tar,
)
from porting.accuracy.datasets import open_dataset
from porting.accuracy.datasets.opening import members_of
from porting.errors import BadExample

FORMS = (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("folder", ["", "./", "val/"])
def test_folders_by_synset_in_a_tar(tmp_path, form, folder):
    path = write_tar(
        tmp_path / "v.tar", [f"{folder}{SHARK}/a.JPEG", f"{folder}{TENCH}/b.JPEG"], form
    )
    dataset = open_dataset(path)
    inside = folder.removeprefix("./")
    assert by_name(dataset) == {
        f"v.tar:{inside}{SHARK}/a.JPEG": (2, jpeg(0)),
        f"v.tar:{inside}{TENCH}/b.JPEG": (0, jpeg(1)),
    }
    assert dataset.kind == "tar by synset"


def test_files_named_by_synset_in_a_tar(tmp_path):
    path = write_tar(
        tmp_path / "v.tar", [f"{GOLDFISH}_1.JPEG", "list.txt", f"{TENCH}_{'x' * 200}.jpg"]
    )
    dataset = open_dataset(path)
    assert labels(dataset) == [1, 0]
    assert dataset.read(1) == jpeg(2)
    assert dataset.notes == ("left out as no images by their names: 1 file, such as list.txt",)


@pytest.mark.parametrize("folder", ["", "ILSVRC2012_img_val/"])
def test_the_validation_tar_with_the_ground_truth_beside_it(tmp_path, folder):
    names = validation(3)
    # Members are not sorted by name, but the ground truth is.
    path = write_tar(tmp_path / "ILSVRC2012_img_val.tar", [folder + name for name in names[::-1]])
    write_files(tmp_path, {"ILSVRC2012_validation_ground_truth.txt": "490\n361\n171\n"})
    dataset = open_dataset(path)
    assert by_name(dataset) == {
        f"ILSVRC2012_img_val.tar:{folder}{name}": (label, jpeg(seed))
        for name, label, seed in zip(names, (65, 970, 230), (2, 1, 0), strict=True)
    }
    assert dataset.kind == "tar with label file ILSVRC2012_validation_ground_truth.txt"


def test_the_tars_as_they_are_downloaded(tmp_path):
    write_tar(tmp_path / "ILSVRC2012_img_train.tar", {f"{TENCH}.tar": b"x"})
    write_tar(tmp_path / "ILSVRC2012_img_val.tar", validation(3))
    kit = tmp_path / "ILSVRC2012_devkit_t12" / "data"
    write_files(kit, {"ILSVRC2012_validation_ground_truth.txt": "490\n361\n171\n"})
    assert labels(open_dataset(tmp_path)) == [65, 970, 230]


def test_labels_given_for_a_tar(tmp_path):
    path = write_tar(tmp_path / "far" / "v.tar", validation(2))
    write_files(
        tmp_path, {"l": "ILSVRC2012_val_00000002.JPEG 970\nILSVRC2012_val_00000001.JPEG 65\n"}
    )
    assert labels(open_dataset(path, labels=tmp_path / "l")) == [65, 970]


def test_a_tar_for_each_synset(tmp_path):
    write_tar(tmp_path / f"{TENCH}.tar", [f"{TENCH}_1.JPEG", f"{TENCH}_2.JPEG"])
    write_tar(tmp_path / f"{SHARK}.tar", [f"{SHARK}_1.JPEG"])
    assert labels(open_dataset(tmp_path)) == [0, 0, 2]


def test_a_link_is_a_problem_and_not_left_out(tmp_path):
    path = write_tar(tmp_path / "v.tar", [f"{TENCH}/a.jpg"])
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo(f"{SHARK}/b.jpg")
        info.type, info.linkname = tarfile.SYMTYPE, f"{TENCH}/a.jpg"
        archive.addfile(info)
    dataset = open_dataset(path)
    assert labels(dataset) == [0, None]
    assert dataset.problems == [
        (f"v.tar:{SHARK}/b.jpg", "is a link or a sparse file, not an image")
    ]
    with pytest.raises(BadExample, match=f"v.tar: v.tar:{SHARK}/b.jpg: is a link"):
        dataset.read(1)


def test_a_sparse_file_is_a_problem(tmp_path):
    path = write_tar(tmp_path / "v.tar", [f"{TENCH}/a.jpg"])
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo(f"{SHARK}/b.jpg")
        info.type = tarfile.GNUTYPE_SPARSE
        archive.addfile(info)
    assert labels(open_dataset(path)) == [0, None]


def test_a_name_that_is_there_twice(tmp_path):
    pairs = [(f"{TENCH}/a.jpg", jpeg(0)), (f"{TENCH}/a.jpg", jpeg(1))]
    path = write_tar(tmp_path / "v.tar", pairs)
    first, second = 512, 512 * (2 + -(-len(jpeg(0)) // 512))
    refused(path, f"v.tar: holds {TENCH}/a.jpg twice, at bytes {first:,} and {second:,}")


@pytest.mark.parametrize(
    ("mode", "command"), [("w:gz", "gzip"), ("w:bz2", "bzip2"), ("w:xz", "xz")]
)
def test_compressed_tars_are_to_be_unpacked(tmp_path, mode, command):
    path = write_tar(tmp_path / f"v.tar.{mode[2:]}", [f"{TENCH}/a.jpg"], mode=mode)
    refused(path, rf"v.tar.{mode[2:]}: is compressed, .*; run {command} -d v.tar.{mode[2:]} first")


def test_a_tar_of_tars(tmp_path):
    inner = write_tar(tmp_path / "inner" / f"{TENCH}.tar", [f"{TENCH}_1.JPEG"]).read_bytes()
    refused(
        write_tar(tmp_path / "t.tar", {f"{TENCH}.tar": inner}), "t.tar: is a tar of 1 tar, such"
    )
    refused(write_tar(tmp_path / "n.tar", ["a.txt"]), "n.tar: holds no image in 1 file")


@pytest.mark.parametrize("cut", [0, 100, 512, 700, 1024, -10240, -9000])
def test_a_tar_that_is_cut_short(tmp_path, cut):
    path = write_tar(tmp_path / "v.tar", [f"{TENCH}/a.jpg", f"{TENCH}/b.jpg"])
    whole = path.read_bytes()
    blocks = 2 * (1 + -(-len(jpeg(0)) // 512)) * 512
    path.write_bytes(whole[: blocks if cut == -10240 else cut])
    refused(path, r"v.tar: (is not a sound tar file|is damaged or cut short at byte)")


def test_a_damaged_header_in_the_middle_is_no_end(tmp_path):
    path = write_tar(tmp_path / "v.tar", [f"{TENCH}/a.jpg", f"{TENCH}/b.jpg"])
    raw = bytearray(path.read_bytes())
    second = 512 * (1 + -(-len(jpeg(0)) // 512))
    raw[second] ^= 1
    path.write_bytes(raw)
    refused(path, f"v.tar: is damaged or cut short at byte {second:,}: a header or")


def test_tars_put_together_are_refused(tmp_path):
    one = write_tar(tmp_path / "a.tar", [f"{TENCH}/a.jpg"]).read_bytes()
    two = write_tar(tmp_path / "b.tar", [f"{TENCH}/b.jpg"]).read_bytes()
    (tmp_path / "c.tar").write_bytes(one + two)
    refused(tmp_path / "c.tar", "c.tar: has more behind the archive's end at byte .* tar -A")


def test_no_byte_of_a_file_is_read_for_the_index(tmp_path):
    size = 1 << 33  # a sparse file of 8 GiB, which would take long to read
    path = tmp_path / "v.tar"
    info = tarfile.TarInfo(f"{TENCH}/a.jpg")
    info.size = size
    with path.open("wb") as stream:
        header = info.tobuf(tarfile.GNU_FORMAT)
        stream.write(header)
        stream.truncate(len(header) + size + 1024)
    (member,) = members_of(path)
    assert (member.offset, member.size) == (512, size)


def test_a_tar_that_shrinks_while_it_is_open(tmp_path):
    path = write_tar(tmp_path / "v.tar", [f"{TENCH}/a.jpg", f"{TENCH}/b.jpg"])
    dataset = open_dataset(path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(
        BadExample, match=r"v.tar: ends at byte 600, within the [\d,]+ bytes of an ex"
    ):
        dataset.read(0)
    path.unlink()
    with pytest.raises(BadExample, match=r"v.tar: cannot be read: No such file"):
        dataset.read(1)


def test_names_that_are_no_utf_8_can_still_be_printed(tmp_path):
    path = write_tar(tmp_path / "v.tar", [f"{TENCH}/a_long_enough_name.jpg"], tarfile.USTAR_FORMAT)
    raw = path.read_bytes().replace(b"long", b"l\xfcng")
    header = bytearray(raw[:512])
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(header + raw[512:])
    name = open_dataset(path).example(0).name
    assert name.encode() == rf"v.tar:{TENCH}/a_l\xfcng_enough_name.jpg".encode()


def test_a_tar_by_its_first_header(tmp_path):
    write_tar(tmp_path / "v.tar", [f"{TENCH}/a.jpg"]).rename(tmp_path / "images")
    assert labels(open_dataset(tmp_path / "images")) == [0]
