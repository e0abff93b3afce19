"""The TFLite reader against LiteRT, and against damaged files."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from genmobilenet import get_config
from parity_tests.building.limits import within
from parity_tests.building.tflite_files import TFLiteBuilder
from parity_tests.building.tflite_networks import NetworkFile, network_file
from porting.errors import BadSource, PortingError, UnsupportedSource
from porting.sources import open_source
from porting.sources.tflite import TFLiteSource

WEIGHTS = ("float32", "float16", "int8", "int8_channels", "uint8_legacy")


@pytest.fixture(scope="module")
def small():
    return network_file(get_config("tf_mnasnet_small"), seed=5)


@pytest.fixture
def written(tmp_path):
    def write(content):
        path = tmp_path / "model.tflite"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("weights", WEIGHTS)
def test_constants_are_read_as_what_they_stand_for(written, weights):
    made = NetworkFile(get_config("tf_mnasnet_small"), weights=weights, seed=2)
    source = open_source(written(made.build()))
    assert isinstance(source, TFLiteSource)
    read = {name: source.read(name) for name in source.tensors if name in made.real}
    assert set(read) == set(made.real)
    for name, values in made.real.items():
        assert read[name].dtype == np.float32
        np.testing.assert_array_equal(read[name], values, err_msg=name)


def test_operators_and_names_are_those_that_litert_sees(written, small):
    from ai_edge_litert.interpreter import Interpreter

    path = written(small)
    interpreter = Interpreter(str(path))
    details = {d["index"]: d["name"] for d in interpreter.get_tensor_details()}
    source = TFLiteSource(path)
    seen = [
        (op["op_name"], [details[i] for i in op["inputs"]], [details[i] for i in op["outputs"]])
        for op in interpreter._get_ops_details()
        if op["op_name"] != "DELEGATE"
    ]
    found = [(op.kind, list(op.inputs), list(op.outputs)) for op in source.graph.operators]
    assert found == seen


@pytest.mark.parametrize(
    "file",
    [
        "google/mobilenet_v1_0.25_224_float.tflite",
        "google/mobilenet_v2_1.0_224_quant.tflite",
        "mnasnet-a1-050/mnasnet-a1_float.tflite",
        "mnasnet-a1-050/mnasnet-a1_postquant.tflite",
        "mnasnet-b1/mnasnet-b1_float.tflite",
        "mobilenet-v2-035-96/mobilenet-v2_float.tflite",
        "mobilenet-v3-small-minimalistic/v3-small-min.tflite",
    ],
)
def test_real_files_tensor_by_tensor_against_litert(artifacts, file):
    from ai_edge_litert.interpreter import Interpreter

    source = TFLiteSource(artifacts / file)
    interpreter = Interpreter(str(artifacts / file))
    details = {d["name"]: d for d in interpreter.get_tensor_details()}
    for name, info in source.tensors.items():
        detail = details[name]
        stored = interpreter.get_tensor(detail["index"])
        scales = detail["quantization_parameters"]
        if scales["scales"].size:
            zero = np.float32(scales["zero_points"][0])
            stored = (stored.astype(np.float32) - zero) * scales["scales"][0]
        assert info.shape == stored.shape
        np.testing.assert_array_equal(source.read(name), stored, err_msg=name)


def test_a_tensor_is_a_view_of_the_file(written, small):
    source = TFLiteSource(written(small))
    assert not source.read("dense/kernel").flags.owndata
    assert not source.read("dense/kernel").flags.writeable


def test_asking_for_an_activation_is_an_error(written, small):
    with pytest.raises(KeyError):
        TFLiteSource(written(small)).read("stem/out")


def test_codes_of_2018_and_of_today_mean_the_same(written):
    kinds = []
    for old in (True, False):
        file = TFLiteBuilder(codes_of_2018=old)
        x, y = file.tensor("x", [1, 4]), file.tensor("y", [1, 4])
        file.operator("LOGISTIC", [x], y)
        kinds.append(TFLiteSource(written(file.finish([x], [y]))).graph.operators[0].kind)
    assert kinds == ["LOGISTIC", "LOGISTIC"]


def test_equal_names_are_told_apart(written):
    file = TFLiteBuilder()
    x, y, z = (file.tensor(name, [1, 4]) for name in ("x", "same", "same"))
    file.operator("LOGISTIC", [x], y)
    file.operator("LOGISTIC", [y], z)
    source = TFLiteSource(written(file.finish([x], [z])))
    assert source.graph.outputs == ("same#2",)
    assert source.index_of("same#2") == 2


def test_a_zip_of_labels_behind_the_flatbuffer_does_no_harm(written, small):
    path = written(small + b"PK\x03\x04 labels")
    assert TFLiteSource(path).graph.outputs == ("logits",)


def test_a_cut_file_is_refused_at_each_of_fifty_lengths(written, small):
    for length in np.linspace(0, len(small) - 4, 50).astype(int):
        with pytest.raises(BadSource) as caught:
            open_source(written(small[:length]))
        message = str(caught.value)
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
    """A hostile file: many tensors, each with the same huge shape vector."""
    file = TFLiteBuilder()
    tensors = [file.tensor(f"t{i}", [1] * 4000) for i in range(40)]
    content = bytearray(file.finish(tensors[:1], tensors[:1]))
    shapes = []
    at = content.find(struct.pack("<I", 4000))
    while at >= 0:
        shapes.append(at)
        at = content.find(struct.pack("<I", 4000), at + 16000)
    assert len(shapes) == 40
    # Each claims to reach to the end of the file.
    for at in shapes:
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


def test_two_subgraphs_are_unsupported_not_invalid(written):
    file = TFLiteBuilder()
    x = file.tensor("x", [1])
    file.model.subgraphs.append(file.graph)
    with pytest.raises(UnsupportedSource, match="expected one subgraph, found 2"):
        TFLiteSource(written(file.finish([x], [x])))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(64), "a JPEG image; expected a TFLite file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "a PNG image; expected"),
        (bytes(64), "a file that begins with"),
    ],
)
def test_a_file_of_another_kind(written, content, message):
    with pytest.raises(BadSource, match=message):
        open_source(written(content))


def test_no_file(tmp_path):
    with pytest.raises(BadSource, match="no such file"):
        open_source(tmp_path / "absent.tflite")


def exercise(path: Path) -> None:
    """Open, read everything: it works, or it raises what it says it raises."""
    try:
        source = TFLiteSource(path)
        for name in source.tensors:
            source.read(name)
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
    return file.finish([x], [y])


def fuzz(written, rounds):
    generator = np.random.default_rng(int(os.environ.get("FUZZ_SEED", "0")))
    content = tiny_file()
    for _ in range(rounds):
        path = written(flipped(content, generator))
        with within(mebibytes=64, seconds=10):
            exercise(path)


def test_fuzzed_files_never_crash(written):
    fuzz(written, 3000)


@pytest.mark.slow
def test_fuzzed_files_never_crash_for_longer(written):
    fuzz(written, 60_000)
