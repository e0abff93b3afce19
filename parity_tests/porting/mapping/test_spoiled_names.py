"""Checkpoints with damaged names and shapes: refused with a message, or ported correctly."""

from __future__ import annotations

import os

import numpy as np
import pytest

from parity_tests.building import tables
from parity_tests.building.checkpoints import variables, with_averages
from parity_tests.building.limits import within
from porting.carry_out import carry_out
from porting.errors import MappingError, PortingError
from porting.mapping.input_spec import convention_of
from porting.mapping.recognise import find_match
from porting.sources import open_source

MODEL = "tf_excited"


@pytest.fixture
def prefix(tmp_path, tiny_networks):
    return tmp_path / "model.ckpt"


def outcome(prefix, weights=None):
    with within(mebibytes=128, seconds=5):
        try:
            source = open_source(prefix)
            match = find_match(source, None, weights)
            convention_of(source, match)
            carry_out(match.plan, source, match.config)
            return match.model
        except PortingError as error:
            assert prefix.name in str(error)
            return str(error)


def other_name(name, random):
    scope, _, variable = name.rpartition("/")
    ways = (
        f"{scope}_{'9' * 5000}/{variable}",
        f"{scope}_\u0663/{variable}",  # an Arabic three
        f"{scope}_0/{variable}",
        f"{name}/ExponentialMovingAverage",
        f"{name}/RMSProp",
        name.removesuffix("/ExponentialMovingAverage"),
        f"{'a/' * 500}{name}",
        name[: int(random.integers(1, len(name)))],
        name.upper(),
        f"{scope}/{variable}\n",
    )
    return ways[int(random.integers(len(ways)))]


def other_numbers(numbers, random):
    sides = [int(side) for side in numbers["shape"]]
    ways = (
        {"shape": sides[::-1]},
        {"shape": [*sides, 1]},
        {"shape": [1, *sides]},
        {"shape": sides[:-1]},
        {"shape": [int(np.prod(sides))]},
        {"shape": [*sides, 0], "size": 0},
        {"shape": [(1 << 39) + side for side in sides], "slices": [[(0, 1)], [(1, 2)]]},
        {"shape": [1 << 39] * 9},
        {"shape": [1] * 60 + sides},
        {"slices": [[(0, 1)]]},
        {"dtype": "int32"},
        {"dtype": "string"},
        {"dtype": "float16", "shape": [*sides, 2]},
        {"crc": 1},
        {"offset": 1},
    )
    return numbers | ways[int(random.integers(len(ways)))]


def spoiled(tensors, random):
    """The same with some names changed, lost or swapped, and a change of some entries."""
    tiny_model, names = dict(tensors), list(tensors)
    for name in random.choice(names, int(random.integers(0, 3)), replace=False):
        values = tiny_model.pop(str(name))
        if random.integers(4):
            tiny_model[other_name(str(name), random)] = values
    chosen = set(random.choice(names, int(random.integers(0, 3)), replace=False).tolist())

    def change(name, numbers):
        return other_numbers(numbers, random) if name in chosen else numbers

    return tiny_model, change


def fuzz(prefix, scheme, rounds):
    random = np.random.default_rng(int(os.environ.get("FUZZ_SEED", "0")))
    tensors = with_averages(variables(MODEL, scheme, "m"))
    for _ in range(rounds):
        tiny_model, change = spoiled(tensors, random)
        tables.write_checkpoint(prefix, tiny_model, change=change)
        outcome(prefix, "raw" if random.integers(2) else None)


@pytest.mark.parametrize("scheme", ["keras", "layers"])
def test_unspoiled_it_is_ported(prefix, scheme):
    tables.write_checkpoint(prefix, with_averages(variables(MODEL, scheme, "m")))
    assert outcome(prefix) == MODEL


@pytest.mark.parametrize("scheme", ["keras", "layers"])
def test_random_changes(prefix, scheme):
    fuzz(prefix, scheme, 60)


@pytest.mark.thorough
@pytest.mark.parametrize("scheme", ["keras", "layers"])
def test_random_changes_for_longer(prefix, scheme):
    fuzz(prefix, scheme, 1000)


def test_a_counter_of_thousands_of_digits(prefix):
    tensors = variables(MODEL, "layers", "m")
    name = next(name for name in tensors if name.endswith("conv2d/kernel"))
    tensors[name.replace("conv2d/", f"conv2d_{'9' * 5000}/")] = tensors.pop(name)
    tables.write_checkpoint(prefix, tensors)
    with pytest.raises(MappingError, match="extra tensor m/"):
        find_match(open_source(prefix), MODEL)
