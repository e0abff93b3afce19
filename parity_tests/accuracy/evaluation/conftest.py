"""A source, its port, and a folder of labelled photos, some of which they classify correctly."""

from __future__ import annotations

import csv
import io
import os

import numpy as np
import pytest
from PIL import Image

from parity_tests.accuracy.evaluation import colours as of_colours
from parity_tests.accuracy.evaluation.commands import MANY
from parity_tests.building.photos import jpeg_of
from porting.accuracy.datasets.classes import imagenet
from porting.accuracy.evaluation import batch
from porting.accuracy.evaluation.evaluate import evaluate
from porting.reports.evaluation import evaluation_report

IMAGES = 70


@pytest.fixture(scope="session")
def photos(small, tmp_path_factory):
    """70 JPEGs and a file of labels; the judge is right on about every second one."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(8)
    kinds = ("4:2:0", "4:4:4", "grey")
    for number in range(IMAGES):
        height, width = map(int, generator.integers(40, 130, 2))
        data = jpeg_of(height, width, kinds[number % 3], seed=number)
        (folder / f"{number:03}.jpg").write_bytes(data)
    write_labels(folder, np.zeros(IMAGES, int))
    journal, labels = folder.parent / "first", folder / "labels.csv"
    evaluation = evaluate(folder, small[0], labels=labels, journal=journal, workers=0)
    answers = evaluation.answers.best[:, 0, 0].astype(int)
    guesses = np.where(generator.random(IMAGES) < 0.5, answers, generator.integers(0, 1000, IMAGES))
    write_labels(folder, guesses)
    return folder


def write_labels(folder, labels):
    """Labels of a folder's images, in the order of their names."""
    with (folder / "labels.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["name", "synset"])
        files = sorted(folder.glob("*.jpg"))
        for file, label in zip(files, labels, strict=True):
            writer.writerow([file.name, imagenet().names[label]])


@pytest.fixture
def evaluated(small, photos, tmp_path):
    """Evaluate source and port, by default the fixtures', in this process."""

    def run(source=small[0], checkpoint=small[1], data=photos, labels=None, **options):
        labels = None if labels is False else labels or data / "labels.csv"
        options = {"workers": 0, "journal": tmp_path / "journal", "labels": labels, **options}
        return evaluate(data, source, checkpoint, **options)

    return run


@pytest.fixture(scope="session")
def many(photos, tmp_path_factory):
    """The photos over and over under other names: enough work to be killed in."""
    folder = tmp_path_factory.mktemp("many")
    lines = (photos / "labels.csv").read_text().splitlines()[1:]
    labels = ["name,synset"]
    for number in range(MANY):
        name, synset = lines[number % len(lines)].split(",")
        os.link(photos / name, folder / f"{number:05}.jpg")
        labels.append(f"{number:05}.jpg,{synset}")
    (folder / "labels.csv").write_text("\n".join(labels))
    return folder


@pytest.fixture
def colours(tmp_path):
    """JPEGs of red and of blue, in turn; how green one is tells its group of four."""
    folder = tmp_path / "colours"
    folder.mkdir()
    generator = np.random.default_rng(5)
    for number in range(of_colours.IMAGES):
        pixels = generator.integers(0, 40, (80, 70, 3), np.uint8)
        pixels[..., 1] += np.uint8(50 * (number // 2 % 4))
        pixels[..., 2 * (number % 2)] += 100
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG")
        (folder / f"{number:03}.jpg").write_bytes(file.getvalue())
    return folder


@pytest.fixture
def explained(small, colours, tmp_path, monkeypatch):
    """Explain the answers of a function; ``built`` says for what something that answers was."""

    def run(answer=of_colours.by_colour, labels=of_colours.LABELS, files=None, **options):
        def predictor_of(files, side, device):
            run.built.append((side.runs, side.weights))
            return answer

        run.built = []
        monkeypatch.setattr(batch, "predictor_of", predictor_of)
        write_labels(colours, labels)
        options = {"stated": 100.0, "workers": 0, "explain": True, **options}
        options.setdefault("journal", tmp_path / "journal")
        files = files or {"checkpoint": small[1]}
        evaluation = evaluate(colours, **files, labels=colours / "labels.csv", **options)
        run.report = evaluation_report(evaluation)
        return run.report.to_json()

    return run
