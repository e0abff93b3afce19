"""Judges that run their network in pieces, each from values fed at the taps before."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import porting
from genmobilenet import get_config
from parity_tests.building.graphs import Network
from parity_tests.building.keras_models import SMALL, build, write
from parity_tests.building.mutations import packed
from parity_tests.building.tflite_networks import network_file
from porting.errors import NoPieces
from porting.judges.judge import INPUT, direct_inputs, groups_of
from porting.judges.tflite_rewriting import piece_by_piece
from porting.mapping.recognise import find_match
from porting.parity.judge_set import judges_of
from porting.sources import open_source

STEPS = {"conv": ["image"], "bn": ["conv"], "act": ["bn"], "pool": ["act"], "gate": ["pool"],
         "scaled": ["act", "gate"], "sum": ["scaled", "conv"]}  # fmt: skip


def test_the_nearest_taps_are_the_inputs():
    taps = ["conv", "act", "gate", "sum"]
    inputs = {tap: direct_inputs(tap, taps, lambda step: STEPS.get(step, [])) for tap in taps}
    assert inputs == {
        "conv": set(), "act": {"conv"}, "gate": {"act"}, "sum": {"act", "gate", "conv"}
    }  # fmt: skip


@pytest.mark.parametrize("order", [list(STEPS), list(STEPS)[::-1]])
def test_no_group_holds_a_tap_and_its_input(order):
    inputs = {tap: set(STEPS[tap]) for tap in order}
    groups = groups_of(inputs)
    assert sorted(tap for group in groups for tap in group) == sorted(STEPS)
    assert all(not inputs[tap] & set(group) for group in groups for tap in group)


def tflite(folder):
    path = folder / "a1.tflite"
    path.write_bytes(network_file(get_config("tf_semnasnet_035"), seed=2, normalise=True))
    return path


def int8(folder):
    path = folder / "int8.tflite"
    path.write_bytes(network_file(get_config("tf_mnasnet_small"), seed=2, weights="int8_channels"))
    return path


def frozen(folder):
    return Network("tf_semnasnet_035").write_frozen(folder / "frozen.pb")


def saved_model(folder):
    return Network("tf_mobilenetv2_035", normalises=True).write_saved_model(folder / "saved")


def keras(folder):
    return write(build(SMALL[2]), folder)["archive"]


def checkpoint(folder):
    from porting.judges.reference.synthesize import synthesize

    return synthesize("tf_mnasnet_small", folder / "synthetic").checkpoint


@pytest.fixture(
    scope="module",
    params=[tflite, int8, *(pytest.param(kind, marks=pytest.mark.slow)
            for kind in (frozen, saved_model, keras, checkpoint))],
)  # fmt: skip
def seated(request, tmp_path_factory):
    """The deciding judge of a source, its inputs, and every tap on them."""
    source = porting.open_source(request.param(tmp_path_factory.mktemp("pieces")))
    match = find_match(source, None)
    judge_set = judges_of(source, match)
    judge, size = judge_set.judges[0], match.ends.side
    inputs = np.random.default_rng(1).random((1, size, size, 3), np.float32)
    return judge, inputs, dict(judge.run(inputs).taps)


def test_fed_its_own_values_each_piece_gives_them_again(seated):
    judge, inputs, values = seated
    again = judge.run_pieces(inputs, values, values).taps
    assert list(again) == [tap for tap in judge.taps if tap in values]
    for tap, expected in values.items():
        np.testing.assert_array_equal(again[tap], expected, err_msg=tap)


def test_what_is_fed_at_one_tap_reaches_the_next_and_no_further(seated):
    judge, inputs, values = seated
    taps = [tap for tap in judge.taps if tap != INPUT]
    changed = taps[len(taps) // 2]
    fed = {**values, changed: values[changed] + 1}
    again = judge.run_pieces(inputs, fed, fed).taps
    # A tensor may have several names; only values computed directly from it are other tensors.
    other = [tap for tap in taps if not np.array_equal(again[tap], values[tap])]
    assert 1 <= len(other) <= 3
    assert taps.index(other[0]) > taps.index(changed)
    assert taps.index(other[-1]) - taps.index(changed) < 8


def test_a_tap_that_is_not_fed_is_computed_from_those_before_it(seated):
    judge, inputs, values = seated
    taps = [tap for tap in judge.taps if tap != INPUT]
    fed = {tap: array for tap, array in values.items() if tap != taps[len(taps) // 2]}
    again = judge.run_pieces(inputs, fed, values).taps
    for tap, expected in values.items():
        np.testing.assert_array_equal(again[tap], expected, err_msg=tap)


def test_operators_without_an_order_are_refused(tmp_path):
    content = _looped(tflite(tmp_path).read_bytes())
    # An operator that takes its own output has no valid position.
    with pytest.raises(NoPieces, match="piece by piece"):
        piece_by_piece(content, set())


def _looped(content):
    """The file with its second operator giving what the first gives."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    graph.operators[1].outputs = list(graph.operators[0].outputs)
    graph.operators[0].inputs = [graph.operators[1].outputs[0], *graph.operators[0].inputs[1:]]
    return packed(model)


def test_what_stands_behind_a_computed_shape_is_computed_and_the_rest_is_fed(tmp_path):
    """Keras 3 exports open batches, and MobileNet's reshape then takes its shape from the data."""
    tensorflow = pytest.importorskip("tensorflow")
    model = build(SMALL[0])
    path = tmp_path / "open.tflite"
    path.write_bytes(tensorflow.lite.TFLiteConverter.from_keras_model(model).convert())
    assert any(op.kind == "SHAPE" for op in open_source(path).graph.operators)
    comparison = porting.port(path).comparison
    assert comparison, comparison.summary()
    assert all(tap.dense is not None for tap in comparison.taps)
