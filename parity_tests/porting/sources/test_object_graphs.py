"""TF2 checkpoints: names from the object graph, entries other than weights, and damaged graphs."""

from __future__ import annotations

import os

import numpy as np
import pytest

from parity_tests.building import tables
from parity_tests.building.limits import within
from parity_tests.building.tables import field, index_of, shard_of, string_bytes
from parity_tests.porting.sources.test_damaged_checkpoints import exercise
from porting.errors import BadSource
from porting.sources import open_source
from porting.sources.checkpoint.weight_sets import full_names, not_weights, parse_object_graph
from porting.sources.protobuf import Malformed

GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
RANDOM = np.random.default_rng(3)


def node(children=(), variable=None, slots=()) -> bytes:
    """A ``TrackableObject``; ``variable`` is full name and key, ``slots`` are node numbers."""
    out = b"".join(field(1, field(1, n) + field(2, name.encode())) for name, n in children)
    if variable is not None:
        parts = ("VARIABLE_VALUE", *variable)
        out += field(2, b"".join(field(i, p.encode()) for i, p in enumerate(parts, 1)))
    return out + b"".join(field(3, field(1, 1) + field(2, b"m") + field(3, s)) for s in slots)


def graph(*nodes) -> bytes:
    return b"".join(field(1, made) for made in nodes)


NET = graph(
    node([("net", 1), ("opt", 2), ("save_counter", 3), ("again", 0)]),
    node([("kernel", 4), ("left", 5), ("right", 6), ("self", 1)]),
    node(slots=[7]),
    node(variable=("save_counter", "save_counter" + VALUE)),
    node(variable=("conv2d/kernel", "net/kernel" + VALUE)),
    node(variable=("bias", "net/left" + VALUE)),
    node(variable=("bias", "net/right" + VALUE)),
    node(variable=("conv2d/kernel/Momentum", "net/kernel/.OPTIMIZER_SLOT/opt/m" + VALUE)),
)


def write(prefix, tensors, strings, shapes=None):
    """A bundle of numbers and of strings."""
    data, pairs = b"", [(b"", tables.header(1))]
    for name in sorted({**tensors, **strings}):
        if name in tensors:
            values = tensors[name]
            raw, crc = values.tobytes(), tables.masked(values.tobytes())
            kind, shape = values.dtype.name, values.shape
        else:
            raw, crc = string_bytes(*strings[name])
            kind, shape = "string", (shapes or {}).get(name, ())
        pairs.append((name.encode(), tables.entry(kind, shape, 0, len(data), len(raw), crc)))
        data += raw
    index_of(prefix).write_bytes(tables.table(pairs))
    shard_of(prefix).write_bytes(data)


KEYS = ("net/kernel", "net/left", "net/right", "net/kernel/.OPTIMIZER_SLOT/opt/m", "save_counter")
TENSORS = {key + VALUE: RANDOM.standard_normal(3).astype(np.float32) for key in KEYS}


@pytest.fixture
def prefix(tmp_path):
    write(tmp_path / "model", TENSORS, {GRAPH: [NET]})
    return tmp_path / "model"


def test_names_are_those_of_the_graph_where_they_are_unique(prefix):
    source = open_source(prefix)
    assert set(source.tensors) == {
        "conv2d/kernel",
        f"net/left{VALUE}",
        f"net/right{VALUE}",
        "conv2d/kernel/Momentum",
        "save_counter",
        GRAPH,
    }
    assert all(name == info.name for name, info in source.tensors.items())
    np.testing.assert_array_equal(source.read("conv2d/kernel"), TENSORS["net/kernel" + VALUE])
    assert source.read(GRAPH)[()] == NET


def test_what_the_graph_says_is_no_weight(prefix):
    source = open_source(prefix)
    left_out = {name: why for name in source.tensors if (why := source.not_a_weight(name))}
    assert left_out == {
        "conv2d/kernel/Momentum": "optimizer slot",
        "save_counter": "save counter",
        GRAPH: "object graph",
    }


def test_a_name_that_is_also_a_key_hides_no_tensor(tmp_path):
    tensors = TENSORS | {"conv2d/kernel": np.zeros(2, np.float32)}
    write(tmp_path / "model", tensors, {GRAPH: [NET]})
    source = open_source(tmp_path / "model")
    assert len(source.tensors) == len(tensors) + 1
    np.testing.assert_array_equal(source.read("conv2d/kernel"), np.zeros(2))


def test_averages_are_found_by_name(tmp_path):
    name = "w/ExponentialMovingAverage"
    made = graph(node([("a", 1)]), node(variable=(name, "a" + VALUE)))
    write(tmp_path / "model", {"a" + VALUE: np.ones(1)}, {GRAPH: [made]})
    assert open_source(tmp_path / "model").weight_sets == ("ema", "raw")


