"""The card of a port, the JSON file beside its weights: its content, and how it is read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from porting.errors import BadInput
from porting.mapping.families import ASSUMED, family_of
from porting.mapping.input_spec import InputConvention
from porting.plain_json import encoded

CARD_VERSION = 1

T = TypeVar("T")


@dataclass(frozen=True)
class Weights:
    """The weight file's name and its SHA-256."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Publication:
    """What is stated of a published source; accuracies are in percent, None where not known."""

    name: str
    url: str
    size: int
    top1: int | float | None
    top5: int | float | None
    stated_in: str


@dataclass(frozen=True)
class CardSource:
    """The source of a port. ``lay_at`` is the path where it was when it was ported.

    ``signature`` names the one that was ported, where the source has signatures.
    """

    file: str
    format: str
    sha256: str
    weight_set: str
    lay_at: str | None = None
    publication: Publication | None = None
    signature: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The source as plain data; absent parts are left off."""
        data = asdict(self)
        data["published"] = data.pop("publication")
        return {key: value for key, value in data.items() if value is not None}


@dataclass(frozen=True)
class Calibration:
    """The images that batch norms were calibrated on.

    ``norms`` are their paths. ``images`` counts those that were read;
    ``images_are`` says what they were, ``sha256`` is over their pixels, at the
    size at which the network took them, one image after another. ``skipped``
    are files that could not be read, with the reason.
    """

    norms: tuple[str, ...]
    images: int
    images_are: str
    sha256: str
    skipped: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The calibration as plain data."""
        return {
            "norms": list(self.norms),
            "images": self.images,
            "images_are": self.images_are,
            "pixels_sha256": self.sha256,
            "skipped": [{"file": name, "reason": why} for name, why in self.skipped],
            "variance": "over count - 1, as torch keeps it in running_var",
        }


@dataclass(frozen=True)
class Card:
    """What a port was made from, how, and the judge's verdict.

    ``onto`` names a user-defined module that was filled instead of a network; ``licence`` is what
    a release's author states. ``verdict``,
    ``plan`` and ``versions`` are JSON for people, which no part of the program reads back.
    """

    model: str
    weights: Weights
    source: CardSource
    verdict: Mapping[str, Any]
    input: InputConvention | None
    plan: Mapping[str, Any]
    versions: Mapping[str, str]
    labels: tuple[str, ...] | None = None
    onto: str | None = None
    calibration: Calibration | None = None
    licence: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The file's content as plain JSON; absent parts are left off."""
        data = {
            "card_version": CARD_VERSION,
            "model": self.model,
            "weights": asdict(self.weights),
            "source": self.source.to_json(),
            "verdict": self.verdict,
            "input": None if self.input is None else self.input.to_json(),
            "plan": self.plan,
            "versions": self.versions,
            "labels": self.labels,
            "onto": self.onto,
            "calibration": None if self.calibration is None else self.calibration.to_json(),
            "licence": self.licence,
        }
        return dict(encoded({key: value for key, value in data.items() if value is not None}))


def read_card(weights: Path, digest: str | None) -> Card | None:
    """The card beside a ported file with this SHA-256; None where it has none.

    Raises:
        BadInput: a part of the card is missing or of another type.
    """
    path = weights.with_suffix(".json")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["weights"]["sha256"] != digest:
            return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    try:
        return _card_from_json(data)
    except (BadInput, AttributeError, TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not a card of porting port: {error}") from error
    except KeyError as error:
        raise BadInput(f"{path}: not a card of porting port: it has no {error}") from error


def _card_from_json(data: Mapping[str, Any]) -> Card:
    model, onto, source = data["model"], data.get("onto"), data["source"]
    if not (isinstance(model, str) and isinstance(onto, str | None)):
        raise BadInput(f"its model is {model!r}, ported onto {onto!r}; expected names")
    licence = data.get("licence")
    if not isinstance(licence, str | None):
        raise BadInput(f"its licence is {licence!r}; expected a name")
    if isinstance(source, dict) and source.get("published") is not None:
        publication = _checked(Publication, source["published"], "source.published")
        source = {**source, "publication": publication}
    convention, calibration = data.get("input"), data.get("calibration")
    if convention is not None:
        # Older cards do not say how images become pixels: as the network's family has it.
        family = family_of(model) or ASSUMED
        preprocessing = family.preprocessing(convention["size"])
        convention = InputConvention.from_json({"preprocessing": preprocessing, **convention})
    if calibration is not None:
        calibration = Calibration(
            tuple(calibration["norms"]), calibration["images"], calibration["images_are"],
            calibration["pixels_sha256"],
            tuple((entry["file"], entry["reason"]) for entry in calibration["skipped"]),
        )  # fmt: skip
    labels = None if data.get("labels") is None else tuple(data["labels"])
    return Card(
        model, _checked(Weights, data["weights"], "weights"),
        _checked(CardSource, source, "source"), data.get("verdict", {}), convention,
        data.get("plan", {}), data.get("versions", {}), labels, onto, calibration,
        licence,
    )  # fmt: skip


def _checked(kind: type[T], data: Any, place: str) -> T:
    """A dataclass of a JSON object's members; unknown ones are ignored."""
    if not isinstance(data, dict):
        raise BadInput(f"{place} is {json.dumps(data)}, expected an object")
    types = get_type_hints(kind)
    members = {name: data.get(name) for name in types}
    for name, value in members.items():
        if not isinstance(value, types[name]):
            raise BadInput(f"{place}.{name} is {json.dumps(value)}")
    return kind(**members)
