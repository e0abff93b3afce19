"""The cells are those of the table in docs/networks.md: every network and source kind in it."""

from __future__ import annotations

import re

import pytest

from genmobilenet import list_models
from parity_tests.building.networks import TRIED, WITHOUT_CHECKPOINTS
from parity_tests.matrix.cells import CELLS, KINDS
from parity_tests.test_documents import NETWORKS, spelled_out


def read():
    """The names of source kinds, and for each row its networks and the kinds it promises."""
    table = NETWORKS[NETWORKS.index("| Networks |") :]
    lines = table[: table.index("\n\n")].splitlines()
    head, _, *body = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    assert (head[0], head[-1]) == ("Networks", "Published by Google")
    columns = [column.split(", ") for column in head[1:-1]]
    rows = []
    for first, *promises, _ in body:
        patterns = re.findall(r"`([a-z0-9_{},]+)`", first)
        named = [name for pattern in patterns for name in spelled_out(pattern)]
        rows.append((named, {w for c, p in zip(columns, promises, strict=True) if p for w in c}))
    return {word for column in columns for word in column}, rows


WORDS, ROWS = read()


@pytest.mark.parametrize(("named", "promised"), ROWS, ids=[named[0] for named, _ in ROWS])
def test_a_row_has_what_it_promises_in_every_kind_and_nothing_else(named, promised):
    if not {f"tf_{name}" for name in named}.isdisjoint(WITHOUT_CHECKPOINTS):
        assert promised == {"TFLite", "SavedModel", "frozen graph"}
        return
    result = {cell.kind.name for cell in CELLS if cell.model.removeprefix("tf_") in named}
    assert result == {kind.name for kind in KINDS if kind.column in promised}


def test_every_word_for_a_source_has_kinds():
    assert {kind.column for kind in KINDS} == WORDS


def test_every_network_with_a_tensorflow_side_is_ported():
    promised = {f"tf_{name}" for named, words in ROWS if words for name in named}
    assert promised == set(list_models("tf_*"))
    tried = promised.intersection(TRIED).difference(WITHOUT_CHECKPOINTS)
    assert {cell.model for cell in CELLS} == tried
