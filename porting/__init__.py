"""Weights of mobile networks from TensorFlow to PyTorch, with proof.

Names are handed on lazily: importing the package imports neither framework.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from porting.accuracy.evaluation.evaluate import evaluate
    from porting.api import Port, port
    from porting.diagnosing import diagnose
    from porting.diff import compare
    from porting.errors import PortingError
    from porting.sources import open_source

_HOME = {
    "__version__": "genmobilenet",
    "Port": "porting.api",
    "compare": "porting.diff",
    "diagnose": "porting.diagnosing",
    "evaluate": "porting.accuracy.evaluation.evaluate",
    "PortingError": "porting.errors",
    "open_source": "porting.sources",
    "port": "porting.api",
}

__all__ = ["Port", "PortingError", "compare", "diagnose", "evaluate", "open_source", "port"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
