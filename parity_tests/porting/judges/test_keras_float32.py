"""Keras files with another precision than float32 are judged in float32."""

from __future__ import annotations

import json
import warnings
from importlib.util import find_spec

import h5py
import numpy as np
import pytest
import torch

import porting
from parity_tests.building.command import porting_process
from parity_tests.building.keras_models import SMALL, build, global_policy, with_policies, write
from parity_tests.building.sampling import sampled
from porting.judges.keras import Application, KerasJudge
from porting.parity.judge_set import judge_label
from porting.sources.keras import KerasSource

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("keras") is None, reason="Keras is not installed"),
    pytest.mark.filterwarnings("error::RuntimeWarning"),
]

POLICIES = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64")
V1 = Application("MobileNet", 0.25, classes=5, size=32)
V2 = Application("MobileNetV2", 0.35, classes=5, size=96)
FILES = [(V1, policy) for policy in POLICIES]
FILES += [(V2, "mixed_float16"), (V2, "bfloat16"), (SMALL[2], "mixed_float16")]
FILES += [(SMALL[2], "float16")]
# Every policy in one of the two files of a whole model, and in the other too beyond CI.
CASES = [(*file, layout) for layout in ("archive", "h5") for file in FILES]
SAMPLE = CASES[: len(FILES) : 2] + CASES[len(FILES) + 1 :: 2]
RANDOM = np.random.default_rng(0)


def ported(path, policies):
    """The port of a file, at parity, with what is said of its policies."""
    port = porting.port(path)
    assert port.comparison, port.comparison.summary()
    assert port.comparison.judge == "Keras in float32"
    assert port.plan.notes == (
        f"its layers state the dtype policy {policies}; port and judge compute in float32",
    )
    return port


@pytest.mark.parametrize(
    ("application", "policy", "layout"), sampled(CASES, SAMPLE),
    ids=[f"{a.family}-{policy}-{layout}" for a, policy, layout in CASES],
)  # fmt: skip
def test_every_policy_in_every_file_of_a_whole_model(tmp_path, application, policy, layout):
    model = build(application, policy=policy)
    port = ported(write(model, tmp_path)[layout], policy)
    # HWIO -> OIHW
    stem = next(w for w in model.weights if len(w.shape) == 4).numpy().transpose(3, 2, 0, 1)
    np.testing.assert_array_equal(
        port.state_dict["conv_stem.weight"].numpy(), stem.astype(np.float32)
    )
    assert judge_label(port.source, port.plan).endswith(" in float32")


@pytest.mark.parametrize(
    ("policy", "layout"),
    [
        ("float16", "numbered"), ("float16", "legacy weights"), ("bfloat16", "legacy weights"),
        ("mixed_float16", "numbered"),
    ],
)  # fmt: skip
def test_weights_alone_state_no_policy(tmp_path, policy, layout):
    port = porting.port(write(build(V1, policy=policy), tmp_path)[layout])
    assert port.comparison, port.comparison.summary()
    assert (port.comparison.judge, port.plan.notes) == ("Keras", ())


@pytest.mark.parametrize("layout", ["archive", "h5"])
def test_a_policy_for_each_layer(tmp_path, layout):
    model = with_policies(build(V1), ("float32", "mixed_bfloat16", "float16", "mixed_float16"))
    path = write(model, tmp_path)[layout]
    ported(path, "mixed_bfloat16, float16, mixed_float16")


@pytest.mark.parametrize("layout", ["archive", "h5"])
def test_layers_of_a_model_in_the_model(tmp_path, layout):
    import keras

    def whole(policies):
        inner = build(V1, policy=policies[0], include_top=False)
        with global_policy(policies[1]):
            data = keras.Input((32, 32, 3), dtype="float32", name="image")
            pooled = keras.layers.GlobalAveragePooling2D(name="pool")(inner(data))
            logits = keras.layers.Dense(4, dtype=policies[2], name="logits")(pooled)
            return keras.Model(data, logits)

    model = whole(("mixed_float16", "mixed_bfloat16", "float16"))
    twin = whole(("float32",) * 3)
    twin.set_weights([weight.astype(np.float32) for weight in model.get_weights()])
    judge = KerasJudge(KerasSource(write(model, tmp_path)[layout]))
    pixels = RANDOM.uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    run = judge.run(pixels, {"pool": "pool", "logits": "logits"})
    assert (run.judge, run.taps["logits"].dtype) == ("Keras in float32", np.float32)
    expected, halves = (each.predict(pixels, verbose=0) for each in (twin, model))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(run.taps["logits"], expected, atol=1e-5 * scale)
    assert np.abs(halves - expected).max() > 1e-4 * scale


