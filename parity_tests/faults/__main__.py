"""Plant six hundred faults and print which were detected, and where: ``make faults``.

On real files where ``PORTING_ARTIFACTS`` names a folder of them, else on synthetic files.
Exits with 1 where a fault that matters was not seen, or was given another place.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from parity_tests.faults.cases import HARMLESS, SEED, Outcome, Subject
from porting.parity.inputs import image_stream, seeded_pixels

REAL = (
    ("google/mobilenet_v1_0.25_224_float.tflite", None),
    ("google/mobilenet_v2_1.0_224_quant.tflite", None),
    ("mnasnet-a1-050/mnasnet-a1_float.tflite", None),
    ("mnasnet-a1-050/mnasnet-a1_postquant.tflite", None),
    ("mnasnet-b1/mnasnet-b1_float.tflite", None),
    ("mobilenet-v2-035-96/mobilenet-v2_float.tflite", None),
    ("mobilenet-v3-small-minimalistic/v3-small-min.tflite", None),
    ("mnasnet-a1-050", "ema"),
    ("mobilenet-v2-035-96", "ema"),
)
SYNTHESIZED = ("mnasnet_small", "mobilenetv3_small_100")
PER_KIND = 2


@contextmanager
def subjects() -> Iterator[list[Subject]]:
    """Ports of all real files, and of synthetic files for the other networks."""
    from porting.judges.reference.synthesize import synthesize

    ports = []
    if "PORTING_ARTIFACTS" in os.environ:
        real = Path(os.environ["PORTING_ARTIFACTS"])
        ports += [Subject(real / file, weights) for file, weights in REAL]
    with tempfile.TemporaryDirectory() as folder:
        for model in SYNTHESIZED:
            files = synthesize(model, Path(folder, model))
            ports.append(Subject(files.float))
            ports.append(Subject(files.checkpoint, name=f"synthetic {model}, checkpoint"))
        yield ports


def pixels_for(subject: Subject) -> np.ndarray:
    """Two photos, if there are any, and a seeded image."""
    size, channels = subject.convention.size, subject.convention.channels
    random_image = seeded_pixels(1, size, channels)
    folder = os.environ.get("PORTING_ARTIFACTS")
    if folder is None:
        return random_image
    photos = iter(image_stream(Path(folder, "images"), 0, size, channels))
    return np.stack([next(photos), next(photos), random_image[0]])


def main() -> None:
    """Plant the faults, judge them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-kind", type=int, default=PER_KIND, help="places of each kind")
    parser.add_argument("--source", default="", help="part of a source's name")
    parser.add_argument("--kind", default="", help="regular expression for kinds of faults")
    options = parser.parse_args()
    outcomes: list[Outcome] = []
    with subjects() as ports:
        for subject in ports:
            if options.source not in subject.name:
                continue
            pixels, generator = pixels_for(subject), np.random.default_rng(SEED)
            print(subject.name, file=sys.stderr, flush=True)
            for outcome in subject.outcomes(pixels, options.per_kind, generator, options.kind):
                outcomes.append(outcome)
                if _is_failure(outcome):
                    print(f"  {_outcome_line(outcome)}", file=sys.stderr, flush=True)
    Console(width=100).print(table(outcomes))
    sys.exit(any(map(_is_failure, outcomes)))


def table(outcomes: list[Outcome]) -> Table:
    """Faults of each kind: how many were planted, mattered, were detected, and were located."""
    by_kind: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_kind[outcome.case.kind].append(outcome)
    columns = ("fault", "cases", f"matter (logits off by {HARMLESS:g})", "seen", "of all", "placed")
    result = Table(*columns)
    for kind, group in [*by_kind.items(), ("all", outcomes)]:
        matter = [outcome for outcome in group if outcome.matters]
        detections = [outcome for outcome in group if outcome.seen]
        result.add_row(
            kind, str(len(group)), str(len(matter)), str(sum(o.seen for o in matter)),
            str(len(detections)), str(sum(o.placed for o in detections)),
        )  # fmt: skip
    return result


def _is_failure(outcome: Outcome) -> bool:
    return (outcome.matters and not outcome.seen) or (outcome.seen and not outcome.placed)


def _outcome_line(outcome: Outcome) -> str:
    case, comparison = outcome.case, outcome.comparison
    what = "NOT SEEN" if not outcome.seen else f"expected {' or '.join(case.places) or case.sort}"
    return (
        f"{case.kind} at {case.place}: {what}; logits off by {outcome.logits:.1e}; "
        f"{comparison.summary()}"
    )


if __name__ == "__main__":
    main()
