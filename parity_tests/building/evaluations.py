"""Made-up evaluations, as reports and as the JSON that ``porting evaluate --json`` writes."""

from __future__ import annotations

from porting.accuracy.evaluation.agreement import Quantisation
from porting.accuracy.evaluation.predictors import Side
from porting.accuracy.evaluation.provenance import (
    CheckpointProvenance,
    DataProvenance,
    Provenance,
    SourceProvenance,
)
from porting.accuracy.evaluation.significance import Difference, share
from porting.mapping.input_spec import InputConvention
from porting.reports.evaluation import (
    Agreement,
    Answer,
    DataSummary,
    DifferingImage,
    EvaluationReport,
    SideResult,
    Verdict,
)

HOSTILE = "</script><img src=x onerror=alert(1)>{{data}}"
"""A name that would do harm where it is taken for anything but text."""

PIPELINE = "decode tf, crop fraction 0.875, resize legacy bilinear 224"


def side_of(name, right, used, pipeline=PIPELINE):
    runs = "judge" if name == "judge" else "checkpoint"
    side = Side(name, runs, pipeline, (127.5,) * 3, (127.5,) * 3, 1)
    return SideResult(side, share(right, used), share(used - 1, used))


def differing_image(number, thumbnail=None, near_tie=False, called="tench", quantised=None):
    return DifferingImage(
        number, f"val/{number:03}.jpg", 0, called, near_tie, quantised,
        Answer(0, called, 1.25, True), Answer(7, "sleeping bag", 0.0824, False), thumbnail,
    )  # fmt: skip


def evaluation_of(images=(), failed=(), differs=False, **changes):
    """The report on judge and port and 80 images, with those ``images`` on which they differ."""
    used, apart = 80, len(images)
    by_quantisation = [i.by_quantisation for i in images if i.by_quantisation is not None]
    alone = sum(by_quantisation)
    quantisation = Quantisation(
        frozenset(range(alone)), frozenset(range(alone, len(by_quantisation)))
    )
    agrees = not differs and all(i.near_tie or i.by_quantisation for i in images)
    parts = {
        "verdict": Verdict(
            f"{apart} of 80 answers differ", 0.25, differs,
            agrees if "agreement" not in changes else None,
        ),
        "data": DataSummary(
            "photos", "folder of files named by synset", "sorted", 1000, used + len(failed), used,
            tuple((name, "cut short") for name in failed), ("1 file is no image",),
        ),
        "sides": (side_of("judge", 70, used), side_of("port", 70 - apart, used)),
        "stated_top1": 49.8,
        "agreement": Agreement(
            share(used - apart, used), share(20, used),
            Difference(0, apart, used, -20.0, 2.0, 0.25), 0.0003 if images else None,
            quantisation if by_quantisation else None, tuple(images),
        ),
        "explanation": None,
        "convention": InputConvention(
            224, 3, 1001, (127.5,) * 3, (127.5,) * 3, "the graph", PIPELINE
        ),
        "provenance": Provenance(
            DataProvenance("folder", used, "d" * 64),
            SourceProvenance("net.tflite", "0" * 64, "as stored", "LiteRT 2"),
            CheckpointProvenance("net.pth", "1" * 64, "net", None), (), {"torch": "2"}, None, 16,
            "cpu",
        ),
    }  # fmt: skip
    return EvaluationReport(**{**parts, **changes})


def evaluation_data(*images, explanation=None, **changes):
    """The same as JSON; ``explanation`` is JSON already."""
    return {**evaluation_of(*images, **changes).to_json(), "explanation": explanation}


def change_of(topic, change, points, helps=False):
    return {
        "topic": topic, "change": change, "points": points, "low": points - 5,
        "high": points + 4, "p": 0.031, "adjusted_p": 0.31, "gained": 1, "lost": 6,
        "of": 80, "top1": 80 + points, "helps": helps,
    }  # fmt: skip


def explanation_data():
    """One change that helps, two that do not, and two at once."""
    best = {"topic": "preprocessing", "change": "pillow for slim", "points": -7.9}
    together = {key: value for key, value in change_of("", "", -9.5).items()
                if key not in ("topic", "change", "helps")}  # fmt: skip
    return {
        "base": 80.0, "stated": 70.0,
        "changes": [
            change_of("preprocessing", "pillow for slim", -7.9, helps=True),
            change_of("weights", "raw for averages", 1.5),
            change_of("channel order", HOSTILE, -22.0),
        ],
        "left_out": [{"topic": "background", "why": "there is none"}],
        "best": {**best, "top1": 72.1, "remaining": 2.1},
        "combined": {"changes": [best], **together, "remaining": 0.5},
        "sentence": "preprocessing (pillow for slim) -7.90",
    }  # fmt: skip
