"""Make the release folder of a port, judged as it is written.

The weights, under a name with their hash, and the card beside them; the same weights as
``model.safetensors``; timm's ``config.json``; labels; the parity report; accuracies; README.md; and
SHA256SUMS over all of them. The same port gives the same bytes: no file has a time of day, or a
path of the machine.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from genmobilenet.config import SEPARATOR, NetworkConfig
from porting.atomic_files import folder_written_whole
from porting.card import Card, Weights
from porting.errors import BadInput, NotAtParity
from porting.release.port_files import PACKAGE, is_synthetic, read_port_card
from porting.release.readme import readme
from porting.release.safetensors_file import write_safetensors
from porting.release.timm_config import timm_config
from porting.sha256 import sha256_of

SAFETENSORS, CONFIG, LABELS, README = "model.safetensors", "config.json", "labels.txt", "README.md"
PARITY, PAGE, ACCURACY, SUMS = "parity.json", "parity.html", "accuracy.json", "SHA256SUMS"

ACCURACY_SCHEMA = "genmobilenet.released-accuracy"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Release:
    """A release folder: its weights, what the judge says of them, and whether timm builds it."""

    folder: Path
    weights: Path
    verified: bool
    summary: str
    timm: bool


def make_release(
    port_file: Path,
    out: Path,
    source: Path | None,
    *,
    allow_unverified: bool = False,
    evaluation: Path | None = None,
    licence: str | None = None,
    progress: Progress | None = None,
) -> Release:
    """Write a release of the ported file to the folder ``out``, whole or not at all.

    The judge runs ``source`` beside the weights as they are written. ``evaluation`` is what
    ``porting evaluate --json`` wrote of the same weights.

    Raises:
        NotAtParity: the judge disagrees.
        BadInput: the port has no card, or is of a user-defined module; it cannot be judged, and
            ``allow_unverified`` is False; or the evaluation is of other weights.
        OutputError: the folder holds other files, or cannot be written.
    """
    card = read_port_card(port_file)
    digest = card.weights.sha256
    accuracy = None if evaluation is None else _accuracy_of(evaluation, card, digest)
    with folder_written_whole(out, _is_release) as folder:
        stem = "network" if SEPARATOR in card.model else card.model
        stem += "-synthetic" * _comes_from_synthetic(card, source)
        weights = folder / f"{stem}-{digest[:8]}.pth"
        shutil.copyfile(port_file, weights)
        if sha256_of(weights) != digest:
            raise BadInput(f"{port_file}: changed while it was read; release it again")
        card = replace(
            _without_paths_of(card), weights=Weights(weights.name, digest), licence=licence
        )
        parity, reason = None, "its source is not at hand: name it with --source"
        if source is not None:
            try:
                parity = judge_release(source, weights, card, port_file, progress)
            except BadInput as error:
                if not allow_unverified:
                    raise
                reason = str(error)
        if parity is None:
            if not allow_unverified:
                raise BadInput(
                    f"{port_file}: cannot be judged: {reason}; --allow-unverified releases it with "
                    "that in its name and its card"
                )
            weights = weights.rename(folder / f"{stem}-unverified-{digest[:8]}.pth")
            before, summary = card.verdict.get("summary"), "no judge was run on this release"
            if card.verdict.get("verified") and isinstance(before, str):
                summary += f"; when it was ported it was {before}"
            verdict = {"verified": False, "summary": summary}
            card = replace(card, weights=Weights(weights.name, digest), verdict=verdict)
        else:
            card = replace(card, verdict=verdict_of_report(parity))
        _write_files(folder, weights, card, parity, accuracy)
        from porting.release.verification import verify_release

        verify_release(folder)
        return Release(
            out, out / weights.name, parity is not None, str(card.verdict["summary"]),
            (folder / CONFIG).is_file(),
        )  # fmt: skip


def _comes_from_synthetic(card: Card, source: Path | None) -> bool:
    if "-synthetic-" in card.weights.file:
        return True
    if source is None:
        return False
    from porting.sources import open_source

    with contextlib.suppress(BadInput):
        return is_synthetic(open_source(source))
    return False


def judge_release(
    source: Path, weights: Path, card: Card, port_file: Path, progress: Progress | None
) -> dict[str, Any]:
    """The comparison of the source with the weights as they lie in the release."""
    from porting.catalog.local import open_published
    from porting.diff import diff
    from porting.reports.comparison import diff_json
    from porting.subject import subject_from_file

    model = open_published(source)
    if model.sha256 != card.source.sha256:
        raise BadInput(
            f"{source}: its SHA-256 is {model.sha256}, and {port_file.name} was made of "
            f"{card.source.file}, {card.source.sha256}"
        )
    subject = subject_from_file(model, weights, card.model, card.source.weight_set)
    affine = None
    if card.input is not None and card.input.certainty == "stated":
        affine = (card.input.source_mean, card.input.source_std)
    result = diff(model, subject, affine=affine, progress=progress)
    if not result.comparison:
        raise NotAtParity(f"{port_file}: {result.comparison.summary()}; nothing is released")
    folders = (model.user_file.parent, port_file.parent, weights.parent)
    return dict(_scrubbed(diff_json(result), folders))


def verdict_of_report(data: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict in short, as a card has it, from the JSON of a comparison."""
    worst = max(data["taps"], key=_worst_ratio)
    figures = worst["accumulated"] or worst["isolated"] or worst["dense"]
    last = data["taps"][-1]["accumulated"] or figures
    verdict: dict[str, Any] = {
        "verified": True,
        "at_parity": data["agrees"],
        "summary": data["summary"],
        "judge": data["judge"]["name"],
        "judge_version": data["judge"]["version"],
        "inputs": data["inputs"]["count"],
        "inputs_are": data["inputs"]["what"],
        "taps": len(data["taps"]),
        "factor": data["tolerance"]["factor"],
        "worst_tap": {
            "tap": worst["tap"],
            "judge_name": worst["judge_name"],
            "max_abs": figures["max_abs"],
            "scale": figures["scale"],
            "noise": figures["noise"],
            "ratio": _worst_ratio(worst),
        },
        "logits_relative_difference": last["relative"],
        "coverage": data["coverage"],
        "pixels": data["pixels"],
    }
    if data["rests_on"] is not None:
        verdict["rests_on"] = data["rests_on"]["summary"]
    return verdict


