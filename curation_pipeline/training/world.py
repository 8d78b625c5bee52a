"""The processes that train one model together, started by torchrun or accelerate; one process is a world of one.

Each process holds the whole model and computes its share of a step's rows. The loss of a row is divided by the
predicted tokens of the whole step before it is differentiated, so the gradients of all processes need only be added,
however rows, tokens and weights fall on them. They are added tensor by tensor in a fixed order, not in buckets that are
laid out again during a run, so that a resumed run adds the same numbers in the same order.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from curation_pipeline.errors import DataError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class World:
    """This process among those that train together.

    Attributes:
        rank: its number, from 0; rank 0 alone writes files.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    def share(self, rows: np.ndarray) -> np.ndarray:
        """The rows of a step that this process computes; may be none. Their order does not depend on ``size``."""
        return rows[self.rank :: self.size]

    def add(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""
        if self.size == 1:
            return
        import torch.distributed as dist

        # Started together and awaited together: the sums of one tensor travel while the next are added.
        pending = [dist.all_reduce(tensor, async_op=True) for tensor in tensors]
        for work in pending:
            if work is not None:
                work.wait()

    def agree(self, what: str, number: int) -> None:
        """Wait for all processes and make sure that they have the same number.

        Raises:
            DataError: they differ.
        """
        if self.size == 1:
            return
        import torch.distributed as dist

        found: list[int | None] = [None] * self.size
        dist.all_gather_object(found, number)
        if len(set(found)) > 1:
            raise DataError(
                f"the processes of this training differ in {what}: {found}; all of them must see the same folders "
                "(a shared file system) and the same data"
            )

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.size > 1:
            import torch.distributed as dist

            dist.barrier()


ALONE = World()


@contextlib.contextmanager
def joined(device: str) -> Iterator[World]:
    """The world that the launcher's environment describes (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR), left at the end.

    Args:
        device: ``cpu`` (gloo) or ``cuda`` (nccl; each process takes the GPU of its local rank).
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    import torch
    import torch.distributed as dist

    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()
