"""The ``README.md`` of a release: front matter that hubs read, and the figures in words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genmobilenet.config import SEPARATOR
from porting.card import Card

Json = Mapping[str, Any]

IMAGENET = "imagenet-1k"
"""The data set's name on the Hugging Face hub."""

NOT_SAID = (
    "that the network is any good: parity is with the TensorFlow source, not with the truth;",
    "that other images than those compared give no larger difference, though every weight was "
    "exercised or is the source's;",
    "that images decoded or resized otherwise give the source's answers: see the input below;",
    "anything of a run in half precision, quantised, or on another device than a CPU.",
)


def readme(
    card: Card, card_name: str, parity: Json | None, accuracy: Json | None, no_timm: str | None,
    version: str,
) -> str:  # fmt: skip
    """The text of a release's README.md.

    ``parity`` and ``accuracy`` are the content of their files where there are any, ``no_timm`` is
    why timm cannot build the network, ``version`` that of this package.
    """
    title = Path(card.weights.file).stem
    parts = [
        _front_matter(card, title, accuracy, no_timm is None),
        f"# {title}\n",
        f"{_what(card)}\n",
        "## Verdict\n",
        *_verdict(card, parity),
        "## Accuracy\n",
        *_accuracy(card, accuracy),
        "## Input\n",
        *_input(card),
        "## How to load it\n",
        *_loading(card, card_name, no_timm),
        "## Files\n",
        "`sha256sum --check SHA256SUMS` or `porting verify .` checks them"
        " (`--source FILE` has the TensorFlow side run again).\n",
        f"Written by genmobilenet {version}.\n",
    ]
    return "\n".join(parts)


def version_in(text: str) -> str | None:
    """The version of this package that wrote a README.md."""
    match = re.search(r"^Written by genmobilenet (\S+)\.$", text, re.MULTILINE)
    return match[1] if match else None


def _front_matter(card: Card, title: str, accuracy: Json | None, for_timm: bool) -> str:
    """YAML whose values are JSON, which YAML contains."""
    publication = card.source.publication
    on_imagenet = publication is not None
    fields: dict[str, Any] = {
        "license": card.licence or ("apache-2.0" if publication else "unknown"),
        "library_name": "timm" if for_timm else "genmobilenet",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "pytorch", "genmobilenet", *["timm"] * for_timm],
    }
    if on_imagenet:
        fields["datasets"] = [IMAGENET]
    metrics = []
    if publication is not None:
        for label, value in (("top-1", publication.top1), ("top-5", publication.top5)):
            if value is not None:
                name = f"{label} accuracy, stated by its authors, percent"
                metrics.append((IMAGENET, "ImageNet-1k", name, value))
    for side, result in (accuracy or {}).get("sides", {}).items():
        for figure in ("top1", "top5"):
            name = f"{figure[:3]}-{figure[3:]} accuracy of the {side}, measured, percent"
            data = str(accuracy["data"]["name"]) if accuracy else ""
            metrics.append((data, data, name, result[figure]["percent"]))
    lines = ["---", *(f"{key}: {_value(value)}" for key, value in fields.items())]
    if metrics:
        lines += ["model-index:", f"- name: {_value(title)}", "  results:"]
    for kind, name, metric, value in metrics:
        lines += [
            "  - task:", '      type: "image-classification"',
            "    dataset:", f"      type: {_value(kind)}", f"      name: {_value(name)}",
            "    metrics:", '    - type: "accuracy"', f"      name: {_value(metric)}",
            f"      value: {_value(value)}",
        ]  # fmt: skip
    return "\n".join([*lines, "---\n"])


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True)


def _what(card: Card) -> str:
    source = card.source
    text = (
        f"The network {code(card.model)}, with the weights ({code(source.weight_set)}) of "
        f"{code(source.file)}, a TensorFlow source of the kind {code(source.format)} with SHA-256 "
        f"`{source.sha256}`."
    )
    if source.publication is not None:
        text += f" It was published as {code(source.publication.name)}: {source.publication.url}"
    if card.calibration is not None:
        text += f" Batch norms are calibrated on {card.calibration.images} images."
    return text