def _worst_ratio(tap: Mapping[str, Any]) -> float:
    readings = (tap["accumulated"], tap["isolated"], tap["dense"])
    return max(float(reading["ratio"]) for reading in readings if reading is not None)


def _accuracy_of(evaluation: Path, card: Card, digest: str) -> dict[str, Any]:
    """The figures of an evaluation of these weights, without images and paths."""
    from porting.reports.documents import EVALUATION, read_report

    data = read_report(evaluation, EVALUATION)
    checkpoint = data["made_from"].get("checkpoint")
    if checkpoint is None or checkpoint["sha256"] != digest:
        of = "no checkpoint" if checkpoint is None else f"weights of SHA-256 {checkpoint['sha256']}"
        raise BadInput(f"{evaluation}: evaluates {of}; expected those of the port, {digest}")
    sides = {
        side: {figure: result[figure] for figure in ("top1", "top5")}
        for side, result in data["sides"].items()
    }
    return {
        "schema": ACCURACY_SCHEMA,
        "weights_sha256": digest,
        "source_sha256": card.source.sha256,
        "data": {
            "name": Path(data["data"]["path"]).name,
            **{key: data["data"][key] for key in ("kind", "label_order", "classes", "used")},
        },
        "sides": sides,
        "stated": data["stated"],
        "verdict": data["verdict"],
        "preprocessing": data["convention"]["preprocessing"],
    }


