"""Which cases of a product run in CI; ``make test-thorough`` runs the rest."""

from __future__ import annotations

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


def one_width_each(names: Iterable[str]) -> list:
    """Networks as parameters: of each architecture the narrowest, the other widths thorough."""
    names, narrowest = list(names), {}
    for name in names:
        config = get_config(name)
        architecture = replace(config, width=None, source="", input_size=224)
        width, _ = narrowest.get(architecture, (None, name))
        if width is None or (config.width or 1) < width:
            narrowest[architecture] = (config.width or 1, name)
    return sampled(names, (name for _, name in narrowest.values()))
