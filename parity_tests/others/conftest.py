"""timm's and torchvision's networks, from the folder ``PORTING_OTHERS``."""

from __future__ import annotations

import pytest

from benchmarks.others import others_available


@pytest.fixture(scope="session")
def others():
    """``others.timm`` and ``others.torchvision``."""
    if not others_available():
        pytest.skip("PORTING_OTHERS does not name a folder with timm and torchvision")
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
