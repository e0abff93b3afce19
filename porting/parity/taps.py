"""Running the PyTorch side with its taps seen, in float32 and float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from porting.errors import BadInput
from porting.own_module import copied
from porting.parity.arithmetic import DepthwiseByShifts, SumsOneByOne
from porting.parity.names import SOFTMAX
from porting.parity.noise import EPSILON, few_draws, noise_of
from porting.parity.reordering import Reordered

INPUT_OF = ":input"
"""Behind a module's path: what flows into it, and not what it gives."""

OUTPUT = "(output)"
"""Tap for what a whole module returns."""

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

    ``taps`` are module paths, with :data:`INPUT_OF` behind for what flows into
    a module and ``#2`` for its second call in a run, and :data:`SOFTMAX`,
    computed from the tap ``logits``; None where that is a module's own path.
    ``overwrites`` keeps taps safe from a module that computes in place.
    """

    def __init__(
        self, model: nn.Module, taps: Sequence[str], logits: str | None = "classifier",
        overwrites: bool = False,
    ) -> None:  # fmt: skip
        self.taps, self._logits, self._overwrites = tuple(taps), logits, overwrites
        self._model = prepared(model, in_place=overwrites).float()
        self._exact = copied(self._model, share=not overwrites).double()
        self.odd_types: dict[str, torch.dtype] = {}
        """Taps that came in another type than the run's, in the order in which they were seen."""
        self.returned: Tensor | None = None
        """What the module returned in the last run, None where no tensor can be told in it."""

    def run(self, inputs: Tensor, fed: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Every tap on inputs (N, C, H, W), float32.

        With ``fed`` each tap is computed from what is fed at the taps before it: every tap's
        output is noted, and what is fed put in its place, so that the next piece starts there.
        """
        return self._run(self._model, inputs, fed or {})

    def noise(
        self, inputs: Tensor, values: Mapping[str, Tensor],
        fed: Mapping[str, Tensor] | None = None, thorough: bool = False,
    ) -> dict[str, np.ndarray]:  # fmt: skip
        """How far float32 alone moves each tap of a run on these inputs: (N,), by tap.

        ``values`` are what :meth:`run` gave. A ``thorough`` noise is drawn from more orders of
        sums, and takes twice as long.
        """
        fed = fed or {}
        with SumsOneByOne():
            others = [self._run(self._model, inputs, fed)]
        if thorough:
            others += self._drawn_again(inputs, fed)
        noise: dict[str, np.ndarray] = {}

        def measure(tap: str, exact: Tensor) -> Tensor | None:
            noise[tap] = _noise_of(exact, [run[tap] for run in (values, *others)])
            return fed.get(tap)

        with DepthwiseByShifts():
            self._visit(self._exact, inputs.double(), measure)
        return noise

    def accumulated(self, inputs: Tensor, thorough: bool = False) -> PortRun:
        """Values and noise of every tap on inputs (N, C, H, W), float32."""
        return self._reading(inputs, {}, thorough)

    def isolated(
        self, inputs: Tensor, judge: Mapping[str, Tensor], thorough: bool = False
    ) -> PortRun:
        """The same with each piece fed what the judge gave at the taps before it."""
        return self._reading(inputs, judge, thorough)

    def _reading(self, inputs: Tensor, fed: Mapping[str, Tensor], thorough: bool) -> PortRun:
        values = self.run(inputs, fed)
        noise = self.noise(inputs, values, fed, thorough)
        return PortRun({tap: tensor.numpy() for tap, tensor in values.items()}, noise)

    def _drawn_again(self, inputs: Tensor, given: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        """Float32 runs in another order throughout, on the inputs and one rounding beside them.

        Where an image is constant, one value stands for a whole plane of roundings.
        """
        with SumsOneByOne(), Reordered():
            return [self._run(self._model, x, given) for x in (inputs, inputs * (1 + EPSILON))]

    def _run(
        self, model: nn.Module, inputs: Tensor, given: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        seen: dict[str, Tensor] = {}

        def note(tap: str, values: Tensor) -> Tensor | None:
            seen[tap] = values
            return given.get(tap)

        self._visit(model, inputs, note)
        return seen

    def _visit(self, model: nn.Module, inputs: Tensor, on_tap: OnTap) -> None:
        wanted, flowed = set(self.taps), {}
        if self._logits is not None and SOFTMAX in wanted:
            wanted = (wanted - {SOFTMAX}) | {self._logits}

        def exchange(tap: str, values: Tensor, in_place: bool) -> Tensor:
            kept = values.clone() if self._overwrites else values
            if values.dtype != inputs.dtype:
                self.odd_types.setdefault(tap, values.dtype)
                kept = values.to(inputs.dtype)
            replaced = on_tap(tap, kept)
            if replaced is None:
                # The tensor itself: in a module that computes in place others may look at it too.
                flowed[tap] = kept
                return values
            flowed[tap] = replaced.to(values.dtype)
            if in_place:
                # Whoever holds the tensor that was overwritten sees what stands there now.
                return values.copy_(flowed[tap])
            return flowed[tap].clone() if self._overwrites else flowed[tap]

        # Whoever calls may be under autocast: a comparison never is.
        plain = torch.autocast("cpu", enabled=False)
        with torch.inference_mode(), plain, _hooked(model, wanted, exchange):
            with failures_named(model, inputs):
                self.returned = answer_in(model(inputs))
            if self._logits is not None and SOFTMAX in self.taps:
                on_tap(SOFTMAX, flowed[self._logits].flatten(1).softmax(-1))


@contextmanager
def failures_named(model: nn.Module, inputs: Tensor) -> Iterator[None]:
    """Whatever a module's own code raises is about that module.

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
def _hooked(
    model: nn.Module, taps: set[str], exchange: Callable[[str, Tensor, bool], Tensor]
) -> Iterator[None]:
    """Hooks that hand each tap's values to ``exchange`` and let flow on what that gives.

    It is told too whether a module has written them over what it was given.
    """
    counts: dict[str, int] = {}

    def exchanged(place: str, values: Any, in_place: bool) -> Any:
        counts[place] = number = counts.get(place, 0) + 1
        tap = call_name(place, number)
        if tap not in taps:
            return values
        if isinstance(values, Tensor):
            return exchange(tap, values, in_place)
        answer = answer_in(values)
        if answer is None:
            raise TypeError(f"{place} gives a {type(values).__name__}, and before it gave a tensor")
        # Nothing follows what a module returns: it is noted, and need not be replaced.
        exchange(tap, answer, False)
        return values

    def behind(place: str) -> Callable[[nn.Module, Any, Any], Any]:
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
            handles.append(module.register_forward_hook(behind(place)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _noise_of(exact: Tensor, runs: list[Tensor]) -> np.ndarray:
    """:func:`noise_of` on tensors: faster where all is finite."""
    noise = torch.stack([(exact - run).abs().flatten(1).amax(1) for run in runs]).amax(0)
    if noise.isfinite().all():
        return np.asarray(noise.numpy() * few_draws(len(runs) * exact[0].numel()))
    return noise_of(exact.numpy(), *(run.numpy() for run in runs))


def answer_in(returned: Any) -> Tensor | None:
    """The tensor that a module returns, alone or packed in a tuple, a list or a mapping.

    Of several it is the one under ``"logits"``; None where that leaves it open.
    """
    if isinstance(returned, Tensor):
        return returned
    if isinstance(returned, Mapping):
        if isinstance(logits := returned.get("logits"), Tensor):
            return logits
        returned = tuple(returned.values())
    if not isinstance(returned, (tuple, list)):
        return None
    tensors = [value for value in returned if isinstance(value, Tensor)]
    return tensors[0] if len(tensors) == 1 else None


def call_name(path: str, number: int) -> str:
    """A module's path for its first call, and with the call's number for those that follow."""
    return path if number == 1 else f"{path}#{number}"


def prepared(model: nn.Module, in_place: bool = False) -> nn.Module:
    """A copy for inference; its activations overwrite what a tap has seen only with ``in_place``.

    A module of somebody's own may rely on that: what is overwritten may be looked at again.

    Raises:
        BadInput: it cannot be copied, or is one of TorchScript.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise BadInput(
            f"{type(model).__name__}: a module of TorchScript cannot be looked into; give the one "
            "that it was made from"
        )
    made = copied(model, share=not in_place).eval().requires_grad_(False)
    for module in made.modules():
        if getattr(module, "inplace", False) and not in_place:
            vars(module)["inplace"] = False
    return made


def has_parts_of_others(model: nn.Module) -> bool:
    """Whether a network holds modules that are neither ours nor PyTorch's.

    These may overwrite what a tap has seen without saying so.
    """
    homes = {type(module).__module__.partition(".")[0] for module in model.modules()}
    return not homes <= {"genmobilenet", "torch"}


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
