"""Several processes of ``torchrun`` that share the batches of one evaluation.

Each keeps a journal of its own batches; the first gathers all. Which process
evaluates a batch changes none of its digits.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from porting.errors import BadInput

PATIENCE = timedelta(days=7)
"""How long a rank waits for the others: one with slower cores must not end the run."""


@dataclass(frozen=True)
class Ranks:
    """This process's place among those of a run: ``rank`` of ``size``, ``local`` on this machine.

    One that runs alone is rank 0 of 1.
    """

    rank: int = 0
    size: int = 1
    local: int = 1

    @property
    def first(self) -> bool:
        """Whether this one gathers and reports."""
        return self.rank == 0

    def gathered(self, mine: Any) -> list[Any]:
        """What each rank has, in their order; all of them wait for it."""
        if self.size == 1:
            return [mine]
        import torch.distributed as dist

        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, mine)
        return found

    def share(self, batches: Iterable[int]) -> list[int]:
        """This rank's share of the batches that are left."""
        return list(batches)[self.rank :: self.size]


def join(device: str) -> Ranks:
    """Join the run that ``torchrun`` has set up in the environment; else run alone.

    gloo carries what the ranks say on CPUs, nccl on GPUs.

    Raises:
        BadInput: there is no such device.
    """
    size = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
    if device != "cpu":
        _check_device(device)
    if size == 1:
        return Ranks()
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        on_gpus = device.startswith("cuda")
        if on_gpus:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if on_gpus else "gloo", timeout=PATIENCE)
    return Ranks(dist.get_rank(), dist.get_world_size(), int(os.environ["LOCAL_WORLD_SIZE"]))


def _check_device(device: str) -> None:
    import torch

    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"device {device!r}: cannot be used: {reason}") from error


def leave() -> None:
    """Part from the other ranks."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
