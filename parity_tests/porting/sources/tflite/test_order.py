"""Graphs that nobody can compute: cycles, tensors read before they are made or made twice."""

from __future__ import annotations

import numpy as np
import pytest

from parity_tests.building.limits import within
from parity_tests.building.tflite_files import TFLiteBuilder
from porting.errors import BadSource


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
        with within(mebibytes=64, seconds=5), pytest.raises(BadSource) as caught:
            opened(content)
        return str(caught.value)

    return refuse


@pytest.mark.parametrize("kind", ["RESHAPE", "CAST", "DEQUANTIZE", "ADD"])
def test_an_operator_that_reads_what_it_makes(refused, kind):
    message = refused(("LOGISTIC", "x", "y"), (kind, "a", "a"))
    assert message.endswith(f"operator 1 ({kind}) reads 'a', made by itself")


def test_a_cycle(refused):
    message = refused(("ADD", "xb", "a"), ("LOGISTIC", "a", "b"), ("LOGISTIC", "b", "y"))
    assert "operator 0 (ADD) reads 'b', made only later, by operator 1 (LOGISTIC)" in message


def test_operators_out_of_order(refused):
    message = refused(("LOGISTIC", "a", "y"), ("LOGISTIC", "x", "a"))
    assert "operator 0 (LOGISTIC) reads 'a', made only later, by operator 1" in message


@pytest.mark.parametrize(
    ("operators", "message"),
    [
        ([("LOGISTIC", "x", "y"), ("RELU", "x", "y")], "(RELU) makes 'y', which operator 0 (LOG"),
        ([("RELU", "c", "x")], "operator 0 (RELU) makes 'x', which is an input of the graph"),
        ([("RELU", "x", "c")], "operator 0 (RELU) makes 'c', which the file stores"),
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
