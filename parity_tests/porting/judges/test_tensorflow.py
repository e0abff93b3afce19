"""TensorFlow as judge of every form that a checkpoint comes in."""

from __future__ import annotations

import numpy as np
import pytest

import porting
from genmobilenet.factory import build
from porting.parity.inputs import seeded_pixels

AVERAGE = "/ExponentialMovingAverage"
PIXELS = seeded_pixels(2, 224)


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def values(small_synthetic):
    """All that the synthetic checkpoint holds."""
    source = porting.open_source(small_synthetic.checkpoint)
    return {name: source.read(name) for name in source.tensors}


def save_v1(tf, folder, values):
    """Two shards of format V1."""
    v1 = tf.compat.v1
    config = v1.ConfigProto(device_count={"CPU": 2})
    with tf.Graph().as_default(), v1.Session(config=config) as session:
        for number, (name, array) in enumerate(values.items()):
            with tf.device(f"/cpu:{number % 2}"):
                v1.get_variable(name, initializer=array, use_resource=False)
        session.run(v1.global_variables_initializer())
        saver = v1.train.Saver(write_version=v1.train.SaverDef.V1, sharded=True)
        saver.save(session, str(folder / "model.ckpt"), write_meta_graph=False)


def save_v2(tf, folder, values):
    """One bundle, every kernel of four axes in two slices."""
    names, arrays, slices = [], [], []
    for name, array in values.items():
        halves = [(0, 1), (1, len(array) - 1)] if array.ndim == 4 and len(array) > 1 else [None]
        for half in halves:
            names.append(name)
            arrays.append(array if half is None else array[half[0] : sum(half)])
            sides = " ".join(map(str, array.shape))
            slices.append("" if half is None else f"{sides} {half[0]},{half[1]}:-:-:-")
    tf.raw_ops.SaveV2(prefix=str(folder / "model.ckpt"), tensor_names=names, tensors=arrays,
                      shape_and_slices=slices)  # fmt: skip


def save_objects(tf, folder, values):
    """A TF2 checkpoint, whose keys are not the variables' names."""
    module = tf.Module()
    module.all = [tf.Variable(array, name=name) for name, array in values.items()]
    tf.train.Checkpoint(net=module).save(str(folder / "model"))


@pytest.mark.slow
@pytest.mark.parametrize("whole", [True, False], ids=["whole averages", "no averaged statistics"])
@pytest.mark.parametrize("save", [save_v1, save_v2, save_objects])
def test_every_form_is_at_parity(tf, tmp_path, values, save, whole):
    kept = {n: v for n, v in values.items() if whole or not ("/moving_" in n and AVERAGE in n)}
    save(tf, tmp_path, kept)
    result = porting.port(tmp_path, pixels=PIXELS)
    assert result.model == "tf_mnasnet_small"
    assert result.plan.weight_set == "ema"
    assert bool(result.plan.notes) != whole
    assert result.comparison, result.comparison.summary()
    suffix = AVERAGE if whole else ""
    mean = values[f"mnasnet-small/mnas_stem/batch_normalization/moving_mean{suffix}"]
    np.testing.assert_array_equal(result.state_dict["bn1.running_mean"].numpy(), mean)


@pytest.mark.slow
def test_the_judge_restores_averages_of_statistics_where_there_are_some(tf, tmp_path, values):
    """A port of the raw statistics is at odds with a judge that has averages of them."""
    (tmp_path / "partial").mkdir()
    bare = {n: v for n, v in values.items() if not ("/moving_" in n and AVERAGE in n)}
    save_v2(tf, tmp_path / "partial", bare)
    save_v2(tf, tmp_path, values)
    result = porting.port(tmp_path / "partial", verify=False)
    network = build(result.config, result.state_dict)
    with pytest.raises(AssertionError, match="NOT at parity"):
        assert porting.compare(tmp_path, network.eval(), PIXELS)
