"""Judge and port on the same pixels, with the counts of a plain loop."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter

import porting
from genmobilenet import CheckpointError, create_model
from porting.accuracy.evaluation.predictors import Inputs
from porting.accuracy.evaluation.preparing import prepare
from porting.accuracy.evaluation.results import write_rows
from porting.accuracy.preprocessing import named_pipeline
from porting.errors import BadInput, MissingPackage
from porting.reports.evaluation import evaluation_report

SIZE = 64  # side of the small network's images
MEAN, STD = np.float32([123.675, 116.28, 103.53]), np.float32([58.395, 57.12, 57.375])


def pixels_of(photos, name="mnasnet"):
    pipeline = named_pipeline(name, SIZE)
    return [pipeline(file.read_bytes()) for file in sorted(photos.glob("*.jpg"))]


def by_litert(path, pixels):
    """Five best classes by the interpreter itself, image by image."""
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    place, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    actual = []
    for image in pixels:
        interpreter.set_tensor(place["index"], ((image - MEAN) / STD)[None])
        interpreter.invoke()
        actual.append(np.argsort(-interpreter.get_tensor(out["index"])[0], kind="stable")[:5])
    return np.array(actual)


def by_network(weights, pixels):
    network = create_model("tf_mnasnet_small", checkpoint_path=weights).eval()
    data = torch.from_numpy(((np.stack(pixels) - MEAN) / STD).transpose(0, 3, 1, 2).copy())
    with torch.inference_mode():
        return network(data).topk(5).indices.numpy()


def test_judge_and_port_answer_as_they_do_by_themselves(small, photos, evaluated):
    actual, pixels = evaluated(), pixels_of(photos)
    assert [side.name for side in actual.sides] == ["judge", "port"]
    assert np.array_equal(actual.answers.best[:, 0], by_litert(small[0], pixels))
    assert np.array_equal(actual.answers.best[:, 1], by_network(small[1], pixels))
    answers = actual.answers.best[:, 0]
    assert np.array_equal(actual.right(0), answers[:, 0] == actual.labels)
    assert np.array_equal(actual.right(0, 5), (answers == actual.labels[:, None]).any(1))
    assert 20 < actual.right(0).sum() < 50
    assert len(set(answers[:, 0].tolist())) > 3


def test_the_report_of_a_sound_port(evaluated):
    actual = evaluated()
    data = evaluation_report(actual).to_json()
    assert data["verdict"] == {
        "sentence": "the port is the judge: 0 of 70 answers differ", "p": 1.0, "differs": False,
        "agrees": True,
    }  # fmt: skip
    assert data["agreement"]["quantisation"] is None
    right = int(actual.right(1).sum())
    assert data["sides"]["port"]["top1"]["count"] == right
    assert data["sides"]["port"]["top1"]["percent"] == pytest.approx(100 * right / 70)
    assert data["agreement"]["top5_sets"]["count"] == 70
    assert data["convention"]["preprocessing"] == (
        "decode-and-crop padded 64+32, resize legacy bicubic 64"
    )


def test_a_port_with_a_fault_is_another(small, photos, evaluated, tmp_path):
    state = torch.load(small[1], weights_only=True)
    state["blocks.3.1.conv_dw.weight"] *= 2
    torch.save(state, tmp_path / "faulty.pth")
    actual = evaluated(checkpoint=tmp_path / "faulty.pth")
    data = evaluation_report(actual).to_json()
    differing = data["agreement"]["differing"]
    best = actual.answers.best
    assert len(differing) == int((best[:, 0, 0] != best[:, 1, 0]).sum()) > 5
    first = differing[0]
    number = first["number"]
    assert first["name"] == f"{number:03}.jpg"
    assert first["judge"]["answer"] == best[number, 0, 0]
    assert first["port"]["margin"] == pytest.approx(float(actual.answers.margin[number, 1]))
    assert first["judge"]["right"] is bool(best[number, 0, 0] == first["label"])
    assert "the port is not the judge" in data["verdict"]["sentence"]
    assert data["verdict"]["agrees"] is False
    assert {image["by_quantisation"] for image in differing} == {None}
    change = data["agreement"]["difference"]
    gained = int((actual.right(1) & ~actual.right(0)).sum())
    lost = int((actual.right(0) & ~actual.right(1)).sum())
    assert (change["gained"], change["lost"]) == (gained, lost)


def test_either_side_alone(small, photos, evaluated, tmp_path):
    both = evaluated()
    judge = evaluated(checkpoint=None, journal=tmp_path / "judge")
    port = evaluated(source=None, journal=tmp_path / "port")
    assert np.array_equal(judge.answers.best[:, 0], both.answers.best[:, 0])
    assert np.array_equal(port.answers.best[:, 0], both.answers.best[:, 1])
    assert evaluation_report(port).to_json()["agreement"] is None
    sentence = evaluation_report(port).to_json()["verdict"]["sentence"]
    assert sentence == f"the port is right on {port.right(0).sum()} of 70 images"
    assert evaluation_report(port).to_json()["verdict"]["agrees"] is None


def test_a_checkpoint_without_a_card_needs_its_network_named(small, photos, evaluated, tmp_path):
    bare = tmp_path / "bare.pth"
    bare.write_bytes(small[1].read_bytes())
    with pytest.raises(BadInput, match=r"bare.pth: has no card .* --model"):
        evaluated(source=None, checkpoint=bare)


def test_a_network_by_its_strings_without_a_card(evaluated, tmp_path):
    strings = "stem_c8_nre | ds_r1_k3_s2_c8 | pool fc"
    bare = tmp_path / "bare.pth"
    torch.save(create_model(strings).state_dict(), bare)
    convention = evaluated(source=None, checkpoint=bare, model=strings).convention
    assert (convention.mean, convention.certainty) == ((127.5,) * 3, "unknown")
    assert convention.evidence.startswith("neither a card nor a known network")


def test_nothing_to_evaluate(evaluated):
    with pytest.raises(BadInput, match="nothing to evaluate"):
        evaluated(source=None, checkpoint=None)


def test_preprocessing_is_chosen_for_both_alike(small, photos, evaluated):
    actual = evaluated(preprocessing="pillow")
    assert np.array_equal(
        actual.answers.best[:, 0], by_litert(small[0], pixels_of(photos, "pillow"))
    )
    assert (actual.answers.best[:, 0] == actual.answers.best[:, 1]).all()


def test_a_package_that_is_missing_is_named(evaluated, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numba" else 1)
    with pytest.raises(MissingPackage, match=r"evaluating needs numba, .*pip install numba"):
        evaluated()


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "toaster", "meta"])
def test_a_device_that_is_not_there_is_named(evaluated, device):
    if device.startswith("cuda") and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(BadInput, match=f"device '{device}': cannot be used: "):
        evaluated(device=device)


def test_from_python(small, photos, evaluated, tmp_path):
    labels, journal = photos / "labels.csv", tmp_path / "python"
    actual = porting.evaluate(str(photos), *small, labels=labels, journal=journal, workers=0)
    expected = evaluated()
    assert np.array_equal(actual.answers.best, expected.answers.best)
    assert actual.provenance == expected.provenance


def test_a_pipeline_of_several_sizes_is_refused(evaluated):
    with pytest.raises(BadInput, match=r"gives images of several sizes.*crop centre 64"):
        evaluated(preprocessing="decode tf, resize-shorter pillow bicubic 64")


def test_names_that_are_no_text_can_be_shown(photos, evaluated, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for synset, name in (("n01440764", b"caf\xe9.jpg"), ("n02119789", b"a\x1b]0;b\x07\nc.jpg")):
        (folder / synset).mkdir()
        place = folder / synset / os.fsdecode(name)
        place.write_bytes((photos / "000.jpg").read_bytes())
    actual = evaluated(data=folder, labels=False)
    write_rows(actual, tmp_path / "rows.parquet")
    names = [actual.dataset.example(number).name for number in range(2)]
    assert names == ["n01440764/caf\\udce9.jpg", "n02119789/a\\x1b]0;b\\x07\\nc.jpg"]
    assert actual.usable.all()


def test_a_file_that_is_not_there_and_weights_of_no_source_are_refused(evaluated, small, tmp_path):
    with pytest.raises(CheckpointError, match=r"missing\.pth: no such file"):
        evaluated(source=None, checkpoint=tmp_path / "missing.pth")
    with pytest.raises(BadInput, match="give it with --source"):
        prepare(Inputs(None, small[1], weights="raw"), tmp_path, None, None, None)


def test_a_module_of_ones_own_answers_as_the_network_does(small, evaluated, tmp_path, monkeypatch):
    lines = "import genmobilenet", "build = lambda: genmobilenet.create_model('tf_mnasnet_small')"
    (tmp_path / "own_network.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    actual = evaluated(onto="own_network:build", journal=tmp_path / "own")
    assert np.array_equal(actual.answers.best, evaluated().answers.best)


def test_a_file_that_was_replaced_is_read_anew(small, evaluated, tmp_path):
    place = tmp_path / "port.pth"
    place.write_bytes(small[1].read_bytes())
    before = evaluated(checkpoint=place, journal=tmp_path / "before")
    state = torch.load(place, weights_only=True)
    state["classifier.bias"] += torch.arange(1000.0)
    torch.save(state, place)
    after = evaluated(checkpoint=place, journal=tmp_path / "after")
    assert (after.answers.best[:, 1, 0] == 999).all()
    assert np.array_equal(after.answers.best[:, 0], before.answers.best[:, 0])


def test_scores_that_are_no_numbers_are_no_answers(small, evaluated, tmp_path):
    state = torch.load(small[1], weights_only=True)
    state["classifier.bias"][3] = float("nan")
    torch.save(state, tmp_path / "port.pth")
    with pytest.raises(
        BadInput, match=r"the port gives scores that are not finite on .*: 000\.jpg"
    ):
        evaluated(checkpoint=tmp_path / "port.pth")


def test_a_network_of_one_class_is_refused(photos, tmp_path):
    network = create_model("tf_mnasnet_small", num_classes=1)
    torch.save(network.state_dict(), tmp_path / "one.pth")
    given = Inputs(None, tmp_path / "one.pth", "tf_mnasnet_small")
    with pytest.raises(BadInput, match="the network has one class"):
        prepare(given, photos, photos / "labels.csv", None, None)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"workers": -1}, "workers -1: expected a number of processes"),
        ({"workers": "2"}, "workers '2': expected a number"),
        ({"stated": 741}, "stated 741: expected percent"),
        ({"checkpoint": torch.nn.Identity()}, "Identity is not a path"),
        ({"on_error": "go on"}, "expected 'stop' or 'skip'"),
        ({"source": None, "onto": "my.module:build"}, "--onto says how a source is ported"),
    ],
    ids=str,
)
def test_arguments_that_are_none(evaluated, wrong, said):
    with pytest.raises(BadInput, match=said):
        evaluated(**wrong)


def test_which_weights_the_file_has_is_said(evaluated):
    told = evaluation_report(evaluated()).to_json()["made_from"]
    assert (told["source"]["weights"], told["checkpoint"]["weights"]) == ("as stored", "as stored")


@pytest.mark.parametrize("place", ["blocks.2.0.conv_dw.weight", "conv_stem.weight"])
def test_weights_that_are_no_numbers_give_no_accuracy(small, evaluated, tmp_path, place):
    state = torch.load(small[1], weights_only=True)
    state[place][0, 0, 1, 1] = float("nan")
    torch.save(state, tmp_path / "port.pth")
    with pytest.raises(BadInput, match="the port gives scores that are not finite"):
        evaluated(checkpoint=tmp_path / "port.pth")
