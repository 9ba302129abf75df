"""What a training run can be asked for."""

from __future__ import annotations

from dataclasses import dataclass

from entrokit.rlvr import recipe

POCKET = "pocket"
SELECTIONS = ("all", "rare-pair", "highest-variance")


@dataclass(frozen=True)
class TrainSettings:
    """What `entrokit train` can be asked for.

    Attributes:
        recipe: recipe string. task: as `load_task` names it.
        model: ``pocket``, or a local path or hub id of a causal language model.
        out: the run's folder. seed: of model sampling, data order and draws.
        steps: optimiser steps. updates: optimiser steps per generation batch.
        prompts, completions: prompts of a generation batch, and completions of each.
        learning_rate: constant, AdamW. temperature: of sampling, > 0.
        top_p: mass of the tokens sampled from, in (0, 1]; below 1 what samples is not the policy that is trained.
        max_completion_length: tokens; the task's own by default.
        select: which prompts are trained on: ``all``, or one pair that a probe of the policy chose once: ``rare-pair``
            (a rare success and a rare failure) or ``highest-variance``.
        pool: prompts that are probed, ``completions`` times each, where ``select`` asks for it.
        rollouts_every: generation batches from one written batch of completions to the next.
        account_every: optimiser steps from one entropy account to the next; 0 keeps none.
        save_every: optimiser steps from one checkpoint that `resume` can go on from to the next; 0 keeps none.
        trust_remote_code: whether Python code that comes with ``model`` may run; see SECURITY.md.
    """

    recipe: str
    out: str
    task: str = "countdown"
    model: str = POCKET
    steps: int = 600
    seed: int = 0
    prompts: int = 16
    completions: int = 16
    updates: int = 4
    learning_rate: float = 1e-4
    temperature: float = 1.0
    top_p: float = 1.0
    max_completion_length: int | None = None
    select: str = "all"
    pool: int = 256
    rollouts_every: int = 25
    account_every: int = 0
    save_every: int = 0
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        recipe(self.recipe)
        if self.select not in SELECTIONS:
            raise ValueError(f"select: must be one of {list(SELECTIONS)}, got {self.select!r}")
        for name in ("steps", "prompts", "updates", "pool", "rollouts_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1, got {getattr(self, name)}")
        for name in ("account_every", "save_every"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: must be at least 0, got {getattr(self, name)}")
        if self.completions < 2:
            raise ValueError(f"completions: a group needs at least 2 to compare, got {self.completions}")
        if self.prompts * self.completions % self.updates:
            raise ValueError(
                f"updates={self.updates} must divide the generation batch of prompts x completions = "
                f"{self.prompts * self.completions} rows"
            )
