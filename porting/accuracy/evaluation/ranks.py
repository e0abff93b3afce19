"""Several processes of ``torchrun`` that share the batches of one evaluation.

Each keeps a journal of its own batches. Which process evaluates a batch makes no
difference to the figures. Where one ends with an error, all of them do, and say
which one and why.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from genmobilenet.errors import GenMobileNetError
from porting.accuracy.evaluation.provenance import differences, plain
from porting.errors import BadInput, PortingError, RankEnded

Result = TypeVar("Result")

JOINING = timedelta(minutes=10)
"""How long a rank waits for the others to come."""

PATIENCE = timedelta(days=7)
"""How long a rank waits for the others' results, which may come from slower machines."""

_END_KEY = "ended"
"""Key in the ranks' store: the rank that ended with an error, and why."""


@dataclass(frozen=True)
class Ranks:
    """This process's place among those of a run: ``rank`` of ``size``.

    On its machine it is ``local_rank`` of ``local``. One that runs alone is rank
    0 of 1. ``store`` (of ``torch.distributed``) is where one that ends says so.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local: int = 1
    store: Any = None

    @property
    def first(self) -> bool:
        """Whether this one gathers and reports."""
        return self.rank == 0

    @property
    def first_here(self) -> bool:
        """Whether this one looks after its machine's disk."""
        return self.local_rank == 0

    def gathered(self, mine: Any) -> list[Any]:
        """Gather a value of each rank, in their order; all of them wait for it.

        Raises:
            RankEnded: one of them has ended.
        """
        if self.size == 1:
            return [mine]
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        try:
            dist.all_gather_object(values, mine)
        except RuntimeError as error:
            self.check()
            raise RankEnded(f"a rank of {self.size} has ended; its machine says why") from error
        return values

    def together(self, step: Callable[[], Result]) -> Result:
        """Run a step on each rank; where it fails on one, it does on all.

        Raises:
            RankEnded: it failed on another.
        """
        if self.size == 1:
            return step()
        try:
            result = step()
        except (PortingError, GenMobileNetError) as error:
            self.gathered(str(error))
            raise
        for rank, words in enumerate(self.gathered(None)):
            if words is not None:
                raise RankEnded(f"rank {rank} of {self.size}: {words}")
        return result

    def check_alike(self, provenance: Mapping[str, Any]) -> None:
        """Check that all ranks evaluate the same; all of them wait for the result.

        Raises:
            BadInput: one does not, as where a machine holds another data set.
        """
        first, *others = self.gathered(plain(provenance))
        for rank, other in enumerate(others, 1):
            apart = [f"{topic} is {b}, not {a}" for topic, a, b in differences(first, other)]
            if apart:
                raise BadInput(
                    f"rank {rank} of {self.size} evaluates something else than rank 0: "
                    f"{'; '.join(apart)}. Expected the same files and packages on every machine"
                )

    def check(self) -> None:
        """Check that no other rank has said that it ended.

        Raises:
            RankEnded: one has, or the place where it would say so is gone.
        """
        if self.store is None:
            return
        try:
            words = self.store.get(_END_KEY).decode() if self.store.check([_END_KEY]) else None
        except RuntimeError as error:
            raise RankEnded(f"rank 0 of {self.size} has ended; its machine says why") from error
        if words is not None:
            raise RankEnded(words)

    def ended(self, error: BaseException) -> None:
        """Tell the others that this rank ends with an error, if they can still be reached."""
        if self.store is None or isinstance(error, RankEnded):
            return
        words = str(error) or type(error).__name__
        try:
            self.store.set(_END_KEY, f"rank {self.rank} of {self.size}: {words}")
        except RuntimeError:
            return  # the machine that keeps it has gone

    def share(self, batches: Iterable[int]) -> list[int]:
        """This rank's share of the batches that are left."""
        return list(batches)[self.rank :: self.size]


@contextmanager
def join_ranks() -> Iterator[Ranks]:
    """Join the ranks that ``torchrun`` has started; without it, run alone.

    The others are told where it ends with an error.

    Raises:
        BadInput: the other ranks do not come.
    """
    ranks = _join()
    try:
        yield ranks
    except BaseException as error:
        ranks.ended(error)
        raise
    finally:
        if ranks.size > 1:
            import torch.distributed as dist

            dist.destroy_process_group()


def _join() -> Ranks:
    environment = os.environ
    size = int(environment.get("WORLD_SIZE", "1")) if "RANK" in environment else 1
    if size == 1:
        return Ranks()
    import torch.distributed as dist

    rank, local_rank, local = (
        int(environment[name]) for name in ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    )
    if dist.is_initialized():
        return Ranks(rank, size, local_rank, local)
    try:
        # PyTorch documents both there, and its stubs do not name them.
        from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

        # The store that torchrun keeps, or that the first rank keeps where it does not.
        by_torchrun = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        store = TCPStore(
            environment["MASTER_ADDR"], int(environment["MASTER_PORT"]), size,
            is_master=rank == 0 and not by_torchrun, timeout=JOINING,
        )  # fmt: skip
        restarts = environment.get("TORCHELASTIC_RESTART_COUNT")
        own_store = PrefixStore(f"porting-{restarts}", store)
        # What the ranks exchange are Python's objects, on the CPU.
        dist.init_process_group(
            "gloo", store=own_store, rank=rank, world_size=size, timeout=PATIENCE
        )  # fmt: skip
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise BadInput(
            f"rank {rank} of {size}: the others did not come in {JOINING}: {reason}"
        ) from error
    return Ranks(rank, size, local_rank, local, own_store)


def use_device(device: str, ranks: Ranks) -> None:
    """Check that a device can be used; on ``cuda`` each rank gets a GPU of its machine to itself.

    Raises:
        BadInput: there is no such device, or not one for each rank.
    """
    if device == "cpu":
        return
    import torch

    own = f"cuda:{ranks.local_rank}" if device == "cuda" and ranks.size > 1 else device
    try:
        torch.zeros(1, device=own).cpu()
        if own.startswith("cuda"):
            torch.cuda.set_device(own)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"device {own!r}: cannot be used: {reason}") from error
