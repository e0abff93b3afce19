"""Files for publishing a port: its weights and card, release folders, exported files.

``port_files.py`` writes the weights and their card, ``folder.py`` a release folder and
``verification.py`` checks one; ``timm_config.py``, ``safetensors_file.py`` and ``readme.py`` have
its files.
"""

from porting.release.port_files import (
    ReleaseFiles,
    card_of,
    is_synthetic,
    verdict_json,
    versions,
    write_release,
)

__all__ = [
    "ReleaseFiles",
    "card_of",
    "is_synthetic",
    "verdict_json",
    "versions",
    "write_release",
]
