"""Two ranks of one process group, as threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from entrokit.rlvr import Context

T = TypeVar("T")
RANKS = 2
_UNLIKE = "the ranks did not make the same calls of reduce and gather"


class Ranks:
    """The collectives of a process group: every rank must make the same calls in the same order."""

    def __init__(self) -> None:
        self._barrier = threading.Barrier(RANKS)
        self._slots: list[tuple[str, Tensor]] = [("", torch.zeros(0))] * RANKS

    def together(self, run: Callable[[int], T]) -> list[T]:
        """``run(rank)`` on every rank; a rank that fails releases those that wait for it, and its error is raised."""

        def one(rank: int) -> T:
            try:
                return run(rank)
            except BaseException:
                self._barrier.abort()
                raise

        with ThreadPoolExecutor(RANKS) as pool:
            futures = [pool.submit(one, rank) for rank in range(RANKS)]
            pending = wait(futures, return_when=FIRST_COMPLETED).not_done
            while pending:
                pending = wait(pending, timeout=0.02).not_done
                # Whoever still waits for a rank that has finished waits in vain.
                if pending and self._barrier.n_waiting:
                    self._barrier.abort()
        errors = [error for future in futures if (error := future.exception()) is not None]
        for error in errors:
            if not isinstance(error, threading.BrokenBarrierError):
                raise error
        if errors:
            raise AssertionError(_UNLIKE)
        return [future.result() for future in futures]

    def context(self, rank: int, own: Context) -> Context:
        """A rank's context, at the step and with the draws of ``own``."""
        return replace(own, rank=rank, reduce=lambda x: self._sum(rank, x), gather=lambda x: self._cat(rank, x))

    def _sum(self, rank: int, x: Tensor) -> Tensor:
        everybodys = self._exchange(rank, "reduce", x)
        if len({one.shape for one in everybodys}) > 1:
            raise AssertionError(_UNLIKE)
        return torch.stack(everybodys).sum(0)

    def _cat(self, rank: int, x: Tensor) -> Tensor:
        return torch.cat(self._exchange(rank, "gather", x))

    def _exchange(self, rank: int, call: str, x: Tensor) -> list[Tensor]:
        self._slots[rank] = call, x
        self._barrier.wait()
        everybodys = list(self._slots)
        self._barrier.wait()
        if any(other != call for other, _ in everybodys):
            raise AssertionError(_UNLIKE)
        return [value for _, value in everybodys]


def shares(rows: int) -> Sequence[Tensor]:
    """Which rows each rank has: unequal parts, that split a group of four, in order."""
    first = rows - 2
    return torch.arange(first), torch.arange(first, rows)
