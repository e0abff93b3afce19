"""What ``make accuracy`` does: fetch a published source, port it, evaluate both.

Run as ``python -m porting.accuracy.reproduce DATA MODEL``; what follows is handed on to
``porting evaluate``, whose exit code this ends with.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from porting.accuracy.evaluation.provenance import digest_of
from porting.catalog.at_hand import on_disk
from porting.catalog.registry import find_entry
from porting.exits import DONE, end_with
from porting.folders import DOWNLOADED, PORTED
from porting.sources.checkpoint import looks_like_checkpoint

CHOOSING = ("weights", "model", "onto")
"""Options by which one network is chosen, of those that a source may stand for."""

_PORTING = (sys.executable, "-m", "porting")


def main(words: Sequence[str] | None = None) -> None:
    """Fetch where that is needed, port, evaluate; exit as the first that fails, or the last."""
    asked, handed_on = _parser().parse_known_args(words)
    source = _source(asked.source)
    # What says which network of the source is meant is for both.
    chosen = [
        word for name in CHOOSING if (value := getattr(asked, name)) is not None
        for word in (f"--{name}", value)
    ]  # fmt: skip
    weights = _ported(source, asked.out, chosen)
    name = asked.reports / f"{Path(weights).stem}-on-{asked.data.name}"
    if handed_on:
        name = name.with_name(f"{name.name}-{digest_of(handed_on)}")
    labels = [] if asked.labels is None else ["--labels", asked.labels]
    sys.exit(
        _run(
            "evaluate", asked.data, "--source", source, "--checkpoint", weights,
            "--json", f"{name}.json", "--report", f"{name}.html", *labels, *chosen, *handed_on,
        )
    )  # fmt: skip


def _source(model: str) -> str:
    """The path that was given, or the name of a published source, which then is on disk.

    Raises:
        BadInput: it is neither.
    """
    if Path(model).exists() or looks_like_checkpoint(Path(model)):
        return model
    entry = find_entry(model)
    if on_disk(entry, DOWNLOADED).state != "yes" and (code := _run("fetch", entry.name)) != DONE:
        sys.exit(code)
    return entry.name


def _ported(source: str, out: Path, chosen: Sequence[str]) -> str:
    """The weights of its port, which the judge has found to be at parity."""
    command = [*_PORTING, "port", source, "--out", str(out), "--json", *chosen]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode != DONE:
        sys.exit(done.returncode)
    weights = str(json.loads(done.stdout)["weights"])
    print(f"ported        {weights}, at parity with its judge", flush=True)
    return weights


def _run(*words: object) -> int:
    return subprocess.run([*_PORTING, *map(str, words)], check=False).returncode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m porting.accuracy.reproduce",
        allow_abbrev=False,  # what is handed on may begin alike
        description="Port a source, and count right answers of its judge and the port.",
    )
    parser.add_argument("data", type=Path, help="labelled images, as porting evaluate takes them")
    parser.add_argument("source", help="a published source or network, or the path of a source")
    parser.add_argument("--labels", help="a file of labels, where they are not with the images")
    for name in CHOOSING:
        parser.add_argument(f"--{name}", help="as for porting port, and for porting evaluate")
    parser.add_argument("--out", type=Path, default=PORTED, help="folder for the port")
    parser.add_argument("--reports", type=Path, default=Path("checkpoints/reports"))
    return parser


if __name__ == "__main__":
    end_with(main)
