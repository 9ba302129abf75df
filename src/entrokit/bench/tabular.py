"""The tabular bench: a softmax policy with free logits, so that a recipe's effect on entropy shows in seconds.

64 states of 32 actions, four of them right in each. Each step samples 8 actions in
every state, drops states whose rewards are all equal, and takes 4 full-batch gradient steps on the recipe's loss. A
completion is one token. Equal seeds give equal problems and equal first samples, so recipes are compared in pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from entrokit.account import free_logit_change
from entrokit.diagnose import Course
from entrokit.distributions import entropy, token_statistics
from entrokit.rlvr import Context, PolicyStats, Recipe, Rollouts, StepMeans, recipe

_LAW = ("entropy", "collision", "weighted_surprise")


@dataclass(frozen=True)
class TabularSettings:
    """The bench. ``learning_rate`` is that of plain gradient descent on the mean loss over the batch's samples."""

    states: int = 64
    actions: int = 32
    right: int = 4
    samples: int = 8
    steps: int = 80
    updates: int = 4
    learning_rate: float = 19.2

    def __post_init__(self) -> None:
        for f in fields(self):
            if not getattr(self, f.name) > 0:
                raise ValueError(f"TabularSettings.{f.name}: must be above 0, got {getattr(self, f.name)}")
        if self.right >= self.actions:
            raise ValueError(f"TabularSettings.right={self.right}: must be below actions={self.actions}")


def train_tabular(
    spec: str | Recipe,
    seed: int,
    settings: TabularSettings | None = None,
    on_update: Callable[[float, float], None] | None = None,
    on_states: Callable[[Tensor], None] | None = None,
) -> Course:
    """Trains one recipe on the problem of a seed, in about a second.

    Args:
        on_states: called with the probability of a right action in every state, ``[states]``, before every step and at
            the end.
        on_update: called after each gradient step with the change of the mean entropy that the free-logit law of
            arXiv 2602.03392 predicts for it, and with the change that came (nats).

    Returns:
        Exact mean entropy and accuracy over states, before every step and at the end: ``[steps + 1]`` each.

    Raises:
        ValueError: a recipe that acts while sampling, or that needs a reference policy: neither exists here.
    """
    chosen, s = recipe(spec), settings or TabularSettings()
    if chosen.decodes:
        raise ValueError(
            f"tabular bench: {chosen.decodes[0]} acts while a language model samples, which is not done here"
        )
    if chosen.replays:
        raise ValueError("tabular bench: there are no updates beside those on the samples, so nothing is replayed")
    for i in chosen.interventions:
        if i.needs_reference:
            raise ValueError(f"tabular bench: there is no reference policy for {i.name}")
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(s.states, s.actions, generator=generator).requires_grad_()
    right = torch.rand(s.states, s.actions, generator=generator).topk(s.right).indices
    is_right = torch.zeros(s.states, s.actions, dtype=torch.bool).scatter_(1, right, True)
    course = [_measure(logits, is_right, on_states)]
    for step in range(s.steps):
        _step(chosen, logits, is_right, s, Context(step=step, total_steps=s.steps, generator=generator), on_update)
        course.append(_measure(logits, is_right, on_states))
    entropies, accuracies = np.array(course).T
    return Course(np.arange(s.steps + 1, dtype=np.float64), entropies, accuracies)


def _step(
    chosen: Recipe,
    logits: Tensor,
    is_right: Tensor,
    s: TabularSettings,
    context: Context,
    on_update: Callable[[float, float], None] | None,
) -> None:
    with torch.no_grad():
        actions = torch.multinomial(logits.softmax(-1), s.samples, replacement=True, generator=context.generator)
        reward = is_right.gather(1, actions).float()
        active = (reward.std(1) > 0).nonzero()[:, 0]
        if not len(active):
            return
        state = active.repeat_interleave(s.samples)
        tokens = actions[active].reshape(-1, 1)
        behaviour = _statistics(logits, state, tokens, chosen.needs)
    everywhere = torch.ones_like(tokens, dtype=torch.bool)
    won = reward[active].reshape(-1)
    rollouts = Rollouts(
        tokens=tokens,
        real=everywhere,
        trained=everywhere,
        group=state,
        reward=won,
        behaviour=behaviour,
        correct=won > 0,
    )
    improve(
        chosen,
        logits,
        lambda: _statistics(logits, state, tokens, chosen.needs if on_update is None else chosen.needs.union(_LAW)),
        rollouts,
        s.updates,
        s.learning_rate,
        context,
        on_update,
    )


def improve(
    chosen: Recipe,
    logits: Tensor,
    statistics: Callable[[], PolicyStats],
    rollouts: Rollouts,
    updates: int,
    learning_rate: float,
    context: Context,
    on_update: Callable[[float, float], None] | None = None,
) -> None:
    """Moves free ``logits`` in place by full-batch gradient descent on a recipe's loss over ``rollouts``, as one
    generation batch of training.

    Args:
        logits: a leaf that requires gradients. statistics: gives the current policy's, of the rollouts' tokens.
        updates: gradient steps on this batch.
        on_update: as for `train_tabular`; needs the statistics of the law.
    """
    rewarded = chosen.rewarded(rollouts, context)
    advantages = chosen.estimate(rewarded, context)
    prepared = chosen.prepare(rollouts, advantages, context)
    for _ in range(updates):
        # The batch is one optimiser step's rows, every time.
        ready = chosen.prepare_step(rollouts, advantages, prepared, context)
        current = statistics()
        result = chosen.loss(current, rollouts, advantages, ready)
        (gradient,) = torch.autograd.grad(result.loss, logits, retain_graph=on_update is not None)
        predicted, before = 0.0, 0.0
        if on_update is not None:
            predicted, before = learning_rate * _law(current, result.loss) / len(logits), _mean_entropy(logits)
        with torch.no_grad():
            logits -= learning_rate * gradient
        if on_update is not None:
            on_update(predicted, _mean_entropy(logits) - before)
        seen = StepMeans()
        seen.add(result, current, rollouts)
        chosen.observe(seen.take(), context)
    chosen.remember(rewarded, advantages, context)


def _law(current: PolicyStats, loss: Tensor) -> float:
    """The free-logit law's change of the states' summed entropies, per unit of learning rate."""
    (coefficient,) = torch.autograd.grad(loss, current.logp)
    statistics = (current.require(name, "the law").detach() for name in ("logp", *_LAW))
    return float(free_logit_change(coefficient, *statistics).sum())


def _mean_entropy(logits: Tensor) -> float:
    return float(entropy(logits.detach(), from_logits=True).mean())


def _statistics(logits: Tensor, state: Tensor, tokens: Tensor, need: Collection[str]) -> PolicyStats:
    return PolicyStats.of(token_statistics(logits[state][:, None], tokens, need=need))


def _measure(logits: Tensor, is_right: Tensor, on_states: Callable[[Tensor], None] | None) -> tuple[float, float]:
    with torch.no_grad():
        success = (logits.softmax(-1) * is_right).sum(-1)
    if on_states is not None:
        on_states(success)
    return _mean_entropy(logits), float(success.mean())
