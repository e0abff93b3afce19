"""What counts as a source in a folder."""

from __future__ import annotations

from parity_tests.building.archives import archive_of
from parity_tests.building.checkpoints import write_network
from porting.catalog.search import sources_in


def test_what_counts_as_a_source(tmp_path):
    write_network(tmp_path / "loose.ckpt-3", "tf_mnasnet_small")
    (training := tmp_path / "training").mkdir()
    for step in (1, 2):
        write_network(training / f"model.ckpt-{step}", "tf_mnasnet_small")
    (training / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-2"')
    (training / "as.tflite").write_bytes(b"damaged")
    (deep := tmp_path / "a" / "b").mkdir(parents=True)
    (deep / "k.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (tmp_path / "x.tgz").write_bytes(archive_of(a=b"b"))
    for name in ("x.tgz.part", "x.tgz.refused", ".hidden.tgz", "notes.txt", "catalog.lock.json"):
        (tmp_path / name).write_bytes(archive_of(a=b"b") if "tgz" in name else b"{}")

    def named(**options):
        found = sources_in(tmp_path, **options)
        return [str(place.relative_to(tmp_path)) for place in found]

    assert named() == ["a/b/k.h5", "loose.ckpt-3", "training", "training/as.tflite", "x.tgz"]
    assert named(newest_alone=False) == [
        "a/b/k.h5", "loose.ckpt-3", "training/as.tflite", "training/model.ckpt-1",
        "training/model.ckpt-2", "x.tgz",
    ]  # fmt: skip
