"""A module as ``torch.export`` traces it."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import TYPE_CHECKING

from porting.errors import BadInput

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram


def exported(module: nn.Module, shape: tuple[int, ...]) -> ExportedProgram:
    """Trace a module in evaluation mode on zeros of this shape (N, C, H, W).

    Raises:
        BadInput: its weights are not float32, or ``torch.export`` cannot trace it.
    """
    import torch

    name = type(module).__name__
    for key, values in (*module.named_parameters(), *module.named_buffers()):
        if values.is_floating_point() and values.dtype != torch.float32:
            raise BadInput(f"{name}: {key} is {values.dtype}; expected float32: call .float()")
    try:
        with _quiet(), _evaluating(module):
            return torch.export.export(module, (torch.zeros(shape, dtype=torch.float32),))
    except Exception as error:
        # A user's code may raise anything; whatever it is, it is about this module.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise BadInput(
            f"{name}: torch.export cannot trace it on an input of shape {shape}: "
            f"{type(error).__name__}: {lines[0] if lines else ''}"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what PyTorch logs of a trace: of one that fails pages of it."""
    before = logging.root.manager.disable
    try:
        logging.disable(logging.CRITICAL)
        # Where a module decides by the values of its input, the whole graph is printed.
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while: the module is its owner's, and some parts may be frozen."""
    modes = {part: part.training for part in module.modules()}
    try:
        module.eval()
        yield
    finally:
        for part, training in modes.items():
            part.training = training
