"""The TensorFlow reference: names, arithmetic, and the synthetic files made with it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from genmobilenet import get_config
from parity_tests.building.networks import TRIED, WITHOUT_CHECKPOINTS
from porting.errors import BadInput, MissingJudge, OutputError
from porting.graph.layers import layers_of
from porting.judges.reference.descriptions import descriptions_of
from porting.judges.reference.graphs import (
    detect_scheme,
    layer_scopes,
    reference_blocks,
    root_and_scheme,
)
from porting.judges.reference.steps import first_difference, steps_of_graph

TF_MODELS = [
    model for model in TRIED if model.startswith("tf_") and model not in WITHOUT_CHECKPOINTS
]


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


def names_in(config, scheme, root):
    from porting.judges.reference.graphs import build_reference

    return set(build_reference(config, scheme, root).variables)


def test_names_are_those_of_the_real_checkpoint(tf, artifacts):
    real = tf.train.load_checkpoint(str(artifacts / "mnasnet-a1-050"))
    extra = ("/ExponentialMovingAverage", "/RMSProp", "/RMSProp_1", "global_step")
    shapes = real.get_variable_to_shape_map()
    expected = {name for name in shapes if not name.endswith(extra)}
    assert names_in(get_config("tf_semnasnet_050"), "keras", "mnasnet-a1") == expected
    assert detect_scheme(shapes) == ("keras", "mnasnet-a1")


@pytest.mark.parametrize("scheme", ["keras", "layers"])
def test_counters_run_as_the_scheme_says(scheme):
    scopes = layer_scopes(get_config("tf_semnasnet_100"), scheme)
    expected = {
        "keras": {
            "conv_stem": "mnas_net_model/mnas_stem/conv2d_47",
            "conv_head": "mnas_net_model/mnas_head/conv2d_48",
            "blocks.0.0.conv_pw": "mnas_net_model/mnas_blocks_0/conv2d",
            "blocks.2.0.conv_pw": "mnas_net_model/mnas_blocks_3/conv2d_5",
            "blocks.2.0.se.conv_expand": "mnas_net_model/mnas_blocks_3/se/conv2d_7",
            "blocks.2.0.conv_pwl": "mnas_net_model/mnas_blocks_3/conv2d_8",
            "blocks.2.0.conv_dw": "mnas_net_model/mnas_blocks_3/depthwise_conv2d_3",
        },
        "layers": {
            "conv_stem": "mnas_stem/conv2d",
            "conv_head": "mnas_head/conv2d",
            "blocks.0.0.conv_pw": "mnas_blocks_0/conv2d",
            "blocks.2.0.conv_pw": "mnas_blocks_3/conv2d",
            "blocks.2.0.se.conv_expand": "mnas_blocks_3/se/conv2d_1",
            "blocks.2.0.conv_pwl": "mnas_blocks_3/conv2d_1",
            "blocks.2.0.conv_dw": "mnas_blocks_3/depthwise_conv2d",
        },
    }[scheme]
    assert {path: scopes[path] for path in expected} == expected
    # Batch norms are numbered within each block in both schemes.
    assert scopes["blocks.2.0.bn3"] == "mnas_blocks_3/batch_normalization_2"
    assert scopes["blocks.0.0.bn1"] == "mnas_blocks_0/batch_normalization"


def test_efficientnets_layers_are_named_as_in_the_checkpoints():
    """As lukemelas/EfficientNet-PyTorch lists them, ``tf_to_pytorch/.../load_tf_weights.py``."""
    scopes = layer_scopes(get_config("tf_efficientnet_b0"), "efficientnet")
    expected = {
        "conv_stem": "stem/conv2d",
        "bn1": "stem/tpu_batch_normalization",
        "conv_head": "head/conv2d",
        "classifier": "head/dense",
        "blocks.0.0.conv_dw": "blocks_0/depthwise_conv2d",
        "blocks.0.0.bn1": "blocks_0/tpu_batch_normalization",
        "blocks.0.0.se.conv_expand": "blocks_0/se/conv2d_1",
        "blocks.0.0.conv_pw": "blocks_0/conv2d",
        "blocks.0.0.bn2": "blocks_0/tpu_batch_normalization_1",
        "blocks.2.0.conv_pw": "blocks_3/conv2d",
        "blocks.2.0.se.conv_reduce": "blocks_3/se/conv2d",
        "blocks.2.0.conv_pwl": "blocks_3/conv2d_1",
        "blocks.2.0.bn3": "blocks_3/tpu_batch_normalization_2",
    }
    assert {path: scopes[path] for path in expected} == expected
    assert detect_scheme(["efficientnet-b0/model/stem/conv2d/kernel"]) == (
        "efficientnet", "efficientnet-b0/model",
    )  # fmt: skip


MNASNETS = [model for model in TF_MODELS if "mobilenet" not in model]


@pytest.mark.parametrize("model", sorted(set(TF_MODELS) - set(MNASNETS)))
def test_slims_reading_of_the_block_strings_has_the_networks_shapes(tf, model):
    from porting.judges.reference.graphs import build_reference

    config = get_config(model)
    reference = build_reference(config, *root_and_scheme(model)[::-1])
    variables = sorted(v.shape.num_elements() for v in reference.variables.values())
    shapes = layers_of(config).shapes()
    ours = sorted(math.prod(s) for k, s in shapes.items() if not k.endswith("_tracked"))
    assert variables == ours
    sums = {tap for tap in reference.taps if tap.count(".") == 2 and tap.startswith("blocks")}
    assert sums == {block.path for block in config.resolve() if block.residual}
    check_described(model, reference)


def check_described(model, reference):
    """The graph's operations are the steps that are described outside this package."""
    described = descriptions_of(model)[0].steps(3, 1000)
    assert first_difference(described, steps_of_graph(reference)) is None


