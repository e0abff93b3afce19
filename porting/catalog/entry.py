"""What is known of one official source before it is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

STORAGE = "https://storage.googleapis.com/"
"""Where Google keeps all of them; ``download.tensorflow.org`` is a folder of it."""

SIGNED = "[-1, 1]"
IMAGENET = "imagenet mean and deviation"
QUANTISED = "0..255, by the file's own quantisation"
RESCALED = "0..255, rescaled in the model"
MEASURED = "measured on the file: what is published disagrees"


@dataclass(frozen=True)
class CatalogEntry:
    """One published file.

    ``model`` is the network that it holds, ``format`` what
    :func:`~porting.sources.open_source` opens of it, ``size`` the side in
    pixels of its input and ``classes`` their number (1001 with a background).
    ``input`` says what the network takes RGB pixels 0..255 as. ``top1`` and
    ``top5`` are the ImageNet accuracies in percent that its authors state, None
    where they are not known here; ``stated_in`` says where.
    """

    name: str
    url: str
    model: str
    format: str
    size: int
    classes: int
    input: str
    top1: float | None = None
    top5: float | None = None
    stated_in: str = ""

    @property
    def file_name(self) -> str:
        """The name under which it is kept."""
        return PurePosixPath(self.url).name
