"""Names of classes in a file beside a model."""

from __future__ import annotations

import pytest

from porting.sources.labels import labels_beside


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("labels.txt", b"0 Cat\n1 Big dog\n", ("Cat", "Big dog")),
        ("labels.txt", b"\xef\xbb\xbfcat\r\ndog\r\n\r\n", ("cat", "dog")),
        ("labels.txt", b"0 Cat\n2 Dog\n", ("0 Cat", "2 Dog")),
        ("retrained_labels.txt", "rosé\n".encode(), ("rosé",)),
        ("output_labels.txt", b"a\n\nb\n", ("a", "", "b")),
        ("labels.txt", b"\xff\xfe", None),
        ("labels.txt", b"", None),
        ("labels.txt", b"a\n" * (1 << 20), None),
        ("notes.txt", b"a\n", None),
    ],
)
def test_labels_beside(name, content, expected, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert labels_beside(tmp_path / "model.h5") == expected
