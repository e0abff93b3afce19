"""Sources for the benchmarks: real files if available, else synthetic ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class BenchSources:
    """MNASNet-B1 as TFLite, and MNASNet-A1 at 0.5 as TFLite, dynamic-range TFLite, checkpoint.

    Among real files also a fully ``trained`` one, Google's MobileNet V1 at 0.25, and a folder of
    ``images``.
    """

    b1: Path
    a1: Path
    a1_dynamic: Path
    a1_checkpoint: Path
    trained: Path | None = None
    images: Path | None = None


@contextmanager
def bench_sources() -> Iterator[BenchSources]:
    """Sources named by ``PORTING_ARTIFACTS``, or newly made synthetic files."""
    if "PORTING_ARTIFACTS" in os.environ:
        real = Path(os.environ["PORTING_ARTIFACTS"])
        a1 = real / "mnasnet-a1-050"
        print(f"sources: the files of {real}", file=sys.stderr)
        yield BenchSources(
            real / "mnasnet-b1/mnasnet-b1_float.tflite",
            a1 / "mnasnet-a1_float.tflite",
            a1 / "mnasnet-a1_postquant.tflite",
            a1,
            real / "google/mobilenet_v1_0.25_224_float.tflite",
            real / "images",
        )
        return
    print("sources: synthetic files (PORTING_ARTIFACTS is not set)", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        b1 = _synthesize("tf_mnasnet_100", Path(folder, "b1"))
        a1 = _synthesize("tf_semnasnet_050", Path(folder, "a1"))
        yield BenchSources(
            Path(b1["float"]),
            Path(a1["float"]),
            Path(a1["dynamic"]),
            Path(a1["checkpoint"]),
        )


def _synthesize(model: str, folder: Path) -> dict[str, Any]:
    """Run ``porting synthesize --json`` and return its output.

    In a process of its own: a process starts with the peak memory of its parent, so TensorFlow
    in this one would count for all that are measured.
    """
    command = [sys.executable, "-m", "porting", "synthesize", model, "--out", str(folder), "--json"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(output))
