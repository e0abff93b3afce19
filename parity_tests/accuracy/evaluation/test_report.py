"""Reports of an evaluation: valid by their schema, and with the images that the networks saw."""

from __future__ import annotations

import base64
import io
import json

import jsonschema
import numpy as np
import pytest
import torch
from PIL import Image

from parity_tests.building.command import porting_process
from porting.accuracy.preprocessing import parse_pipeline
from porting.reports import evaluation as reporting
from porting.reports.documents import EVALUATION, page, read_report, schema, write_report
from porting.reports.evaluation import evaluation_report


@pytest.fixture(scope="session")
def wrong(small, tmp_path_factory):
    """The port with a fault that changes some answers."""
    state = torch.load(small[1], weights_only=True)
    state["blocks.3.1.conv_dw.weight"] *= 2
    path = tmp_path_factory.mktemp("wrong") / "wrong.pth"
    torch.save(state, path)
    return path


def decoded(uri):
    kind, _, packed = uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(packed))), np.float32)


@pytest.mark.parametrize("alone", [{}, {"source": None}, {"checkpoint": None}], ids=str)
def test_it_keeps_to_its_schema_whoever_answers(evaluated, wrong, tmp_path, alone):
    data = evaluation_report(evaluated(**(alone or {"checkpoint": wrong}))).to_json()
    jsonschema.validate(data, schema(EVALUATION))
    write_report(data, tmp_path / "e.json")
    assert read_report(tmp_path / "e.json") == data


def test_thumbnails_are_what_the_networks_saw(evaluated, wrong, photos):
    evaluation = evaluated(checkpoint=wrong)
    images = evaluation_report(evaluation).to_json()["agreement"]["differing"]
    pipeline = parse_pipeline(evaluation.sides[0].pipeline)
    for image in images[:3]:
        seen = decoded(image["thumbnail"])
        pixels = pipeline((photos / image["name"]).read_bytes())
        assert seen.shape == pixels.shape
        # The photos are noise, of which JPEG keeps only low frequencies.
        assert np.corrcoef(seen.ravel(), pixels.ravel())[0, 1] > 0.7


def test_the_first_alone_have_thumbnails(evaluated, wrong, monkeypatch):
    monkeypatch.setattr(reporting, "LISTED_IMAGES", 2)
    evaluation = evaluated(checkpoint=wrong)
    images = evaluation_report(evaluation).to_json()["agreement"]["differing"]
    assert [image["number"] for image in images] == evaluation.differing
    assert [image["thumbnail"] is None for image in images] == [False] * 2 + [True] * (
        len(images) - 2
    )


def test_an_image_that_is_gone_has_no_thumbnail(evaluated, wrong, photos, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in photos.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    evaluation = evaluated(checkpoint=wrong, data=folder)
    gone = evaluation.differing[0]
    (folder / evaluation.dataset.example(gone).name).unlink()
    images = evaluation_report(evaluation).to_json()["agreement"]["differing"]
    assert images[0]["thumbnail"] is None
    assert images[1]["thumbnail"] is not None


@pytest.mark.slow
def test_the_command_writes_page_and_data(small, photos, wrong, tmp_path):
    result = porting_process(
        "evaluate", photos, "--source", small[0], "--checkpoint", wrong, "--labels",
        photos / "labels.csv", "--workers", 0, "--journal", tmp_path / "journal", "--report",
        tmp_path / "e.html", "--json", tmp_path / "e.json",
    )  # fmt: skip
    data = json.loads((tmp_path / "e.json").read_text())
    assert data["verdict"]["agrees"] is False
    assert result.returncode == 1, result.stderr
    assert (tmp_path / "e.html").read_text(encoding="utf-8") == page(data)
    assert f"wrote    {tmp_path / 'e.html'}\nwrote    {tmp_path / 'e.json'}" in result.stdout
    assert max(map(len, result.stdout.splitlines()[:-2])) <= 80
