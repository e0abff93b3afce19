"""The names that ``porting`` offers stay what they are once their modules are imported."""

import subprocess
import sys

CODE = """
import importlib, porting
from porting.cli import app
for name, home in porting._HOME.items():
    importlib.import_module(home)
    value = getattr(porting, name)
    assert value is getattr(importlib.import_module(home), name), name
"""


def test_no_submodule_takes_the_name_of_a_function():
    subprocess.run([sys.executable, "-c", CODE], check=True)