def test_written_by_tensorflow_with_a_slot_optimizer(tmp_path):
    tf = pytest.importorskip("tensorflow")
    kernel = tf.Variable(RANDOM.standard_normal((3, 2)), name="net/kernel")
    optimizer = tf.compat.v1.train.MomentumOptimizer(0.1, 0.9)
    optimizer.apply_gradients([(tf.ones((3, 2), tf.float64), kernel)])
    words = tf.Variable(["", "tench", "x" * 300], name="words")
    saved = tf.train.Checkpoint(any_name=optimizer, kernel=kernel, words=words)
    place = saved.save(str(tmp_path / "model"))
    source = open_source(tmp_path)
    assert source.not_a_weight("net/kernel/Momentum") == "optimizer slot"
    weights = {name for name in source.tensors if source.not_a_weight(name) is None}
    assert weights == {"net/kernel", "words"}
    reader = tf.train.load_checkpoint(place)
    assert list(source.read("words")) == [b"", b"tench", b"x" * 300]
    np.testing.assert_array_equal(source.read("net/kernel"), kernel.numpy())
    assert source.read(GRAPH)[()] == reader.get_tensor(GRAPH)


def test_written_by_keras_which_keeps_weights_below_the_optimizer(tmp_path):
    pytest.importorskip("tensorflow")
    import tensorflow as tf

    keras = tf.keras
    layers = [keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization(), keras.layers.Flatten()]
    model = keras.Sequential([keras.Input((4, 4, 1)), *layers, keras.layers.Dense(2)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    tf.train.Checkpoint(model=model, tuner=model.optimizer).save(str(tmp_path / "model"))
    source = open_source(tmp_path)
    reasons = {name: source.not_a_weight(name) for name in source.tensors}
    assert set(reasons.values()) == {"optimizer state", "save counter", "object graph", None}
    weights = {name for name, reason in reasons.items() if reason is None}
    assert weights == {variable.path for variable in model.weights}
    for variable in model.weights:
        np.testing.assert_array_equal(source.read(variable.path), variable.numpy())


def test_cycles_end():
    made = graph(node([("a", 1), ("b", 2)]), node([("up", 0), ("b", 2)]), node([("self", 2)]))
    assert not_weights(parse_object_graph(made)) == {GRAPH: "object graph"}


def test_a_long_chain_is_no_deep_recursion():
    length = 50_000
    chain = [node([("next", n)]) for n in range(1, length)]
    nodes = parse_object_graph(graph(*chain, node(variable=("w", "k"))))
    assert full_names(nodes, {"k"}) == {"k": "w"}
    assert "k" not in not_weights(nodes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it has no nodes"),
        (graph(node([("a", 5)])), "node 0 leads to node 5 of 1"),
        (graph(node(slots=[9])), "node 0 leads to node 9 of 1"),
        (graph(node([("a", (1 << 64) - 1)])), "node 0 leads to node 18,446,744,073,709,551,615"),
        (field(1, 7), "a number where a message belongs"),
        (graph(field(1, field(1, b"x"))), "a message where a number belongs"),
        (graph(field(1, field(2, b"\xff"))), "a name that is not UTF-8"),
        (graph(node())[:-1] + b"\x09", "does not fit"),
        (b"\x0a\0" * 200_000, "over 131,072 nodes and edges"),
        (graph(b"\x0a\0" * 200_000), "over 131,072 nodes and edges"),
    ],
)
def test_a_graph_that_is_none(tmp_path, content, message):
    with pytest.raises(Malformed, match=message):
        parse_object_graph(content)
    write(tmp_path / "model", {}, {GRAPH: [content]})
    with pytest.raises(BadSource, match=rf"model\.index: the object graph in {GRAPH} is damaged"):
        open_source(tmp_path / "model")


@pytest.mark.parametrize("kind", ["numbers", "a list"])
def test_a_graph_of_another_type(tmp_path, kind):
    tensors = {GRAPH: np.ones(2)} if kind == "numbers" else {}
    strings = {} if tensors else {GRAPH: [NET, NET]}
    write(tmp_path / "model", tensors, strings, {GRAPH: (2,)})
    with pytest.raises(BadSource, match=r"object graph in .* is damaged: it is of type .* \(2,\)"):
        open_source(tmp_path / "model")


def test_an_endless_graph_stays_small(tmp_path):
    write(tmp_path / "model", {}, {GRAPH: [b"\x0a\0" * 4_000_000]})
    with within(mebibytes=64, seconds=20), pytest.raises(BadSource, match="nodes and edges"):
        open_source(tmp_path / "model")


def fuzz(prefix, rounds):
    """Damage the graph with its checksums made anew, so that the damage gets through."""
    generator = np.random.default_rng(int(os.environ.get("FUZZ_SEED", "4")))
    for _ in range(rounds):
        raw = bytearray(NET)
        for _ in range(int(generator.integers(1, 6))):
            raw[int(generator.integers(len(raw)))] = int(generator.integers(256))
        write(prefix, TENSORS, {GRAPH: [bytes(raw[: int(generator.integers(len(raw))) or None])]})
        if generator.integers(4):
            write(prefix, TENSORS, {GRAPH: [bytes(raw)]})
        with within(mebibytes=64, seconds=10):
            exercise(prefix)


def test_fuzzed_graphs_never_crash(prefix):
    fuzz(prefix, 500)


@pytest.mark.thorough
def test_fuzzed_graphs_never_crash_for_longer(prefix):
    fuzz(prefix, 2_500)
