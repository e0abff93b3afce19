"""A check that damaged files are refused."""

from __future__ import annotations

import pytest

from parity_tests.building.limits import within
from porting.sources import open_source


def refused(path, kind, message):
    """Opening names the file and says what is wrong, within bounds."""
    with within(mebibytes=64, seconds=60), pytest.raises(kind, match=message) as error_info:
        open_source(path)
    assert path.name in str(error_info.value)
