"""Labels as they ride in TFLite files: an archive behind the model, and metadata that name them.

Slots: ``metadata_schema.fbs`` of TensorFlow Lite Support.
"""

from __future__ import annotations

import io
import zipfile

import flatbuffers

AXIS_LABELS, DESCRIPTIONS = 2, 1


def archive(files, compression=zipfile.ZIP_STORED) -> bytes:
    """A zip of name -> text."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as made:
        for name, text in files.items():
            made.writestr(name, text)
    return packed.getvalue()


def metadata(files) -> bytes:
    """Metadata that associate files, name -> type, with the only output."""
    builder = flatbuffers.Builder(256)
    entries = []
    for name, kind in files.items():
        text = builder.CreateString(name)
        entries.append(_table(builder, 5, {0: text}, {2: kind}))
    output = _table(builder, 7, {6: _vector(builder, entries)})
    graph = _table(builder, 7, {3: _vector(builder, [output])})
    root = _table(builder, 8, {3: _vector(builder, [graph])})
    builder.Finish(root, b"M001")
    return bytes(builder.Output())


def _table(builder, slots, offsets, small=None):
    builder.StartObject(slots)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    for slot, value in (small or {}).items():
        builder.PrependInt8Slot(slot, value, 0)
    return builder.EndObject()


def _vector(builder, entries):
    builder.StartVector(4, len(entries), 4)
    for entry in reversed(entries):
        builder.PrependUOffsetTRelative(entry)
    return builder.EndVector()
