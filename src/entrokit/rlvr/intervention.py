"""What an intervention is: a small object that implements the stages it touches, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from .context import Context
from .rollouts import Rollouts
from .surrogates import Surrogate
from .update import Update

SCOPES = ("generation", "micro")


@dataclass(frozen=True)
class Weighting:
    """What the weight stage says of each token of the policy loss.

    Attributes:
        weight: ``[B, T]``, detached; multiplies the loss, the denominator stays.
        keep: ``[B, T]`` bool; tokens that are not kept leave the loss *and* the denominator.
        metrics: 0-dim tensors, logged under the intervention's name.
    """

    weight: Tensor | None = None
    keep: Tensor | None = None
    metrics: Mapping[str, Tensor] | None = None


class Intervention:
    """Base of all interventions: every stage is neutral until a subclass implements it.

    A subclass is a dataclass whose fields are its knobs, with the paper's defaults, and whose functions live in the
    same file. Stages run in this order; DESIGN.md says what each one sees:

    - `prepare` once per generation batch: scalars and ``[B, ...]`` columns that travel with the rows;
    - `replace_surrogate` once: a surrogate of its own instead of the base's;
    - `weigh` and `penalty` for every micro-batch of every update;
    - `observe` after every optimiser step of training, never in evaluation.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    # Over which rows batch-wide numbers are taken: one of SCOPES.
    scope: str = "generation"

    @property
    def separable(self) -> bool:
        """What `weigh` and `penalty` give a token depends on the *current* statistics of no other token.

        Then an engine may form gradients while a token's logits are in memory (`linear_token_loss`). Say True only
        where it holds: nothing can check it at run time.
        """
        return False

    def prepare(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> dict[str, Tensor]:
        """Batch-wide thresholds, maxima and draws, from the behaviour policy's statistics."""
        return {}

    def replace_surrogate(self) -> Surrogate | None:
        """The surrogate that this method's loss is defined with, where it is not free."""
        return None

    def weigh(self, update: Update, clipped: Tensor, prepared: Mapping[str, Tensor]) -> Weighting:
        """Weights and keeps of the policy loss; ``clipped [B, T]``: tokens that the surrogate's clip holds still."""
        return Weighting()

    def penalty(self, update: Update, prepared: Mapping[str, Tensor]) -> Tensor | None:
        """Loss per token ``[B, T]``, added to the policy loss under the same aggregation."""
        return None

    def observe(self, metrics: Mapping[str, float], context: Context) -> None:
        """Lets a controller see the metrics of an optimiser step, averaged over ranks."""

    def state_dict(self) -> dict[str, Any]:
        """What must survive a restart; empty for a method without memory."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            raise ValueError(f"{self.name}: has no state to restore, got {sorted(state)}")

    def cannot_act(self, updates_per_rollout: int) -> str | None:
        """Why this method can do nothing in a set-up, or ``None``. Said at the start of a run."""
        return None


def stages_of(intervention: Intervention) -> list[str]:
    """Names of the stages that an intervention implements, in the order they run."""
    hooks = {
        "prepare": "prepare",
        "weight": "weigh",
        "surrogate": "replace_surrogate",
        "penalty": "penalty",
        "observe": "observe",
    }
    own = type(intervention)
    return [stage for stage, hook in hooks.items() if getattr(own, hook) is not getattr(Intervention, hook)]
