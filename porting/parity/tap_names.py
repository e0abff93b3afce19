"""Taps that have names of their own."""

from __future__ import annotations

CLASSIFIER = "classifier"
"""Tap for the logits."""

SOFTMAX = "softmax"
"""Tap for the softmax that a judge has behind its logits; the networks end at the logits."""
