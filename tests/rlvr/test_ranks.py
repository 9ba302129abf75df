"""Batch-wide numbers and losses span ranks: two ranks with unequal shares of tokens against one process."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from entrokit.rlvr import Context, PolicyStats, Rollouts, Totals

from .cases import EVERY, batch, built, gradient_of, perturbed, run


class Group:
    """The collectives of a process group, for threads: every rank must make the same calls in the same order."""

    def __init__(self, size):
        self.size, self.barrier, self.slots = size, threading.Barrier(size), [None] * size

    def together(self, function, arguments):
        """``function(*arguments[rank], context)`` on every rank; a rank that fails releases those that wait for it."""

        def one(rank):
            try:
                return function(*arguments[rank], self.context(rank))
            except BaseException:
                self.barrier.abort()
                raise

        with ThreadPoolExecutor(self.size) as pool:
            futures = [pool.submit(one, rank) for rank in range(self.size)]
        failed = [f.exception() for f in futures if f.exception() is not None]
        for error in failed:
            if not isinstance(error, threading.BrokenBarrierError):
                raise error
        return [f.result() for f in futures]

    def context(self, rank):
        return Context(
            generator=torch.Generator().manual_seed(5),
            rank=rank,
            reduce=lambda x: sum(self._exchange(rank, x)),
            gather=lambda x: torch.cat(self._exchange(rank, x)),
        )

    def _exchange(self, rank, x):
        self.slots[rank] = x
        self.barrier.wait()
        everybodys = list(self.slots)
        self.barrier.wait()
        return everybodys


def plan(r, b, context):
    advantages = r.advantages(b, context)
    return advantages, r.prepare_step(b, advantages, r.prepare(b, advantages, context), context)


@pytest.mark.parametrize("spec", EVERY)
def test_two_ranks_prepare_what_one_process_prepares(spec):
    r, b = built(spec), batch()
    # Groups of four rows split over the ranks: rows 0 to 5 and 6 to 7.
    shares = [torch.arange(6), torch.arange(6, 8)]
    parts = [Rollouts.from_columns({k: v[rows] for k, v in b.columns().items()}) for rows in shares]
    results = Group(2).together(plan, [(r, part) for part in parts])
    advantages, prepared = plan(r, b, Context(generator=torch.Generator().manual_seed(5)))
    torch.testing.assert_close(torch.cat([a for a, _ in results]), advantages)
    for name, value in prepared.items():
        if value.dim():
            torch.testing.assert_close(torch.cat([p[name] for _, p in results]), value)
        else:
            for _, p in results:
                torch.testing.assert_close(p[name], value)


def share_of(r, b, values, rows, ranks, context):
    """A rank's loss and gradient, with the normalisers that an engine hands to each of ``ranks`` processes."""
    part = Rollouts.from_columns({k: v[rows] for k, v in b.columns().items()})
    advantages, prepared = plan(r, part, context)
    current = PolicyStats(**{k: v[rows].clone().requires_grad_() for k, v in values.items()})
    totals = Totals(tokens=b.trained.sum() / ranks, rows=len(b) // ranks, length=b.tokens.shape[1])
    loss = r.loss(current, part, advantages, prepared, totals).loss
    return loss.detach(), gradient_of(loss, current)


@pytest.mark.parametrize("spec", EVERY)
def test_the_mean_over_two_ranks_is_the_loss_of_one_process(spec):
    r, b = built(spec), batch()
    values = perturbed(b)
    # Each rank holds half of every group.
    shares = [torch.arange(0, 8, 2), torch.arange(1, 8, 2)]
    if "clip-cov" in spec:  # its draw follows the order of rows
        shares = [torch.arange(4), torch.arange(4, 8)]
    results = Group(2).together(share_of, [(r, b, values, rows, 2) for rows in shares])
    loss, gradient = run(r, b, values, 1)
    torch.testing.assert_close(sum(one for one, _ in results) / 2, loss, atol=1e-9, rtol=1e-9)
    for rows, (_, own) in zip(shares, results, strict=True):
        torch.testing.assert_close(own / 2, gradient[:, rows], atol=1e-9, rtol=1e-9)
