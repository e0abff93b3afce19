"""Archives as Google publishes them, from bytes or from a folder."""

from __future__ import annotations

import io
import tarfile


def archive_of(**members):
    """A ``.tgz`` in memory: content by name."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def packed(folder, archive, name="mnasnet"):
    """Pack a folder under a name into the file ``archive``."""
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, name)
    return archive
