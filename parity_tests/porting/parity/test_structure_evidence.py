"""The evidence for a verdict: published tables, compared with judge and network."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources

import jsonschema
import pytest

import porting
from genmobilenet import get_config
from genmobilenet.network import GenMobileNet
from parity_tests.building.zoo_mutations import MUTATIONS
from porting.diff import diff
from porting.errors import NotAtParity
from porting.judges.reference import descriptions
from porting.judges.reference.descriptions import Figures, descriptions_of
from porting.judges.reference.graphs import root_and_scheme
from porting.judges.reference.steps import SIXTH
from porting.mapping.image_classifier import Ends
from porting.parity.inputs import seeded_pixels
from porting.parity.network_steps import steps_of_network
from porting.parity.structure_evidence import evidence_from_tables
from porting.release import verdict_json, write_release
from porting.reports.comparison import diff_json, print_diff, print_port
from porting.subject import subject_from_file

ENDS = Ends(224, 3, 1000)


def described_steps(model, number=None):
    return descriptions_of(model)[0].steps(3, 1000, number)


def network_steps(model):
    """The network of the zoo's current configuration."""
    return steps_of_network(GenMobileNet(get_config(model)).eval(), 3)


def graph_steps(model):
    """The judge's graph of it."""
    from porting.judges.reference.graphs import build_reference
    from porting.judges.reference.steps import steps_of_graph

    return steps_of_graph(build_reference(get_config(model), *root_and_scheme(model)[::-1]))


@pytest.mark.parametrize(
    "mutation", [m for m in MUTATIONS.values() if "network" in m.sides],
    ids=[name for name, m in MUTATIONS.items() if "network" in m.sides],
)  # fmt: skip
def test_a_network_with_a_mistake_is_refused(monkeypatch, mutation):
    before = evidence_from_tables(
        mutation.model, ENDS, described_steps(mutation.model), network_steps(mutation.model)
    )
    assert before.agrees, before.summary()
    mutation.apply(monkeypatch, mutation.model)
    basis = evidence_from_tables(
        mutation.model, ENDS, described_steps(mutation.model), network_steps(mutation.model)
    )
    assert not basis.agrees
    (refusal,) = basis.refusals
    assert refusal.startswith("the network is not ")
    assert mutation.told in refusal


@pytest.mark.slow
@pytest.mark.parametrize(
    "mutation", [m for m in MUTATIONS.values() if "judge" in m.sides],
    ids=[name for name, m in MUTATIONS.items() if "judge" in m.sides],
)  # fmt: skip
def test_a_judge_with_a_mistake_is_refused(monkeypatch, mutation):
    pytest.importorskip("tensorflow")
    mutation.apply(monkeypatch, mutation.model)
    network = described_steps(mutation.model, SIXTH)
    basis = evidence_from_tables(mutation.model, ENDS, graph_steps(mutation.model), network)
    assert not basis.agrees
    (refusal,) = basis.refusals
    assert refusal.startswith("the judge's graph is not ")
    assert mutation.told in refusal


def agreeing(model, ends=ENDS, dropped=0):
    form = descriptions_of(model)[0]
    judge = form.steps(ends.channels, ends.classes + dropped)
    network = form.steps(ends.channels, ends.classes, SIXTH)
    return evidence_from_tables(model, ends, judge, network, dropped)


def test_what_is_held_is_said():
    basis = agreeing("tf_semnasnet_050")
    assert basis.agrees and basis.described
    assert basis.summary() == (
        "MNASNet-A1 at 0.5 as in mnasnet_a1 of tensorflow/tpu's mnasnet_models.py, transcribed "
        "apart from the network's own description: the judge's graph "
        "and the network have each of its 208 steps, with 103.2 M multiply-adds (105.2 M "
        "stated) and 2.082 M parameters (2.1 M stated)"
    )
    assert basis.to_json() == {
        "agrees": True, "described": True, "summary": basis.summary(), "refusals": [],
        "graph": None,
    }  # fmt: skip


@pytest.mark.parametrize("ends", [Ends(96, 1, 5), Ends(160, 3, 1001)])
def test_counts_are_those_of_the_published_ends(ends):
    assert (
        agreeing("tf_mobilenetv2_035", ends).summary() == agreeing("tf_mobilenetv2_035").summary()
    )


def test_a_dropped_class_is_the_judges_alone():
    assert agreeing("tf_mobilenetv2_035", dropped=1).agrees
    form = descriptions_of("tf_mobilenetv2_035")[0]
    basis = evidence_from_tables(
        "tf_mobilenetv2_035", ENDS, form.steps(3, 1001), form.steps(3, 1001, SIXTH), 1
    )
    assert "the network is not" in basis.summary()


def test_a_network_in_half_precision_is_read_as_it_is_compared():
    from porting.parity.structure_evidence import _steps_of

    network = GenMobileNet(get_config("tf_mnasnet_small")).train().bfloat16()
    basis = evidence_from_tables(
        "tf_mnasnet_small", ENDS, described_steps("tf_mnasnet_small"), _steps_of(network, 3)
    )
    assert basis.agrees
    assert network.training


