"""Options of operators as the converter's own classes write them, and graphs out of order."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from parity_tests.building.limits import within
from parity_tests.building.tflite_files import TFLiteBuilder
from porting.errors import BadSource


def options(kind, **fields):
    made = getattr(schema, f"{kind}OptionsT")()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@pytest.fixture
def operator(opened):
    """The operator that is read of one that is written."""

    def read(kind, made):
        file = TFLiteBuilder(codes_of_2018=False)
        x, y = file.tensor("x", [1, 4, 4, 2]), file.tensor("y", [1])
        file.operator(kind, [x], y, made)
        return opened(file.finish([x], [y])).graph.operators[0]

    return read


@pytest.mark.parametrize(
    ("kind", "made", "expected"),
    [
        (
            "MAX_POOL_2D",
            options("Pool2D", padding=1, strideW=2, strideH=3, filterWidth=4, filterHeight=5),
            {"padding": "VALID", "stride_w": 2, "stride_h": 3, "filter_w": 4, "filter_h": 5,
             "activation": "none"},
        ),
        (
            "CONCATENATION",
            options("Concatenation", axis=-1, fusedActivationFunction=3),
            {"axis": -1, "activation": "relu6"},
        ),
        ("SPLIT", options("Split", numSplits=2), {"parts": 2}),
        ("SPLIT_V", options("SplitV", numSplits=3), {"parts": 3}),
        ("RESHAPE", options("Reshape", newShape=[1, -1, 2]), {"shape": (1, -1, 2)}),
        ("RESHAPE", None, {"shape": ()}),
        ("SQUEEZE", options("Squeeze", squeezeDims=[1, 2]), {"axes": (1, 2)}),
        ("SQUEEZE", options("Squeeze"), {"axes": ()}),
        ("MIRROR_PAD", options("MirrorPad", mode=1), {"mode": "SYMMETRIC"}),
        ("TRANSPOSE", options("Transpose"), {}),
        ("HARD_SWISH", options("HardSwish"), {}),
        ("RELU6", None, {}),
        ("DENSIFY", options("Densify"), {}),
    ],
)  # fmt: skip
def test_options(operator, kind, made, expected):
    actual = operator(kind, made)
    assert (actual.kind, actual.options) == (kind, expected)


@pytest.mark.parametrize("kind", ["PAD", "PADV2", "MIRROR_PAD"])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_paddings_are_a_constant(opened, kind, dtype):
    paddings = np.array([[0, 0], [1, 2], [1, 2], [0, 0]], dtype)
    file = TFLiteBuilder()
    x, y = file.tensor("x", [1, 4, 4, 2]), file.tensor("y", [1, 7, 7, 2])
    file.operator(kind, [x, file.tensor("paddings", [4, 2], dtype, paddings)], y)
    source = opened(file.finish([x], [y]))
    assert source.read(source.graph.operators[0].inputs[1]).tolist() == paddings.tolist()


def test_an_unknown_mode_is_named_with_its_place(operator):
    with pytest.raises(BadSource, match=r"operator 0 \(MIRROR_PAD\) has unknown mode code 7"):
        operator("MIRROR_PAD", options("MirrorPad", mode=7))


def test_operators_that_nobody_knows_keep_a_name(opened):
    file = TFLiteBuilder(codes_of_2018=False)
    x, y, z = (file.tensor(name, [1]) for name in "xyz")
    file.operator("CUSTOM", [x], y)
    file.model.operatorCodes[0].customCode = b"Detect"
    file.operator("LOGISTIC", [y], z)
    file.model.operatorCodes[1].builtinCode = 999
    kinds = [operator.kind for operator in opened(file.finish([x], [z])).graph.operators]
    assert kinds == ["CUSTOM:Detect", "BUILTIN_999"]


@pytest.fixture
def refused(opened):
    """The message over operators of (kind, inputs, output) between ``x`` and ``y``."""

    def refuse(*operators):
        file = TFLiteBuilder()
        names = ("x", "y", "a", "b")
        numbers = {name: file.tensor(name, [1, 4]) for name in names}
        numbers["c"] = file.tensor("c", [1, 4], data=np.ones(4, np.float32))
        for kind, inputs, output in operators:
            file.operator(kind, [numbers[name] for name in inputs], numbers[output])
        content = file.finish([numbers["x"]], [numbers["y"]])
        with within(mebibytes=64, seconds=5), pytest.raises(BadSource) as error_info:
            opened(content)
        return str(error_info.value)

    return refuse


@pytest.mark.parametrize("kind", ["RESHAPE", "CAST", "DEQUANTIZE", "ADD"])
def test_an_operator_that_reads_what_it_makes(refused, kind):
    message = refused(("LOGISTIC", "x", "y"), (kind, "a", "a"))
    assert message.endswith(f"operator 1 ({kind}) reads 'a', which is computed by itself")


def test_a_cycle(refused):
    message = refused(("ADD", "xb", "a"), ("LOGISTIC", "a", "b"), ("LOGISTIC", "b", "y"))
    assert (
        "operator 0 (ADD) reads 'b', which is computed by operator 1 (LOGISTIC), which" in message
    )


def test_operators_out_of_order(refused):
    message = refused(("LOGISTIC", "a", "y"), ("LOGISTIC", "x", "a"))
    assert "operator 0 (LOGISTIC) reads 'a', which is computed by operator 1" in message


@pytest.mark.parametrize(
    ("operators", "message"),
    [
        (
            [("LOGISTIC", "x", "y"), ("RELU", "x", "y")],
            "(RELU) computes 'y', which operator 0 (LOG",
        ),
        ([("RELU", "c", "x")], "operator 0 (RELU) computes 'x', which is an input of the graph"),
        ([("RELU", "x", "c")], "operator 0 (RELU) computes 'c', which the file stores"),
    ],
)
def test_a_tensor_that_is_made_twice(refused, operators, message):
    assert message in refused(*operators)


def test_many_inputs_and_operators_take_no_time(opened):
    file = TFLiteBuilder()
    inputs = [file.tensor(f"x{i}", [1]) for i in range(20_000)]
    for given in inputs:
        file.operator("LOGISTIC", [given], file.tensor(f"y{given}", [1]))
    content = file.finish(inputs, [])
    with within(mebibytes=256, seconds=10):
        assert len(opened(content).graph.operators) == 20_000
