"""What the engine does with changes once they are chosen, on a stand-in for the network's run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from torch import nn

from porting.parity.diagnosis.cause import Hypothesis
from porting.parity.diagnosis.engine import _Engine, _Examined
from porting.parity.diagnosis.evidence import PieceError


class _ByNeed(_Engine):
    """An engine in which a piece agrees exactly where all changes that it needs are made."""

    def __init__(self, needs: Mapping[str, set[str]]) -> None:
        self.needs = needs

    def _tried(
        self, attempts: Mapping[str, Sequence[Hypothesis]], held_out: bool = False
    ) -> dict[str, PieceError]:
        return {
            tap: PieceError(0.0, 0.0, 2.0 * bool(self.needs[tap] - {h.cause for h in hypotheses}))
            for tap, hypotheses in attempts.items()
        }


def _unchanged(_network: nn.Module) -> None:
    return None


def _examined(tap: str, causes: str) -> _Examined:
    chosen = tuple(Hypothesis(cause, cause, tap, _unchanged, "", "") for cause in causes)
    piece: Any = SimpleNamespace(tap=tap)
    return _Examined(piece, chosen, (), chosen)


def test_changes_that_are_not_needed_are_dropped_in_each_piece_by_itself() -> None:
    """A piece that needs its first change must not keep an unneeded one of another piece."""
    needs = {"one": {"a"}, "two": {"c"}, "three": {"a", "c"}, "four": {"b"}}
    pieces = [_examined(tap, "abc") for tap in needs]
    _ByNeed(needs)._drop_what_is_not_needed(pieces)
    assert {item.tap: {h.cause for h in item.chosen} for item in pieces} == needs
