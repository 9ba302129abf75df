"""What an intervention is: a small object that implements the stages it touches, and nothing else."""

from __future__ import annotations

import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from torch import Tensor

from .card import Card
from .context import Context
from .rollouts import Rollouts
from .surrogates import Clip, Surrogate
from .update import Update

# Rows over which a batch-wide number is taken: the generation batch, one optimiser step, or one micro-batch.
SCOPES = ("generation", "step", "micro")

# Token ids ``[B, L]`` and next-token logits ``[B, V]`` to logits, as `transformers` calls a `LogitsProcessor`.
LogitsProcessor = Callable[[Tensor, Tensor], Tensor]


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


@dataclass(frozen=True)
class Penalty:
    """A loss beside the policy's that is not simply aggregated like it.

    Attributes:
        loss: ``[B, T]``.
        keep: ``[B, T]`` bool, the tokens that count; all trained ones by default. With ``seq-mean-token-mean`` a row's
            mean is taken over them; the other aggregations divide by what they would without it.
        aggregation: one of `AGGREGATIONS`; the base's by default.
        logged: 0-dim, the penalty's value for the log, where the mean of ``loss`` is not it (a linearised term).
    """

    loss: Tensor
    keep: Tensor | None = None
    aggregation: str | None = None
    logged: Tensor | None = None


@dataclass(frozen=True)
class Replay:
    """Completions to train on once more, in optimiser steps of their own.

    Attributes:
        rollouts: with prompts; their behaviour statistics are those of when they were sampled (``logp`` alone).
        advantages: ``[B, T]``. coef: multiplies the loss.
        interventions: of the replay's loss, over the recipe's base; see `Recipe.of_replay`.
    """

    rollouts: Rollouts
    advantages: Tensor
    coef: float
    interventions: tuple[Intervention, ...] = ()


STAGES = ("decode", "reward", "advantage", "prepare", "weight", "surrogate", "penalty", "replay", "observe")
"""The stages that an intervention may implement, each a method of that name, in the order they run."""

# Names of before 0.2.
_OLD_HOOKS = {"weigh": "weight", "replace_surrogate": "surrogate"}


