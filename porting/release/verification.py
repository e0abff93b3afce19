"""Check a release folder: each file against the others, and with its source the parity too."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

from genmobilenet.errors import CheckpointError
from porting.card import Card, read_card
from porting.errors import BadInput
from porting.release.folder import (
    ACCURACY,
    CONFIG,
    LABELS,
    PAGE,
    PARITY,
    README,
    SAFETENSORS,
    SUMS,
    derived_files,
    judge_release,
    package_version,
    stored_config,
    verdict_of_report,
)
from porting.release.readme import version_in
from porting.release.safetensors_file import read_safetensors
from porting.sha256 import sha256_of

if TYPE_CHECKING:
    from genmobilenet.config import NetworkConfig

MOST_FILES = 64
"""Most files in a release folder; this package writes at most ten."""

MOST_TEXT = 64 << 20
"""Most bytes of a text file."""

_LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<name>[^/\\\0]+)")
_WEIGHTS = re.compile(
    r"(?P<model>[\w]+)(?P<marks>(-synthetic)?(-unverified)?)-(?P<hash>[0-9a-f]{8})"
)


@dataclass(frozen=True)
class Verification:
    """The outcome of a check without problems.

    ``notes`` says what could not be checked, ``parity`` the verdict of a judge that was run now.
    """

    weights: Path
    card: Card
    files: int
    notes: tuple[str, ...]
    parity: str | None = None


def verify_release(
    folder: Path, source: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> Verification:
    """Check a release folder without a network; with ``source``, have the judge run again.

    Raises:
        BadInput: a file is missing, unknown, changed or contradicts another; the message lists
            every contradiction. No code of any file is run.
        NotAtParity: the source's judge disagrees with the weights.
    """
    names = _listed_files(folder)
    weight_files = [folder / name for name in names if name.endswith(".pth")]
    if len(weight_files) != 1:
        raise BadInput(f"{folder}: {len(weight_files)} files of weights (.pth); a release has one")
    (weights,) = weight_files
    digest = sha256_of(weights)
    match = _WEIGHTS.fullmatch(weights.stem)
    if match is None or match["hash"] != digest[:8]:
        raise BadInput(
            f"{weights}: its SHA-256 begins {digest[:8]}, which its name does not have as "
            "<model>-<8 digits>.pth; it was renamed, or is another file"
        )
    for name in (SAFETENSORS, README, weights.with_suffix(".json").name):
        if name not in names:
            raise BadInput(f"{folder}: has no {name}; a release has one")
    card = read_card(weights, digest)
    if card is None:
        raise BadInput(
            f"{weights.with_suffix('.json')}: not a card of {weights.name}, of SHA-256 {digest}"
        )
    try:
        config = stored_config(weights, card)
    except CheckpointError as error:
        raise BadInput(f"{folder}: the card names {card.model}; {error}") from error
    parity = _read_json(folder / PARITY) if PARITY in names else None
    accuracy = _read_json(folder / ACCURACY) if ACCURACY in names else None
    try:
        problems = [
            *_problems_of_card(card, weights, match, config),
            *_problems_of_safetensors(folder, weights),
            *_problems_of_figures(card, digest, parity, accuracy),
        ]
        texts, notes = _problems_of_texts(folder, names, card, config, parity, accuracy)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise BadInput(f"{folder}: not figures as a release has them ({error!r})") from error
    problems += texts
    if problems:
        count = f"{len(problems)} contradiction{'s' if len(problems) > 1 else ''}"
        raise BadInput(f"{folder}: {count} among its files:\n  " + "\n  ".join(problems))
    verdict = None
    if source is not None:
        verdict = str(judge_release(source, weights, card, weights, progress)["summary"])
    return Verification(weights, card, len(names) + 1, tuple(notes), verdict)


def _listed_files(folder: Path) -> set[str]:
    """The names in SHA256SUMS, once each is a plain file of that checksum, and none is missing."""
    try:
        entries = {file.name: file.lstat() for _, file in zip(
            range(MOST_FILES + 1), sorted(folder.iterdir()), strict=False)}  # fmt: skip
    except OSError as error:
        raise BadInput(f"{folder}: cannot be read: {error.strerror}") from error
    if len(entries) > MOST_FILES:
        raise BadInput(f"{folder}: more than {MOST_FILES} files, which no release has")
    for name, status in entries.items():
        if not S_ISREG(status.st_mode):
            raise BadInput(
                f"{folder / name}: is a link or a folder; a release holds plain files alone"
            )
    if SUMS not in entries:
        raise BadInput(f"{folder}: has no {SUMS}, and so is not a release")
    sums: dict[str, str] = {}
    for line in _read_text(folder / SUMS).splitlines():
        match = _LINE.fullmatch(line)
        if match is None or match["name"] in (".", "..", SUMS) or match["name"] in sums:
            raise BadInput(
                f"{folder / SUMS}: the line {line[:120]!r} is not a checksum, two spaces and the "
                "name of a file in this folder"
            )
        sums[match["name"]] = match["digest"]
    for name in sorted({*entries, *sums} - {SUMS}):
        if name not in entries:
            raise BadInput(f"{folder / name}: missing, and listed in {SUMS}")
        if name not in sums:
            raise BadInput(f"{folder / name}: not listed in {SUMS}")
        digest = sha256_of(folder / name)
        if digest != sums[name]:
            raise BadInput(f"{folder / name}: its SHA-256 is {digest}, in {SUMS} {sums[name]}")
    return set(sums)


def _problems_of_card(
    card: Card, weights: Path, match: re.Match[str], config: NetworkConfig
) -> list[str]:
    problems = []
    name = "network" if " | " in card.model else card.model
    if card.weights.file != weights.name:
        problems.append(f"the card is of {card.weights.file}, the file is {weights.name}")
    if match["model"] != name:
        problems.append(f"the card is of {name}, the file of {match['model']}")
    if bool(card.verdict.get("verified")) == ("unverified" in match["marks"]):
        problems.append("the card and the file's name differ on whether a judge was run")
    if card.input is not None and card.input.classes != config.num_classes:
        problems.append(f"the card says {card.input.classes} classes, not {config.num_classes}")
    if card.labels is not None and len(card.labels) != config.num_classes:
        problems.append(f"the card has {len(card.labels)} labels for {config.num_classes} classes")
    publication = card.source.publication
    if publication is not None:
        from porting.catalog.published import CATALOG

        entry = CATALOG.get(publication.name)
        for figure in ("top1", "top5", "url"):
            ours = None if entry is None else getattr(entry, figure)
            if entry is not None and getattr(publication, figure) != ours:
                problems.append(
                    f"the card states {figure} {getattr(publication, figure)} of "
                    f"{publication.name}, its authors {ours}"
                )
    return problems


def _problems_of_safetensors(folder: Path, weights: Path) -> list[str]:
    """Whether ``model.safetensors`` has the tensors of the weight file, and the card."""
    import torch

    from genmobilenet.factory import read_state_dict

    tensors, text = read_safetensors(folder / SAFETENSORS)
    state = read_state_dict(weights)
    problems = []
    if text != _read_text(weights.with_suffix(".json")):
        problems.append(f"the card in {SAFETENSORS} is not the one beside {weights.name}")
    differing = [
        key for key in {**state, **tensors}
        if key not in state or key not in tensors
        or state[key].dtype != tensors[key].dtype
        # Bits are compared, so that NaN equals itself.
        or not torch.equal(_bits(state[key]), _bits(tensors[key]))
    ]  # fmt: skip
    if differing:
        problems.append(f"{len(differing)} tensors of {SAFETENSORS} differ, {differing[0]} first")
    return problems


def _bits(values: Any) -> Any:
    import torch

    return values.contiguous().reshape(-1).view(torch.uint8)


def _problems_of_figures(
    card: Card, digest: str, parity: Mapping[str, Any] | None, accuracy: Mapping[str, Any] | None
) -> list[str]:
    problems = []
    verified = bool(card.verdict.get("verified"))
    if verified != (parity is not None):
        problems.append(f"the card says verified: {str(verified).lower()}; {PARITY} "
                        f"{'is missing' if verified else 'is there all the same'}")  # fmt: skip
    if parity is not None:
        if parity["subject"]["sha256"] != digest:
            problems.append(f"{PARITY} compares weights of SHA-256 {parity['subject']['sha256']}")
        if parity["source"]["sha256"] != card.source.sha256:
            problems.append(f"{PARITY} compares a source of SHA-256 {parity['source']['sha256']}")
        if parity["agrees"] is not True:
            problems.append(f"{PARITY} is not of a comparison that agrees")
        ours = verdict_of_report(parity)
        for figure in sorted({*ours, *card.verdict}):
            if ours.get(figure) != card.verdict.get(figure):
                problems.append(
                    f"verdict.{figure} is {json.dumps(card.verdict.get(figure))[:200]} in the "
                    f"card, by {PARITY} {json.dumps(ours.get(figure))[:200]}"
                )
    if accuracy is not None and accuracy["weights_sha256"] != digest:
        problems.append(f"{ACCURACY} is of weights of SHA-256 {accuracy['weights_sha256']}")
    return problems


def _problems_of_texts(
    folder: Path, names: set[str], card: Card, config: NetworkConfig,
    parity: Mapping[str, Any] | None, accuracy: Mapping[str, Any] | None,
) -> tuple[list[str], list[str]]:  # fmt: skip
    """Whether the texts for people and timm are what the other files give, and notes.

    Another version of this package may have written them otherwise.
    """
    texts = derived_files(card, config, parity, accuracy)
    writer = version_in(_read_text(folder / README))
    unknown = names - {*texts, SAFETENSORS, PARITY, ACCURACY} - {
        card.weights.file, Path(card.weights.file).with_suffix(".json").name
    }  # fmt: skip
    problems = [f"{name} is not a file of a release" for name in sorted(unknown - {CONFIG, LABELS})]
    if writer != package_version():
        note = (
            f"{README} and what is made with it were written by version {writer}; this is "
            f"{package_version()}, which checks their checksums alone"
        )
        return problems, [note]
    for name in (CONFIG, LABELS, PAGE, README):
        if (name in names) != (name in texts):
            problems.append(f"{name} is {'unexpected' if name in names else 'missing'}")
        elif name in names and _read_text(folder / name) != texts[name]:
            problems.append(f"{name} is not what the card and the figures give")
    return problems, []


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_TEXT:
            raise BadInput(f"{path}: longer than {MOST_TEXT >> 20} MiB")
        # Reading in text mode would convert line ends.
        return path.read_bytes().decode("utf-8")
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: not a readable text ({error})") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not readable JSON ({error})") from error
    if not isinstance(data, dict):
        raise BadInput(f"{path}: expected a JSON object, found {type(data).__name__}")
    return data
