"""CRC32C, the checksum of checkpoints and of TFRecord files."""

from __future__ import annotations

from porting.sources.protobuf import Bytes

_MASK_DELTA = 0xA282EAD8
_PIECE = 1 << 20


def crc32c(data: Bytes, crc: int = 0) -> int:
    """The CRC32C of bytes; ``crc`` is that of the bytes before them."""
    import google_crc32c

    # Piece by piece: the library takes bytes alone, and a tensor may fill half the memory.
    for start in range(0, len(data), _PIECE):
        crc = int(google_crc32c.extend(crc, bytes(data[start : start + _PIECE])))
    return crc


def masked(crc: int) -> int:
    """A CRC as TensorFlow stores it: rotated and offset (``crc32c.h``, ``Mask``)."""
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def masked_crc32c(data: Bytes) -> int:
    """The masked CRC32C of bytes."""
    return masked(crc32c(data))
