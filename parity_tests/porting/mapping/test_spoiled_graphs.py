"""Damaged graphs, from file to state dict: refused with a message, or ported correctly."""

from __future__ import annotations

import pytest

from parity_tests.building import mutations
from parity_tests.building.limits import within
from parity_tests.building.networks import TINY
from parity_tests.building.sampling import sampled
from parity_tests.building.tiny_files import FILES
from porting.carry_out import carry_out
from porting.errors import MappingError, PortingError
from porting.mapping.input_spec import convention_of
from porting.mapping.recognise import find_match
from porting.sources import open_source

# Each network in one spelling; every change of the others takes minutes.
EXHAUSTED = sampled(FILES, ["excited", "swished, spelled out", "activated, pooled"])


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


def test_unspoiled_they_are_ported(tiny_model, tried):
    assert tried(mutations.packed(tiny_model)) in [f"tf_{name}" for name in TINY]


@pytest.mark.slow
@pytest.mark.parametrize("tiny_model", EXHAUSTED, indirect=True)
def test_every_change_of_an_operators_inputs(tiny_model, tried):
    for changed in mutations.every_change_of_inputs(tiny_model):
        tried(mutations.packed(changed))


@pytest.mark.slow
@pytest.mark.parametrize("tiny_model", EXHAUSTED, indirect=True)
def test_every_change_of_an_operators_kind(tiny_model, tried):
    for changed in mutations.every_change_of_kind(tiny_model):
        tried(mutations.packed(changed))


@pytest.mark.parametrize("outputs", [[], [1]])
def test_without_an_output_that_is_computed(tiny_model, tmp_path, outputs):
    """Neither the network nor its backbone is ported."""
    changed = mutations.copied(tiny_model)
    changed.subgraphs[0].outputs = outputs
    path = tmp_path / "model.tflite"
    path.write_bytes(mutations.packed(changed))
    source = open_source(path)
    for backbone in (False, True):
        with pytest.raises(MappingError, match="output"):
            find_match(source, None, backbone=backbone)


def fuzz(tiny_model, tried, rounds):
    for content in mutations.random_changes(tiny_model, rounds):
        tried(content)


def test_random_changes(tiny_model, tried):
    fuzz(tiny_model, tried, 50)


@pytest.mark.thorough
def test_random_changes_for_longer(tiny_model, tried):
    fuzz(tiny_model, tried, 300)
