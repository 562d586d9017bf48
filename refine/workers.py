"""Several processes that train one model together (data parallel): each takes its share of a
batch's rows, and the gradients are summed, so that all take the step that one alone would take.

Each has the whole model, its optimizer and all rows; what is decided by a clock is decided by the
first. Sums go by gloo, from process to process over TCP, without TLS. Not by torch's default group:
transformers, accelerate and TRL would deal out the rows again, and pad the last batch with others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pawl.errors import PawlError

WAIT = timedelta(minutes=10)  # for the others, at the start and at each sum
LOST = "worker_lost"


class Workers:
    """One worker of ``size``, number ``rank``; alone by default."""

    rank, size = 0, 1

    def sum(self, tensors: Sequence[Any]) -> None:
        """Make each tensor the sum of all workers' tensors at this place, to the same bits on
        each."""

    def first(self, values: Sequence[float]) -> list[float]:
        """The first worker's values."""
        return list(values)

    def check_same(self, what: str, values: Any) -> None:
        """Raises PawlError: the workers' ``values`` are not the same."""


ALONE = Workers()


class Together(Workers):
    """Of several.

    Args:
        host: this worker's address, which the others reach.
        meeting: ``HOST:PORT`` of the first; None: this is the first, which ``says`` where it is.

    Raises:
        PawlError: the others did not come.
    """

    def __init__(self, rank: int, size: int, host: str, meeting: str | None, says: Any) -> None:
        from torch._C._distributed_c10d import ProcessGroupGloo, TCPStore

        gloo: Any = ProcessGroupGloo  # whose stub lacks most of it
        self.rank, self.size = rank, size
        where, _, port = (meeting or f"{host}:0").rpartition(":")
        try:
            # The store must live as long as the group.
            self._store = TCPStore(
                where, int(port), size, is_master=meeting is None, timeout=WAIT,
                wait_for_workers=False,
            )  # fmt: skip
            if meeting is None:
                says(f"{host}:{self._store.port}")
            options = gloo._Options()
            options._devices = [gloo.create_device(hostname=host)]
            options._timeout = WAIT
            self._group = gloo(self._store, rank, size, options)
        except RuntimeError as error:
            raise _lost(error) from error

    def sum(self, tensors: Sequence[Any]) -> None:
        import torch

        # In one piece: a sum of many small ones would wait for the network as often.
        flat = torch.cat([tensor.detach().reshape(-1).cpu() for tensor in tensors])
        try:
            self._group.allreduce([flat]).wait()
        except RuntimeError as error:
            raise _lost(error) from error
        sizes = [tensor.numel() for tensor in tensors]
        with torch.no_grad():
            for tensor, part in zip(tensors, flat.split(sizes), strict=True):
                tensor.copy_(part.view_as(tensor))

    def first(self, values: Sequence[float]) -> list[float]:
        import torch

        found = torch.tensor(values, dtype=torch.float64) * (self.rank == 0)
        self.sum([found])
        return [float(value) for value in found]

    def check_same(self, what: str, values: Any) -> None:
        import torch

        digest = hashlib.sha256(repr(values).encode()).digest()
        of_all = torch.zeros(self.size, 4, dtype=torch.float64)
        of_all[self.rank] = torch.tensor([int.from_bytes(digest[i : i + 6]) for i in range(4)])
        self.sum([of_all])
        if not bool((of_all == of_all[0]).all()):
            raise PawlError(
                f"the workers have other {what}",
                "together they train one model on the same rows, by the same code",
                "Install the same versions of Pawl, torch and plugins on each node, or set "
                "train.n_workers = 1",
                code="workers_differ",
            )


def _lost(error: Exception) -> PawlError:
    return PawlError("another worker was lost", str(error), retryable=True, code=LOST)
