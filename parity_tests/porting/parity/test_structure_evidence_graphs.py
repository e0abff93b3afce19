"""A graph beside a checkpoint: found, matched, and run if it has the same weights."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import porting
from genmobilenet import get_config
from parity_tests.building.archives import packed
from parity_tests.building.checkpoints import variables, with_averages
from parity_tests.building.tables import write_checkpoint
from parity_tests.building.tflite_networks import NetworkFile, network_file
from parity_tests.building.zoo_mutations import MUTATIONS
from porting.errors import BadInput, MissingJudge
from porting.judges.reference.synthesize import SyntheticFiles
from porting.mapping.recognise import find_match
from porting.parity.inputs import seeded_pixels
from porting.parity.structure_evidence import COMPANION_INPUTS, companion_graph
from porting.sources import open_source
from porting.sources.opening import MOST_BESIDE, graphs_beside

MODEL = "tf_mnasnet_small"
TRAINED = with_averages(variables(MODEL, "keras", "mnasnet-small"))
KERNEL = next(name for name in TRAINED if name.endswith("mnas_head/dense/kernel"))
AVERAGE = f"{KERNEL}/ExponentialMovingAverage"


def tflite(model=MODEL, seed=4):
    """A TFLite file of a network, and its classifier (O, I)."""
    file = NetworkFile(get_config(model), seed=seed)
    content = file.build()
    shape = tuple(reversed(TRAINED[KERNEL].shape))
    (classifier,) = (values for values in file.real.values() if values.shape == shape)
    return content, classifier


@pytest.fixture
def lying(tmp_path):
    """A checkpoint with files beside it, opened, and its match; in an archive where ``shipped``."""

    def opened(files, changes=None, weights=None, shipped=False):
        home = tmp_path / "home"
        home.mkdir()
        write_checkpoint(home / "model.ckpt-7", {**TRAINED, **(changes or {})})
        for name, content in files.items():
            (home / name).write_bytes(content)
        place = packed(home, tmp_path / "shipped.tgz") if shipped else home / "model.ckpt-7"
        source = open_source(place)
        return source, find_match(source, MODEL, weights)

    return opened


class Judge:
    """Says of every graph that the port agrees with it, or not, and what it was asked."""

    def __init__(self, agrees=True, error=None):
        self.agrees, self.error, self.asked = agrees, error, []

    def __call__(self, graph, aligned, pixels):
        self.asked.append((graph.path.name, aligned.model, pixels.shape))
        if self.error is not None:
            raise self.error
        return Agreement(self.agrees)


class Agreement(SimpleNamespace):
    def __init__(self, agrees):
        super().__init__(agrees=agrees, judge="LiteRT", judge_version="9", inputs=COMPANION_INPUTS,
                         taps=("a", "b"))  # fmt: skip

    def __bool__(self):
        return self.agrees

    def summary(self):
        return "at parity" if self.agrees else "NOT at parity with LiteRT"


def nobody(*_):
    raise AssertionError("no judge is to be asked")


def test_a_graph_with_the_same_weights_is_run(lying):
    content, classifier = tflite()
    source, match = lying({"net.tflite": content}, {AVERAGE: np.ascontiguousarray(classifier.T)})
    judge = Judge()
    graph = companion_graph(source, match, judge)
    assert judge.asked == [("net.tflite", MODEL, (COMPANION_INPUTS, 64, 64, 3))]
    assert (graph.file, graph.weight_set, graph.refusal) == ("net.tflite", "ema", None)
    assert graph.summary() == (
        "net.tflite beside it is a graph of the same network, operator by operator, with the same "
        "weights, and LiteRT (9) running it agrees with the port at 2 taps on 2 inputs"
    )


def test_one_that_its_judge_does_not_agree_with_is_refused(lying):
    content, classifier = tflite()
    source, match = lying({"net.tflite": content}, {AVERAGE: np.ascontiguousarray(classifier.T)})
    graph = companion_graph(source, match, Judge(agrees=False))
    assert graph.refusal == (
        "net.tflite beside the checkpoint has its weights, and is NOT at parity with LiteRT"
    )
    assert graph.summary() == graph.refusal
    assert graph.to_json()["agrees"] is False


@pytest.mark.parametrize(
    ("error", "why"),
    [(MissingJudge("LiteRT is not installed"), "LiteRT is not installed"),
     (BadInput("no kernel"), r"its judge does not run it (no kernel)")],
)  # fmt: skip
def test_one_that_cannot_be_run_is_aligned_alone(lying, error, why):
    content, classifier = tflite()
    source, match = lying({"net.tflite": content}, {AVERAGE: np.ascontiguousarray(classifier.T)})
    graph = companion_graph(source, match, Judge(error=error))
    assert (graph.comparison, graph.refusal) == (None, None)
    assert graph.summary().endswith(f"operator by operator, and was not run: {why}")


@pytest.mark.parametrize(("weights", "held"), [("raw", AVERAGE), ("ema", KERNEL)])
def test_one_of_the_other_weight_set_is_aligned_alone(lying, weights, held):
    content, classifier = tflite()
    changes = {held: np.ascontiguousarray(classifier.T)}
    source, match = lying({"net.tflite": content}, changes, weights)
    graph = companion_graph(source, match, nobody)
    other = {"raw": "ema", "ema": "raw"}[weights]
    assert graph.weight_set == other
    assert graph.summary().endswith(f"and was not run: its weights are the {other} ones")


def test_one_of_other_weights_is_aligned_alone(lying):
    source, match = lying({"net.tflite": tflite()[0]})
    graph = companion_graph(source, match, nobody)
    assert graph.weight_set is None
    assert graph.summary().endswith("and was not run: its weights are others")


def test_of_several_the_one_that_is_run_is_told_of(lying):
    content, classifier = tflite()
    changes = {AVERAGE: np.ascontiguousarray(classifier.T)}
    files = {"a.tflite": tflite(seed=5)[0], "b.tflite": content, "c.tflite": tflite(seed=6)[0]}
    source, match = lying(files, changes)
    assert companion_graph(source, match, Judge()).file == "b.tflite"


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"notes.txt": b"nothing"},
        {"damaged.tflite": tflite()[0][:2000]},
        {"empty.tflite": b""},
        {"graph.pb": b"\x0a\x05nodes"},
        {"other.tflite": network_file(get_config("tf_mobilenetv1_025"), seed=1)},
        # timm's network: the same layers with one residual more.
        {"plain.tflite": network_file(get_config("mnasnet_small"), seed=1)},
    ],
    ids=["nothing", "text", "damaged", "empty", "no graph", "another network", "another's weights"],
)  # fmt: skip
def test_what_says_nothing_is_passed_over(lying, files):
    source, match = lying(files)
    assert companion_graph(source, match, nobody) is None


def test_a_graph_of_the_same_weights_that_computes_another_network_is_refused(lying):
    content, classifier = tflite("mnasnet_small")
    source, match = lying({"net.tflite": content}, {AVERAGE: np.ascontiguousarray(classifier.T)})
    graph = companion_graph(source, match, nobody)
    assert graph.refusal.startswith(
        "net.tflite beside the checkpoint has the network's layers and computes another: "
    )
    # timm's network adds a residual in its first block.
    assert "operator 3 ADD 'block_0/sum' (add) network: blocks.1.0.conv_pw" in graph.refusal


def test_so_is_any_in_the_checkpoints_archive(lying):
    source, match = lying({"net.tflite": tflite("mnasnet_small", seed=1)[0]}, shipped=True)
    assert source.archive is not None
    assert companion_graph(source, match, nobody).refusal is not None


def test_a_name_cannot_write_on_the_terminal(lying):
    source, match = lying({"a\x1b[2J.tflite": tflite()[0]})
    assert "a\\x1b[2J.tflite beside it" in companion_graph(source, match, nobody).summary()


class TestLookingBeside:
    """Which files are looked at."""

    def test_those_of_the_folder_alone_tflite_first(self, lying):
        files = {"b.pb": b"\x0a\x08\x0a\x01x\x12\x03Add", "a.tflite": b"", "saved_model.pb": b"no"}
        source, _ = lying(files)
        below = source.prefix.parent / "below"
        below.mkdir()
        (below / "c.tflite").write_bytes(b"")
        assert [path.name for path in graphs_beside(source)] == ["a.tflite", "b.pb"]

    def test_all_of_an_archive(self, tmp_path):
        home = tmp_path / "v1"
        (home / "deep" / "er").mkdir(parents=True)
        write_checkpoint(home / "deep" / "model.ckpt-7", TRAINED)
        (home / "net.tflite").write_bytes(b"")
        (home / "deep" / "er" / "net.tflite").write_bytes(b"")
        source = open_source(packed(home, tmp_path / "v1.tgz"))
        assert len(graphs_beside(source)) == 2

    def test_beside_the_folders_of_v3s_pair(self, tmp_path):
        for name in ("ema", "pristine"):
            (tmp_path / name).mkdir()
            write_checkpoint(tmp_path / name / "model.ckpt-7", TRAINED)
        (tmp_path / "v3.tflite").write_bytes(b"")
        source = open_source(tmp_path / "pristine" / "model.ckpt-7")
        assert [path.name for path in graphs_beside(source)] == ["v3.tflite"]

    def test_no_more_than_some(self, lying):
        source, _ = lying({f"{number}.tflite": b"" for number in range(30)})
        assert len(graphs_beside(source)) == MOST_BESIDE


@pytest.mark.slow
class TestWhole:
    """Synthetic checkpoints, with the TFLite files that TensorFlow converted of them."""

    @pytest.fixture
    def beside(self, small_synthetic: SyntheticFiles, tmp_path):
        """The checkpoint with the float file beside it, in a folder or in an archive."""
        import shutil

        home = tmp_path / "home"
        shutil.copytree(small_synthetic.checkpoint, home)
        shutil.copy(small_synthetic.float, home)
        return home

    @pytest.mark.parametrize("shipped", [False, True], ids=["folder", "archive"])
    def test_the_graphs_own_judge_agrees(self, beside, tmp_path, shipped):
        place = packed(beside, tmp_path / "shipped.tgz") if shipped else beside
        result = porting.port(place, pixels=seeded_pixels(1, 64))
        assert result.comparison, result.comparison.summary()
        assert result.basis.graph.comparison
        assert "synthetic-mnasnet-small_float.tflite beside it" in result.basis.summary()
        assert result.basis.to_json()["graph"]["weight_set"] == "ema"

    def test_a_frozen_graph_is_run_by_tensorflow(self, tmp_path):
        from parity_tests.matrix.files import trained

        averaged, raw = trained(MODEL)
        held = with_averages(raw.weights)
        held |= {f"{n}/ExponentialMovingAverage": v for n, v in averaged.weights.items()}
        write_checkpoint(tmp_path / "model.ckpt", held)
        averaged.write_frozen(tmp_path / "frozen.pb")
        result = porting.port(tmp_path / "model.ckpt", pixels=seeded_pixels(1, 64))
        assert result.comparison, result.comparison.summary()
        assert result.basis.graph.comparison.judge == "TensorFlow"
        assert result.basis.graph.file == "frozen.pb"

    @pytest.mark.parametrize(
        ("mutation", "told"),
        [
            ("i16 dropped from mnasnet-small", "computes another: "),
            ("epsilon in both", "has its weights, and is NOT at parity with "),
        ],
    )
    def test_the_graph_alone_shows_a_mistake_on_both_sides(
        self, beside, monkeypatch, mutation, told
    ):
        """Without the description outside: in a network that nothing describes."""
        monkeypatch.setattr("porting.parity.structure_evidence.descriptions_of", lambda model: ())
        MUTATIONS[mutation].apply(monkeypatch, MODEL)
        result = porting.port(beside, pixels=seeded_pixels(1, 64))
        assert all(tap.agrees for tap in result.comparison.taps)
        assert not result.comparison
        (refusal,) = result.comparison.refusals
        assert told in refusal
        assert not result.basis.described
