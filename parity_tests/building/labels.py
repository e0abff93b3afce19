"""Labels in TFLite files: an archive after the model, and metadata that name its files.

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
    with zipfile.ZipFile(packed, "w", compression) as result:
        for name, text in files.items():
            result.writestr(name, text)
    return packed.getvalue()


def metadata(files) -> bytes:
    """Metadata that associate files (name -> type) with the output."""
    builder = flatbuffers.Builder(256)
    entries = []
    for name, kind in files.items():
        text = builder.CreateString(name)
        entries.append(table(builder, 5, {0: text}, {2: kind}))
    output = table(builder, 7, {6: vector(builder, entries)})
    graph = table(builder, 7, {3: vector(builder, [output])})
    root = table(builder, 8, {3: vector(builder, [graph])})
    builder.Finish(root, b"M001")
    return bytes(builder.Output())


def table(builder, slots, offsets, small=None):
    """A table with this number of slots: offsets by slot, and bytes by slot."""
    builder.StartObject(slots)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    for slot, value in (small or {}).items():
        builder.PrependInt8Slot(slot, value, 0)
    return builder.EndObject()


def vector(builder, entries):
    """A vector of tables."""
    builder.StartVector(4, len(entries), 4)
    for entry in reversed(entries):
        builder.PrependUOffsetTRelative(entry)
    return builder.EndVector()
