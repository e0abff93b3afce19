"""Replace a module of ``porting`` by a copy with one place of its source text changed."""

from __future__ import annotations

import inspect
import sys
import types


def plant(monkeypatch, module, old, new):
    """Replace a module's functions, for all callers, by those of its text with ``old`` as ``new``.

    The text must have the place once; what is changed nowhere would be a test of nothing.
    """
    text = inspect.getsource(module)
    assert text.count(old) == 1, f"{module.__name__} has {old!r} {text.count(old)} times"
    mutant = types.ModuleType(module.__name__)
    exec(compile(text.replace(old, new), f"<{module.__name__}, changed>", "exec"), vars(mutant))
    originals = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, types.FunctionType) and value.__module__ == module.__name__
    }
    planted = 0
    for name, user in list(sys.modules.items()):
        if not name.startswith("porting"):
            continue
        for attribute, value in originals.items():
            if vars(user).get(attribute) is value:
                monkeypatch.setattr(user, attribute, getattr(mutant, attribute))
                planted += 1
    assert planted
