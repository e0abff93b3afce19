"""What a port leaves on disk."""

from porting.release.files import ReleaseFiles, write_release

__all__ = ["ReleaseFiles", "write_release"]
