"""Invented evaluations, as the data that ``porting evaluate --json`` writes."""

from __future__ import annotations

from porting.accuracy.evaluation.significance import share

HOSTILE = "</script><img src=x onerror=alert(1)>{{data}}"
"""A name that would do harm where it is taken for anything but text."""

PIPELINE = "decode tf, crop fraction 0.875, resize legacy bilinear 224"


def share_of(count, of):
    actual = share(count, of)
    return {"count": count, "of": of, "low": actual.low, "high": actual.high,
            "percent": actual.percent}  # fmt: skip


def side_of(name, right, used, pipeline=PIPELINE):
    return {
        "name": name, "runs": "judge" if name == "judge" else "checkpoint", "pipeline": pipeline,
        "mean": [127.5] * 3, "std": [127.5] * 3, "background": 1, "weights": None,
        "top1": share_of(right, used), "top5": share_of(used - 1, used),
    }  # fmt: skip


def differing_image(number, thumbnail=None, near_tie=False, called="tench", quantised=None):
    return {
        "number": number, "name": f"val/{number:03}.jpg", "label": 0, "called": called,
        "near_tie": near_tie, "by_quantisation": quantised,
        "judge": {"answer": 0, "called": called, "margin": 1.25, "right": True},
        "port": {"answer": 7, "called": "sleeping bag", "margin": 0.0824, "right": False},
        "thumbnail": thumbnail,
    }  # fmt: skip


def evaluation_data(images=(), failed=(), differs=False, **changes):
    """Judge and port on 80 images, with those ``images`` on which they differ."""
    used, apart = 80, len(images)
    asked = [image["by_quantisation"] for image in images if image["by_quantisation"] is not None]
    agrees = not differs and all(i["near_tie"] or i["by_quantisation"] for i in images)
    difference = {"gained": 0, "lost": apart, "of": used, "points": -100 * apart / used,
                  "low": -20.0, "high": 2.0, "p": 0.25}  # fmt: skip
    data = {
        "schema": "genmobilenet.evaluation", "version": 2,
        "verdict": {
            "sentence": f"{apart} of 80 answers differ", "p": 0.25, "differs": differs,
            "agrees": agrees if "agreement" not in changes else None,
        },
        "data": {
            "path": "photos", "kind": "folder of files named by synset", "label_order": "sorted",
            "classes": 1000, "examples": used + len(failed), "used": used,
            "failed": [{"name": name, "reason": "cut short"} for name in failed],
            "notes": ["1 file is no image"],
        },
        "sides": {"judge": side_of("judge", 70, used), "port": side_of("port", 70 - apart, used)},
        "stated": 49.8,
        "agreement": {
            "top1": share_of(used - apart, used), "top5_sets": share_of(20, used),
            "difference": difference, "tie": 0.0003 if images else None,
            "quantisation": {
                "alone": sum(asked), "others": len(asked) - sum(asked), "enough": False,
                "refused": None,
            } if asked else None,
            "differing": list(images),
        },
        "explanation": None,
        "convention": {
            "size": 224, "channels": 3, "classes": 1001, "mean": [127.5] * 3, "std": [127.5] * 3,
            "evidence": "the graph", "preprocessing": PIPELINE,
        },
        "made_from": {
            "data": {"kind": "folder", "examples": used, "sha256": "d" * 64},
            "source": {"file": "net.tflite", "sha256": "0" * 64, "weights": "as stored",
                       "judge": "LiteRT 2"},
            "checkpoint": {"file": "net.pth", "sha256": "1" * 64, "model": "net",
                           "weights": None},
            "sides": {}, "versions": {"torch": "2"}, "batch": 16, "device": "cpu",
        },
    }  # fmt: skip
    return {**data, **changes}


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
