"""The commands as a user types them: output, exit codes, files."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from genmobilenet import get_config
from parity_tests.building.checkpoints import variables, with_averages, write_network
from parity_tests.building.command import porting, with_code
from parity_tests.building.tables import write_checkpoint
from parity_tests.building.tflite_networks import PooledInside, network_file


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "small.tflite"
    path.write_bytes(network_file(get_config("tf_mnasnet_small")))
    return path


def test_inspect_says_what_it_is(small):
    result = porting("inspect", small)
    assert result.returncode == 0
    assert "fits       tf_mnasnet_small" in result.stdout
    assert "107: 51 CONV_2D, 15 DEPTHWISE_CONV_2D, 11 MEAN" in " ".join(result.stdout.split())
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert result.stderr == ""


def test_inspect_as_json(small):
    data = json.loads(porting("inspect", small, "--json").stdout)
    assert data["models"] == ["tf_mnasnet_small"]
    assert data["format"] == "tflite"
    assert data["operators"]["DEPTHWISE_CONV_2D"] == 15
    assert data["classes"] == 1000


def test_inspect_of_a_network_in_no_table_shows_its_strings(tmp_path):
    odd = tmp_path / "odd.tflite"
    odd.write_bytes(network_file(replace(get_config("tf_mnasnet_small"), head_channels=1000)))
    result = porting("inspect", odd, "--json")
    assert result.returncode == 0
    [model] = json.loads(result.stdout)["models"]
    assert model.startswith("stem_c8_nre | ds_r1_k3_s1_c8_noskip | ir_r1_k3_s2_e3_c16 | ")
    assert model.endswith(" | cn_c1000 pool fc")


def test_inspect_of_what_no_strings_say(tmp_path):
    odd = tmp_path / "odd.tflite"
    odd.write_bytes(PooledInside(get_config("tf_mnasnet_small")).build())
    result = porting("inspect", odd, "--json")
    assert result.returncode == 0
    data = json.loads(result.stdout)
    assert data["models"] == []
    assert "no known network fits" in data["why_no_model"]


def test_port_writes_weights_and_card(small, tmp_path):
    result = porting("port", small, "--out", tmp_path / "out")
    assert result.returncode == 0
    assert "at parity with LiteRT" in result.stdout
    assert len(list((tmp_path / "out").glob("tf_mnasnet_small-*.pth"))) == 1
    assert len(list((tmp_path / "out").glob("tf_mnasnet_small-*.json"))) == 1
    assert result.stderr == ""


def test_port_as_json(small, tmp_path):
    data = json.loads(porting("port", small, "--out", tmp_path, "--json").stdout)
    assert data["model"] == "tf_mnasnet_small"
    assert data["verdict"]["at_parity"] is True
    assert data["weights"].endswith(".pth")


STRICT = (
    "from porting.parity.noise import Tolerance; "
    "Tolerance.__init__.__defaults__ = (1e-9, None, None)"
)
"""The factor made absurdly small, so that rounding itself disagrees."""


def test_a_judge_that_disagrees_exits_with_one(small, tmp_path):
    result = with_code(STRICT, "port", small, "--out", tmp_path / "out")
    assert result.returncode == 1
    assert "NOT at parity with LiteRT" in result.stderr
    assert "taps disagree; the error is born at" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_judge_that_disagrees_as_json(small, tmp_path):
    result = with_code(STRICT, "port", small, "--out", tmp_path / "out", "--json")
    assert result.returncode == 1
    data = json.loads(result.stdout)
    assert data["verdict"]["at_parity"] is False
    assert (data["weights"], data["card"]) == (None, None)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_seen_before_the_judging(small, tmp_path):
    (tmp_path / "file").write_text("")
    code = "import porting.api; porting.api.open_published = None"
    result = with_code(code, "port", small, "--out", tmp_path / "file" / "out")
    assert result.returncode == 2
    assert "out: cannot be written: Not a directory" in result.stderr


def test_a_verdict_is_printed_although_nothing_can_be_written(small, tmp_path):
    code = (
        "import torch\ndef full(*_): raise OSError(28, 'No space left on device')\n"
        "torch.save = full"
    )
    result = with_code(code, "port", small, "--out", tmp_path / "out")
    assert result.returncode == 2
    assert "at parity with LiteRT" in result.stdout
    assert "wrote" not in result.stdout
    assert "No space left on device" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["port", "absent.tflite"], "no such file"),
        (["port", "SMALL", "--model", "mnasnet_1000"], "the nearest names are mnasnet_100"),
        (["port", "SMALL", "--model", "semnasnet_100"], "would fit: tf_mnasnet_small"),
        (["port", "SMALL", "--weights", "ema"], "has no ema weights to choose"),
        (["port", "SMALL", "--classes", "drop-background"], "only of 1001"),
        (["port", "SMALL", "--bn", "calibrate"], "needs them: --images DIR"),
        (["port", "SMALL", "--images", "photos"], "--bn calibrate uses them"),
        (["port", "SMALL", "--weights", "best"], "'best' is not one of 'ema', 'raw'"),
        (["inspect"], "Missing argument 'SOURCE'"),
        (["improt", "SMALL"], "No such command 'improt'"),
        (["synthesize", "resnet50", "--out", "x"], "no network is called 'resnet50'"),
    ],
)
def test_wrong_use_exits_with_two_and_leaves_nothing(small, tmp_path, words, message):
    out = tmp_path / "out"
    words = [str(small) if word == "SMALL" else word for word in words]
    extra = ["--out", out] if words[0] == "port" else []
    result = porting(*words, *extra)
    assert result.returncode == 2
    text = " ".join(result.stderr.replace("│", " ").split())
    assert message in text
    assert not out.exists()


def test_bad_files_exit_with_two_and_one_clear_message(small, tmp_path):
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(small.read_bytes()[:5000])
    picture = tmp_path / "cat.jpeg"
    picture.write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for path in (cut, picture, empty, tmp_path / "folder"):
        result = porting("port", path, "--out", tmp_path / "out")
        assert result.returncode == 2
        assert result.stderr.startswith(f"porting: {path}: ")
        assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_statistics_taken_raw_are_noted_in_terminal_json_and_card(tmp_path):
    made = with_averages(variables("tf_mnasnet_small", "keras", "m"))
    average = "/ExponentialMovingAverage"
    made = {n: v for n, v in made.items() if not ("/moving_" in n and n.endswith(average))}
    write_checkpoint(tmp_path / "model.ckpt", made)
    words = ["port", tmp_path / "model.ckpt", "--no-verify", "--out", tmp_path / "out"]
    result = porting(*words)
    assert result.returncode == 0
    shown = " ".join(result.stdout.split())
    note = "92 batch-norm statistics have no moving average and are taken raw: m/mnas_blocks_0/"
    assert f"note {note}" in shown
    assert "and 89 more verdict no judge was run" in shown
    assert note in json.loads(porting(*words, "--json").stdout)["notes"][0]
    (card,) = (tmp_path / "out").glob("*.json")
    assert note in json.loads(card.read_text())["plan"]["notes"][0]


WITHOUT_JUDGES = """
import sys

