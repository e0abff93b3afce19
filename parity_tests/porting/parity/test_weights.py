"""A network's weights against its source's: each fault is named by its key."""

from __future__ import annotations

import json
import tracemalloc

import jsonschema
import numpy as np
import pytest
import torch
from torch import nn

import porting
from genmobilenet import get_config
from genmobilenet.factory import build
from parity_tests.building.tflite_networks import network_file
from porting.carry_out import carry_out
from porting.mapping.input_spec import convention_of
from porting.mapping.recognise import find_match
from porting.parity.weights import LINES, WeightComparison, WeightFinding, compare_weights
from porting.plain_json import encoded
from porting.reports.documents import schema
from porting.sources import open_source
from porting.subject import subject_from_module

DEPTHWISE, OTHER = "blocks.3.1.conv_dw.weight", "blocks.3.2.conv_dw.weight"
POINTWISE = "blocks.3.1.conv_pwl.weight"


class Ported:
    """A source with the state dict of its port."""

    def __init__(self, source, weights=None):
        self.source = source
        self.match = find_match(source, None, weights)
        self.state = carry_out(self.match.plan, source, self.match.config)
        self.keys = sum(not key.endswith("num_batches_tracked") for key in self.state)

    def network(self, **changed):
        """The port, with some keys' values replaced; dots in keys are written as __."""
        named = {key.replace("__", "."): values for key, values in changed.items()}
        assert not set(named) - set(self.state)
        return build(self.match.config, {**self.state, **named})

    def changed(self, key, change):
        """The port with one key's values changed."""
        return build(self.match.config, {**self.state, key: change(self.state[key].clone())})

    def compared(self, network, weights=None):
        """The comparison of a network with this source."""
        return compared(self.source, network, weights)


def compared(source, network, weights=None):
    subject = subject_from_module(source, network, weights=weights)
    return compare_weights(
        source, subject.match, subject.network, convention_of(source, subject.match)
    )


@pytest.fixture(scope="module")
def tflite(small):
    return Ported(open_source(small[0]))


@pytest.fixture(scope="module")
def checkpoint(small_synthetic):
    return Ported(open_source(small_synthetic.checkpoint))


@pytest.fixture(scope="module")
def raw(small_synthetic):
    return Ported(open_source(small_synthetic.checkpoint), "raw")


@pytest.fixture(scope="module")
def exported(small_synthetic):
    """The checkpoint's averages, their batch norms folded by TensorFlow's converter."""
    return Ported(open_source(small_synthetic.float))


def with_exchanged(values):
    values[[2, 5]] = values[[5, 2]]
    return values


FAULTS = {
    "scaled": (
        POINTWISE, lambda v: 1.05 * v, "ratio", f"{POINTWISE} is 1.05 times the source's",
    ),
    "scaled by little": (
        POINTWISE, lambda v: (1 + 1e-6) * v, "ratio",
        f"{POINTWISE} is 1.000001 times the source's",
    ),
    "channels exchanged": (
        POINTWISE, with_exchanged, "channels moved",
        f"{POINTWISE} is the source's with output channels 2 and 5 exchanged",
    ),
    "kernel transposed": (
        DEPTHWISE, lambda v: v.transpose(2, 3).contiguous(), "axes moved",
        f"{DEPTHWISE} is the source's with h and w exchanged",
    ),
    "kernel transposed, as a view": (
        DEPTHWISE, lambda v: v.transpose(2, 3), "axes moved",
        f"{DEPTHWISE} is the source's with h and w exchanged",
    ),
    "rounded to bfloat16": (
        POINTWISE, lambda v: v.bfloat16().float(), "rounded",
        f"{POINTWISE} is the source's rounded to bfloat16",
    ),
    "bias negated": (
        "blocks.3.1.bn1.bias", lambda v: -v, "negated",
        "blocks.3.1.bn1.bias is the source's with the sign turned",
    ),
    "another tensor": (
        "classifier.bias", torch.zeros_like, "constant",
        "classifier.bias is 0 everywhere",
    ),
}  # fmt: skip


