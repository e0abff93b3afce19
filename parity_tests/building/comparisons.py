"""Invented comparisons, as the data that ``porting diff --json`` writes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from parity_tests.building.browsing import PIXEL
from porting.parity.compare import Comparer
from porting.parity.weights import Farthest, WeightComparison, WeightFinding
from porting.reports.comparison import comparison_json


def weights_of(keys, *, bad=True):
    """A comparison of 300 weights, some of which differ, in many ways or in one that agrees."""
    ways = ("ratio", "exchanged", "near") if bad else ("folded",)
    findings = tuple(
        WeightFinding(
            f"blocks.{n // 10}.{n % 10}.conv.weight<b>", ways[n % len(ways)], f"the source's, {n}",
            f"net/block_{n}/kernel", 0.1 * n, Farthest((n, 0, 1, 2), 0.5, float("nan")),
        )
        for n in range(keys)
    )  # fmt: skip
    return WeightComparison(300, findings)


def report_of(taps, bad=None, weights=None):
    """A report's data as `porting diff --json` writes it, with taps of many shapes."""
    generator = np.random.default_rng(0)
    names = {f"blocks.{i // 10}.{i % 10}.act": f"net/block_{i}/Relu" for i in range(taps)}
    comparer = Comparer(names, ("accumulated", "isolated"))
    judge, port = {}, {}
    for number, tap in enumerate(names):
        shape = (1, 1 + number % 40, *((4 + number % 30,) * 2 if number % 7 else ()))
        judge[tap] = generator.standard_normal(shape).astype(np.float32)
        port[tap] = judge[tap] + 1e-6 * generator.standard_normal(shape).astype(np.float32)
        if number == bad:
            port[tap] += np.float32(0.5)
    for reading in ("accumulated", "isolated"):
        comparer.add(reading, judge, port, dict.fromkeys(names, np.array([4e-6])))
    comparison = replace(comparer.finish("Judge <b>", "1.0"), weights=weights)
    return {
        **comparison_json(comparison),
        "source": {"file": "</script>.tflite", "format": "tflite", "sha256": "0" * 64,
                   "weight_set": "as stored"},
        "subject": {"model": "net", "file": "net.pth", "sha256": "1" * 64, "notes": ["a note"]},
        "inputs": {
            "count": 1, "what": "1 random image",
            "convention": {"size": 224, "channels": 3, "classes": 1000, "mean": [1, 2, 3],
                           "std": [4, 5, 6], "evidence": "the graph"},
            "skipped": [{"file": "broken.png", "reason": "cut short"}],
            "thumbnails": [PIXEL],
        },
        "rests_on": {"agrees": True, "described": True, "summary": "the graph in <i>the file</i>",
                     "refusals": [], "graph": None},
        "quantised": None,
        "versions": {"python": "3"},
    }  # fmt: skip
