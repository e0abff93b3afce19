"""What is packed with a model: the normalisation of images, and class labels."""

from __future__ import annotations

import struct
import zipfile
import zlib

import numpy as np
import pytest

from parity_tests.building.labels import AXIS_LABELS, DESCRIPTIONS, archive, metadata
from parity_tests.building.limits import within
from parity_tests.building.normalisations import NORMALISATION, SCORES, normalising_metadata
from parity_tests.building.tflite_files import TFLiteBuilder
from porting.errors import BadInput, BadSource, UnsupportedSource
from porting.sources import open_source, zip_archive


def model(about=None):
    file = TFLiteBuilder()
    x, y = file.tensor("x", [1, 8, 8, 3]), file.tensor("y", [1, 8, 8, 3])
    file.operator("LOGISTIC", [x], y)
    if about is not None:
        file.metadata("TFLITE_METADATA", about)
    return file.finish([x], [y])


def test_one_number_for_all_channels(opened):
    source = opened(model(normalising_metadata([127.5], [127.5])))
    assert source.metadata_normalisation == ((127.5,), (127.5,))


def test_a_number_a_channel(opened):
    source = opened(model(normalising_metadata([1, 2, 3], [4, 5, 6])))
    assert source.metadata_normalisation == ((1, 2, 3), (4, 5, 6))


def test_no_normalisation(opened):
    assert opened(model()).metadata_normalisation is None
    assert opened(model(metadata({"labels.txt": AXIS_LABELS}))).metadata_normalisation is None


def test_other_process_units_are_passed_over(opened):
    assert opened(model(normalising_metadata([1], [2], (SCORES,)))).metadata_normalisation is None
    both = normalising_metadata([1], [2], (SCORES, NORMALISATION))
    assert opened(model(both)).metadata_normalisation == ((1,), (2,))


def test_the_first_input_counts(opened):
    two = normalising_metadata([1], [2], inputs=2)
    assert opened(model(two)).metadata_normalisation == ((1,), (2,))


@pytest.mark.parametrize(("mean", "std"), [([], [1]), ([1], []), ([1] * 65, [1])])
def test_more_channels_than_an_image_has(opened, mean, std):
    source = opened(model(normalising_metadata(mean, std)))
    expected = rf"normalise by {len(mean)} means and {len(std)} deviations; expected one number"
    with pytest.raises(BadSource, match=expected):
        _ = source.metadata_normalisation


def test_a_damaged_normalisation(opened):
    about = bytearray(normalising_metadata([1], [2]))
    struct.pack_into("<I", about, 0, 2**31)
    source = opened(model(bytes(about)))
    with pytest.raises(BadSource, match="root table at byte 0 points to"):
        _ = source.metadata_normalisation


def test_bytes_at_random_end_in_a_message(opened):
    """Any metadata are read, refused, or ignored."""
    random = np.random.default_rng(0)
    sound = normalising_metadata([1, 2, 3], [4, 5, 6], (SCORES, NORMALISATION))
    refused = 0
    for _ in range(300):
        raw = bytearray(sound)
        for place in random.integers(0, len(raw), 3):
            raw[place] = int(random.choice([0, 1, 4, 127, 128, 255]))
        with within(mebibytes=16, seconds=2):
            try:
                stated = opened(model(bytes(raw))).metadata_normalisation
                assert stated is None or all(stated)
            except BadInput:
                refused += 1
    assert refused > 30


def test_what_model_maker_writes(artifacts):
    path = artifacts / "retrained" / "model_maker_efficientnet_lite0_int8.tflite"
    assert open_source(path).metadata_normalisation == ((0,), (255,))


CLASSES = "background\ntench\ngoldfish, Carassius auratus\n"


def with_labels(packed=b"", about=None):
    file = TFLiteBuilder()
    x, y = file.tensor("x", [1, 4]), file.tensor("y", [1, 4])
    file.operator("LOGISTIC", [x], y)
    if about is not None:
        file.metadata("TFLITE_METADATA", about)
    return file.finish([x], [y]) + packed


def test_no_labels(opened):
    assert opened(with_labels()).labels is None
    assert opened(with_labels(b"PK\x03\x04 nothing")).labels is None
    assert opened(with_labels(archive({"vocab.bin": "x"}))).labels is None


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_lines_in_order(opened, compression):
    packed = archive({"labels.txt": CLASSES + "\n\n"}, compression)
    source = opened(with_labels(packed))
    assert source.labels == ("background", "tench", "goldfish, Carassius auratus")
    assert source.graph.outputs == ("y",)


def test_line_ends_of_windows_and_a_mark_at_the_start(opened):
    packed = archive({"labels.txt": b"\xef\xbb\xbfa\r\n\r\nb\x0bc\r\n"})
    assert opened(with_labels(packed)).labels == ("a", "", "b\x0bc")


