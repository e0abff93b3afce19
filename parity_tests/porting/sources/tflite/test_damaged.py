"""Truncated, damaged and hostile TFLite files are refused, in little memory and time."""

import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from parity_tests.building.labels import AXIS_LABELS, archive, metadata
from parity_tests.building.limits import within
from parity_tests.building.tflite_files import TFLiteBuilder, sparsity
from porting.errors import BadSource, PortingError
from porting.sources import open_source
from porting.sources.tflite import TFLiteSource


def test_a_cut_file_is_refused_at_each_of_fifty_lengths(written, small):
    for length in np.linspace(0, len(small) - 4, 50).astype(int):
        with pytest.raises(BadSource) as error_info:
            open_source(written(small[:length]))
        message = str(error_info.value)
        assert "model.tflite" in message
        assert "\n" not in message


def damaged(content, at, value, layout="<I"):
    raw = bytearray(content)
    struct.pack_into(layout, raw, at, value)
    return bytes(raw)


def test_a_root_beyond_the_file(written, small):
    with pytest.raises(BadSource, match="root table at byte 0 points to byte 4,294,967,280"):
        TFLiteSource(written(damaged(small, 0, 0xFFFFFFF0)))


def test_a_root_that_points_at_itself(written, small):
    with pytest.raises(BadSource, match="root table at byte 0 points to byte 0"):
        TFLiteSource(written(damaged(small, 0, 0)))


def test_a_field_table_outside_the_file(written, small):
    root = struct.unpack_from("<I", small)[0]
    with pytest.raises(BadSource, match="field table at byte -"):
        TFLiteSource(written(damaged(small, root, 0x7FFFFFFF, "<i")))


def test_a_vector_longer_than_the_file(written):
    file = TFLiteBuilder()
    x = file.tensor("x", [1, 4], data=np.arange(4, dtype=np.float32))
    content = file.finish([x], [x])
    at = content.index(struct.pack("<2i", 1, 4)) - 4
    with pytest.raises(BadSource, match=r"shape of 'x' at byte \d+ claims 1,073,741,823 items"):
        TFLiteSource(written(damaged(content, at, 0x3FFFFFFF)))


def test_vectors_that_all_point_to_one_place_are_refused_before_they_are_read(written):
    """A hostile file: many tensors, each with the same huge vector of scales."""
    file = TFLiteBuilder()
    scales = ([1.0] * 4000, [], 0)
    tensors = [file.tensor(f"t{i}", [1], "int8", quantisation=scales) for i in range(40)]
    content = bytearray(file.finish(tensors[:1], tensors[:1]))
    vectors = []
    at = content.find(struct.pack("<I", 4000))
    while at >= 0:
        vectors.append(at)
        at = content.find(struct.pack("<I", 4000), at + 16000)
    assert len(vectors) == 40
    # Each claims to extend to the end of the file.
    for at in vectors:
        struct.pack_into("<I", content, at, (len(content) - at - 4) // 4)
    with pytest.raises(BadSource, match=r"overlaps other parts of the file"):
        TFLiteSource(written(bytes(content)))


def test_a_constant_whose_buffer_is_too_short(written):
    file = TFLiteBuilder()
    x = file.tensor("x", [2, 5], data=np.arange(4, dtype=np.float32))
    with pytest.raises(BadSource, match=r"'x' of shape \(2, 5\) .* takes 40 bytes, .* has 16"):
        TFLiteSource(written(file.finish([x], [x])))


def test_an_operator_that_names_no_tensor(written):
    file = TFLiteBuilder()
    x, y = file.tensor("x", [1]), file.tensor("y", [1])
    file.operator("LOGISTIC", [x + 7], y)
    with pytest.raises(BadSource, match="operator 0 names tensor 7, the file has 2"):
        TFLiteSource(written(file.finish([x], [y])))


def test_a_tensor_that_names_no_buffer(written):
    file = TFLiteBuilder()
    x = file.tensor("x", [1])
    file.graph.tensors[0].buffer = 9
    with pytest.raises(BadSource, match="tensor 'x' names buffer 9, the file has 1"):
        TFLiteSource(written(file.finish([x], [x])))


def test_scales_that_do_not_fit_the_axis(written):
    file = TFLiteBuilder()
    parameters = (np.ones(3), np.zeros(3), 0)
    x = file.tensor("x", [2, 4], "int8", np.zeros(8, np.int8), parameters)
    source = TFLiteSource(written(file.finish([x], [x])))
    with pytest.raises(BadSource, match=r"'x' .* has 3 scales and 3 zero points along axis 0"):
        source.read("x")


def test_a_signature_of_no_subgraph(written):
    file = TFLiteBuilder()
    x = file.tensor("x", [1])
    file.signature("serving_default", 3)
    with pytest.raises(BadSource, match="'serving_default' names subgraph 3, the file has 1"):
        TFLiteSource(written(file.finish([x], [x])))


def test_no_subgraph(written):
    file = TFLiteBuilder()
    content = file.finish([], [])
    file.model.subgraphs = []
    assert content != file.finish([], [])
    with pytest.raises(BadSource, match="expected a subgraph, found none"):
        TFLiteSource(written(file.finish([], [])))


def exercise(path: Path) -> None:
    """Open the file and read everything: it succeeds, or raises a documented error."""
    try:
        source = TFLiteSource(path)
        for name in source.tensors:
            source.read(name)
        _ = source.labels
    except PortingError as error:
        assert str(path) in str(error)


def flipped(content: bytes, generator: np.random.Generator) -> bytes:
    raw = bytearray(content)
    for _ in range(int(generator.integers(1, 8))):
        at = int(generator.integers(len(raw)))
        choice = generator.integers(3)
        if choice == 0:
            raw[at] ^= 1 << int(generator.integers(8))
        elif choice == 1:
            raw[at : at + 4] = generator.bytes(4)
        else:
            raw[at : at + 4] = (0xFFFFFFFF).to_bytes(4, "little")
    return bytes(raw)


def tiny_file() -> bytes:
    file = TFLiteBuilder()
    x, y = file.tensor("x", [1, 4]), file.tensor("y", [1, 3])
    values = np.arange(12, dtype=np.int8)
    w = file.tensor("w", [3, 4], "int8", values, (np.ones(3), np.zeros(3), 0))
    half = file.tensor("h", [3], "float16", np.ones(3, np.float16))
    file.operator("FULLY_CONNECTED", [x, w, half], y)
    layout = sparsity([0, 1, 2], [1], 2, ([0, 1, 3], [1, 0, 2], "u1"), 2)
    file.tensor("s", [2, 6], "int8", np.arange(6, dtype=np.int8), (np.ones(2), np.zeros(2), 0),
                layout)  # fmt: skip
    file.metadata("TFLITE_METADATA", metadata({"labels.txt": AXIS_LABELS}))
    packed = archive({"labels.txt": "a\nb\nc\n"}, zipfile.ZIP_DEFLATED)
    return file.finish([x], [y]) + packed


def fuzz(written, rounds):
    generator = np.random.default_rng(int(os.environ.get("FUZZ_SEED", "0")))
    content = tiny_file()
    for _ in range(rounds):
        path = written(flipped(content, generator))
        with within(mebibytes=64, seconds=10):
            exercise(path)


def test_fuzzed_files_never_crash(written):
    fuzz(written, 3000)


@pytest.mark.thorough
def test_fuzzed_files_never_crash_for_longer(written):
    fuzz(written, 20_000)
