"""The judge of TFLite files: LiteRT runs the file and gives any of its tensors."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from porting.errors import BadInput, MissingJudge, NoPieces
from porting.graph.operators import takes_channels_first
from porting.judges.judge import Run
from porting.judges.quiet_stderr import stderr_silenced
from porting.judges.tflite_rewriting import (
    dequantise,
    piece_by_piece,
    producing_layer,
    up_to,
    with_every_result,
    with_one_subgraph,
    with_output,
)
from porting.sources.tflite import TFLiteSource


@dataclass(frozen=True)
class Affine:
    """Affine quantisation as TFLite's kernels do it: ``real = scale * (stored - zero)``.

    One scale for a whole tensor: the step between neighbours, in real units.
    """

    scale: float
    zero: int
    dtype: np.dtype[Any]

    def to_integers(self, real: np.ndarray) -> np.ndarray:
        """Real values as integers: halves are rounded away from zero, others clipped to the type.

        As ``AffineQuantize`` in tensorflow/lite/kernels/internal/reference/quantize.h.
        LiteRT's own kernel has lately sent halves to the even side; inputs
        half way between two integers are few.
        """
        quotient = real.astype(np.float64) / self.scale
        whole = np.trunc(quotient)
        whole += np.sign(quotient) * (np.abs(quotient - whole) >= 0.5)
        limits = np.iinfo(self.dtype)
        return np.asarray(np.clip(whole + self.zero, limits.min, limits.max).astype(self.dtype))

    def to_real(self, integers: np.ndarray) -> np.ndarray:
        """Integers as the float32 numbers that they stand for."""
        steps = integers.astype(np.float64) - self.zero
        return np.asarray((steps * self.scale).astype(np.float32))


def affine_of(detail: Mapping[str, Any]) -> Affine | None:
    """A tensor's quantisation by the interpreter's details; None for none, or for one a channel."""
    parameters, dtype = detail["quantization_parameters"], np.dtype(detail["dtype"])
    if parameters["scales"].size != 1 or not np.issubdtype(dtype, np.integer):
        return None
    zero = parameters["zero_points"]
    return Affine(float(parameters["scales"][0]), int(zero[0]) if zero.size else 0, dtype)


TFLITE_RUNTIME = "tflite-runtime"
RUNTIMES = {"ai-edge-litert": "LiteRT", TFLITE_RUNTIME: TFLITE_RUNTIME}
"""Packages that hold the interpreter, the first found is taken -> the judge's name."""


