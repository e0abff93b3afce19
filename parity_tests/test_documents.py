"""The documents' examples run as printed, and what they name exists."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import porting
from genmobilenet import create_model, get_config
from parity_tests.building.command import porting as run
from parity_tests.building.tables import write_checkpoint
from porting.mapping import rules

ROOT = Path(__file__).parents[1]
NETWORKS = (ROOT / "docs/networks.md").read_text()
DOCUMENTS = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]
NORM = {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "variance"}


@pytest.fixture
def scheme():
    """The file that shows how to add a naming scheme."""
    text = (ROOT / "docs/extending.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return next(block for block in blocks if "RuleSet(" in block)


def in_that_scheme(key, values, blocks):
    """A variable of MobileNet V1 as that scheme has it: name and values."""
    path, _, name = key.rpartition(".")
    block, _, part = path.rpartition(".")
    if path == "classifier":
        return ("net/fc/weights", values.T) if name == "weight" else ("net/fc/bias", values)
    if block:
        parts = {"conv_dw": "dw", "conv_pw": "pw", "bn1": "dw_norm", "bn2": "pw_norm"}
        place = f"conv{blocks.index(block) + 1}/{parts[part]}"
    else:
        place = "stem" if path == "conv_stem" else "stem/norm"
    if values.ndim == 4:
        # OIHW -> HWIO (depthwise: HWOI).
        axes = (2, 3, 0, 1) if part == "conv_dw" else (2, 3, 1, 0)
        return f"net/{place}/kernel", values.transpose(axes)
    return f"net/{place}/{NORM[name]}", values


def test_a_naming_scheme_of_ones_own(scheme, tmp_path, monkeypatch):
    assert len(scheme.splitlines()) < 30
    made: dict[str, object] = {}
    exec(compile(scheme, "extending.md", "exec"), made)
    monkeypatch.setattr(rules, "RULES", (*rules.RULES, made["OUR_V1"]))
    model = create_model("tf_mobilenetv1_025", num_classes=7)
    kept = {k: v for k, v in model.state_dict().items() if not k.endswith("_tracked")}
    state = {key: torch.rand_like(values) for key, values in kept.items()}
    blocks = list(dict.fromkeys(key.rsplit(".", 2)[0] for key in state if key.startswith("blocks")))
    named = dict(in_that_scheme(key, v.numpy(), blocks) for key, v in state.items())
    write_checkpoint(tmp_path / "ours", {n: np.ascontiguousarray(v) for n, v in named.items()})
    port = porting.port(tmp_path / "ours", "tf_mobilenetv1_025", verify=False)
    assert port.plan.naming == "ours"
    for key, values in state.items():
        torch.testing.assert_close(port.state_dict[key], values, rtol=0, atol=0)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_is_named_exists(document):
    text = document.read_text()
    paths = re.findall(r"`((?:benchmarks|docs|genmobilenet|parity_tests|porting)/[\w./-]*)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md"])
def test_every_link_to_a_file_leads_to_one(document):
    links = re.findall(r"\]\(([^)#]+)", (ROOT / document).read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_module_of_a_room_is_in_it_or_beside_it():
    rooms = re.findall(r"^\| `([^`]*)(`.*)", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    assert len(rooms) > 20
    for place, rest in rooms:
        folders = (ROOT, ROOT / place, (ROOT / place).parent)
        for name in re.findall(r"`([\w/]+\.(?:py|json))`", rest):
            assert any((folder / name).exists() for folder in folders), f"{name} of {place}"


def test_every_option_in_the_table_is_one():
    text = (ROOT / "docs/porting.md").read_text()
    table = text[text.index("| Option | |") :]
    table = table[: table.index("\n\n")]
    named = re.findall(r"`(--[a-z-]+)", table)
    known = run("port", "--help", columns=200).stdout
    assert named
    assert [option for option in named if option not in known] == []


def test_every_network_in_the_table_is_one():
    table = NETWORKS[NETWORKS.index("| Networks |") :]
    named = re.findall(r"`([a-z0-9_{},]+)`", table[: table.index("\n\n")])
    names = [name for pattern in named for name in spelled_out(pattern)]
    assert len(names) >= 40
    for name in names:
        get_config(name)


def spelled_out(pattern):
    """``a_{b,c}`` as ``a_b`` and ``a_c``."""
    choice = re.search(r"\{([^}]*)\}", pattern)
    if choice is None:
        return [pattern]
    return [
        name
        for word in choice[1].split(",")
        for name in spelled_out(pattern[: choice.start()] + word + pattern[choice.end() :])
    ]
