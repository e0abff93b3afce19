"""A network at one size, through the graph compiler that comes with PyTorch.

oneDNN's graph compiler joins convolutions with what follows them, lays their weights out
once, and looks nothing up in a pass: that is worth a third of the time of a small network on
a CPU. PyTorch reaches it through TorchScript. Where it is not at hand, a network runs as it
is, and a warning says so.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

Engine = Callable[[Tensor], Tensor]

RUNS = 3
"""Passes until all is compiled: one is profiled, the second compiled, the third shows it."""

HEAP_BLOCK = 32 * 2**20 - 4096
"""Bytes of the largest block that glibc learns to keep, less its header; see mallopt(3),
``M_MMAP_THRESHOLD``. Once one was given back, glibc takes smaller blocks from its heap.
Otherwise each pass takes its activations from the system anew, and page by page: at a batch
of one that is a sixth of its time.
"""

_lock = threading.Lock()  # the switch below is one for all threads


def compiled(module: nn.Module, example: Tensor) -> Engine | None:
    """``module`` compiled for inputs of the size and strides of ``example``; None without a
    compiler, with a warning that says why.
    """
    with _lock, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; shapes become constants
        try:
            return _through_torchscript(module, example)
        except (AttributeError, RuntimeError) as error:
            reason = _reason(error)
    warnings.warn(f"oneDNN's graph compiler is not at hand ({reason}): slower", stacklevel=2)
    return None


def _reason(error: Exception) -> str:
    """What went wrong, in a line: TorchScript puts a traceback of its own before it."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [repr(error)]
    told = (line.removeprefix("RuntimeError: ") for line in lines if line.startswith("RuntimeE"))
    return next(told, lines[0])


def _through_torchscript(module: nn.Module, example: Tensor) -> Engine:
    torch.empty(HEAP_BLOCK, dtype=torch.uint8)  # given back at once
    was = torch._C._jit_llga_enabled()
    torch.jit.enable_onednn_fusion(True)
    try:
        # PyTorch has no types for tracing.
        engine: Engine = torch.jit.freeze(
            torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
        )
        for _ in range(RUNS):
            engine(example)
    finally:
        torch.jit.enable_onednn_fusion(was)
    return engine
