"""The packages that evaluating needs beside those of porting."""

from __future__ import annotations

import importlib.util

from porting.errors import MissingPackage

NEEDED = ("simplejpeg", "numba", "scipy")


def check_installed(*packages: str) -> None:
    """See that packages are installed, before work that wants them.

    Raises:
        MissingPackage: one is not; the message names all that are not.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingPackage(
            f"evaluating needs {', '.join(missing)}, not installed here: "
            "pip install 'genmobilenet[accuracy]'"
        )
