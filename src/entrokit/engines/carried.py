"""Which engines can carry a recipe: what each gives and has a place for, known without having it installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from entrokit.rlvr import Recipe
from entrokit.rlvr.intervention import Intervention, implements


@dataclass(frozen=True)
class Engine:
    """What a recipe finds in an engine.

    Attributes:
        statistics: of every token, by name; None for all that entrokit has.
        decodes: whether it acts on logits while sampling. prompts: whether it gives log-probabilities of prompts.
        replays: whether updates of a method's own can be made. reference: whether it gives a reference policy's
            log-probabilities. hooks: stages of a method that it never calls.
    """

    statistics: frozenset[str] | None = None
    decodes: bool = False
    prompts: bool = False
    replays: bool = False
    reference: bool = True
    hooks: frozenset[str] = frozenset()

    def lacks(self, method: Intervention, *, decodes: bool) -> bool:
        """Whether a method finds something missing here; ``decodes``: it acts on logits while sampling."""
        return (
            (self.statistics is not None and not method.needs <= self.statistics)
            or (decodes and not self.decodes)
            or (method.needs_prompts and not self.prompts)
            or (method.replays and not self.replays)
            or (method.needs_reference and not self.reference)
            or any(implements(method, hook) for hook in self.hooks)
        )


# What verl's model engines give for every token.
VERL = frozenset({"logp", "entropy"})
# The API gives log-probabilities of given tokens; no entropies, and nothing else of a distribution.
TINKER = frozenset({"logp"})
# All that a loss sees of a token beside its advantage.
PRIME_RL = frozenset({"logp"})
# prime-rl calls a loss with one sequence's log-probabilities, and with nothing else.
_SEQUENCE_ONLY = frozenset(
    {"decode", "reward", "advantage", "replay", "prepare", "observe", "remember", "state_dict", "bind"}
)

ENGINES: Mapping[str, Engine] = {
    "trl": Engine(decodes=True, prompts=True, replays=True),
    "verl": Engine(VERL, prompts=True),
    "tinker": Engine(TINKER),
    "prime-rl": Engine(PRIME_RL, reference=False, hooks=_SEQUENCE_ONLY),
}
"""By the names that methods' cards use."""


def carried_by(chosen: Recipe) -> tuple[str, ...]:
    """The engines that can carry every part of a recipe, in the order of `ENGINES`.

    Each engine's own check, which knows a run's settings too, has the last word.
    """
    return tuple(
        name
        for name, engine in ENGINES.items()
        if not any(
            engine.lacks(method, decodes=method.name in chosen.decodes) or method.refused_by(name) is not None
            for method in chosen.interventions
        )
    )
