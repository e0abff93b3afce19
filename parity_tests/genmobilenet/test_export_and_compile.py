"""Deployed networks under ``torch.export`` and ``torch.compile``."""

from __future__ import annotations

import shutil

import pytest
import torch

from parity_tests.building.deployments import (
    SIZES,
    assert_equal,
    pixels,
    small_pair,
)


@pytest.fixture(scope="module")
def small():
    return small_pair()


def targets(program):
    return {str(n.target) for n in program.graph.nodes if n.op == "call_function"}


def test_export(small):
    _, deployed = small
    program = torch.export.export(deployed, (pixels(2),))
    assert not {t for t in targets(program) if "norm" in t or "pad" in t}
    batch = torch.export.Dim("batch", min=2)
    free = torch.export.export(deployed, (pixels(2),), dynamic_shapes=({0: batch},))
    for exported, x in ((program, pixels(2)), (free, pixels(5))):
        with torch.no_grad():
            torch.testing.assert_close(exported.module()(x), deployed(x), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [None, True])
def test_compile_makes_one_graph_at_each_size(small, dynamic):
    model, deployed = small
    torch._dynamo.reset()
    made = torch.compile(deployed, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for height, width in SIZES:
        assert_equal(model, made, pixels(2, height, width))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor wants a C++ compiler")
def test_compile_by_inductor(small):
    model, deployed = small
    torch._dynamo.reset()
    made = torch.compile(deployed, fullgraph=True)
    assert_equal(model, made, pixels(2))
