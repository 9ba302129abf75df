"""A recipe: one base (advantage estimator, surrogate, aggregation) and an ordered list of interventions.

It composes like a chain of gradient transformations and knows no engine:

    recipe("grpo+steer(min_weight=0.7)+forking-tokens(rho=0.2)")
    recipe("grpo", Steer(min_weight=0.7), ForkingTokens(rho=0.2))

An engine calls, in this order: `Recipe.decode` before it samples to train, `Recipe.advantages` and `Recipe.prepare`
once per generation batch, `Recipe.prepare_step` once it knows which rows an optimiser step takes, `Recipe.loss` for
every micro-batch, `Recipe.observe` after every optimiser step of training, `Recipe.replay` and `Recipe.remember` after
the last one of a generation batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from .aggregation import Totals
from .base import Base
from .conflicts import conflict
from .context import Context
from .grammar import build_base, build_intervention, parse
from .intervention import Intervention, LogitsProcessor, Replay, implements
from .kept import kept_shares
from .parts import Part
from .recipe_loss import RecipeLoss, kept_of, loss_of, update_of
from .rollouts import Rollouts
from .stats import PolicyStats
from .surrogates import Surrogate

__all__ = ["Recipe", "RecipeLoss", "recipe"]


@dataclass(frozen=True)
class Recipe:
    """See the module. Build it with `recipe`."""

    base_part: Part
    base: Base
    interventions: tuple[Intervention, ...] = ()

    def __post_init__(self) -> None:
        reason = conflict(self.interventions, self.base.surrogate, self.surrogate)
        if reason is not None:
            raise ValueError(f"recipe {self}: {reason}")

    def __str__(self) -> str:
        return "+".join([str(self.base_part), *(str(_part_of(i)) for i in self.interventions)])

    @property
    def needs(self) -> frozenset[str]:
        """Statistics that an engine must compute for current and behaviour policy."""
        return frozenset({"logp"}).union(*(i.needs for i in self.interventions))

    @property
    def separable(self) -> bool:
        """The gradient of `loss` in a token's current statistics depends on the current statistics of no other."""
        return self.surrogate.separable and all(i.separable for i in self.interventions)

    @property
    def surrogate(self) -> Surrogate:
        """The base's surrogate, or that of the intervention that is defined with one of its own."""
        owners = (i for i in self.interventions if implements(i, "surrogate"))
        return next((i.surrogate(self.base.surrogate) for i in owners), self.base.surrogate)

    @property
    def needs_prompts(self) -> bool:
        """Whether an engine must hand over log-probabilities of the prompts (`Rollouts.prompt_logp`)."""
        return any(i.needs_prompts for i in self.interventions)

    def bind(self, encode: Callable[[str], Sequence[int]]) -> None:
        """Lets interventions turn texts among their knobs into token ids (a tokenizer's, without special tokens)."""
        for intervention in self.interventions:
            intervention.bind(encode)

    def decode(self) -> list[LogitsProcessor]:
        """Logits processors for the next generation batch of training, in order; none in evaluation."""
        return [processor for i in self.interventions if (processor := i.decode()) is not None]

    @property
    def decodes(self) -> list[str]:
        """Names of the interventions that act while sampling."""
        return [i.name for i in self.interventions if implements(i, "decode")]

    def advantages(self, rollouts: Rollouts, context: Context | None = None) -> Tensor:
        """Advantages ``[B, T]`` of a generation batch, zeros outside ``rollouts.trained``.

        The reward stage comes first; ``rollouts`` keeps the task's own rewards.
        """
        context = context or Context()
        return self.estimate(self.rewarded(rollouts, context), context)

    def rewarded(self, rollouts: Rollouts, context: Context | None = None) -> Rollouts:
        """The generation batch with the rewards that the reward stage makes of the task's."""
        return replace(rollouts, reward=self.rewards(rollouts, context))

    def estimate(self, rollouts: Rollouts, context: Context) -> Tensor:
        """`advantages` of a batch that `rewarded` gave."""
        advantages = self.base.advantage(rollouts, context)
        for intervention in self.interventions:
            advantages = intervention.advantage(rollouts, advantages, context)
        return torch.where(rollouts.trained, advantages, 0.0)

    def rewards(self, rollouts: Rollouts, context: Context | None = None) -> Tensor:
        """What the completions are worth after the reward stage, ``[B]``."""
        rewards = rollouts.reward
        for intervention in self.interventions:
            rewards = intervention.reward(rollouts, rewards, context or Context())
        return rewards

    def prepare(self, rollouts: Rollouts, advantages: Tensor, context: Context | None = None) -> dict[str, Tensor]:
        """Batch-wide scalars (0-dim) and ``[B, ...]`` columns of a generation batch, keyed ``intervention/name``."""
        return self._prepare({"generation", "micro"}, rollouts, advantages, {}, context or Context())

    def prepare_step(
        self,
        rollouts: Rollouts,
        advantages: Tensor,
        prepared: Mapping[str, Tensor],
        context: Context | None = None,
    ) -> dict[str, Tensor]:
        """What `prepare` gave for the rows of one optimiser step, and what interventions of ``scope="step"`` add."""
        if not self.prepares_steps:
            return dict(prepared)
        return self._prepare({"step"}, rollouts, advantages, prepared, context or Context())

    @property
    def prepares_steps(self) -> bool:
        """Whether `prepare_step` has anything to do."""
        return any(i.scope == "step" for i in self.interventions)

    def _prepare(
        self,
        scopes: set[str],
        rollouts: Rollouts,
        advantages: Tensor,
        before: Mapping[str, Tensor],
        context: Context,
    ) -> dict[str, Tensor]:
        prepared = dict(before) | {
            f"{i.name}/{key}": value
            for i in self.interventions
            if i.scope in scopes
            for key, value in i.prepare(rollouts, advantages, context).items()
        }
        for key, value in prepared.items():
            if value.dim() and len(value) != len(rollouts):
                raise ValueError(
                    f"{key}: prepare must give 0-dim tensors or one entry per row ({len(rollouts)}), "
                    f"got shape {list(value.shape)}; an engine shuffles and splits these with the rows"
                )
        ready = {i.scope for i in self.interventions} <= (
            {"generation", "step"} if "step" in scopes else {"generation"}
        )
        if ready:
            update = update_of(rollouts.behaviour, rollouts, advantages, prepared)
            keep = kept_of(self.surrogate, self.interventions, update)
            if keep is not None:
                prepared |= kept_shares(keep, rollouts.trained, context)
        return prepared

    def loss(
        self,
        current: PolicyStats,
        rollouts: Rollouts,
        advantages: Tensor,
        prepared: Mapping[str, Tensor] | None = None,
        totals: Totals | None = None,
        context: Context | None = None,
    ) -> RecipeLoss:
        """Loss of one micro-batch under the current policy.

        Args:
            current: statistics of the policy being updated ``[B, T]``, with gradient; holds what `needs` lists.
            rollouts, advantages, prepared: these rows of the generation batch. Without ``prepared``, what `prepare` and
                `prepare_step` give for these rows alone.
            totals: what the optimiser step as a whole is divided by; this micro-batch alone by default.
            context: read only where ``prepared`` is left out.

        Where interventions keep only some tokens, the tokens (and rows with any) kept in the optimiser step are the
        behaviour policy's shares times the step's: they are known before the step, so micro-batches add up.

        Raises:
            ValueError: ``current`` lacks a statistic, or ``prepared`` something that an intervention prepares.
        """
        if prepared is None:
            context = context or Context()
            prepared = self.prepare_step(rollouts, advantages, self.prepare(rollouts, advantages, context), context)
        update = update_of(current, rollouts, advantages, prepared)
        return loss_of(
            self.surrogate,
            self.interventions,
            self.base.aggregation,
            update,
            rollouts.sampler_weight,
            totals or Totals(),
        )

    def observe(self, metrics: Mapping[str, float], context: Context) -> None:
        """Hands the numbers of an optimiser step (`StepMeans.take`) to every intervention."""
        for intervention in self.interventions:
            intervention.observe(metrics, context)

    @property
    def replays(self) -> bool:
        """Whether an engine must hand over prompts and make the updates that `replay` asks for."""
        return any(i.replays for i in self.interventions)

    @property
    def remembers(self) -> bool:
        """Whether anything wants to see generation batches once they have been trained on."""
        return any(implements(i, "remember") for i in self.interventions)

    def memory(self) -> dict[str, int]:
        """Bytes of the state of each intervention that has any."""
        return {i.name: i.memory_bytes for i in self.interventions if implements(i, "state_dict")}

    def replay(self, context: Context) -> list[tuple[str, Replay]]:
        """What interventions want trained on once more, by name; asked after the updates on a generation batch."""
        found = ((i.name, i.replay(context)) for i in self.interventions if i.replays)
        return [(name, replay) for name, replay in found if replay is not None]

    def of_replay(self, replay: Replay) -> Recipe:
        """The recipe of a replay's loss: this one's base, and the interventions that the replay names."""
        return Recipe(self.base_part, self.base, replay.interventions)

    def remember(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> None:
        """Shows every intervention a generation batch of training once it has been trained on and replayed upon.

        Args:
            rollouts: as `rewarded` gave them; with prompts where the recipe replays.
        """
        for intervention in self.interventions:
            intervention.remember(rollouts, advantages, context)

    def state_dict(self) -> dict[str, Any]:
        return {i.name: i.state_dict() for i in self.interventions}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores every intervention; a state of other interventions than the recipe's is a `ValueError`."""
        mine = {i.name for i in self.interventions}
        if set(state) != mine:
            raise ValueError(f"recipe {self}: the saved state is that of {sorted(state)}, not of {sorted(mine)}")
        for intervention in self.interventions:
            intervention.load_state_dict(state[intervention.name])

    def cannot_act(self, updates_per_rollout: int) -> list[str]:
        """Why parts of the recipe can do nothing in a set-up; empty if all can act."""
        reasons = (i.cannot_act(updates_per_rollout) for i in self.interventions)
        return [reason for reason in reasons if reason is not None]


def recipe(spec: str | Recipe, *interventions: Intervention) -> Recipe:
    """A recipe from a string, from a base's name and intervention objects, or both; a `Recipe` stays as it is.

    A name of `PRESETS` in front stands for its whole recipe string.

    Raises:
        ValueError: an unknown name (with the valid ones and the nearest match) or a knob out of its range.
        TypeError: an argument that is no intervention.
    """
    if isinstance(spec, Recipe):
        return Recipe(spec.base_part, spec.base, spec.interventions + interventions) if interventions else spec
    for extra in interventions:
        if not isinstance(extra, Intervention):
            raise TypeError(f"recipe: expected an Intervention, got {type(extra).__name__}")
    first, *rest = parse(spec)
    named = tuple(build_intervention(part) for part in rest)
    return Recipe(Part(first.name.replace("-", "_"), first.knobs), build_base(first), named + interventions)


def _part_of(intervention: Intervention) -> Part:
    """The intervention's name and the knobs that differ from their defaults, so that the string builds it again."""
    knobs: tuple[Field[Any], ...] = fields(intervention)  # type: ignore[arg-type]
    given = {
        f.name: getattr(intervention, f.name)
        for f in knobs
        if f.init and (f.default is MISSING or getattr(intervention, f.name) != f.default)
    }
    return Part(intervention.name, given)