def _write_files(
    folder: Path, weights: Path, card: Card, parity: Mapping[str, Any] | None,
    accuracy: Mapping[str, Any] | None,
) -> None:  # fmt: skip
    from genmobilenet.factory import read_state_dict

    text = card_text(card)
    weights.with_suffix(".json").write_text(text, encoding="utf-8")
    state = read_state_dict(weights)
    write_safetensors(state, text, folder / SAFETENSORS)
    if parity is not None:
        (folder / PARITY).write_text(_json_text(parity), encoding="utf-8")
    if accuracy is not None:
        (folder / ACCURACY).write_text(_json_text(accuracy), encoding="utf-8")
    config = stored_config(weights, card)
    for name, content in derived_files(card, config, parity, accuracy).items():
        (folder / name).write_text(content, encoding="utf-8")
    (folder / SUMS).write_text(sums_of(folder), encoding="utf-8")


def stored_config(weights: Path, card: Card) -> NetworkConfig:
    """The configuration of the network that the weights fill.

    Raises:
        CheckpointError: they are not those of the card's network.
    """
    from genmobilenet.factory import create_model

    return create_model(card.model, checkpoint_path=weights).config


def derived_files(
    card: Card, config: NetworkConfig, parity: Mapping[str, Any] | None,
    accuracy: Mapping[str, Any] | None,
) -> dict[str, str]:  # fmt: skip
    """What the other files of a release alone determine, by name: its texts for people and timm."""
    files, no_timm = {}, None
    try:
        files[CONFIG] = json.dumps(timm_config(card, config), indent=1) + "\n"
    except BadInput as error:
        no_timm = str(error)
    if card.labels is not None:
        files[LABELS] = "".join(" ".join(label.split()) + "\n" for label in card.labels)
    if parity is not None:
        from porting.reports.documents import page

        files[PAGE] = page(dict(parity))
    name = Path(card.weights.file).with_suffix(".json").name
    files[README] = readme(card, name, parity, accuracy, no_timm, package_version())
    return files


def card_text(card: Card) -> str:
    """The content of a release's card."""
    return json.dumps(card.to_json(), indent=1) + "\n"


def package_version() -> str:
    """The version of this package."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(PACKAGE)
    return "of a checkout"


def sums_of(folder: Path) -> str:
    """SHA256SUMS of all other files, as ``sha256sum`` writes it."""
    files = sorted(file.name for file in folder.iterdir() if file.name != SUMS)
    return "".join(f"{sha256_of(folder / name)}  {name}\n" for name in files)


def _json_text(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":")) + "\n"


def _is_release(folder: Path) -> bool:
    """Whether all that a folder holds is listed in its SHA256SUMS, as in an earlier release."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return False
    names = {line.partition("  ")[2] for line in lines} | {SUMS}
    return all(file.name in names and not file.is_dir() for file in folder.iterdir())


_ABSOLUTE = re.compile(r"(?<![\w:/.>-])(?:/[^\s/:,;'\"()]+)+/(?=[^\s/])")
"""The folders of an absolute path in a text; not those in an address or in a tensor's name."""


def _without_paths_of(card: Card) -> Card:
    """The card without the folders in which things lay when it was ported."""
    source = replace(card.source, lay_at=None)
    plan = dict(card.plan)
    plan["notes"] = [_ABSOLUTE.sub("", note) for note in plan.get("notes", ())]
    calibration = card.calibration
    if calibration is not None:
        calibration = replace(
            calibration,
            images_are=_ABSOLUTE.sub("", calibration.images_are),
            skipped=tuple((Path(name).name, _ABSOLUTE.sub("", why))
                          for name, why in calibration.skipped),
        )  # fmt: skip
    return replace(card, source=source, plan=plan, calibration=calibration)


def _scrubbed(value: Any, folders: Iterable[Path]) -> Any:
    """Plain data whose texts name no folder of the machine."""
    if isinstance(value, Mapping):
        return {key: _scrubbed(item, folders) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_scrubbed(item, folders) for item in value]
    if not isinstance(value, str) or "/" not in value or value.startswith("data:"):
        return value
    for folder in folders:
        for spelling in (str(folder), str(folder.absolute()), str(folder.resolve())):
            if spelling not in (".", "/"):
                value = value.replace(f"{spelling}/", "")
    return value
