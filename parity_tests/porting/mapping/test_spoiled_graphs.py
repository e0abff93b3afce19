"""Spoiled graphs from the file to the state dict: refused by name, or ported, never more."""

from __future__ import annotations

import pytest

from parity_tests.building import mutations
from parity_tests.building.limits import within
from parity_tests.building.tiny_networks import TINY
from porting.carry_out import carry_out
from porting.errors import PortingError
from porting.mapping.convention import convention_of
from porting.mapping.recognise import find_match
from porting.sources import open_source


def outcome(path):
    """The network that a file is ported onto, or why it is not."""
    with within(mebibytes=128, seconds=5):
        try:
            source = open_source(path)
            match = find_match(source, None)
            convention_of(source, match)
            carry_out(match.plan, source, match.config)
            return match.model
        except PortingError as error:
            assert str(path) in str(error)
            return str(error)


@pytest.fixture
def tried(tmp_path):
    path = tmp_path / "model.tflite"

    def try_it(content):
        path.write_bytes(content)
        return outcome(path)

    return try_it


def test_unspoiled_they_are_ported(made, tried):
    assert tried(mutations.packed(made)) in [f"tf_{name}" for name in TINY]


@pytest.mark.slow
def test_every_change_of_an_operators_inputs(made, tried):
    for changed in mutations.every_change_of_inputs(made):
        tried(mutations.packed(changed))


@pytest.mark.slow
def test_every_change_of_an_operators_kind(made, tried):
    for changed in mutations.every_change_of_kind(made):
        tried(mutations.packed(changed))


def fuzz(made, tried, rounds):
    for content in mutations.random_changes(made, rounds):
        tried(content)


def test_random_changes(made, tried):
    fuzz(made, tried, 50)


@pytest.mark.slow
def test_random_changes_for_longer(made, tried):
    fuzz(made, tried, 1000)
