"""Graphs of a few operators, and their ports."""

from __future__ import annotations

import pytest

import porting
from parity_tests.building.small_graphs import SmallGraph


@pytest.fixture
def graph():
    return SmallGraph()


@pytest.fixture
def ported(tmp_path):
    """A graph's bytes onto a module, judged by LiteRT."""

    def port(content, module, **options):
        path = tmp_path / "graph.tflite"
        path.write_bytes(content)
        return porting.port(path, onto=module, **options)

    return port