class LiteRTJudge:
    """Runs a TFLite file with every intermediate result kept.

    LiteRT's plain kernels are used, without the XNNPACK delegate: a delegate
    keeps intermediate results to itself. With ``in_float`` the file is run
    with all its integers turned into float32 first, which
    tells an error of the port from the effect of computing in int8. With
    ``only``, a tensor's name, no other result is kept, and LiteRT runs as it
    does by itself, its delegate included: three times as fast. With ``end``, a tensor's name, the
    file is run up to there and no further.

    Raises:
        MissingJudge: LiteRT is not installed.
        BadInput: LiteRT refuses the file.
        UnsupportedSource: with ``in_float``, the file has no float counterpart.
    """

    def __init__(
        self, source: TFLiteSource, in_float: bool = False, only: str | None = None,
        end: str | None = None,
    ) -> None:  # fmt: skip
        _, name, self.version = _runtime()
        self._source, self._channels_first = source, takes_channels_first(source)
        self.name = f"{name} on dequantised weights" if in_float else name
        rewrites: list[Callable[[bytes], bytes]] = []
        if source.subgraph_count > 1:
            rewrites.append(lambda content: with_one_subgraph(content, source.subgraph))
        if end is not None:
            rewrites.append(lambda content: up_to(content, source.index_of(end)))
        if in_float:
            rewrites.append(lambda content: dequantise(content, source.path))
        if only is not None:
            rewrites.append(lambda content: with_output(content, source.index_of(only)))
        elif name == TFLITE_RUNTIME:
            rewrites.append(with_every_result)
        content: bytes | None = None
        for rewrite in rewrites:
            content = rewrite(source.file.read_bytes() if content is None else content)
        # None where the file is run as it is.
        self._content = content
        self._interpreter: Any = self._interpreter_of(content, keep=only is None)
        self._pieces: dict[frozenset[int], Any] = {}
        self._input: dict[str, Any] = self._interpreter.get_input_details()[0]
        details = self._interpreter.get_tensor_details()
        self._affine = {detail["index"]: affine_of(detail) for detail in details}

    def run(self, inputs: np.ndarray, taps: Mapping[str, str]) -> Run:
        """Run the file on real-valued inputs (N, H, W, C), one by one.

        ``taps`` gives, by tap, the tensor's name in the source. The run's
        arrays are NHWC, or (N, C) where the graph has no spatial axes there;
        what the file holds in integers is given as the real values they stand for.
        """
        numbers = {tap: self._source.index_of(tensor) for tap, tensor in taps.items()}
        arrays_by_tap: dict[str, list[np.ndarray]] = {tap: [] for tap in taps}
        inputs = inputs.transpose(0, 3, 1, 2) if self._channels_first else inputs
        self._fit((1, *inputs.shape[1:]))
        for image in inputs:
            self._interpreter.set_tensor(self._input["index"], self._to_input_type(image[None]))
            self._interpreter.invoke()
            for tap, number in numbers.items():
                values, affine = self._interpreter.get_tensor(number), self._affine.get(number)
                real = values if affine is None else affine.to_real(values)
                arrays_by_tap[tap].append(np.asarray(real))
        # One input's values are not copied again.
        arrays = {
            tap: p[0] if len(p) == 1 else np.concatenate(p) for tap, p in arrays_by_tap.items()
        }
        steps = {tap: kind.scale for tap, n in numbers.items() if (kind := self._affine.get(n))}
        return Run(arrays, self.name, self.version, steps)

    @property
    def input_type(self) -> str:
        """NumPy's name of the type that the file's input has."""
        return str(np.dtype(self._input["dtype"]).name)

    @property
    def pixels_to_inputs(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """Pixels 0..255 (N, H, W, C) to :meth:`run`'s inputs; None for an input of floats.

        As documented for such files, uint8 holds pixels as they are, int8 less 128. The
        interpreter says which real numbers the bytes are; no input convention has a part in it.
        """
        dtype, affine = np.dtype(self._input["dtype"]), affine_of(self._input)
        whole = np.issubdtype(dtype, np.integer)
        if not whole or (affine is not None and dtype.itemsize > 1):
            return None
        least = -128 if dtype == np.int8 else 0
        encoding = affine or Affine(1.0, 0, dtype)
        return lambda pixels: encoding.to_real(np.clip(np.rint(pixels), 0, 255) + least)

    def run_pieces(
        self, inputs: np.ndarray, values: Mapping[str, np.ndarray], taps: Mapping[str, str]
    ) -> Run:
        """Each tap computed from ``values`` at the taps before it, NHWC or (N, C).

        ``inputs`` (1, H, W, C) are what the file itself gets. A tap without a value is computed and
        not fed. For a judge that holds everything in float32.

        Raises:
            NoPieces: the operators cannot be put into such an order, or the shape of a tensor to
                feed is open until the file has run.
        """
        numbers = {tap: self._source.index_of(tensor) for tap, tensor in taps.items()}
        substitutes = frozenset(number for tap, number in numbers.items() if tap in values)
        try:
            if substitutes not in self._pieces:
                whole = self._source.file.read_bytes() if self._content is None else self._content
                self._pieces[substitutes] = self._interpreter_of(
                    piece_by_piece(whole, substitutes), keep=True
                )
            interpreter = self._pieces[substitutes]
            inputs = inputs.transpose(0, 3, 1, 2) if self._channels_first else inputs
            _fit(interpreter, (1, *inputs.shape[1:]), self._source.path)
            interpreter.set_tensor(self._input["index"], self._to_input_type(inputs))
            open_taps = []
            for tap in numbers.keys() & values.keys():
                try:
                    interpreter.set_tensor(numbers[tap], values[tap].astype(np.float32))
                except ValueError:
                    open_taps.append(tap)
            if open_taps:
                raise NoPieces(f"{open_taps[0]} has no shape yet", tuple(open_taps))
            interpreter.invoke()
        except NoPieces as error:
            raise NoPieces(f"{self._source.path}: {error}", error.taps) from error
        except (ValueError, RuntimeError) as error:
            raise NoPieces(f"{self._source.path}: {error}") from error
        arrays = {tap: interpreter.get_tensor(number) for tap, number in numbers.items()}
        return Run(arrays, self.name, self.version)

    def producing_layer(self, tensor: str) -> tuple[str, np.ndarray, np.ndarray] | None:
        """Kind, weight (OIHW or OI) and bias of the layer that a tensor comes from, float32.

        Read through the schema classes of the ``tflite`` package, apart from the source's reader.

        Raises:
            MissingJudge: that package is not installed.
        """
        whole = self._source.file.read_bytes() if self._content is None else self._content
        return producing_layer(whole, self._source.index_of(tensor))

    def _interpreter_of(self, content: bytes | None, keep: bool) -> Any:
        """An interpreter of ``content``, or of the file; with ``keep`` it keeps every tensor."""
        runtime = _runtime()[0]
        options = {
            "experimental_op_resolver_type":
                runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            "experimental_preserve_all_tensors": True,
        } if keep else {}  # fmt: skip
        try:
            with stderr_silenced():  # a delegate announces itself
                interpreter = runtime.Interpreter(
                    model_path=None if content else str(self._source.file),
                    model_content=content,
                    # More than two do not help; one where the process limits its libraries to it.
                    num_threads=1 if os.environ.get("OMP_NUM_THREADS") == "1" else 2,
                    **options,
                )
                interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BadInput(f"{self._source.path}: LiteRT cannot run it: {error}") from error
        return interpreter

    def _fit(self, shape: tuple[int, ...]) -> None:
        """Resize the input to this shape, where the file leaves the size of its images open.

        Raises:
            BadInput: the file is made for others.
        """
        self._input = _fit(self._interpreter, shape, self._source.path)

    def _to_input_type(self, image: np.ndarray) -> np.ndarray:
        """An input (1, H, W, C) in the file's type; without a scale, integers stay as they are."""
        dtype = np.dtype(self._input["dtype"])
        if not np.issubdtype(dtype, np.integer):
            return image.astype(dtype)
        return (affine_of(self._input) or Affine(1.0, 0, dtype)).to_integers(image)


def _fit(interpreter: Any, shape: tuple[int, ...], path: Path) -> dict[str, Any]:
    """Resize an interpreter's input to a shape; the input's details.

    Raises:
        BadInput: the file is made for others.
    """
    entry: dict[str, Any] = interpreter.get_input_details()[0]
    if tuple(entry["shape"]) == shape:
        return entry
    try:
        interpreter.resize_tensor_input(entry["index"], shape, strict=True)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        expected_shape = tuple(map(int, entry["shape"]))
        raise BadInput(
            f"{path}: takes inputs of shape {expected_shape}, and not {shape}"
        ) from error
    return dict(interpreter.get_input_details()[0])


def installed_runtime() -> str:
    """The interpreter's name and version.

    Raises:
        MissingJudge: none is installed.
    """
    _, name, version = _runtime()
    return f"{name} {version}"


def _runtime() -> tuple[Any, str, str]:
    """The interpreter's module, its name and its version: LiteRT, or tflite-runtime in its place.

    Both run the same kernels under the same interface; tflite-runtime is what LiteRT was called
    up to 2023, and what some small machines have.
    """
    for package, name in RUNTIMES.items():
        try:
            module = importlib.import_module(f"{package.replace('-', '_')}.interpreter")
        except ImportError:
            continue
        return module, name, importlib.metadata.version(package)
    raise MissingJudge(
        "the judge of a TFLite file is LiteRT, which is not installed: "
        "pip install ai-edge-litert tflite, or port with --no-verify"
    )
