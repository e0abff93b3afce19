"""A zoo of tiny networks."""

from __future__ import annotations

import pytest

from genmobilenet import zoo
from parity_tests.building.tiny_networks import TINY


@pytest.fixture
def tiny_networks(monkeypatch):
    """Only these are known."""
    for name in list(zoo.NETWORKS):
        monkeypatch.delitem(zoo.NETWORKS, name)
    for name, config in TINY.items():
        monkeypatch.setitem(zoo.NETWORKS, name, config)
        monkeypatch.setitem(zoo.NETWORKS, f"tf_{name}", config.tensorflow_form())
