"""The TFLite reader against LiteRT."""

import numpy as np
import pytest

from genmobilenet import get_config
from parity_tests.building.tflite_files import TFLiteBuilder
from parity_tests.building.tflite_networks import NetworkFile
from porting.errors import BadSource
from porting.sources import open_source
from porting.sources.tflite import TFLiteSource

WEIGHTS = ("float32", "float16", "int8", "int8_channels", "uint8_legacy")


@pytest.mark.parametrize("weights", WEIGHTS)
def test_constants_are_read_as_what_they_stand_for(written, weights):
    result = NetworkFile(get_config("tf_mnasnet_small"), weights=weights, seed=2)
    source = open_source(written(result.build()))
    assert isinstance(source, TFLiteSource)
    read = {name: source.read(name) for name in source.tensors if name in result.real}
    assert set(read) == set(result.real)
    for name, values in result.real.items():
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
    actual = [(op.kind, list(op.inputs), list(op.outputs)) for op in source.graph.operators]
    assert actual == seen


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
