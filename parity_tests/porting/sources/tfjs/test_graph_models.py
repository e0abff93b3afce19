"""Graph models of TensorFlow.js, judged by TensorFlow on weights that the judge decodes itself."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest
import torch

import porting
from parity_tests.building.frozen_graphs import seeded
from parity_tests.building.graphs import Network, folded
from parity_tests.building.tfjs_files import fused, quantised, write_graph_model, write_weights
from porting.errors import BadInput
from porting.parity.inputs import seeded_pixels
from porting.sources import open_source
from porting.sources.tfjs.weights import ShardedWeights

pytestmark = pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="TensorFlow is not installed"
)

MODEL = "tf_mobilenetv2_035"


@cache
def frozen_bytes():
    return folded(Network(MODEL).frozen()).SerializeToString()


def frozen_graph():
    from porting.judges.tensorflow import import_tensorflow

    return import_tensorflow().compat.v1.GraphDef.FromString(frozen_bytes())


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The port of the frozen graph itself."""
    path = tmp_path_factory.mktemp("frozen") / "graph.pb"
    path.write_bytes(frozen_bytes())
    return porting.port(path, verify=False).state_dict


def at_parity(path):
    port = porting.port(path, pixels=seeded_pixels(2, 64))
    assert port.model == MODEL
    assert port.comparison, port.comparison.summary()
    assert port.comparison.judge.startswith("TensorFlow")
    return port


def test_fused_layers_in_several_shards(tmp_path, expected):
    graph = fused(frozen_graph())
    kinds = {node.op for node in graph.node}
    assert {"_FusedConv2D", "FusedDepthwiseConv2dNative", "AddN"} <= kinds
    folder = write_graph_model(tmp_path / "model", graph, group_count=2, shard_size=100_003)
    assert len(list(folder.glob("group*.bin"))) > 10
    port = at_parity(folder)
    assert port.comparison.coverage.complete
    for key, values in expected.items():
        assert torch.equal(values, port.state_dict[key]), key


@pytest.mark.parametrize("dtypes", [{"*": "float16"}, {"*": "uint16"}])
def test_quantised_weights(dtypes, tmp_path):
    folder = write_graph_model(tmp_path / "model", fused(frozen_graph()), dtypes=dtypes)
    at_parity(folder / "model.json")


def test_bytes_as_lists_of_numbers(tmp_path, expected):
    """As converters before 1.0 wrote them, which state no format either."""
    folder = write_graph_model(tmp_path / "model", frozen_graph(), bytes_as_lists=True)
    text = (folder / "model.json").read_text()
    (folder / "model.json").write_text(text.replace('"format": "graph-model"', '"odd": 1'))
    state = porting.port(folder, verify=False).state_dict
    assert all(torch.equal(values, state[key]) for key, values in expected.items())


def test_a_shard_that_is_changed_is_seen(tmp_path):
    """The judge reads the shards itself; the source's reader is led to other values."""
    folder = write_graph_model(tmp_path / "model", frozen_graph(), shard_size=1 << 30)
    read = ShardedWeights.read

    def shifted(self, name):
        values = read(self, name)
        return np.roll(values, 1, -1) if values.ndim == 4 and values.shape[-1] > 100 else values

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ShardedWeights, "read", shifted)
        port = porting.port(folder, pixels=seeded_pixels(2, 64))
    assert not port.comparison


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16"])
@pytest.mark.parametrize("size", [7, 64, 1 << 20])
def test_values_across_the_borders_of_shards(dtype, size, tmp_path):
    weights = {"a": seeded(3, 5), "b": seeded(7), "c": np.arange(6, dtype=np.int32)}
    weights["none"] = np.zeros((0, 4), np.float32)
    manifest = write_weights(tmp_path, [weights], size, {"b": dtype})
    stored = ShardedWeights(manifest, tmp_path, tmp_path, lambda path: path)
    for name in ("a", "c", "none"):
        np.testing.assert_array_equal(stored.read(name), weights[name])
    steps, entry = quantised(weights["b"], dtype)
    values = steps.astype(np.float64) * entry.get("scale", 1.0) + entry.get("min", 0.0)
    np.testing.assert_array_equal(stored.read("b"), values.astype(np.float32))
    assert stored.info("b").stored_as == dtype
    with pytest.raises(BadInput, match="takes the weight 'd'"):
        stored.info("d")


def test_inspect_of_a_folder(tmp_path):
    source = open_source(write_graph_model(tmp_path / "model", frozen_graph()))
    assert (source.format, source.name) == ("tfjs graph", "model")
    assert source.files[0].name == "model.json"
    assert source.activations[source.graph.inputs[0]].shape == (1, 64, 64, 3)
