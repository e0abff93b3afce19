"""Which cases of a product run in CI; ``make test-thorough`` runs the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

import pytest

from genmobilenet import get_config


def sampled(values: Iterable, sample: Iterable) -> list:
    """Values as parameters of a test, all but those of the sample marked thorough.

    A tuple is a value for each of several names, as in ``parametrize``.
    """
    sample = list(sample)
    return [
        pytest.param(
            *(value if isinstance(value, tuple) else (value,)),
            marks=[] if value in sample else pytest.mark.thorough,
        )
        for value in values
    ]


def one_size_each(names: Iterable[str]) -> list:
    """Networks as parameters, all but the smallest of each architecture marked thorough."""
    names, smallest = list(names), {}
    for name in names:
        config = get_config(name)
        kinds = tuple(re.sub(r"_r\d+", "", block) for block in config.blocks)
        architecture = replace(
            config, blocks=kinds, width=None, drop_rate=0.0, source="", input_size=224
        )
        layers = sum(int(repeats) for repeats in re.findall(r"_r(\d+)", " ".join(config.blocks)))
        size = (config.width or 1, layers, name)
        smallest[architecture] = min(size, smallest.get(architecture, size))
    return sampled(names, (name for *_, name in smallest.values()))
