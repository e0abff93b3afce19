"""Which weights a comparison covers: channels inactive on all images are compared too."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import porting
from genmobilenet import get_config
from genmobilenet.factory import build, create_model
from parity_tests.building.tflite_networks import NetworkFile
from porting.graph.layers import graph_of_network, layers_of
from porting.graph.node import ModuleNorm
from porting.mapping.match import ENTRY, LayerFlow, flows_of
from porting.parity.coverage import ChannelActivity, Coverage, fold_batch_norm
from porting.parity.inputs import seeded_pixels

FLOW = LayerFlow("conv.weight", "conv.bias", False, "before", ("behind",), frozenset({"behind"}))
STATE = {
    "conv.weight": np.arange(1, 13, dtype=np.float32).reshape(3, 4, 1, 1),
    "conv.bias": np.ones(3, np.float32),
}
SHAPES = {key: values.shape for key, values in STATE.items()}


def values(entry, result):
    """Taps of one input, (1, 2, 2, C): channels whose numbers are given are at work."""
    before, behind = np.zeros((1, 2, 2, 4), np.float32), np.zeros((1, 2, 2, 3), np.float32)
    before[..., list(entry)] = 1.5
    behind[0, 0, 0, :] = 9  # the largest value, if a clamp cuts it off
    for channel in result:
        behind[0, 1, 1, channel] = 2.5
    return {"before": before, "behind": behind}


def activity(*inputs, flow=FLOW):
    noted = ChannelActivity([flow], ["before", "behind"])
    for given in inputs:
        noted.add(given)
    return noted


def test_a_weight_is_exercised_where_one_input_had_both_its_channels_at_work():
    noted = activity(values([0, 1], [0]), values([2], [0, 1]))
    pairs, biases = noted.exercised_weights(FLOW, SHAPES["conv.weight"], dense=True)
    expected = np.zeros((3, 4), bool)
    expected[0, :3] = expected[1, 2] = True
    np.testing.assert_array_equal(pairs, expected)
    assert biases.tolist() == [True, True, False]


def test_dense_values_count_beside_images_and_apart_from_them():
    noted = activity(values([0], [0]))
    noted.add(values([], [0, 1, 2]), substitutes=values([0, 1, 2, 3], []))
    covered = noted.coverage(SHAPES, STATE, None, {})
    assert covered == Coverage(15, 2, 15, 0, {})
    assert covered.complete
    assert covered.summary() == "every weight exercised"


def test_what_a_hard_swish_cuts_off_is_cut_off_at_0():
    given = values([0, 1, 2, 3], [])
    # It is least at -0.375, and 0 below -3: channel 1 has nothing else.
    given["behind"] = np.array([[-0.375, 0, 2], [1, 0, 9]], np.float32).reshape(1, 2, 1, 3)
    _, biases = activity(given).exercised_weights(FLOW, SHAPES["conv.weight"], dense=True)
    assert biases.tolist() == [True, False, True]


def chain(*taps_at_work, compared):
    """Three layers in a row, the second depthwise; ``taps_at_work`` are channels by tap."""
    names = ("first", "second", "third")
    flows = [
        LayerFlow(f"{name}.weight", None, name == "second", before, (name,), frozenset({name}))
        for name, before in zip(names, (ENTRY, *names), strict=False)
    ]
    noted = ChannelActivity(flows, names, compared)
    for at_work in taps_at_work:
        noted.add({
            name: values([], channels)["behind"]
            for name, channels in zip(names, at_work, strict=True)
        })  # fmt: skip
    return [noted.exercised_weights(flow, (3, 1), dense=True)[1].tolist() for flow in flows]


def test_what_a_layer_behind_cuts_off_is_exercised_only_where_it_was_compared_itself():
    at_work = ([0, 1, 2], [0, 1], [0])
    everywhere = chain(at_work, compared=["first", "second", "third"])
    assert everywhere == [[True] * 3, [True, True, False], [True, False, False]]
    # Channel 2 of the first layer ends at the depthwise one; the third one sums all of that.
    at_the_end = chain(at_work, compared=["third"])
    assert at_the_end == [[True, True, False], [True, True, False], [True, False, False]]
    assert chain(([0, 1], [0, 1], []), compared=["third"]) == [[False] * 3] * 3
    # Each input by itself: what one wakes, another one does not carry on.
    assert chain(([0], [], [0]), ([], [0], [0]), compared=["third"])[0] == [False] * 3


def test_logits_that_show_behind_a_softmax_alone_are_held_to_the_source():
    results = ("behind", "softmax")
    flow = LayerFlow("conv.weight", None, False, ENTRY, results, frozenset({"softmax"}))
    given = values([], [0, 1, 2])
    given["softmax"] = given["behind"]
    for compared, exercised in ((("behind", "softmax"), True), (("softmax",), False)):
        noted = ChannelActivity([flow], results, compared)
        noted.add(given)
        pairs, biases = noted.exercised_weights(flow, SHAPES["conv.weight"], dense=True)
        assert pairs.all() == pairs.any() == biases.all() == biases.any() == exercised


def test_a_layer_that_is_shown_before_its_activation_hides_nothing():
    flow = LayerFlow("conv.weight", None, False, ENTRY, ("behind",), frozenset())
    covered = activity(values([], []), flow=flow).coverage(SHAPES, STATE, None, {})
    assert covered.exercised == covered.weights == 15


def stored(tap, change=0.0):
    assert tap == "behind"
    weight = STATE["conv.weight"].copy()
    weight[2, 3] += change
    return "conv", weight, STATE["conv.bias"]


def test_what_stays_asleep_is_held_to_the_source():
    noted = activity(values([0, 1, 2], [0, 1]))
    covered = noted.coverage(SHAPES, STATE, stored, {})
    assert (covered.exercised, covered.equal, covered.complete) == (8, 7, True)
    assert covered.summary() == "53.33 % of weights exercised, the rest equal to the source's"
    other = noted.coverage(SHAPES, STATE, lambda tap: stored(tap, 1e-3), {})
    assert not other.complete
    assert other.unproved == {
        "conv.weight": (1, "no input exercised them, and the source's differ")
    }
    assert "1 are not proved, 1 of them in conv.weight" in other.summary()
    assert "source's differ" in other.to_json()["unproved"][0]["reason"]


def test_what_nobody_can_read_is_not_proved():
    covered = activity(values([0], [0])).coverage(SHAPES, STATE, None, {})
    assert not covered.complete
    assert covered.unproved == {"conv.weight": (13, "no input exercised them")}


def test_a_constant_taken_in_from_a_gate_is_the_port_s_own():
    state = {**STATE, "conv.weight": STATE["conv.weight"] * np.float32(1.00002)}
    noted = activity(values([0], [0]))
    assert noted.coverage(SHAPES, state, stored, {"before": 1.00002}).complete
    assert not noted.coverage(SHAPES, state, stored, {}).complete


def test_a_batch_norm_is_folded_before_weights_are_compared():
    norm = ModuleNorm("bn.weight", "bn.bias", "bn.mean", "bn.var", 1e-3)
    flow = LayerFlow("conv.weight", None, False, "before", ("behind",), frozenset(), norm)
    generator = np.random.default_rng(0)
    state = {
        "conv.weight": generator.standard_normal((3, 4, 3, 3)).astype("f4"),
        **{f"bn.{name}": generator.uniform(0.5, 1.5, 3).astype("f4")
           for name in ("weight", "bias", "mean", "var")},
    }  # fmt: skip
    module = torch.nn.BatchNorm2d(3, eps=1e-3).double().eval()
    names = {"weight": "weight", "bias": "bias", "running_mean": "mean", "running_var": "var"}
    tensors = {key: torch.from_numpy(state[f"bn.{name}"]).double() for key, name in names.items()}
    module.load_state_dict(tensors, strict=False)
    x = torch.from_numpy(generator.standard_normal((2, 4, 5, 5)))
    weight, bias = (torch.from_numpy(v) for v in fold_batch_norm(flow, state))
    expected = module(torch.conv2d(x, torch.from_numpy(state["conv.weight"]).double()))
    torch.testing.assert_close(torch.conv2d(x, weight, bias), expected)


@pytest.mark.parametrize("model", ["semnasnet_050", "mobilenetv3_small_075", "mobilenetv1_025"])
def test_every_weight_has_its_flow_and_taps_that_exist(model):
    config = get_config(f"tf_{model}")
    graph = graph_of_network(layers_of(config), config.input_size, config.bn_epsilon)
    network = create_model(f"tf_{model}")
    flows = list(flows_of(graph, {node: tap.name for node, tap in graph.taps.items()}))
    keys = [name for name, p in network.named_parameters() if p.ndim > 1]
    assert [flow.weight for flow in flows] == keys
    paths = {path for path, _ in network.named_modules()}
    for flow in flows:
        assert flow.entry in paths | {ENTRY}
        assert set(flow.results) <= paths | {"softmax"}


class DeadChannels(NetworkFile):
    """A network whose expansions and depthwise layers have four channels that never wake."""

    def constant(self, name, values):
        if name.endswith("/bias") and values.size > 40 and "dense" not in name:
            values = values.copy()
            values[[1, 2, 5, 9]] = -60
        return super().constant(name, values)


@pytest.fixture(scope="module")
def dead(tmp_path_factory):
    path = tmp_path_factory.mktemp("dead") / "dead.tflite"
    path.write_bytes(DeadChannels(get_config("tf_mnasnet_small"), seed=6).build())
    port = porting.port(path, verify=False)
    return port.source, build(port.config, port.state_dict)


def exchanged(weight):
    weight[[1, 2]] = weight[[2, 1]]


def zeroed(weight):
    weight[[1, 2, 5]] = 0


def doubled(weight):
    weight[5] *= 2


PIXELS = seeded_pixels(1, 64)


def test_a_sound_port_of_it_is_at_parity(dead):
    comparison = porting.compare(*dead, PIXELS)
    assert comparison
    covered = comparison.coverage
    assert covered.on_images < 0.98 * covered.weights
    assert covered.complete


@pytest.mark.parametrize("change", [exchanged, zeroed, doubled])
@pytest.mark.parametrize("key", ["blocks.2.1.conv_pw", "blocks.4.0.conv_dw", "blocks.3.0.conv_pwl"])
def test_sleeping_channels_are_compared(dead, key, change):
    source, network = dead
    spoiled = copy.deepcopy(network)
    weight = spoiled.get_submodule(key).weight
    with torch.no_grad():
        # They are inputs of a projection.
        change(weight.transpose(0, 1) if key.endswith("pwl") else weight)
    x = torch.from_numpy(PIXELS / np.float32(255)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        assert torch.equal(network.eval()(x), spoiled.eval()(x))
    assert not porting.compare(source, spoiled, PIXELS)


class Functional(torch.nn.Module):
    """MNASNet-small's parts with activations that are no modules: nothing replaces their values."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        net, relu = self.network, torch.nn.functional.relu
        x = relu(net.bn1(net.conv_stem(x)))
        for block in (block for stage in net.blocks for block in stage):
            y = x
            if hasattr(block, "conv_pwl"):
                y = relu(block.bn1(block.conv_pw(y)))
                y = block.se(relu(block.bn2(block.conv_dw(y))))
                y = block.bn3(block.conv_pwl(y))
            else:
                y = block.bn2(block.conv_pw(block.se(relu(block.bn1(block.conv_dw(y))))))
            x = x + y if block.residual else y
        x = net.global_pool(relu(net.bn2(net.conv_head(x))))
        return net.classifier(x.flatten(1))


@pytest.mark.slow
def test_dense_values_pass_through_what_cannot_be_replaced(small_synthetic):
    port = porting.port(small_synthetic.checkpoint, verify=False)
    module = Functional(build(port.config, port.state_dict)).eval()
    covered = porting.compare(port.source, module, seeded_pixels(1, 64)).coverage
    # A checkpoint has no graph to match inactive channels with: all must be active.
    assert covered.complete
    assert covered.on_images < covered.weights
