"""Names of taps that are not simply a module's path."""

from __future__ import annotations

CLASSIFIER = "classifier"
"""Tap for the logits."""

SOFTMAX = "softmax"
"""Tap for the softmax that a judge has behind its logits; the networks end at the logits."""

INPUT_OF = ":input"
"""Behind a module's path: what flows into it, and not what it gives."""

OUTPUT = "(output)"
"""Tap for what a whole module returns."""


def call_name(path: str, number: int) -> str:
    """A module's path for its first call, and with the call's number for those that follow."""
    return path if number == 1 else f"{path}#{number}"
