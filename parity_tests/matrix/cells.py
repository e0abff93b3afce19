"""The source kinds, and the networks for which each is tested.

A new kind is a line in :data:`KINDS`; every family then has a cell of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from parity_tests.building.networks import TRIED, WITHOUT_CHECKPOINTS
from parity_tests.matrix.files import Made, checkpoint, frozen_graph, keras, saved_model, tflite

NETWORKS = tuple(
    model for model in TRIED if model.startswith("tf_") and model not in WITHOUT_CHECKPOINTS
)
"""Others have tests of their own for each form of a graph, ``test_mixed_convolutions.py``."""
FAMILIES = (
    "tf_mnasnet_050",
    "tf_semnasnet_050",
    "tf_mnasnet_small",
    "tf_mnasnet_d1",
    "tf_mobilenetv1_025",
    "tf_mobilenetv2_035",
    "tf_mobilenetv3_small_075",
    "tf_mobilenetv3_large_075",
    "tf_mobilenetv3_large_minimal_100",
    "tf_spnasnet_100",
    "tf_efficientnet_b0",
    "tf_efficientnet_lite0",
)
"""One width of each family, and of MobileNet V3 each of its forms."""

WITH_CHECKPOINTS = (*FAMILIES, "tf_efficientnet_es", "tf_mobilenet_edgetpu_075")
"""And those whose fused blocks have names of their own in checkpoints."""

KERAS_NETWORKS = tuple(m for m in NETWORKS if m.startswith(("tf_mobilenetv", "tf_efficientnet_b")))
FAMILIES_OF_KERAS = (
    *(model for model in FAMILIES if model in KERAS_NETWORKS), "tf_mobilenetv3_small_minimal_100",
)  # fmt: skip
TAKEN_IN_TURN = ("frozen-graph", "saved-model", "checkpoint-ema", "checkpoint-raw")


# tflite-runtime is used if LiteRT is not installed.
RUNTIME = "LiteRT" if find_spec("ai_edge_litert.interpreter") else "tflite-runtime"
LITERT, TENSORFLOW, KERAS = (RUNTIME,), ("TensorFlow",), ("Keras",)
IN_INTEGERS = (f"{RUNTIME} on dequantised weights", RUNTIME)
"""Quantised weights are judged with everything in float32; the file as it is is reported."""


@dataclass(frozen=True)
class Kind:
    """A source kind: how its files are made, and which judges it has.

    ``column`` is the word for it in the head of the table in docs/networks.md. The first of
    the ``judges`` decides, one behind it is only reported. ``weights`` is the
    weight set to ask for, None where the file holds one; ``slow`` marks what
    needs TensorFlow.
    """

    name: str
    column: str
    judges: tuple[str, ...]
    make: Callable[[str, Path], Made]
    networks: tuple[str, ...] = FAMILIES
    weights: str | None = None
    slow: bool = True


KINDS = (
    Kind("tflite-float", "TFLite", LITERT, tflite("float32"), NETWORKS, slow=False),
    Kind("tflite-float16", "TFLite", LITERT, tflite("float16"), slow=False),
    Kind("tflite-int8", "TFLite", IN_INTEGERS, tflite("int8"), slow=False),
    Kind("tflite-int8-channels", "TFLite", IN_INTEGERS, tflite("int8_channels"), slow=False),
    Kind("tflite-uint8-legacy", "TFLite", IN_INTEGERS, tflite("uint8_legacy"), slow=False),
    Kind("frozen-graph", "frozen graph", TENSORFLOW, frozen_graph),
    Kind("saved-model", "SavedModel", TENSORFLOW, saved_model),
    Kind(
        "checkpoint-ema", "Checkpoint", TENSORFLOW, checkpoint(raw=False), WITH_CHECKPOINTS, "ema"
    ),
    Kind("checkpoint-raw", "Checkpoint", TENSORFLOW, checkpoint(raw=True), weights="raw"),
    Kind("keras", "Keras", KERAS, keras("archive"), KERAS_NETWORKS),
    Kind("keras-weights", "Keras", KERAS, keras("numbered"), KERAS_NETWORKS),
    Kind("keras-h5", "Keras", KERAS, keras("h5"), KERAS_NETWORKS),
    Kind("keras-h5-weights", "Keras", KERAS, keras("legacy weights"), KERAS_NETWORKS),
)


@dataclass(frozen=True)
class Cell:
    """One network in one source kind; ``thorough`` where others of its kind stand for it in CI."""

    model: str
    kind: Kind

    @property
    def thorough(self) -> bool:
        """Graphs and checkpoints are taken in turn, and files of Keras where a width is another's.

        So each family has a graph and a checkpoint, each kind of those half of the families, each
        architecture of Keras every kind of file, and each width of it one.
        """
        if self.kind.name in TAKEN_IN_TURN and self.model in FAMILIES:
            turn = TAKEN_IN_TURN.index(self.kind.name)
            return (turn + FAMILIES.index(self.model)) % 2 == 1
        if self.kind.judges == KERAS and self.model not in FAMILIES_OF_KERAS:
            layouts = [kind for kind in KINDS if kind.judges == KERAS]
            return layouts.index(self.kind) != KERAS_NETWORKS.index(self.model) % len(layouts)
        return False

    def __str__(self) -> str:
        return f"{self.model}-{self.kind.name}"


CELLS = [
    Cell(model, kind)
    # The kinds of a network are consecutive: those of one framework share its weights.
    for model in NETWORKS
    for kind in KINDS
    if model in kind.networks
]
