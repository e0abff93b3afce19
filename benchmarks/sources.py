"""What the benchmarks port: real files where they are at hand, else rehearsals."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BenchSources:
    """MNASNet-B1 as TFLite, and MNASNet-A1 at 0.5 as TFLite, dynamic-range TFLite, checkpoint."""

    b1: Path
    a1: Path
    a1_dynamic: Path
    a1_checkpoint: Path


@contextmanager
def bench_sources() -> Iterator[BenchSources]:
    """Sources named by ``PORTING_ARTIFACTS``, or rehearsals made for the occasion."""
    if "PORTING_ARTIFACTS" in os.environ:
        real = Path(os.environ["PORTING_ARTIFACTS"])
        a1 = real / "mnasnet-a1-050"
        print(f"sources: the files of {real}", file=sys.stderr)
        yield BenchSources(
            real / "mnasnet-b1/mnasnet-b1_float.tflite",
            a1 / "mnasnet-a1_float.tflite",
            a1 / "mnasnet-a1_postquant.tflite",
            a1,
        )
        return
    from porting.judges.reference.rehearse import rehearse

    print("sources: rehearsals (PORTING_ARTIFACTS is not set)", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        b1 = rehearse("tf_mnasnet_100", Path(folder, "b1"))
        a1_made = rehearse("tf_semnasnet_050", Path(folder, "a1"))
        yield BenchSources(b1.float, a1_made.float, a1_made.dynamic, a1_made.checkpoint)
