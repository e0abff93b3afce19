"""Which model of an archive is opened if there are several, and what is refused before that."""

from __future__ import annotations

import gzip
import shutil

import numpy as np
import pytest

import porting
from genmobilenet import get_config
from parity_tests.building.archives import packed
from parity_tests.building.checkpoints import variables, with_averages
from parity_tests.building.tables import write_checkpoint
from parity_tests.building.tflite_networks import network_file
from porting.errors import BadSource, WeightSetError
from porting.mapping.rules import choose_weight_set
from porting.release import card_of
from porting.sources import open_source

MODEL = "tf_mnasnet_small"
EMA = "/ExponentialMovingAverage"
RAW = variables(MODEL, "keras", "m")
TRAINED = with_averages(RAW)
AVERAGES = {name: TRAINED[name + EMA] for name in RAW}


@pytest.fixture
def ship(tmp_path):
    """Pack what lies where, and open it."""

    def shipped(tflite=(), **folders):
        home = tmp_path / "in"
        for name, tensors in folders.items():
            (home / name).mkdir(parents=True)
            write_checkpoint(home / name / "model.ckpt-7", tensors)
        for name in tflite:
            (home / name).write_bytes(network_file(get_config(MODEL), seed=4))
        return open_source(packed(home, tmp_path / "v3.tgz"))

    return shipped


def test_of_v3s_two_checkpoints_the_one_with_both_weight_sets(ship):
    source = ship(pristine=TRAINED, ema=AVERAGES, tflite=["v3.tflite"])
    assert source.weight_sets == ("ema", "raw")
    assert source.prefix.parent.name == "pristine"
    name = next(iter(RAW))
    np.testing.assert_array_equal(source.read(name), RAW[name])


def test_else_the_averages_which_are_not_called_raw(ship):
    source = ship(pristine=RAW, ema=AVERAGES)
    assert source.prefix.parent.name == "ema"
    with pytest.raises(WeightSetError, match="no raw weights to choose; its weights: as stored"):
        choose_weight_set(source, "raw")
    result = porting.port(source, verify=False)
    assert card_of(result, "x.pth", "0").to_json()["source"]["weight_set"] == "as stored"
    stem = next(fill.source for fill in result.plan.fills if fill.target == "conv_stem.weight")
    np.testing.assert_array_equal(
        result.state_dict["conv_stem.weight"].numpy(), AVERAGES[stem].transpose(3, 2, 0, 1)
    )


def test_either_way_the_same_port(ship, tmp_path):
    both = porting.port(ship(pristine=TRAINED, ema=AVERAGES), verify=False)
    shutil.rmtree(tmp_path / "in")
    one = porting.port(ship(pristine=RAW, ema=AVERAGES), verify=False)
    assert both.plan.weight_set == "ema"
    for key, values in both.state_dict.items():
        np.testing.assert_array_equal(values.numpy(), one.state_dict[key].numpy(), key)


@pytest.mark.parametrize("names", ["ema other", "best pristine", "a ema pristine"])
def test_other_folders_are_not_chosen_from(ship, names):
    with pytest.raises(BadSource, match=r"holds checkpoints in several folders: .*; unpack it"):
        ship(**dict.fromkeys(names.split(), RAW))


def test_nor_two_that_lie_in_different_places(ship, tmp_path):
    home = tmp_path / "in" / "later" / "pristine"
    home.mkdir(parents=True)
    write_checkpoint(home / "model.ckpt-7", TRAINED)
    with pytest.raises(BadSource, match="holds checkpoints in several folders"):
        ship(ema=AVERAGES)


@pytest.mark.parametrize("rounding", ["weights_quant/min", "act_quant/max", "act_quant/min/biased"])
def test_of_one_trained_for_quantisation_the_tflite_file(ship, rounding):
    trained = TRAINED | {f"m/Conv2d_0/{rounding}": np.float32(6)}
    source = ship(pristine=trained, ema=AVERAGES, tflite=["quant.tflite"])
    assert (source.format, source.name) == ("tflite", "quant.tflite")


def test_without_a_tflite_file_its_checkpoint(ship):
    source = ship(only=TRAINED | {"m/Conv2d_0/weights_quant/min": np.float32(6)})
    assert source.format == "checkpoint"


def test_a_float_checkpoint_goes_before_its_tflite_file(ship):
    assert ship(only=TRAINED, tflite=["v1.tflite"]).format == "checkpoint"


@pytest.mark.slow
def test_checkpoints_as_tensorflow_writes_them_are_judged_at_parity(tmp_path):
    tf = pytest.importorskip("tensorflow")
    from porting.judges.reference.synthesize import synthesize

    files = synthesize("mobilenetv3_small_minimal_100", tmp_path / "made")
    (home := tmp_path / "in").mkdir()
    shutil.copytree(files.checkpoint, home / "pristine")
    _save_averages(tf, files.checkpoint, home / "ema" / "model-1000")
    both = porting.port(packed(home, tmp_path / "both.tgz"))
    assert (both.plan.weight_set, bool(both.comparison)) == ("ema", True)
    shutil.rmtree(home / "pristine")
    shutil.copytree(home / "ema", home / "pristine")
    one = porting.port(packed(home, tmp_path / "one.tgz"))
    assert (one.plan.weight_set, bool(one.comparison)) == ("as stored", True)
    for key, values in both.state_dict.items():
        np.testing.assert_array_equal(values.numpy(), one.state_dict[key].numpy(), key)


def _save_averages(tf, trained, prefix):
    """The averages under the plain names, as Google's ``ema/model-*`` has them."""
    reader = tf.train.load_checkpoint(str(trained))
    names = [name for name in reader.get_variable_to_shape_map() if name.endswith(EMA)]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        kept = {
            name.removesuffix(EMA): tf.compat.v1.get_variable(
                f"v{number}", initializer=reader.get_tensor(name)
            )
            for number, name in enumerate(names)
        }
        session.run(tf.compat.v1.global_variables_initializer())
        prefix.parent.mkdir(parents=True)
        tf.compat.v1.train.Saver(kept).save(session, str(prefix), write_meta_graph=False)


@pytest.mark.parametrize("content", [b"TFL3 or anything that is no archive" * 40, b"", b"short"])
@pytest.mark.parametrize("name", ["model.tflite.gz", "model.tgz"])
def test_a_gzip_of_one_file_is_said_to_be_that(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(gzip.compress(content))
    with pytest.raises(BadSource) as raised:
        open_source(path)
    assert str(raised.value) == (
        f"{path}: one file compressed by gzip, and no archive of several; unpack it (gunzip), and "
        "give what comes out"
    )
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("source", [b"TFL3", None, 3, ["model.tflite"]])
def test_a_source_that_is_no_path(source):
    with pytest.raises(BadSource, match=rf"given as {type(source).__name__}; expected the path"):
        porting.port(source)
