"""What is known of one official source before it is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class CatalogEntry:
    """One published file.

    ``model`` is the network that it holds, ``size`` the side in pixels of its
    input. ``top1`` and ``top5`` are the ImageNet accuracies in percent that
    its authors state, None where they state none; ``stated_in`` says where.
    """

    name: str
    url: str
    model: str
    format: str
    size: int
    top1: float | None
    top5: float | None
    stated_in: str

    @property
    def file_name(self) -> str:
        """The name under which it is kept."""
        return PurePosixPath(self.url).name