def test_casts_and_types_of_inputs(tmp_path):
    import keras

    with global_policy("float16"):
        data = keras.Input((4, 4, 3))
        halved = keras.ops.cast(data, "float16") / 3
        model = keras.Model(data, keras.layers.ReLU(name="out")(halved))
    model.save(tmp_path / "m.keras")
    judge = KerasJudge(KerasSource(tmp_path / "m.keras"))
    pixels = RANDOM.uniform(0, 1, (1, 4, 4, 3)).astype(np.float32)
    values = judge.run(pixels, {"out": "out"}).taps["out"]
    np.testing.assert_allclose(values, pixels / 3, rtol=1e-6)


@pytest.mark.parametrize("scale", [{}, {"loss_scale": {"class_name": "DynamicLossScale"}}])
def test_policies_as_keras_2_writes_them(tmp_path, scale):
    path = write(build(V1, policy="mixed_float16"), tmp_path)["h5"]
    with h5py.File(path, "r+") as file:
        settings = json.loads(file.attrs["model_config"])
        for layer in settings["config"]["layers"]:
            if isinstance(layer["config"].get("dtype"), dict):
                layer["config"]["dtype"] = {
                    "class_name": "Policy", "config": {"name": "mixed_float16", **scale},
                }  # fmt: skip
        file.attrs["model_config"] = json.dumps(settings)
    # If it were refused, its network of keras.applications would be ported instead.
    assert KerasJudge(KerasSource(path)).name == "Keras in float32"
    ported(path, "mixed_float16")


@pytest.mark.parametrize("policy", ["mixed_float16", "float16"])
def test_a_policy_that_the_process_has_set_for_itself(tmp_path, policy):
    import keras

    files = write(build(V1), tmp_path)
    with global_policy(policy):
        for layout in ("archive", "legacy weights"):
            port = porting.port(files[layout])
            assert port.comparison, port.comparison.summary()
            assert port.comparison.judge == "Keras"
        assert keras.config.dtype_policy().name == policy
        assert keras.config.floatx() == ("float16" if policy == "float16" else "float32")


def test_a_fault_in_the_port_of_such_a_file_is_seen(tmp_path):
    path = write(build(V1, policy="mixed_float16"), tmp_path)["archive"]
    port = porting.port(path)
    weights = tmp_path / "faulty.pth"
    state = dict(port.state_dict)
    state["blocks.1.0.conv_dw.weight"] = state["blocks.1.0.conv_dw.weight"] * 1.001
    torch.save(state, weights)
    actual = porting.compare(path, weights, name=port.model)
    assert not actual
    # A layer is compared behind its batch norm: by the graph the two are one.
    assert "blocks.1.0.conv_dw" not in [tap.tap for tap in actual.taps]
    assert actual.culprit.tap == "blocks.1.0.bn1"


def test_the_command_says_so_and_warns_of_nothing(tmp_path):
    path = write(build(V1, policy="mixed_float16"), tmp_path)["archive"]
    result = porting_process(
        "port", path, "--out", tmp_path, PYTHONWARNINGS="error::RuntimeWarning"
    )
    assert (result.returncode, result.stderr) == (0, "")
    text = " ".join(result.stdout.split())
    assert "note its layers state the dtype policy mixed_float16; port and judge compute" in text
    assert "verdict at parity with Keras in float32 (" in text


def test_a_real_file_trained_under_mixed_precision(artifacts):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        ported(artifacts / "cases" / "mixed_float16.keras", "mixed_float16")
