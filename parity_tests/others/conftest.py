"""timm's and torchvision's networks, from a folder of their own.

Their packages are no part of this one's environment: ``make test-others`` puts them into a
folder and names it in ``PORTING_OTHERS``.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

_WITH_META = re.compile(r'register_meta\("(\w+)"|torchvision::(\w+)')


@pytest.fixture(scope="session")
def others():
    """``others.timm`` and ``others.torchvision``."""
    folder = os.environ.get("PORTING_OTHERS")
    if folder is None:
        pytest.skip("PORTING_OTHERS does not name a folder with timm and torchvision")
    sys.path.append(folder)
    _define_operators(Path(folder, "torchvision/_meta_registrations.py").read_text())
    return _Others()


class _Others:
    @property
    def timm(self):
        import timm

        return timm

    @property
    def torchvision(self):
        import torchvision

        return torchvision


def _define_operators(text):
    """torchvision's compiled part wants CUDA; its networks want the operators' names alone."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    names = {name for pair in _WITH_META.findall(text) for name in pair if name}
    for name in sorted(names | {"nms", "_cuda_version"}):
        library.define(f"{name}(Tensor x) -> Tensor")
    _define_operators.kept = library  # what it defined goes with it
