"""timm and torchvision from a folder of their own, named in ``PORTING_OTHERS``.

Their packages are no part of this one's environment: ``make test-others`` puts them there.
"""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from pathlib import Path

_WITH_META = re.compile(r'register_meta\("(\w+)"|torchvision::(\w+)')


@cache
def others_at_hand() -> bool:
    """Whether timm and torchvision can be imported from here on."""
    folder = os.environ.get("PORTING_OTHERS")
    if folder is None:
        return False
    sys.path.append(folder)
    _define_operators(Path(folder, "torchvision/_meta_registrations.py").read_text())
    return True


def _define_operators(text: str) -> None:
    """torchvision's compiled part wants CUDA; its networks want the operators' names alone."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    names = {name for pair in _WITH_META.findall(text) for name in pair if name}
    for name in sorted(names | {"nms", "_cuda_version"}):
        library.define(f"{name}(Tensor x) -> Tensor")
    _kept.append(library)  # what it defined goes with it


_kept: list[object] = []
