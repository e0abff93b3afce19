"""Import rules, each checked in a new interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "tensorflow", "ai_edge_litert", "h5py", "onnx", "rich", "flatbuffers")

RULES = [
    ("import genmobilenet", HEAVY),
    ("import porting", HEAVY),
    ("from genmobilenet import get_config, list_models; get_config('mnasnet_100')", HEAVY),
    ("from porting import open_source", HEAVY),
    ("import porting.mapping.recognise", HEAVY),
    ("import porting.parity.compare", HEAVY),
    ("import porting.judges.litert", HEAVY),
    ("import porting.judges.keras", (*HEAVY, "keras")),
    ("import porting.judges.graph", HEAVY),
    ("import porting.judges.tensorflow, porting.judges.reference.synthesize", HEAVY),
    ("import porting.api", HEAVY),
    ("import porting.calibration", (*HEAVY, "porting.parity", "porting.judges")),
    ("import porting.card", (*HEAVY, "porting.calibration", "porting.parity", "porting.judges")),
    (
        "import porting.diff, porting.reports.comparison, porting.reports.documents",
        (*HEAVY, "PIL", "jsonschema"),
    ),
    ("import porting.catalog.local, porting.cli.obtain, porting.cli.check", (*HEAVY, "requests")),
    (
        "import porting.catalog.published, porting.catalog.downloads",
        ("porting.sources", "requests"),
    ),
    ("import porting.catalog.local", ("porting.mapping", "porting.judges", "porting.parity")),
    ("import porting.accuracy.datasets", (*HEAVY, "PIL", "porting.mapping", "porting.parity")),
    ("import porting.accuracy.preprocessing", (*HEAVY, "PIL", "numba", "simplejpeg")),
    (
        "import porting.accuracy.evaluation.evaluate",
        (*HEAVY, "PIL", "numba", "scipy", "pyarrow"),
    ),
    (
        "import porting.cli",
        ("torch", "tensorflow", "ai_edge_litert", "h5py", "onnx", "numpy", "asyncio"),
    ),
    ("import genmobilenet.deployment", ("tensorflow", "ai_edge_litert", "porting")),
    ("import genmobilenet.network", ("tensorflow", "ai_edge_litert", "porting")),
    ("import porting.sources", ("porting.mapping", "porting.judges", "porting.parity")),
    ("import porting.judges.litert", ("porting.mapping", "porting.parity")),
    ("import porting.judges.keras", ("porting.mapping", "porting.parity")),
    ("import porting.judges.graph", ("porting.mapping", "porting.parity")),
    ("import porting.judges.reference.synthesize", ("porting.mapping", "porting.parity")),
    ("import porting.mapping.recognise", ("porting.judges", "porting.parity", "porting.api")),
    (
        "import porting.parity.tap_matching",
        ("porting.mapping", "porting.judges", "porting.sources"),
    ),
    ("import porting.parity.compare", ("porting.mapping", "porting.judges", "porting.sources")),
]


@pytest.mark.parametrize(("statement", "absent"), RULES, ids=[rule[0] for rule in RULES])
def test_a_fresh_interpreter(statement, absent):
    code = (
        f"import sys\n{statement}\n"
        f"print([name for name in {absent!r} "
        "if any(m == name or m.startswith(name + '.') for m in sys.modules)])"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "[]"
