"""`TinkerRecipe`: what a training loop on the Tinker API holds of a recipe from its first batch to its last."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tinker
import torch
from torch import Tensor

from entrokit.rlvr import Context, Intervention, PolicyStats, Recipe, Rollouts, StepMeans, Totals, recipe
from entrokit.rlvr.correctness import right_if_binary

from .batch import Place, at_rows, current_logp, make_data, read_groups, taken, with_reference
from .carried import refuse

logger = logging.getLogger(__name__)

_UPDATES = (
    "TinkerRecipe(updates_per_batch=...) says how many optimiser steps your loop takes on a batch; the cookbook's "
    "num_substeps"
)
_APART = "sampling/sampling_logp_difference"


@dataclass
class _Batch:
    """The generation batch that is being trained on. ``rollouts``: with the task's own rewards."""

    data: list[tinker.Datum]
    places: list[Place]
    rollouts: Rollouts
    rewarded: Rollouts
    advantages: Tensor
    prepared: dict[str, Tensor]
    updates: int = 0
    remembered: bool = False


class TinkerRecipe:
    """A recipe under Tinker's `forward_backward_custom`.

        recipe = TinkerRecipe("grpo+kl-cov(ratio=0.02)")
        for groups in ...:                                   # the cookbook's trajectory groups
            data = recipe.data(groups)
            update = training_client.forward_backward_custom(data, recipe.loss)
            training_client.optim_step(tinker.AdamParams(learning_rate=4e-5)).result()
            log(update.result().metrics)

    The policy that sampled (``behaviour``) is Tinker's sampler itself: its log-probabilities come with the tokens, and
    Tinker's own losses take the ratio to them, too. Where the sampler's numerics differ from the trainer's, that ratio
    corrects for it.

    Args:
        spec, interventions: as `entrokit.rlvr.recipe` takes them.
        reference: a `tinker.SamplingClient` of the reference policy, for recipes with a KL term.
        correct: metric of a trajectory's transitions that says who is right (the cookbook's `ProblemEnv` gives
            ``correct``). By default a reward of 1 is right, as long as rewards are 0 and 1 alone.
        encode: a tokenizer's ``encode`` without special tokens, for methods with texts among their knobs.
        max_length: longest completion allowed, in tokens; `dr_grpo` divides by it.
        updates_per_batch: optimiser steps on every batch (the cookbook's ``num_substeps``).
        total_steps: optimiser steps of the whole run, for schedules.
        seed: of the recipe's own draws.

    Raises:
        ValueError: at construction: what the Tinker API cannot carry, with what to write instead.
    """

    def __init__(
        self,
        spec: str | Recipe,
        *interventions: Intervention,
        reference: tinker.SamplingClient | None = None,
        correct: str | None = None,
        encode: Callable[[str], Sequence[int]] | None = None,
        max_length: int | None = None,
        updates_per_batch: int = 1,
        total_steps: int = 0,
        seed: int = 0,
    ) -> None:
        if updates_per_batch < 1 or total_steps < 0 or (max_length is not None and max_length < 1):
            raise ValueError(
                f"TinkerRecipe: updates_per_batch ({updates_per_batch}) and max_length ({max_length}) must be at least "
                f"1, total_steps ({total_steps}) at least 0"
            )
        self.recipe = recipe(spec, *interventions)
        refuse(self.recipe, reference=reference is not None, max_length=max_length)
        if encode is not None:
            self.recipe.bind(encode)
        for reason in self.recipe.cannot_act(updates_per_batch):
            logger.warning("%s (%s)", reason, _UPDATES)
        self._reference = reference if any(i.needs_reference for i in self.recipe.interventions) else None
        self._correct = correct
        self._max_length = max_length
        self._updates_per_batch = updates_per_batch
        self._total_steps = total_steps
        self._seed = seed
        self._steps = 0
        self._graded = False
        self._batch: _Batch | None = None

    @property
    def advantages(self) -> Tensor:
        """Of the batch that `data` prepared last, ``[trajectories, T]``, a row a trajectory in the groups' order.

        Raises:
            ValueError: no batch was prepared yet.
        """
        return self._current().advantages

    def data(self, groups: Sequence[Any]) -> list[tinker.Datum]:
        """What to train on of the trajectories just sampled; ends the batch before.

        Advantages and batch-wide numbers are taken over all of ``groups``; leave out groups before, if at all. Those
        with equal rewards stay (the recipe says what they are worth, and most say 0); the cookbook's
        `remove_constant_reward_groups` drops them.

        Args:
            groups: the cookbook's `TrajectoryGroup`s, each the attempts at one prompt.

        Returns:
            Datums in the trajectories' order, of which `loss` knows each one by itself: hand over these, not copies. In
            any order, and in as many optimiser steps as wanted, but those of a trajectory together. Trajectories
            without a token to train on have none; their rewards count in their groups.

        Raises:
            ValueError: no token to train on, or what does not fit; names the group, trajectory and transition.
        """
        self._finish()
        rows, rollouts = read_groups(groups, self._correct)
        if self._correct is None:
            rollouts = self._with_right(rollouts)
        context = self._context()
        data, places = make_data(rows)
        if self._reference is not None:
            rollouts = with_reference(rollouts, rows, places, self._reference)
        rewarded = self.recipe.rewarded(rollouts, context)
        advantages = self.recipe.estimate(rewarded, context)
        prepared = self.recipe.prepare(rollouts, advantages, context)
        self._batch = _Batch(list(data), places, rollouts, rewarded, advantages, prepared)
        return data

    def loss(self, data: Sequence[tinker.Datum], logprobs: Sequence[Tensor]) -> tuple[Tensor, dict[str, float]]:
        """The loss function of one optimiser step, for `forward_backward_custom`; each call counts as a step.

        Args:
            data: some or all that `data` gave, as they are. logprobs: of each one's targets ``[N]``, with gradient.

        Returns:
            The recipe's loss, 0-dim: a mean, as its aggregation says, where Tinker's own losses are sums. Adam moves
            alike under both; a limit on the gradient's norm does not. And the step's numbers, by the names that
            TRL's log has; at a batch's first step also how far the trainer's log-probabilities of what was sampled
            are from the sampler's, which were made with the same weights.

        Raises:
            ValueError: data of another batch, part of a trajectory, or log-probabilities that do not fit or are not
                finite.
        """
        batch = self._current()
        places = taken(data, logprobs, batch.data, batch.places)
        rows = torch.tensor(sorted({place.row for place in places}))
        rollouts = Rollouts.from_columns(at_rows(batch.rollouts.columns(), rows))
        advantages = batch.advantages[rows]
        prepared = self.recipe.prepare_step(rollouts, advantages, at_rows(batch.prepared, rows), self._context())
        current = PolicyStats(logp=current_logp(places, logprobs, batch.advantages, rows))
        result = self.recipe.loss(current, rollouts, advantages, prepared, Totals(length=self._max_length))
        means = StepMeans()
        means.add(result, current, rollouts)
        metrics = means.take()
        apart = (current.logp.detach() - rollouts.behaviour.logp)[rollouts.trained].abs()
        mismatch = {} if batch.updates else {f"{_APART}/mean": float(apart.mean()), f"{_APART}/max": float(apart.max())}
        surprise = -rollouts.behaviour.logp[rollouts.trained].mean()
        batch.updates += 1
        self._steps += 1
        self.recipe.observe(metrics, self._context())
        return result.loss, metrics | {"sampled/surprise": float(surprise)} | mismatch

    def state_dict(self, *, finished: bool = False) -> dict[str, Any]:
        """What a resumed run needs beside Tinker's own state, for `torch.save`.

        Take it when the last update of a batch is done: that batch counts as finished.

        Args:
            finished: that the loop takes no more updates on this batch, though there were fewer than
                ``updates_per_batch`` (its last part was empty, say).

        Raises:
            ValueError: in the middle of a batch: a resumed run samples anew, and its other updates would be lost.
        """
        batch = self._batch
        if batch is not None and 0 < batch.updates < self._updates_per_batch and not finished:
            raise ValueError(
                f"TinkerRecipe.state_dict: {batch.updates} of this batch's {self._updates_per_batch} updates "
                "(updates_per_batch) were taken, and a resumed run samples a new batch; save after the last one, or "
                "write state_dict(finished=True) if there are no more"
            )
        self._finish()
        return {
            "recipe": self.recipe.state_dict(),
            "steps": self._steps,
            "graded": self._graded,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where `state_dict` was taken.

        Raises:
            ValueError: the state of another recipe, or no state of one.
        """
        missing = sorted({"recipe", "steps", "graded"} - set(state))
        if missing:
            raise ValueError(f"TinkerRecipe.load_state_dict: there is no {missing[0]!r} in it; expected a state_dict()")
        self.recipe.load_state_dict(state["recipe"])
        self._steps, self._graded = state["steps"], state["graded"]
        self._batch = None

    def _finish(self) -> None:
        batch = self._batch
        if batch is not None and batch.updates and not batch.remembered:
            self.recipe.remember(batch.rewarded, batch.advantages, self._context())
            batch.remembered = True

    def _with_right(self, rollouts: Rollouts) -> Rollouts:
        # Rewards that were ever anything but 0 and 1 are graded, whatever a later batch holds.
        right = None if self._graded else right_if_binary(rollouts.reward)
        self._graded = right is None
        return Rollouts.from_columns(rollouts.columns() | ({} if right is None else {"correct": right}))

    def _current(self) -> _Batch:
        if self._batch is None:
            raise ValueError("TinkerRecipe: no batch was prepared yet; call data(trajectory_groups) first")
        return self._batch

    def _context(self) -> Context:
        return Context(
            step=self._steps,
            total_steps=self._total_steps,
            generator=torch.Generator().manual_seed((self._seed * 1_000_003 + self._steps) % 2**63),
        )
