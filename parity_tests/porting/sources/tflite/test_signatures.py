"""TFLite files with several subgraphs: which one is read, and that LiteRT runs the same."""

from __future__ import annotations

import numpy as np
import pytest

from parity_tests.building.tflite_files import TFLiteBuilder, schema
from porting.errors import BadInput
from porting.judges.litert import LiteRTJudge
from porting.sources import open_source


@pytest.fixture
def two(tmp_path):
    """Write a file with two subgraphs, each a dense layer, and signatures of these names."""

    def write(names, dtype="float32"):
        file = TFLiteBuilder(codes_of_2018=False)
        for number, units in enumerate((5, 7)):
            shape, x = (units, 3), file.tensor("image", [1, 3])
            values = np.random.default_rng(number).integers(-9, 9, shape)
            scale = ([0.5], [0], 0) if dtype == "int8" else None
            weight = file.tensor("weight", shape, dtype, values.astype(dtype), scale)
            y = file.tensor("logits", [1, units])
            file.operator("FULLY_CONNECTED", [x, weight], y, schema.FullyConnectedOptionsT())
            if number < len(names):
                file.signature(names[number], number, [("x", x)], [("y", y)])
            if number == 0:
                file.subgraph([x], [y])
        path = tmp_path / "two.tflite"
        path.write_bytes(file.finish([x], [y]))
        return path

    return write


@pytest.mark.parametrize(("name", "units"), [("classify", 5), ("features", 7)])
@pytest.mark.parametrize("in_float", [False, True])
def test_the_judge_runs_the_signature_that_is_read(two, name, units, in_float):
    from ai_edge_litert.interpreter import Interpreter

    path = two(("classify", "features"), "int8" if in_float else "float32")
    source = open_source(path, name)
    assert (source.signature, source.tensors["weight"].shape) == (name, (units, 3))
    x = np.array([[[[1.0, -2.0, 0.5]]]], np.float32)
    judge = LiteRTJudge(source, in_float)
    (output,) = source.graph.outputs
    values = judge.run(x[0, 0], {"logits": output}).taps["logits"]
    np.testing.assert_allclose(values, x[0, 0] @ source.read("weight").T, rtol=1e-6)
    if not in_float:
        runner = Interpreter(str(path)).get_signature_runner(name)
        np.testing.assert_array_equal(values, runner(x=x[0, 0])["y"])


def test_which_is_read_where_none_is_named(two):
    assert open_source(two(("other", "serving_default"))).tensors["weight"].shape == (7, 3)
    source = open_source(two(("only",)))
    assert (source.signature, source.tensors["weight"].shape) == ("only", (5, 3))
    source = open_source(two(()))
    assert (source.signature, source.tensors["weight"].shape) == (None, (5, 3))


def test_a_choice_that_is_left_open_or_is_none(two):
    path = two(("classify", "features"))
    for signature, message in (
        (None, "has 2 signatures: classify, features; choose one with --signature"),
        ("other", "no signature 'other'; there are classify, features"),
    ):
        with pytest.raises(BadInput, match=message):
            open_source(path, signature)
