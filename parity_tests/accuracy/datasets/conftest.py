"""TFRecord shards written by TensorFlow."""

from __future__ import annotations

import pytest

from parity_tests.accuracy.datasets.making import jpeg


@pytest.fixture(scope="session")
def write_records():
    """Write a shard with TensorFlow: a dictionary from feature to value for each record."""
    tf = pytest.importorskip("tensorflow")

    def feature(value):
        if isinstance(value, float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=[value] * 3))
        values = value if isinstance(value, list) else [value]
        if values and isinstance(values[0], int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        raw = [v.encode() if isinstance(v, str) else v for v in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=raw))

    def write(path, records, options=None):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tf.io.TFRecordWriter(str(path), options) as writer:
            for record in records:
                named = {name: feature(value) for name, value in record.items()}
                example = tf.train.Example(features=tf.train.Features(feature=named))
                writer.write(example.SerializeToString())
        return path

    return write


@pytest.fixture(scope="session")
def slim():
    """A record as slim's script writes it."""

    def of(seed, label, synset=None, name=None):
        record = {
            "image/height": 8, "image/width": 9, "image/colorspace": "RGB", "image/channels": 3,
            "image/class/label": label, "image/class/text": "some name",
            "image/object/bbox/xmin": 0.5, "image/object/bbox/label": [7, 7],
            "image/format": "JPEG", "image/filename": name or f"ILSVRC2012_x_{seed}.JPEG",
            "image/encoded": jpeg(seed),
        }  # fmt: skip
        return record | ({} if synset is None else {"image/class/synset": synset})

    return of