def _verdict(card: Card, parity: Json | None) -> list[str]:
    verdict = card.verdict
    if parity is None:
        return [f"**Unverified**: {_plain(verdict['summary'])}.\n"]
    lines = [
        f"These very files are {_plain(verdict['summary'])}.\n",
        "| | |", "|---|---|",
        f"| judge | {_plain(verdict['judge'])} {_plain(verdict['judge_version'])} |",
        f"| images | {_plain(verdict['inputs_are'])} |",
        f"| taps compared | {verdict['taps']} |",
        f"| worst tap | {code(verdict['worst_tap']['tap'])}: {verdict['worst_tap']['ratio']:.3g} "
        f"times its float32 noise, of {verdict['factor']:g} allowed |",
        f"| logits | {verdict['logits_relative_difference']:.2g} of their scale apart at most |",
    ]  # fmt: skip
    coverage = parity.get("coverage")
    if coverage is not None:
        equal, exercised = coverage["equal_to_the_source"], coverage["exercised"]
        lines.append(
            f"| coverage | {exercised:,} of {coverage['weights']:,} weights exercised, {equal:,} "
            "more are the source's |"
        )
    if verdict.get("rests_on"):
        lines.append(f"| the structure rests on | {_plain(verdict['rests_on'])} |")
    return [
        *lines,
        "\nThe report is in `parity.html`, its figures are in `parity.json`.\n",
        "The verdict does not say\n",
        *(f"- {line}" for line in NOT_SAID),
        "",
    ]


def _accuracy(card: Card, accuracy: Json | None) -> list[str]:
    lines = []
    publication = card.source.publication
    if publication is not None and publication.top1 is not None:
        fifth = "" if publication.top5 is None else f", top-5 {publication.top5:g} %"
        lines.append(
            f"Stated by its authors on ImageNet-1k: top-1 {publication.top1:g} %{fifth} "
            f"({_plain(publication.stated_in)}).\n"
        )
    if accuracy is not None:
        data = accuracy["data"]
        lines += [
            f"Measured on {data['used']:,} images of {code(data['name'])}: "
            f"{_plain(accuracy['verdict']['sentence'])}.\n",
            "| | top-1 | top-5 |", "|---|---|---|",
            *(
                f"| {_plain(side)} | {result['top1']['percent']:.2f} % | "
                f"{result['top5']['percent']:.2f} % |"
                for side, result in accuracy["sides"].items()
            ),
            "",
        ]  # fmt: skip
    return lines or ["Neither stated nor measured.\n"]


def _input(card: Card) -> list[str]:
    convention = card.input
    if convention is None:
        return ["The card does not say what the network takes.\n"]
    return [
        f"RGB, {convention.channels} channels of {convention.size} x {convention.size} pixels 0 to "
        f"255, minus {_numbers(convention.mean)}, over {_numbers(convention.std)}. "
        f"Certainty: {_plain(convention.certainty)}; {_plain(convention.evidence)}.\n",
        f"An image file becomes pixels by: {code(convention.preprocessing)}.\n",
    ]


def _loading(card: Card, card_name: str, no_timm: str | None) -> list[str]:
    argument = "None" if SEPARATOR in card.model else json.dumps(card.model)
    lines = [
        "```python",
        "from genmobilenet import create_model",
        "",
        f"model = create_model({argument}, pretrained=DIR).eval()  # DIR is this folder",
        "```\n",
    ]
    if no_timm is None:
        lines += [
            "```python",
            "import timm",
            "",
            'model = timm.create_model("local-dir:DIR", pretrained=True).eval()',
            "```\n",
        ]
    else:
        lines.append(f"There is no `config.json` for timm: {_plain(no_timm)}.\n")
    lines.append(f"The card, {code(card_name)}, is in the metadata of `model.safetensors` too.\n")
    return lines


def code(text: str) -> str:
    """Text from a file as inline code, which Markdown does not interpret."""
    text = " ".join(text.split())
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    space = " " if longest else ""
    return f"{fence}{space}{text}{space}{fence}".replace("|", "\\|") if text else "(none)"


def _plain(text: str) -> str:
    """Text on one line, escaped for Markdown and HTML."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(str(text).split()))


def _numbers(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"
