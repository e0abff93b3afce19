"""The judge of checkpoints: a reference graph, whose variables TensorFlow itself restores."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genmobilenet.config import NetworkConfig
from porting.errors import BadInput, MissingJudge
from porting.judges.judge import INPUT, Run, direct_inputs, groups_of
from porting.judges.quiet_stderr import stderr_silenced
from porting.sources.checkpoint.weight_sets import EMA_SUFFIX, GRAPH_KEY, is_statistic

if TYPE_CHECKING:
    from porting.judges.reference.steps import Steps


def import_tensorflow() -> Any:
    """TensorFlow, without its start-up messages.

    Raises:
        MissingJudge: it is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # oneDNN's kernels add in another order, and print a line.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        # It looks for GPUs before its log is set up, and prints so whatever the log level is.
        with nullcontext() if "tensorflow" in sys.modules else stderr_silenced():
            import tensorflow as tf
    except ImportError as error:
        raise MissingJudge(
            "the judge of checkpoints and graphs is TensorFlow, which is not installed: "
            "pip install tensorflow, or port with --no-verify"
        ) from error
    tf.get_logger().setLevel("ERROR")
    return tf


def session_settings(tf: Any) -> Any:
    """Settings that keep a session on the CPU, and its graph as it is.

    A GPU's kernels compute in other ways. The optimiser, which fuses and replaces operations, was
    seen to drop one whose value was asked for.
    """
    settings = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
    settings.graph_options.rewrite_options.disable_meta_optimizer = True
    return settings


def reason_of(error: Exception) -> str:
    """The first line of TensorFlow's message that is not a heading."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = (line for line in lines if not line.endswith(":"))
    return next(telling, type(error).__name__)


class TensorFlowJudge:
    """Runs the reference graph on a checkpoint.

    The checkpoint is restored by ``tf.compat.v1.train.Saver`` under
    TensorFlow's own names, never through a plan. ``scheme`` and ``root`` say
    under which names; ``weight_set`` is ``"ema"`` or ``"raw"``. Batch-norm
    statistics that the checkpoint has no average of are restored as they are.
    ``path`` is what messages call the checkpoint where that is not ``prefix``.

    Raises:
        MissingJudge: TensorFlow is not installed.
        BadInput: TensorFlow cannot restore the checkpoint into the graph.
    """

    def __init__(
        self, prefix: Path, config: NetworkConfig, scheme: str, root: str, weight_set: str,
        path: Path | None = None,
    ) -> None:  # fmt: skip
        tf = import_tensorflow()
        from porting.judges.reference.graphs import build_reference

        self.name, self.version = "TensorFlow", str(tf.__version__)
        self._reference = build_reference(config, scheme, root)
        self._session = tf.compat.v1.Session(
            graph=self._reference.graph, config=session_settings(tf)
        )
        try:
            names = dict(self._reference.variables)
            if weight_set == "ema":
                stored_names = _names_in(tf, prefix)
                for name in list(names):
                    average = name + EMA_SUFFIX
                    # A statistic without an average is restored under its own name.
                    if average in stored_names or not is_statistic(name):
                        names[average] = names.pop(name)
            with self._reference.graph.as_default():
                tf.compat.v1.train.Saver(names).restore(self._session, str(prefix))
        except (ValueError, tf.errors.OpError) as error:
            raise BadInput(
                f"{path or prefix}: TensorFlow cannot restore it: {reason_of(error)}"
            ) from error

    @property
    def tap_names(self) -> dict[str, str]:
        """What TensorFlow calls each tap, in the order of depth."""
        return {tap: tensor.op.name for tap, tensor in self._reference.taps.items()}

    def steps(self) -> Steps:
        """What the graph computes, read from its own operations."""
        from porting.judges.reference.steps import steps_of_graph

        return steps_of_graph(self._reference)

    def run(self, inputs: np.ndarray, taps: Mapping[str, str]) -> Run:
        """Run the graph on normalised inputs (N, H, W, C), float32.

        ``taps`` are some of :attr:`tap_names`; arrays are NHWC or (N, C).
        """
        fetches = {tap: self._reference.taps[tap] for tap in taps}
        values = self._session.run(fetches, {self._reference.image: inputs})
        return Run(values, self.name, self.version)

    def run_pieces(
        self, inputs: np.ndarray, values: Mapping[str, np.ndarray], taps: Mapping[str, str]
    ) -> Run:
        """Each tap computed from ``values`` at the taps before it, NHWC or (N, C).

        ``inputs`` (N, H, W, C) are what the first pieces get. A tap without a value is computed and
        not fed.
        """
        tensors = {tap: self._reference.taps[tap] for tap in taps if tap != INPUT}
        results = run_pieces(self._session, {self._reference.image: inputs}, values, tensors)
        return Run(results, self.name, self.version)


def run_pieces(
    session: Any, entry: Mapping[Any, np.ndarray], values: Mapping[str, np.ndarray],
    tensors: Mapping[str, Any],
) -> dict[str, np.ndarray]:  # fmt: skip
    """Compute tensors of a session, by tap in the order of depth, from values fed at others.

    ``entry`` is what is fed at the graph's input, by its tensor.
    """
    names = {tensor.ref(): tap for tap, tensor in tensors.items()}
    substitutes = {tensor.ref(): values[tap] for tap, tensor in tensors.items() if tap in values}

    def inputs_of(reference: Any) -> list[Any]:
        return [tensor.ref() for tensor in reference.deref().op.inputs]

    inputs = {name: direct_inputs(name, substitutes, inputs_of) for name in names}
    results: dict[str, np.ndarray] = {}
    for group in groups_of(inputs):
        entries = set().union(*(inputs[name] for name in group))
        feed = {name.deref(): substitutes[name] for name in entries}
        fetches = {names[name]: name.deref() for name in group}
        results |= session.run(fetches, {**entry, **feed})
    # A tensor that two taps name is computed once.
    return {tap: results[names[tensor.ref()]] for tap, tensor in tensors.items()}


def _names_in(tf: Any, prefix: Path) -> set[str]:
    """Every name that TensorFlow can restore from a checkpoint, as TensorFlow lists them."""
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    reader = tf.train.load_checkpoint(str(prefix))
    names = set(reader.get_variable_to_shape_map())
    if GRAPH_KEY in names:
        graph = TrackableObjectGraph.FromString(reader.get_tensor(GRAPH_KEY))
        names |= {attribute.full_name for node in graph.nodes for attribute in node.attributes}
    return names
