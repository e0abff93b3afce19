"""timm and torchvision from the folder ``PORTING_OTHERS``.

They are not in the development environment: ``make test-others`` installs them there.
"""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from pathlib import Path

_WITH_META = re.compile(r'register_meta\("(\w+)"|torchvision::(\w+)')


@cache
def others_available() -> bool:
    """Whether timm and torchvision are there; from then on they can be imported."""
    folder = os.environ.get("PORTING_OTHERS")
    if folder is None:
        return False
    sys.path.append(folder)
    _define_operators(Path(folder, "torchvision/_meta_registrations.py").read_text())
    return True


def _define_operators(text: str) -> None:
    """Define torchvision's operators: its compiled part needs CUDA, its networks only the names."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    names = {name for pair in _WITH_META.findall(text) for name in pair if name}
    for name in sorted(names | {"nms", "_cuda_version"}):
        library.define(f"{name}(Tensor x) -> Tensor")
    _libraries.append(library)  # its definitions are removed with it


_libraries: list[object] = []
