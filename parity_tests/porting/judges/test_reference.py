"""The TensorFlow reference: names, arithmetic, and the rehearsal made with it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from genmobilenet import get_config, list_models
from porting.errors import BadInput, OutputError
from porting.judges.reference.blocks import reference_blocks
from porting.judges.reference.naming import detect_scheme, layer_scopes, root_and_scheme

tf = pytest.importorskip("tensorflow")

from porting.judges.reference.graph import build_reference  # noqa: E402
from porting.judges.reference.rehearse import rehearse  # noqa: E402
from porting.judges.tensorflow import TensorFlowJudge  # noqa: E402