@pytest.mark.parametrize("which", ["tflite", "checkpoint"])
def test_a_port_has_its_sources_weights(request, which):
    ported = request.getfixturevalue(which)
    result = ported.compared(ported.network())
    assert result == WeightComparison(ported.keys)
    assert result.agrees
    assert result.headline() == f"all {ported.keys} keys are the source's"
    assert result.lines() == ()
    assert result.summary() == f"all {ported.keys} weights are the source's"


@pytest.mark.parametrize("which", ["tflite", "checkpoint"])
@pytest.mark.parametrize(("key", "change", "relation", "line"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named(request, which, key, change, relation, line):
    ported = request.getfixturevalue(which)
    result = ported.compared(ported.changed(key, change))
    assert not result.agrees
    assert result.lines() == (line,)
    assert result.summary() == line
    assert result.headline().startswith(f"{ported.keys - 1} of {ported.keys} keys")
    (finding,) = result.findings
    assert (finding.key, finding.relation, finding.other) == (key, relation, None)
    assert finding.source == next(f.source for f in ported.match.plan.fills if f.target == key)
    place = finding.farthest.place
    changed = change(ported.state[key].clone())
    assert finding.farthest.port == float(changed[place])
    assert finding.farthest.source == float(ported.state[key][place])
    differ = (changed - ported.state[key]).double()
    assert abs(float(differ[place])) == float(differ.abs().max())
    expected = differ.norm() / ported.state[key].double().norm()
    assert finding.distance == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("which", ["tflite", "checkpoint"])
def test_exchanged_tensors(request, which):
    ported = request.getfixturevalue(which)
    first, second = ported.state[DEPTHWISE], ported.state[OTHER]
    result = ported.compared(build(ported.match.config, {**ported.state, DEPTHWISE: second,
                                                         OTHER: first}))  # fmt: skip
    assert {(f.key, f.relation, f.other) for f in result.findings} == {
        (DEPTHWISE, "exchanged", OTHER), (OTHER, "exchanged", DEPTHWISE),
    }  # fmt: skip
    assert len(result.lines()) == 1
    assert result.summary() == f"{DEPTHWISE} and {OTHER} are exchanged"


def test_the_tensor_of_another_layer(tflite):
    result = tflite.compared(tflite.changed(DEPTHWISE, lambda _: tflite.state[OTHER]))
    assert result.lines() == (f"{DEPTHWISE} is the source's {OTHER}",)


def test_statistics_for_parameters(checkpoint):
    first, second = "blocks.3.1.bn1.weight", "blocks.3.1.bn1.running_var"
    state = {**checkpoint.state, first: checkpoint.state[second], second: checkpoint.state[first]}
    result = checkpoint.compared(build(checkpoint.match.config, state))
    assert result.summary() == f"{first} and {second} are exchanged"


def test_raw_weights_for_averages_and_the_reverse(checkpoint, raw):
    result = checkpoint.compared(raw.network())
    assert {finding.relation for finding in result.findings} == {"another weight set"}
    assert result.summary() == (
        f"all {checkpoint.keys} keys are the source's raw weights, not its ema ones"
    )
    reverse = raw.compared(checkpoint.network(), "raw")
    assert reverse.summary() == (
        f"all {raw.keys} keys are the source's ema weights, not its raw ones"
    )


def test_one_raw_weight_among_averages(checkpoint, raw):
    network = checkpoint.changed(POINTWISE, lambda _: raw.state[POINTWISE])
    line = f"{POINTWISE} is the source's raw weights, not its ema ones"
    assert checkpoint.compared(network).lines() == (line,)


@pytest.mark.parametrize("which", ["tflite", "checkpoint"])
def test_another_epsilon_in_the_network(request, which):
    ported = request.getfixturevalue(which)
    network = ported.network()
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.eps = 1e-5
    result = ported.compared(network)
    assert not result.agrees
    assert result.headline() == f"all {ported.keys} keys are the source's"
    more = f"bn1.eps and {len(norms) - 1} more are"
    assert result.summary() == f"{more} 1e-05, where the source has 0.001"
    assert {finding.relation for finding in result.findings} == {"epsilon"}


def test_what_a_converter_has_folded_is_the_checkpoints_own(checkpoint, exported):
    """Either way: the port keeps its batch norms, or has had them folded."""
    for source, network in ((exported, checkpoint), (checkpoint, exported)):
        result = source.compared(network.network())
        assert result.agrees, result.lines()
        assert {finding.relation for finding in result.findings} == {"folded"}
        assert result.equal < source.keys / 2
        assert result.summary().startswith(f"all {source.keys} weights are the source's, ")
        assert result.lines()[0].endswith("more are equal once folded")


def test_a_fault_behind_another_folding(checkpoint, exported):
    network = checkpoint.changed(POINTWISE, lambda v: 1.05 * v)
    result = exported.compared(network)
    assert not result.agrees
    assert result.summary() == f"{POINTWISE} is 1.05 times the source's, once folded"


def test_a_bias_behind_another_folding(checkpoint, exported):
    network = checkpoint.changed("blocks.3.1.bn2.bias", lambda v: v + 0.25)
    result = exported.compared(network)
    assert not result.agrees
    assert result.summary() == "blocks.3.1.bn2.bias is the source's plus 0.25, once folded"


def test_what_was_folded_from_another_weight_set(exported, raw, checkpoint):
    folded = exported.network()
    assert checkpoint.compared(folded).agrees
    assert raw.compared(folded, "raw").summary() == (
        f"all {raw.keys} keys are the source's ema weights, not its raw ones"
    )
    # An exported file does not have the other weight set.
    result = exported.compared(raw.network())
    assert not result.agrees
    assert {"near", "unrelated"} & {finding.relation for finding in result.findings}
    assert result.lines()[0].endswith(
        ("more are unrelated to the source's", "more are near the source's")
    )


def test_folded_with_another_epsilon(checkpoint):
    """A converter with a wrong epsilon."""
    state = dict(checkpoint.state)
    key, norm = "conv_stem.weight", "bn1"
    gamma, beta, mean, variance = (
        state[f"{norm}.{name}"].double()
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / (variance + 1e-5).sqrt()
    state[key] = (state[key].double() * scale.reshape(-1, 1, 1, 1)).float()
    state[f"{norm}.bias"] = (beta - mean * scale).float()
    state[f"{norm}.weight"] = torch.ones_like(state[f"{norm}.weight"])
    state[f"{norm}.running_mean"] = torch.zeros_like(state[f"{norm}.running_mean"])
    state[f"{norm}.running_var"] = torch.full_like(state[f"{norm}.running_var"], 1 - 1e-3)
    result = checkpoint.compared(build(checkpoint.match.config, state))
    assert {finding.relation for finding in result.findings} == {"epsilon"}
    assert result.summary() == (
        f"{key} and 4 more are the source's folded with epsilon 1e-05, where it has 0.001"
    )


def test_calibrated_batch_norms_are_equal_once_folded(small):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    port = porting.port(small[0], bn="calibrate", images=pixels, verify=False)
    network = build(port.config, port.state_dict)
    result = compared(open_source(small[0]), network)
    assert result.agrees
    assert {finding.relation for finding in result.findings} == {"folded"}
    # A fault in one is detected despite the calibration.
    scaled = {**port.state_dict, POINTWISE: 1.05 * port.state_dict[POINTWISE]}
    result = compared(open_source(small[0]), build(port.config, scaled))
    assert result.summary() == f"{POINTWISE} is 1.05 times the source's"
    exchanged = {**port.state_dict, DEPTHWISE: port.state_dict[OTHER],
                 OTHER: port.state_dict[DEPTHWISE]}  # fmt: skip
    result = compared(open_source(small[0]), build(port.config, exchanged))
    assert result.summary() == f"{DEPTHWISE} and {OTHER} are exchanged"


class Mine(nn.Module):
    """The same network with other keys."""

    def __init__(self, network):
        super().__init__()
        self.trunk = nn.Sequential(
            network.conv_stem, network.bn1, network.act1, network.blocks, network.conv_head,
            network.bn2, network.act2,
        )  # fmt: skip
        self.pool, self.fc = network.global_pool, network.classifier

    def forward(self, x):
        return self.fc(self.pool(self.trunk(x)).flatten(1))


def test_onto_a_module_of_ones_own(tflite):
    assert tflite.compared(Mine(tflite.network())).agrees
    result = tflite.compared(Mine(tflite.changed(POINTWISE, lambda v: 1.05 * v)))
    assert result.summary() == "trunk.3.3.1.conv_pwl.weight is 1.05 times the source's"
    assert result.keys == tflite.keys
    exchanged = {**tflite.state, DEPTHWISE: tflite.state[OTHER], OTHER: tflite.state[DEPTHWISE]}
    result = tflite.compared(Mine(build(tflite.match.config, exchanged)))
    assert len(result.findings) == 2
    assert result.summary().endswith("are exchanged")


def test_a_module_of_ones_own_with_another_epsilon(tflite):
    """An identity at 1e-3 is none at 1e-5."""
    network = Mine(tflite.network())
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps = 1e-5
    result = tflite.compared(network)
    assert not result.agrees
    assert result.summary().endswith(
        "more are the source's with epsilon 0.001 in the batch norm, which has 1e-05"
    )


@pytest.fixture
def frozen(tmp_path):
    """A graph that keeps its batch norms and normalises its input."""
    pytest.importorskip("tensorflow")
    from parity_tests.building.graphs import Network

    path = Network("tf_mobilenetv1_025", normalises=True).write_frozen(tmp_path / "graph.pb")
    return open_source(path)


class Wrapped(nn.Module):
    """A network inside a user-defined module."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def test_a_graphs_own_batch_norms_and_their_epsilon(frozen):
    port = porting.port(frozen, verify=False)
    assert compared(frozen, build(port.config, port.state_dict)).agrees
    module = Wrapped(build(port.config, port.state_dict))
    assert compared(frozen, module).agrees
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps = 1e-2
    result = compared(frozen, module)
    assert result.headline() == f"all {result.keys} keys are the source's"
    assert result.summary() == "inner.bn1.eps and 26 more are 0.01, where the source has 0.001"


def test_what_a_network_normalises_by_is_compared(frozen):
    port = porting.port(frozen, normalisation="keep", verify=False)
    state = port.state_dict
    assert compared(frozen, build(port.config, state)).agrees
    network = build(port.config, {**state, "normalise.std": 2 * state["normalise.std"]})
    result = compared(frozen, network)
    assert result.keys == sum(not key.endswith("_tracked") for key in state)
    assert [(f.key, f.source) for f in result.findings] == [
        ("normalise.std", "normalisation's deviation")
    ]
    assert result.lines()[0].startswith("normalise.std is unrelated to the source's: 1e+02 %")


def test_a_module_without_a_plan_for_its_keys(checkpoint):
    result = checkpoint.compared(Mine(checkpoint.network()))
    assert not result.agrees
    assert result.findings == ()
    assert result.headline().startswith("cannot be compared: the module's keys are not those of tf")
    assert result.summary() == f"the weights {result.headline()}"


def test_a_source_that_cannot_be_read_is_said(tflite, monkeypatch):
    monkeypatch.setattr(
        type(tflite.source), "read", lambda self, name: np.full((32, 3, 3, 3), np.nan, np.float32)
    )
    result = compare_weights(
        tflite.source, tflite.match, tflite.network(), convention_of(tflite.source, tflite.match)
    )
    assert "cannot be compared" in result.headline()
    assert "weights must be finite" in result.unpaired


def test_few_lines_for_many_keys(tflite):
    """Keys of one relation go together, the worst first; the JSON has them all."""
    state = dict(tflite.state)
    projections = [key for key in state if key.endswith("conv_pwl.weight")]
    for number, key in enumerate(projections):
        state[key] = state[key] * (1.1 + 0.1 * number)
    state[DEPTHWISE] = state[DEPTHWISE].flip(2, 3)
    state["bn1.bias"] = -state["bn1.bias"]
    state["bn2.bias"] = state["bn2.bias"] + 0.01
    result = tflite.compared(build(tflite.match.config, state))
    lines = result.lines()
    assert len(lines) == 4
    assert "bn1.bias is the source's with the sign turned" in lines[0]
    count = len(projections)
    worst = f"{projections[-1]} is {1 + 0.1 * count:.2g} times the source's"
    assert f"{worst}, and {count - 1} more are multiples of the source's" in lines
    assert result.summary() == f"{lines[0]}, and {count + 2} more differ"
    assert len(result.to_json()["differing"]) == count + 3


def test_there_are_never_many_lines():
    relations = ["near", "ratio", "offset", "constant", "negated", "elements", "unrelated"]
    findings = [
        WeightFinding(f"k{n}", relation, f"{relation} it", distance=float(n))
        for n, relation in enumerate(relations)
    ]
    lines = WeightComparison(20, tuple(findings)).lines()
    assert lines == (
        "k6 is unrelated it", "k5 is elements it", "k4 is negated it", "k3 is constant it",
        "and 3 keys in other ways",
    )  # fmt: skip
    assert len(lines) == LINES


def test_the_verdict_names_what_is_nearest_to_the_culprit():
    findings = (
        WeightFinding("conv_stem.weight", "near", "near it", distance=0.01),
        WeightFinding("blocks.2.1.conv_pw.weight", "ratio", "2 times it", distance=1.0),
        WeightFinding("blocks.3.1.conv_pw.weight", "ratio", "2 times it", distance=1.0),
        WeightFinding("classifier.bias", "unrelated", "unrelated to it", distance=9.0),
    )
    result = WeightComparison(9, findings)
    for tap, said in {
        None: "classifier.bias is unrelated to it, and 3 more differ",
        "act1": "conv_stem.weight is near it, and 3 more differ",
        "blocks.2.1.act2": "blocks.2.1.conv_pw.weight and blocks.3.1.conv_pw.weight are 2 times it"
        ", and 2 more differ",
        "blocks.3.1": "blocks.3.1.conv_pw.weight and blocks.2.1.conv_pw.weight are 2 times it"
        ", and 2 more differ",
        "classifier": "classifier.bias is unrelated to it, and 3 more differ",
    }.items():
        assert result.summary(tap) == said


def test_what_agrees_comes_last():
    findings = (
        WeightFinding("a", "folded", "equal once folded", distance=9.0),
        WeightFinding("b", "near", "near it", distance=0.01),
        WeightFinding("c", "unrelated", "unrelated", distance=float("inf")),
        WeightFinding("d", "not finite", "not finite", distance=float("nan")),
    )
    lines = WeightComparison(9, findings).lines()
    assert set(lines[:2]) == {"c is unrelated", "d is not finite"}
    assert lines[2:] == ("b is near it", "a is equal once folded")


def test_as_json(tflite):
    state = {**tflite.state, "classifier.bias": torch.full_like(tflite.state["classifier.bias"],
                                                                 float("nan"))}  # fmt: skip
    result = tflite.compared(build(tflite.match.config, state))
    data = json.loads(json.dumps(encoded(result.to_json()), allow_nan=False))
    whole = schema()
    jsonschema.validate(data, {**whole["$defs"]["weights"], "$defs": whole["$defs"]})
    (differing,) = data["differing"]
    assert (differing["key"], differing["distance"]) == ("classifier.bias", "NaN")
    assert (data["keys"], data["equal"], data["agrees"]) == (tflite.keys, tflite.keys - 1, False)


def test_keys_are_shown_as_text():
    finding = WeightFinding("a\x1b[31m.weight", "ratio", "1.05 times the source's")
    result = WeightComparison(2, (finding,))
    assert result.lines() == ("a\\x1b[31m.weight is 1.05 times the source's",)


@pytest.mark.slow
def test_memory_is_that_of_a_tensor_or_two(tmp_path):
    """Not of a network: 16 MB of B1 and more are read one by one."""
    path = tmp_path / "b1.tflite"
    path.write_bytes(network_file(get_config("tf_mnasnet_100")))
    source = open_source(path)
    match = find_match(source, None)
    network = build(match.config, carry_out(match.plan, source, match.config))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.001)
    convention = convention_of(source, match)
    largest = 4 * max(p.numel() for p in network.parameters())
    tracemalloc.start()
    result = compare_weights(source, match, network, convention)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.findings
    assert peak < 20 * largest


def test_another_dtype(tflite):
    network = tflite.network().double()
    assert tflite.compared(network).agrees
    half = tflite.network().bfloat16()
    assert tflite.compared(half).summary().endswith("are the source's rounded to bfloat16")