class Hidden:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("tensorflow", "ai_edge_litert", "tflite_runtime"):
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Hidden())
"""


def test_a_checkpoint_needs_no_tensorflow_without_a_judge(tmp_path):
    prefix = tmp_path / "model.ckpt"
    write_network(prefix, "tf_mnasnet_small")
    words = ["port", prefix, "--out", tmp_path / "out"]
    result = with_code(WITHOUT_JUDGES, *words, "--no-verify")
    assert result.returncode == 0, result.stderr
    assert "ema (raw also in the source)" in result.stdout
    refused = with_code(WITHOUT_JUDGES, *words)
    assert refused.returncode == 2
    assert "pip install tensorflow" in refused.stderr


@pytest.mark.slow
def test_synthesize_and_port_all_that_it_makes(small_synthetic, tmp_path):
    made = small_synthetic
    for source in (made.checkpoint, made.float, made.dynamic):
        result = porting("port", source, "--out", tmp_path)
        assert result.returncode == 0, result.stderr
        assert "at parity" in result.stdout
        assert result.stderr == ""
    assert len(list(tmp_path.glob("*.pth"))) == 3


@pytest.mark.slow
@pytest.mark.parametrize("command", ["synthesize", "rehearse"])
def test_the_synthesize_command_and_its_former_name(tmp_path, command):
    result = porting(command, "mnasnet_small", "--out", tmp_path / "made", "--json")
    assert result.returncode == 0, result.stderr
    data = json.loads(result.stdout)
    assert data["model"] == "tf_mnasnet_small"
    assert Path(data["float"]).is_file()


def test_the_help_lists_every_command_but_a_former_name():
    text = porting("--help").stdout
    commands = re.findall(r"^│ ([a-z]+) ", text[text.index("Commands") :], re.MULTILINE)
    assert commands == [
        "inspect", "port", "check", "diff", "diagnose", "evaluate", "reproduce", "release",
        "verify", "export", "report", "sources", "fetch", "synthesize",
    ]  # fmt: skip
    assert max(map(len, text.splitlines())) <= 80


def test_the_version_is_that_of_the_package():
    result = porting("--version")
    assert (result.returncode, result.stdout) == (0, f"porting {version('genmobilenet')}\n")


def test_a_shell_completes_commands_and_options():
    def completions(words, last):
        environment = {"_PORTING_COMPLETE": "complete_bash", "COMP_WORDS": words}
        return with_code(
            "import os, sys; sys.argv[0] = 'porting'\n"
            f"os.environ.update({environment!r}, COMP_CWORD={str(last)!r})"
        ).stdout.split()

    assert completions("porting re", 1) == ["reproduce", "release", "report"]
    assert completions("porting check --re", 2) == ["--reports"]