class Intervention:
    """Base of all interventions: every stage is neutral until a subclass implements it.

    A subclass is a dataclass whose fields are its knobs, with the paper's defaults, and whose functions live in the
    same file, with a `Card`. A stage is a method of its name; they run in this order:

    =========  ===================================  ==========================================  =======================
    stage      once per                             sees                                        gives
    =========  ===================================  ==========================================  =======================
    decode     generation batch of training         nothing; what it returns sees the logits    a logits processor
    reward     generation batch, all ranks          rollouts, the rewards so far                rewards ``[B]``
    advantage  generation batch, all ranks          rollouts, the advantages so far             advantages ``[B, T]``
    prepare    generation batch, all ranks          rollouts, advantages                        scalars, ``[B, ...]``
    weight     micro-batch of every update          current statistics, clip, what it prepared  weights and keeps
    surrogate  recipe                               the base's surrogate                        a surrogate instead
    penalty    micro-batch of every update          current statistics, what it prepared        a loss beside
    replay     generation batch, after its updates  its own memory                              rows to train on again
    observe    optimiser step of training           the step's numbers, all ranks               nothing: it remembers
    =========  ===================================  ==========================================  =======================

    Beside them, `bind` turns texts into token ids before anything else, and `remember` sees a generation batch after
    its updates. ``prepare`` with ``scope="step"`` runs once per optimiser step, over its rows; its scalars are logged
    and reach ``observe`` as they are, its columns travel with the rows. Nothing is observed, decoded for, replayed or
    remembered in evaluation. Which prompts are sampled is a `PromptSelector`'s business, not a stage.
    """

    # What is said of it outside its code; a method of one's own need not have one.
    card: ClassVar[Card | None] = None
    name: ClassVar[str]
    # Whether the engine must hand over log-probabilities of the prompts.
    needs_prompts: ClassVar[bool] = False
    # Whether the engine must hand over log-probabilities of a reference policy; the coefficient is then called `beta`.
    needs_reference: ClassVar[bool] = False
    # Whether it asks for updates of its own (`replay`), which an engine must be able to make.
    replays: ClassVar[bool] = False
    # What it puts in the place of what the stages before it gave: "reward", "advantage", or nothing.
    replaces: ClassVar[str | None] = None
    # Whether what stage `reward` made reaches what it replaces.
    reads_rewards: ClassVar[bool] = True
    # One of SCOPES.
    scope: str = "generation"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = inspect.get_annotations(cls)
        for stage in STAGES:
            if stage in own and "ClassVar" not in str(own[stage]):
                raise TypeError(f"{cls.__name__}: a knob cannot be called {stage}, as a stage is; choose another name")
        for old, new in _OLD_HOOKS.items():
            # Whoever comes first by inheritance has the say, and of one class's two names the new one.
            owner = next((c for c in cls.__mro__ if old in vars(c) or new in vars(c)), Intervention)
            if owner is not Intervention and new not in vars(owner):
                warnings.warn(
                    f"{cls.__name__}.{old} is called {new} now; the old name works until 0.3",
                    DeprecationWarning,
                    stacklevel=2,
                )
                setattr(cls, new, vars(owner)[old])

    @property
    def needs(self) -> frozenset[str]:
        """Statistics that an engine must compute; a class variable where the knobs do not change it."""
        return frozenset()

    @property
    def separable(self) -> bool:
        """What `weight` and `penalty` give a token depends on the *current* statistics of no other token.

        Then an engine may form gradients while a token's logits are in memory (`linear_token_loss`). Say True only
        where it holds: nothing can check it at run time.
        """
        return False

    def bind(self, encode: Callable[[str], Sequence[int]]) -> None:
        """Turns texts among the knobs into token ids; ``encode`` is a tokenizer's, without special tokens."""

    def decode(self) -> LogitsProcessor | None:
        """What acts on the logits of the next generation batch before the engine applies its temperature."""
        return None

    def reward(self, rollouts: Rollouts, rewards: Tensor, context: Context) -> Tensor:
        """Rewards ``[B]`` from the task's and those of the interventions before this one; NaN stays NaN."""
        return rewards

    def advantage(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> Tensor:
        """Advantages ``[B, T]`` from those of the base and the interventions before this one."""
        return advantages

    def prepare(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> dict[str, Tensor]:
        """Batch-wide thresholds, maxima and draws, from the behaviour policy's statistics of the scope's rows."""
        return {}

    def surrogate(self, surrogate: Surrogate) -> Surrogate:
        """The surrogate that this method's loss is defined with, made from the base's, where it is not free."""
        return surrogate

    def refuse(self, surrogate: Surrogate) -> str | None:
        """Why this method makes no sense over a surrogate, or ``None``. Said when the recipe is built."""
        return None

    def weight(self, update: Update, clip: Clip, prepared: Mapping[str, Tensor]) -> Weighting:
        """Weights and keeps of the policy loss. ``clip``: what the surrogate's clip does to these tokens."""
        return Weighting()

    def penalty(self, update: Update, prepared: Mapping[str, Tensor]) -> Tensor | Penalty | None:
        """Loss per token ``[B, T]``, added to the policy loss under the same aggregation, or a `Penalty`."""
        return None

    def observe(self, metrics: Mapping[str, float], context: Context) -> None:
        """Lets a controller see an optimiser step in which something was trained on.

        Args:
            metrics: as `StepMeans.take` gives them: means over the trained tokens of the step (``entropy``, ``kl``, and
                those of `weight` as ``name/key``), and the scalars of `prepare` as ``name/key``, as they are.
        """

    def replay(self, context: Context) -> Replay | None:
        """What to train on once more, after the updates on a generation batch; alike (or nothing) on every rank."""
        return None

    def remember(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> None:
        """Lets a memory see a generation batch of training, after its updates; ``rollouts`` hold shaped rewards."""

    def check_fits(self, vocabulary: int, longest: int) -> None:
        """Refuses remembered completions that a model cannot read, after `load_state_dict`.

        Args:
            vocabulary: number of token ids. longest: tokens of a prompt and its completion together.

        Raises:
            ValueError: names the first such completion.
        """

    @property
    def memory_bytes(self) -> int:
        """Bytes that the state takes; it is bounded whatever the length of the run."""
        return _nbytes(self.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """What must survive a restart; empty for a method without memory."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            raise ValueError(f"{self.name}: has no state to restore, got {sorted(state)}")

    def refused_by(self, engine: str) -> str | None:
        """Why an engine (``trl``, ``verl``) cannot carry this method with these knobs, or ``None``.

        What an engine lacks in general (a statistic, a place to act while sampling) it says by itself.
        """
        return None if self.card is None else self.card.refused_by.get(engine)

    def cannot_act(self, updates_per_rollout: int) -> str | None:
        """Why this method can do nothing in a set-up, or ``None``. Said at the start of a run."""
        return None


class ScopedIntervention(Intervention, ABC):
    """An intervention with batch-wide numbers: `batch_wide` gives them once for the rows of its scope.

    With ``scope="micro"`` nothing is prepared: the subclass takes them from the current policy in each micro-batch.
    """

    @property
    def separable(self) -> bool:
        return self.scope != "micro"

    def prepare(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> dict[str, Tensor]:
        return {} if self.scope == "micro" else self.batch_wide(rollouts, advantages, context)

    def narrowed(self) -> Self:
        """The same method with ``scope="micro"``, for an engine that shows no more than micro-batches."""
        return replace(self, scope="micro")  # type: ignore[type-var]  # every intervention is a dataclass

    @abstractmethod
    def batch_wide(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> dict[str, Tensor]:
        """As `prepare`, for a scope wider than a micro-batch."""


def _nbytes(state: Any) -> int:
    if isinstance(state, Tensor):
        return state.nbytes
    if isinstance(state, Mapping):
        return sum(map(_nbytes, state.values()))
    if isinstance(state, (list, tuple)):
        return sum(map(_nbytes, state))
    return 8 if isinstance(state, (int, float)) else 0


def stages_of(intervention: Intervention) -> list[str]:
    """Names of the stages that an intervention implements, in the order they run."""
    return [stage for stage in STAGES if implements(intervention, stage)]


def implements(intervention: Intervention, hook: str) -> bool:
    """Whether an intervention has a hook of its own."""
    return getattr(type(intervention), hook) is not getattr(Intervention, hook)
