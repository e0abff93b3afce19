"""By what a made-up source is known, so that its port never looks like a real one."""

from __future__ import annotations

from porting.judges.reference.rehearsal_mark import MARK, PREFIX
from porting.places import origin
from porting.sources import Source
from porting.sources.tflite import TFLiteSource
from porting.sources.tflite.flatbuffer import Flatbuffer

_DESCRIPTION = 3  # slot of ``Model`` in TensorFlow's schema.fbs


def is_synthetic(source: Source) -> bool:
    """Whether a source is made up: it says so itself, or its name or its folder does."""
    if any(name.startswith(f"{PREFIX}/") for name in source.tensors):
        return True
    if isinstance(source, TFLiteSource) and _description(source).startswith(PREFIX):
        return True
    files = [file.absolute() for file in (*source.files, origin(source.path))]
    homes = {home for file in files for home in file.parents[:2]}
    return any(file.name.startswith(PREFIX) for file in files) or any(
        (home / MARK).is_file() for home in homes
    )


def _description(source: TFLiteSource) -> str:
    content = memoryview(source.path.read_bytes())
    return Flatbuffer(content, source.path).root().text(_DESCRIPTION, "description")
