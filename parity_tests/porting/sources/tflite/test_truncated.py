"""Files that are cut short: refused at every length at which anything declared is lost."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from parity_tests.building.mutations import packed
from parity_tests.building.tflite_files import TFLiteBuilder
from porting.errors import BadSource
from porting.sources.tflite import TFLiteSource
from porting.sources.tflite.model import parse


def read_by_litert(content):
    """All that LiteRT's schema classes read of a file, or None where they run over its end."""
    try:
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        return packed(model)
    except (struct.error, IndexError, ValueError, TypeError):
        return None


def longest_cut_unseen(content, path, most):
    """How many bytes can go before the reader refuses; nothing may be lost with them."""
    whole = read_by_litert(content)
    for cut in range(1, most):
        try:
            parse(memoryview(content)[:-cut], path)
        except BadSource:
            return cut - 1
        assert read_by_litert(content[:-cut]) == whole, f"{cut} bytes are cut unseen"
    raise AssertionError(f"a cut by {most} bytes is unseen")


@pytest.mark.parametrize(
    ("file", "unseen"),
    [
        ("google/mobilenet_v1_0.25_224_float.tflite", 0),
        ("google/mobilenet_v2_1.0_224_quant.tflite", 8),
        ("mnasnet-a1-050/mnasnet-a1_float.tflite", 8),
        ("mnasnet-a1-050/mnasnet-a1_postquant.tflite", 0),
        ("mnasnet-b1/mnasnet-b1_float.tflite", 8),
    ],
)
def test_the_ends_of_real_files(artifacts, file, unseen):
    """Some converters leave a table of 8 bytes at the end that nothing in the file points to."""
    path = artifacts / file
    assert longest_cut_unseen(path.read_bytes(), path, 20) == unseen


def everything():
    """A file with all that the schema declares beyond the weights."""
    file = TFLiteBuilder()
    x, y = file.tensor("x", [1, 4]), file.tensor("y", [1, 4])
    file.operator("LOGISTIC", [x], y)
    model, graph = file.model, file.graph
    tensor, operator = graph.tensors[1], graph.operators[0]
    tensor.quantization = schema.QuantizationParametersT(min=[1.0], max=[2.0])
    tensor.shapeSignature = [-1, 4]
    tensor.variantTensors = [schema.VariantSubTypeT(shape=[3], type=2)]
    operator.customOptions, operator.intermediates = [1, 2, 3], [0]
    operator.mutatingVariableInputs = [True, False]
    graph.name = "main"
    model.signatures = [
        schema.SignatureDefT(
            inputs=[schema.TensorMapT(name="in", tensorIndex=x)],
            outputs=[schema.TensorMapT(name="out", tensorIndex=y)],
            signatureKey="serving",
        )
    ]
    model.metadataBuffer = [0]
    file.metadata("note", b"text")
    graph.inputs, graph.outputs = [x], [y]
    return model


def test_a_file_of_everything_cut_at_every_length(tmp_path):
    content = packed(everything())
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    TFLiteSource(path)
    assert longest_cut_unseen(content, path, 8) < 4
    for length in range(len(content) - 4):
        with pytest.raises(BadSource):
            parse(memoryview(content)[:length], path)


FIELDS = {
    "quantization": lambda m: m.subgraphs[0].tensors[1].quantization.min,
    "shape signature": lambda m: m.subgraphs[0].tensors[1].shapeSignature,
    "intermediates": lambda m: m.subgraphs[0].operators[0].intermediates,
}


@pytest.mark.parametrize("name", FIELDS)
def test_what_is_not_needed_may_not_reach_beyond_the_file(tmp_path, name):
    """Each vector is made unmistakable, and its length then too great for the file."""
    model = everything()
    marked = FIELDS[name](model)
    marked[:] = [7.0 if name == "quantization" else 7] * 5
    values = np.array(marked, np.float32 if name == "quantization" else np.int32).tobytes()
    content = packed(model)
    at = content.index(struct.pack("<I", 5) + values)
    raw = bytearray(content)
    struct.pack_into("<I", raw, at, 1 << 20)
    with pytest.raises(BadSource, match="claims 1,048,576 items"):
        parse(memoryview(bytes(raw)), tmp_path / "model.tflite")