@pytest.mark.parametrize("model", MNASNETS)
def test_both_readings_of_the_block_strings_agree(model):
    """The reference's own reading, against the one that the PyTorch network is built from."""
    config = get_config(model)
    ours = [
        (b.path, b.index, b.out_channels, b.kernel, b.stride, b.squeeze, b.residual)
        for b in config.resolve()
    ]
    reference = [
        (b.path, b.index, b.output_filters, b.kernel, b.stride, b.reduced_filters, b.adds_input)
        for b in reference_blocks(config)
    ]
    assert ours == reference


@pytest.mark.slow
@pytest.mark.parametrize("model", MNASNETS)
def test_mnasnets_graph_is_as_described(tf, model):
    from porting.judges.reference.graphs import build_reference

    check_described(model, build_reference(get_config(model), *root_and_scheme(model)[::-1]))


@pytest.mark.parametrize(("model", "adds"), [("tf_mnasnet_small", 9), ("tf_mnasnet_100", 10)])
def test_mnasnet_small_has_no_residual_in_its_first_block(tf, model, adds):
    from porting.judges.reference.graphs import build_reference

    reference = build_reference(get_config(model), "keras", "x")
    names = [op.name for op in reference.graph.get_operations() if op.name.endswith("/Add")]
    assert len(names) == adds
    assert "x/mnas_blocks_0/Add" not in names


@pytest.mark.parametrize("weight_set", ["ema", "raw"])
def test_golden_logits_and_endpoints(tf, artifacts, weight_set):
    from porting.judges.tensorflow import TensorFlowJudge

    folder = artifacts / "mnasnet-a1-050"
    golden = np.load(folder / "golden.npz")
    mean = np.array([0.485, 0.456, 0.406], np.float32) * 255
    std = np.array([0.229, 0.224, 0.225], np.float32) * 255
    inputs = (golden["input"] - mean) / std
    config = get_config("tf_semnasnet_050")
    judge = TensorFlowJudge(folder / "model.ckpt-12", config, "keras", "mnasnet-a1", weight_set)
    taps = judge.run(inputs.astype(np.float32), judge.tap_names).taps
    expected = golden[f"logits_{weight_set}"]
    assert np.abs(taps["classifier"] - expected).max() <= 1e-5 * np.abs(expected).max()
    if weight_set == "ema":
        for name, tap in (
            ("stem", "act1"),
            ("block_5", "blocks.2.2"),
            ("block_15", "blocks.6.0.bn3"),
        ):
            block = golden[f"endpoint_{name}"]
            # Current kernels sum in another order than TensorFlow 1.15's: after 16 blocks
            # single elements differ by 1.3e-5 of the scale; a wrong weight gives far more.
            assert np.abs(taps[tap][:1] - block).max() <= 3e-5 * np.abs(block).max(), name


def test_a_checkpoint_of_another_network_is_refused_by_tensorflow(tf, tmp_path):
    from parity_tests.building import tables
    from porting.judges.tensorflow import TensorFlowJudge

    prefix = tmp_path / "model.ckpt"
    tables.write_checkpoint(prefix, {"a": np.zeros(1, np.float32)})
    with pytest.raises(BadInput, match="TensorFlow cannot restore it"):
        TensorFlowJudge(prefix, get_config("tf_mnasnet_small"), "keras", "x", "raw")


def test_a_plain_network_has_no_reference(tf):
    from porting.judges.reference.graphs import build_reference

    with pytest.raises(BadInput, match="give the tf_ form"):
        build_reference(get_config("mnasnet_small"), "keras", "x")


