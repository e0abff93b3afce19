"""Several processes of ``torchrun`` that share the batches of one evaluation.

Each keeps a journal of its own batches; the first gathers all. Which process
evaluates a batch changes none of its digits.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from porting.accuracy.evaluation.told import differences, plain
from porting.errors import BadInput

PATIENCE = timedelta(days=7)
"""How long a rank waits for the others: one with slower cores must not end the run."""


@dataclass(frozen=True)
class Ranks:
    """This process's place among those of a run: ``rank`` of ``size``.

    On its machine it is ``local_rank`` of ``local``. One that runs alone is rank 0 of 1.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local: int = 1

    @property
    def first(self) -> bool:
        """Whether this one gathers and reports."""
        return self.rank == 0

    @property
    def first_here(self) -> bool:
        """Whether this one sees to what lies on its machine's disk."""
        return self.local_rank == 0

    def check_alike(self, told: Mapping[str, Any]) -> None:
        """See that all ranks evaluate the same; all of them wait for it.

        Raises:
            BadInput: one does not, as where a machine holds another data set.
        """
        first, *others = self.gathered(plain(told))
        for rank, other in enumerate(others, 1):
            apart = [
                f"{topic} is {its}, not {his}" for topic, his, its in differences(first, other)
            ]
            if apart:
                raise BadInput(
                    f"rank {rank} of {self.size} evaluates something else than rank 0: "
                    f"{'; '.join(apart)}. Expected the same files and packages on every machine"
                )

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

    On ``cuda`` each rank has a GPU of its machine to itself, and nccl carries
    what the ranks say; elsewhere gloo does.

    Raises:
        BadInput: there is no such device, or not one for each rank.
    """
    size = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
    if size == 1:
        _check_device(device)
        return Ranks()
    import torch
    import torch.distributed as dist

    local_rank, local = (int(os.environ[name]) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    has_own_gpu = device == "cuda"
    _check_device(f"cuda:{local_rank}" if has_own_gpu else device)
    if has_own_gpu:
        torch.cuda.set_device(local_rank)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if has_own_gpu else "gloo", timeout=PATIENCE)
    return Ranks(dist.get_rank(), dist.get_world_size(), local_rank, local)


def _check_device(device: str) -> None:
    if device == "cpu":
        return
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
