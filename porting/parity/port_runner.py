"""Running the PyTorch network in float32 and float64, with hooks at its taps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from porting.errors import BadInput
from porting.graph.tap_names import INPUT_OF, OUTPUT, SOFTMAX, call_name
from porting.own_module import copied
from porting.parity.noise import EPSILON, noise_of, small_sample_factor
from porting.parity.summation_order import DepthwiseByShifts, ReversedSums, SequentialSums

OnTap = Callable[[str, Tensor], "Tensor | None"]
"""Called with a tap and its values; what it returns takes their place."""


@dataclass(frozen=True)
class PortRun:
    """One reading of the port.

    ``values`` are float32, (N, C, H, W) or (N, C), by tap; ``noise`` (N,) is
    how far float32 alone moves each in each input.
    """

    values: dict[str, np.ndarray]
    noise: dict[str, np.ndarray]


class PortRunner:
    """Runs a network on copies in float32 and float64, which leave the network as it is.

    ``taps`` are module paths, with :data:`INPUT_OF` after them for what flows into
    a module and ``#2`` for its second call in a run, and :data:`SOFTMAX`,
    computed from the tap ``logits``; None where that is a module's own path.
    ``overwrites`` keeps taps safe from a module that computes in place.
    """

    def __init__(
        self, model: nn.Module, taps: Sequence[str], logits: str | None = "classifier",
        overwrites: bool = False,
    ) -> None:  # fmt: skip
        self.taps, self._logits, self._overwrites = tuple(taps), logits, overwrites
        self._model = inference_copy(model, in_place=overwrites).float()
        self._exact = copied(self._model, share=not overwrites).double()
        self.odd_types: dict[str, torch.dtype] = {}
        """Taps that came in another type than the run's, in the order in which they were seen."""
        self.output: Tensor | None = None
        """What the module returned in the last run, as in :func:`output_tensor`."""

    def for_variant(self, model: nn.Module, taps: Iterable[str] = ()) -> PortRunner:
        """A runner of another variant of the network, with the same taps and ``taps`` besides."""
        return PortRunner(model, [*self.taps, *taps], self._logits, self._overwrites)

    def run(
        self, inputs: Tensor, substitutes: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Every tap on inputs (N, C, H, W), float32.

        With ``substitutes`` each tap is computed from what is fed at the taps before it: a tap's
        output is recorded and replaced by its substitute, so that the next piece starts there.
        """
        return self._run(self._model, inputs, substitutes or {})

    def noise(
        self, inputs: Tensor, values: Mapping[str, Tensor],
        substitutes: Mapping[str, Tensor] | None = None, thorough: bool = False,
    ) -> dict[str, np.ndarray]:  # fmt: skip
        """How far float32 alone moves each tap of a run on these inputs: (N,), by tap.

        ``values`` are what :meth:`run` gave. A ``thorough`` noise is drawn from more orders of
        sums, and takes twice as long.
        """
        substitutes = substitutes or {}
        with SequentialSums():
            others = [self._run(self._model, inputs, substitutes)]
        if thorough:
            others += self._runs_in_other_orders(inputs, substitutes)
        noise: dict[str, np.ndarray] = {}

        def measure(tap: str, exact: Tensor) -> Tensor | None:
            noise[tap] = _noise_of(exact, [run[tap] for run in (values, *others)])
            return substitutes.get(tap)

        with DepthwiseByShifts():
            self._visit(self._exact, inputs.double(), measure)
        return noise

    def run_with_noise(
        self, inputs: Tensor, substitutes: Mapping[str, Tensor] | None = None,
        thorough: bool = False,
    ) -> PortRun:  # fmt: skip
        """Values of :meth:`run` and the noise of each tap."""
        values = self.run(inputs, substitutes)
        noise = self.noise(inputs, values, substitutes, thorough)
        return PortRun({tap: tensor.numpy() for tap, tensor in values.items()}, noise)

    def _runs_in_other_orders(
        self, inputs: Tensor, substitutes: Mapping[str, Tensor]
    ) -> list[dict[str, Tensor]]:
        """Float32 runs in another order throughout, on the inputs and one rounding beside them.

        Where an image is constant, one value stands for a whole plane of roundings.
        """
        with SequentialSums(), ReversedSums():
            return [
                self._run(self._model, x, substitutes) for x in (inputs, inputs * (1 + EPSILON))
            ]

    def _run(
        self, model: nn.Module, inputs: Tensor, substitutes: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = {}

        def record(tap: str, values: Tensor) -> Tensor | None:
            outputs[tap] = values
            return substitutes.get(tap)

        self._visit(model, inputs, record)
        return outputs

    def _visit(self, model: nn.Module, inputs: Tensor, on_tap: OnTap) -> None:
        taps, flow = set(self.taps), {}
        if self._logits is not None and SOFTMAX in taps:
            taps = (taps - {SOFTMAX}) | {self._logits}

        def exchange(tap: str, values: Tensor, in_place: bool) -> Tensor:
            tap_values = values.clone() if self._overwrites else values
            if values.dtype != inputs.dtype:
                self.odd_types.setdefault(tap, values.dtype)
                tap_values = values.to(inputs.dtype)
            substitute = on_tap(tap, tap_values)
            if substitute is None:
                # The tensor itself: in a module that computes in place others may refer to it.
                flow[tap] = tap_values
                return values
            flow[tap] = substitute.to(values.dtype)
            if in_place:
                # Other references to the overwritten tensor see the new values too.
                return values.copy_(flow[tap])
            return flow[tap].clone() if self._overwrites else flow[tap]

        # The caller may be under autocast; a comparison never is.
        plain = torch.autocast("cpu", enabled=False)
        with torch.inference_mode(), plain, _tap_hooks(model, taps, exchange):
            with forward_errors_as_bad_input(model, inputs):
                self.output = output_tensor(model(inputs))
            if self._logits is not None and SOFTMAX in self.taps:
                # Under autocast the logits may flow on in half precision.
                logits = flow[self._logits].to(inputs.dtype)
                on_tap(SOFTMAX, logits.flatten(1).softmax(-1))


@contextmanager
def forward_errors_as_bad_input(model: nn.Module, inputs: Tensor) -> Iterator[None]:
    """Turn any error of a module's forward into a :class:`BadInput` that names the module.

    Raises:
        BadInput: its forward fails on these inputs.
    """
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())
        raise BadInput(
            f"{type(model).__name__}: its forward fails on {inputs.dtype} inputs "
            f"{tuple(inputs.shape)}: {type(error).__name__}: {reason}"
        ) from error


@contextmanager
def _tap_hooks(
    model: nn.Module, taps: set[str], exchange: Callable[[str, Tensor, bool], Tensor]
) -> Iterator[None]:
    """Hooks that pass each tap's values to ``exchange`` and replace them by what it returns.

    Its last argument says whether a module has overwritten its own input with them.
    """
    counts: dict[str, int] = {}

    def exchanged(place: str, values: Any, in_place: bool) -> Any:
        counts[place] = number = counts.get(place, 0) + 1
        tap = call_name(place, number)
        if tap not in taps:
            return values
        if isinstance(values, Tensor):
            return exchange(tap, values, in_place)
        output = output_tensor(values)
        if output is None:
            raise TypeError(f"{place} gives a {type(values).__name__}, and before it gave a tensor")
        # A module's return value is recorded only: no later tap depends on it.
        exchange(tap, output, False)
        return values

    def after(place: str) -> Callable[[nn.Module, Any, Any], Any]:
        return lambda module, inputs, output: exchanged(
            place, output, getattr(module, "inplace", False) and output is inputs[0]
        )

    def before(place: str) -> Callable[[nn.Module, Any], Any]:
        return lambda _module, inputs: (exchanged(place, inputs[0], False), *inputs[1:])

    handles = []
    for place in {tap.partition("#")[0] for tap in taps}:
        path = place.removesuffix(INPUT_OF)
        module = model if path == OUTPUT else model.get_submodule(path)
        if place.endswith(INPUT_OF):
            handles.append(module.register_forward_pre_hook(before(place)))
        else:
            handles.append(module.register_forward_hook(after(place)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _noise_of(exact: Tensor, runs: list[Tensor]) -> np.ndarray:
    """:func:`noise_of` on tensors: faster where all is finite."""
    noise = torch.stack([(exact - run).abs().flatten(1).amax(1) for run in runs]).amax(0)
    if noise.isfinite().all():
        return np.asarray(noise.numpy() * small_sample_factor(len(runs) * exact[0].numel()))
    return noise_of(exact.numpy(), *(run.numpy() for run in runs))


def output_tensor(value: Any) -> Tensor | None:
    """The tensor that a module returns, by itself or in a tuple, a list or a mapping.

    Of several it is the one under ``"logits"``; None where there is no such key.
    """
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Mapping):
        if isinstance(logits := value.get("logits"), Tensor):
            return logits
        value = tuple(value.values())
    if not isinstance(value, (tuple, list)):
        return None
    tensors = [item for item in value if isinstance(item, Tensor)]
    return tensors[0] if len(tensors) == 1 else None


def inference_copy(model: nn.Module, in_place: bool = False) -> nn.Module:
    """A copy for inference; its activations overwrite a tap's values only with ``in_place``.

    A user-defined module may rely on that: what is overwritten may be looked at again.

    Raises:
        BadInput: it cannot be copied, or is one of TorchScript.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise BadInput(
            f"{type(model).__name__}: a module of TorchScript cannot be looked into; give the one "
            "that it was made from"
        )
    copy = copied(model, share=not in_place).eval().requires_grad_(False)
    for module in copy.modules():
        if getattr(module, "inplace", False) and not in_place:
            vars(module)["inplace"] = False
    return copy


def has_user_defined_parts(model: nn.Module) -> bool:
    """Whether a network holds modules that are neither of this package nor of PyTorch.

    These may overwrite a tap's values without an attribute that says so.
    """
    packages = {type(module).__module__.partition(".")[0] for module in model.modules()}
    return not packages <= {"genmobilenet", "torch"}


def as_port(values: np.ndarray, shape: tuple[int, ...]) -> Tensor:
    """A judge's array, (N, H, W, C) or (N, C), in the port's axes and shape.

    The two may differ in axes of length 1.
    """
    tensor = torch.from_numpy(values)
    if tensor.ndim == 4:
        # NHWC -> NCHW
        tensor = tensor.permute(0, 3, 1, 2)
    if [n for n in tensor.shape[1:] if n > 1] == [n for n in shape[1:] if n > 1]:
        tensor = tensor.reshape(shape)
    return tensor.contiguous()