def test_no_stem_no_scheme():
    with pytest.raises(BadInput, match="no variable"):
        detect_scheme(["a/b", "c"])


def test_a_missing_tensorflow_names_the_extra(monkeypatch):
    import sys

    from porting.judges.tensorflow import import_tensorflow

    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MissingJudge, match="pip install tensorflow"):
        import_tensorflow()


@pytest.mark.parametrize(
    "model", ["mnasnet_050", "tf_semnasnet_100", "mnasnet_small", "mnasnet_d1"]
)
def test_roots(model):
    expected = {
        "mnasnet_050": ("mnasnet-b1", "keras"),
        "tf_semnasnet_100": ("mnasnet-a1", "keras"),
        "mnasnet_small": ("mnasnet-small", "keras"),
        "mnasnet_d1": ("mnasnet-d1", "layers"),
    }
    assert root_and_scheme(model) == expected[model]


@pytest.mark.slow
class TestSyntheticFiles:
    def test_what_is_written(self, small_synthetic):
        result = small_synthetic
        assert sorted(p.name for p in result.checkpoint.parent.iterdir()) == [
            "checkpoint",
            "synthetic-mnasnet-small_dynamic.tflite",
            "synthetic-mnasnet-small_float.tflite",
            "synthetic.json",
        ]
        mark = json.loads((result.checkpoint.parent / "synthetic.json").read_text())
        assert (mark["model"], mark["scheme"]) == ("tf_mnasnet_small", "keras")

    def test_averages_slots_and_step(self, tf, small_synthetic):
        reader = tf.train.load_checkpoint(str(small_synthetic.checkpoint))
        names = set(reader.get_variable_to_shape_map())
        kernel = "mnasnet-small/mnas_net_model/mnas_stem/conv2d_49/kernel"
        if kernel not in names:
            kernel = next(n for n in names if "mnas_stem" in n and n.endswith("/kernel"))
        assert {f"{kernel}/RMSProp", f"{kernel}/RMSProp_1", "global_step"} <= names
        raw = reader.get_tensor(kernel)
        average = reader.get_tensor(f"{kernel}/ExponentialMovingAverage")
        distance = np.abs(raw - average).mean() / np.abs(raw).mean()
        assert 0.01 < distance < 0.2
        assert reader.get_tensor("global_step") == 1000

    def test_activations_keep_their_scale(self, tf, small_synthetic):
        from porting.judges.tensorflow import TensorFlowJudge

        config = get_config("tf_mnasnet_small")
        prefix = small_synthetic.checkpoint / "synthetic.ckpt-1000"
        inputs = np.random.default_rng(3).standard_normal((2, 96, 96, 3)).astype(np.float32)
        for weights in ("ema", "raw"):
            judge = TensorFlowJudge(prefix, config, "keras", "mnasnet-small", weights)
            run = judge.run(inputs, judge.tap_names)
            spread = {tap: float(values.std()) for tap, values in run.taps.items()}
            assert min(spread.values()) > 0.02, min(spread, key=spread.get)
            assert max(spread.values()) < 20, max(spread, key=spread.get)

    def test_the_same_seed_gives_the_same_weights(self, tf, tmp_path):
        from porting.judges.reference.synthesize import seeded_weights

        config = get_config("tf_mnasnet_small")
        first, again, other = (seeded_weights(config, "keras", "x", seed) for seed in (1, 1, 2))
        for name, values in first.raw.items():
            np.testing.assert_array_equal(values, again.raw[name])
        kernels = [name for name in first.raw if name.endswith("kernel")]
        assert all(not np.array_equal(first.raw[n], other.raw[n]) for n in kernels)

    def test_a_folder_of_something_else_is_left_alone(self, tf, tmp_path):
        from porting.judges.reference.synthesize import synthesize

        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(OutputError, match="holds files that are not synthetic"):
            synthesize("tf_mnasnet_small", tmp_path)
        with pytest.raises(OutputError, match="is a file"):
            synthesize("tf_mnasnet_small", tmp_path / "mine.txt")
        assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]

    def test_interrupted_synthesis_leaves_nothing(self, tf, tmp_path, monkeypatch):
        from porting.judges.reference import synthesize as module

        def interrupted(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(module, "_write_tflite", interrupted)
        monkeypatch.setattr(module, "seeded_weights", lambda *_: module.Weights({}, {}))
        with pytest.raises(KeyboardInterrupt):
            module.synthesize("tf_mnasnet_small", tmp_path / "out")
        assert list(tmp_path.iterdir()) == []
