"""Encode values that JSON does not have."""

from __future__ import annotations

import math
from typing import Any


def encoded(value: Any) -> Any:
    """Plain JSON: tuples as lists, non-finite numbers as strings."""
    if isinstance(value, dict):
        return {key: encoded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encoded(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
