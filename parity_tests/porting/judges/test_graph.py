"""TensorFlow runs graphs unchanged, and only graphs of harmless operations."""

from __future__ import annotations

import numpy as np
import pytest

from parity_tests.building.graphs import Network
from porting.errors import BadInput, MissingJudge, UnsupportedSource
from porting.sources import open_source

SMALL = "tf_mnasnet_small"


@pytest.fixture(scope="module")
def network():
    pytest.importorskip("tensorflow")
    return Network(SMALL)


@pytest.fixture(scope="module")
def expected(network):
    """Images, and what TensorFlow makes of them in the session that the files come from."""
    images = np.random.default_rng(0).standard_normal((3, 64, 64, 3)).astype(np.float32)
    return images, network.session(lambda session, image, out: session.run(out, {image: images}))


def judge_of(path):
    from porting.judges.graph import GraphJudge

    return GraphJudge(open_source(path))


@pytest.mark.parametrize("form", ["write_frozen", "write_saved_model", "write_module"])
def test_it_gives_what_the_graph_gave(network, expected, tmp_path, form):
    judge = judge_of(getattr(network, form)(tmp_path / "made"))
    images, scores = expected
    output = judge._source.graph.outputs[0]
    run = judge.run(images, {"classifier": output})
    assert (run.judge, run.version) == ("TensorFlow", network.tf.__version__)
    # The graph ran with operations fused by an optimizer, the judge without.
    scale = np.abs(scores).max()
    np.testing.assert_allclose(run.taps["classifier"], scores, rtol=0, atol=2e-5 * scale)


def test_tensors_within_functions_are_found(network, tmp_path):
    judge = judge_of(network.write_module(tmp_path / "made"))
    taps = {op.outputs[0]: op.outputs[0] for op in judge._source.graph.operators}
    run = judge.run(np.zeros((1, 64, 64, 3), np.float32), taps)
    assert any(name.startswith("StatefulPartitionedCall/") for name in taps)
    for name, values in run.taps.items():
        shape = judge._source.activations[name].shape
        assert values.shape[1:] == shape[1:], name


def test_images_of_another_size(network, tmp_path):
    judge = judge_of(network.write_frozen(tmp_path / "graph.pb"))
    with pytest.raises(BadInput, match=r"graph.pb: TensorFlow cannot run it: .*32, 32, 3"):
        judge.run(np.zeros((1, 32, 32, 3), np.float32), {"classifier": "logits"})


def harming(network, within_function=False):
    """What leads to the logits writes a file on the way."""

    def change(graph):
        tf = network.tf
        with tf.Graph().as_default() as harm:
            tf.io.write_file("/tmp/harm", "x")
        written = list(harm.as_graph_def().node)
        for node in written:
            node.name = f"harm/{node.name}"
            node.input[:] = [f"harm/{name}" for name in node.input]
        names = [node.name for node in written if node.op == "WriteFile"]
        if within_function:
            function = graph.library.function.add()
            function.signature.name = "harm"
            function.node_def.extend(written)
            graph.node.add(name="call", op="PartitionedCall").attr["f"].func.name = "harm"
            names = ["call"]
        else:
            graph.node.extend(written)
        next(n for n in graph.node if n.op == "Relu").input.append(f"^{names[0]}")
        return graph

    return change


@pytest.mark.parametrize("within_function", [False, True])
def test_what_writes_files_is_not_run(network, tmp_path, within_function):
    path = network.write_frozen(tmp_path / "graph.pb", harming(network, within_function))
    assert open_source(path).graph.outputs  # reading runs nothing
    with pytest.raises(UnsupportedSource, match=r"WriteFile '.*' is not known to compute alone"):
        judge_of(path)


def test_functions_that_nothing_calls_are_left_off(network, tmp_path):
    def change(graph):
        harming(network, True)(graph)
        next(n for n in graph.node if n.op == "Relu").input.remove("^call")
        graph.node.remove(next(n for n in graph.node if n.name == "call"))
        return graph

    judge_of(network.write_frozen(tmp_path / "graph.pb", change))


def test_a_graph_that_tensorflow_refuses(network, tmp_path):
    def change(graph):
        next(n for n in graph.node if n.op == "Relu").attr["T"].type = 7
        return graph

    path = network.write_frozen(tmp_path / "graph.pb", change)
    with pytest.raises(BadInput, match=r"graph.pb: TensorFlow cannot run it: "):
        judge_of(path)


def test_a_missing_tensorflow_is_named(network, tmp_path, monkeypatch):
    path = network.write_frozen(tmp_path / "graph.pb")
    monkeypatch.setitem(__import__("sys").modules, "tensorflow", None)
    with pytest.raises(MissingJudge, match="pip install tensorflow"):
        judge_of(path)
