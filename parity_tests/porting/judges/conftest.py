"""TFLite files on disk."""

from __future__ import annotations

import pytest

from porting.sources.tflite import TFLiteSource


@pytest.fixture
def written(tmp_path):
    def write(content, name="model.tflite"):
        path = tmp_path / name
        path.write_bytes(content)
        return TFLiteSource(path)

    return write