def test_the_file_with_most_lines(opened):
    packed = archive({"about.txt": "one\ntwo", "labels.txt": CLASSES, "z.txt": "one"})
    assert len(opened(with_labels(packed)).labels) == 3


def test_the_file_that_belongs_to_the_output(opened):
    files = {"vocabulary.txt": CLASSES, "labels_en.txt": "a\nb", "notes.txt": CLASSES}
    about = metadata({"labels_en.txt": AXIS_LABELS, "notes.txt": DESCRIPTIONS})
    assert opened(with_labels(archive(files), about)).labels == ("a", "b")


def test_metadata_that_are_damaged(opened):
    about = bytearray(metadata({"labels.txt": AXIS_LABELS}))
    struct.pack_into("<I", about, 0, 2**31)
    source = opened(with_labels(archive({"labels.txt": CLASSES}), bytes(about)))
    with pytest.raises(BadSource, match="root table at byte 0 points to"):
        _ = source.labels


def test_metadata_that_name_no_buffer(opened):
    file = TFLiteBuilder()
    x = file.tensor("x", [1])
    file.metadata("TFLITE_METADATA", b"1234")
    file.model.metadata[0].buffer = 9
    with pytest.raises(BadSource, match="metadata 'TFLITE_METADATA' name buffer 9, the file has 2"):
        opened(file.finish([x], [x]))


@pytest.mark.parametrize("name", ["../labels.txt", "/etc/labels.txt", "a/../../b.txt"])
def test_paths_that_lead_outside(opened, name):
    source = opened(with_labels(archive({name: CLASSES})))
    with pytest.raises(
        BadSource, match=f"model.tflite: .* member '{name}' leads out of the archive"
    ):
        _ = source.labels


def restated(packed, size, checksum=None):
    """The only entry's size, and CRC-32, as the archive's directory states them, changed."""
    raw = bytearray(packed)
    at = raw.index(b"PK\x01\x02")
    struct.pack_into("<I", raw, at + 24, size)
    if checksum is not None:
        struct.pack_into("<I", raw, at + 16, checksum)
    return bytes(raw)


def test_more_than_stated(opened):
    """Cut at the stated size, the rest of the labels would be missing and the checksum right."""
    packed = archive({"labels.txt": CLASSES * 500}, zipfile.ZIP_DEFLATED)
    source = opened(with_labels(restated(packed, 10, zlib.crc32(CLASSES[:10].encode()))))
    with pytest.raises(
        BadSource, match=r"its member labels.txt does not unpack to 10 bytes, as it"
    ):
        _ = source.labels


def test_less_than_stated(opened):
    source = opened(
        with_labels(restated(archive({"labels.txt": CLASSES}, zipfile.ZIP_DEFLATED), 4000))
    )
    with pytest.raises(BadSource, match=r"labels.txt does not unpack to 4,000 bytes, as it states"):
        _ = source.labels


def test_more_than_labels_take(opened):
    large = archive({"labels.txt": "x\n" * (5 << 20)}, zipfile.ZIP_DEFLATED)
    source = opened(with_labels(large))
    assert len(large) < 100_000
    with within(mebibytes=16, seconds=5), pytest.raises(BadSource, match=r"up to 8,388,608 are"):
        _ = source.labels


def test_a_bomb_that_states_little(opened):
    large = archive({"labels.txt": "x\n" * (100 << 20)}, zipfile.ZIP_DEFLATED)
    source = opened(with_labels(restated(large, 10)))
    with within(mebibytes=16, seconds=5), pytest.raises(BadSource, match="does not unpack to 10"):
        _ = source.labels


def test_too_many_files(opened, monkeypatch):
    monkeypatch.setattr(zip_archive, "_LARGEST_DIRECTORY", 200)
    assert opened(with_labels(archive(dict.fromkeys("abc", "x")))).labels is None
    source = opened(with_labels(archive(dict.fromkeys("abcde", "x"))))
    with pytest.raises(UnsupportedSource, match="more members or bytes than a mobile network"):
        _ = source.labels


def test_a_damaged_checksum(opened):
    packed = bytearray(archive({"labels.txt": CLASSES}))
    packed[packed.index(b"tench")] ^= 1
    with pytest.raises(BadSource, match=r"not a sound zip archive: .*labels.txt"):
        _ = opened(with_labels(bytes(packed))).labels


def test_unusual_packing(opened):
    source = opened(with_labels(archive({"labels.txt": CLASSES}, zipfile.ZIP_LZMA)))
    with pytest.raises(UnsupportedSource, match=r"labels.txt is encrypted or neither"):
        _ = source.labels


def test_text_that_is_none(opened):
    source = opened(with_labels(archive({"labels.txt": b"\xff\xfe\x00"})))
    with pytest.raises(BadSource, match=r"the labels labels.txt are not UTF-8 text"):
        _ = source.labels