def test_a_multiplier_without_figures_says_so():
    basis = agreeing("tf_mobilenetv2_060")
    assert basis.agrees
    assert basis.summary().endswith(
        "no multiply-adds or parameters of a network of these widths are stated, so that the "
        "widths rest on the rule of that code alone"
    )


def test_a_network_that_nothing_describes_says_so():
    steps = described_steps("tf_mnasnet_small")
    basis = evidence_from_tables("tf_ours_100", ENDS, steps, steps)
    assert basis.agrees and not basis.described
    assert basis.summary() == (
        "this package's own description of tf_ours_100, from which judge and network are both "
        "built: nothing outside is known here to hold it to"
    )


def test_a_module_of_somebodys_own_is_held_to_the_judge_alone():
    judge = described_steps("tf_mnasnet_small")
    basis = evidence_from_tables("tf_mnasnet_small", ENDS, judge, None)
    assert "the judge's graph has each of its 216 steps" in basis.summary()
    assert "the network have" not in basis.summary()


def test_v3_with_its_scaled_head_is_described_and_others_are_not():
    def with_head(head):
        usual, scaled = descriptions_of("tf_mobilenetv3_small_075")
        form = {1024: usual, 768: scaled}.get(head) or replace(usual, head=head)
        return evidence_from_tables("tf_mobilenetv3_small_075", ENDS, form.steps(3, 1000), None)

    assert with_head(1024).agrees and with_head(768).agrees
    assert "stated)" in with_head(1024).summary()
    assert "stated)" not in with_head(768).summary()
    assert "conv_head" in with_head(1000).summary()


def test_counts_far_from_what_is_stated_are_refused(monkeypatch):
    figures = {"semnasnet_100": Figures(280, 3.9, "a table")}
    monkeypatch.setattr(descriptions, "FIGURES", figures)
    basis = agreeing("tf_semnasnet_100")
    assert basis.refusals == ("311.6 M multiply-adds are counted, where a table states 280 M",)
    assert not basis.agrees


def test_a_mistake_in_a_table_is_seen_too(monkeypatch):
    """The table is checked against the network, as the network is against the table."""
    rows = list(descriptions.MNASNET_A1)
    rows[3] = rows[3]._replace(kernel=5)
    monkeypatch.setattr(descriptions, "MNASNET_A1", tuple(rows))
    basis = evidence_from_tables("tf_semnasnet_100", ENDS, network_steps("tf_semnasnet_100"), None)
    assert "blocks.3.0.conv_dw: described depthwise 5x5" in basis.summary()


def test_a_file_with_a_graph_rests_on_that(small):
    ported = porting.port(small[0], pixels=seeded_pixels(1, 64))
    assert ported.basis.summary() == "the graph in the file itself"
    assert verdict_json(ported)["rests_on"] == ported.basis.summary()


@pytest.mark.slow
def test_a_file_of_keras_rests_on_keras(tmp_path):
    from parity_tests.matrix.files import PIXELS, keras

    pytest.importorskip("tensorflow")
    result = keras("legacy weights")("tf_mobilenetv1_025", tmp_path / "file")
    ported = porting.port(result.path, pixels=PIXELS)
    assert ported.basis.summary() == "Keras's own model, that of keras.applications"


@pytest.mark.slow
class TestCheckpoint:
    """Whole ports of a checkpoint."""

    def test_card_terminal_and_report_say_what_the_verdict_rests_on(
        self, small_synthetic, tmp_path, capsys
    ):
        source = porting.open_source(small_synthetic.checkpoint)
        ported = porting.port(source, pixels=seeded_pixels(1, 64))
        assert ported.comparison
        line = ported.basis.summary()
        assert line.startswith("MNASNet-small as in mnasnet_small of tensorflow/tpu's")
        assert "with 68.34 M multiply-adds (68 M stated)" in line
        files = write_release(ported, tmp_path)
        assert json.loads(files.card.read_text())["verdict"]["rests_on"] == line
        print_port(ported, files)
        assert f"rests on  {line[:30]}" in capsys.readouterr().out
        subject = subject_from_file(source, files.weights)
        result = diff(source, subject, seeded_pixels(1, 64))
        data = diff_json(result)
        assert data["rests_on"]["summary"] == line
        schema = resources.files("porting.reports").joinpath("schema.json").read_text()
        jsonschema.validate(data, json.loads(schema))
        print_diff(result)
        assert f"rests on  {line[:30]}" in capsys.readouterr().out

    @pytest.mark.parametrize("mutation", ["i16 dropped from mnasnet-small", "epsilon in both"])
    def test_a_mistake_on_both_sides_is_not_at_parity(
        self, small_synthetic, tmp_path, monkeypatch, mutation
    ):
        MUTATIONS[mutation].apply(monkeypatch, "tf_mnasnet_small")
        ported = porting.port(small_synthetic.checkpoint, pixels=seeded_pixels(1, 64))
        assert all(tap.agrees for tap in ported.comparison.taps)
        assert not ported.comparison
        assert "NOT at parity" in ported.comparison.summary()
        assert "the judge's graph is not MNASNet-small" in ported.comparison.summary()
        assert ported.basis.summary().startswith("nothing: this is not MNASNet-small")
        with pytest.raises(NotAtParity, match="the network is not MNASNet-small"):
            write_release(ported, tmp_path)
