"""Each source's worst tap in multiples of its float32 noise, and that noise.

The factor in ``porting/parity/noise.py`` should be well above the first and far below that of
a fault; the ceiling well above the second and below half precision's noise.
"""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from benchmarks.sources import bench_sources
from porting import port
from porting.parity.noise import FACTOR


def main() -> None:
    """Port each source and print its worst taps."""
    table = Table("source", "judge", "worst tap", "x noise", "noise / scale", "logits",
                 f"factor {FACTOR:g}")  # fmt: skip
    with bench_sources() as sources:
        runs = [
            *((path, None) for path in (sources.b1, sources.a1, sources.a1_dynamic)),
            *((sources.a1_checkpoint, weights) for weights in ("ema", "raw")),
        ]
        for path, weights in runs:
            comparison = port(path, weights=weights).comparison
            assert comparison is not None
            worst, logits = comparison.worst, comparison["classifier"].figures.relative
            name = f"{path.name} {weights or ''}".strip()
            verdict = "agrees" if comparison else "DISAGREES"
            table.add_row(
                name,
                comparison.judge,
                worst.tap,
                f"{worst.ratio:.1f}",
                f"{comparison.noise_share:.1e}",
                f"{logits:.1e}",
                verdict,
            )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
