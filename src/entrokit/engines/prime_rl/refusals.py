"""What prime-rl cannot carry of a recipe, by what each method says of itself."""

from __future__ import annotations

from entrokit.rlvr import Recipe
from entrokit.rlvr.intervention import Intervention, implements

from ..carried import PRIME_RL

ENGINE = "prime-rl"
AGGREGATION = "token-mean"

# Stages and hooks that find nothing there, and why; the first that a method has is named.
_ONE_SEQUENCE = "and prime-rl calls a loss with one sequence at a time"
_LACKING = {
    "decode": "it acts on the logits while sampling, which prime-rl leaves to vLLM",
    "reward": "it acts on rewards, of which prime-rl's orchestrator has made advantages before a loss sees anything",
    "advantage": "it makes advantages, which are the orchestrator's: since 0.7 no option there takes a function",
    "replay": f"it takes updates of its own on what it remembers, {_ONE_SEQUENCE}",
    "prepare": f"it takes numbers over a whole batch (thresholds, maxima, draws), {_ONE_SEQUENCE}",
    "observe": f"it learns from step to step, {_ONE_SEQUENCE}, names no step and saves no state of it",
    "remember": f"it learns from step to step, {_ONE_SEQUENCE}, names no step and saves no state of it",
    "state_dict": f"it has a memory, {_ONE_SEQUENCE} and saves no state of it",
    "bind": "it looks for texts in completions, and prime-rl shows a loss no token ids",
}


def refuse(chosen: Recipe) -> None:
    """Refuses a recipe of which prime-rl cannot carry a part.

    Raises:
        ValueError: names the part, what prime-rl lacks, and what to write instead.
    """
    reasons = {i.name: reason for i in chosen.interventions if (reason := _reason(i)) is not None}
    for intervention in chosen.interventions:
        if intervention.name in reasons:
            raise ValueError(
                f"prime-rl cannot carry {intervention.name} of recipe '{chosen}': {reasons[intervention.name]}; "
                f"{_instead(intervention, chosen, set(reasons))}"
            )
    if chosen.base.aggregation != AGGREGATION:
        raise ValueError(
            f"recipe '{chosen}' means {chosen.base.aggregation}, and prime-rl divides a step's sum over tokens by "
            f"their number: take a base that means {AGGREGATION} (dapo is grpo so), or have this one taken so: "
            f'import_path = "entrokit.engines.prime_rl.recipe_loss" with kwargs = {{ recipe = "{chosen}", '
            f'aggregation = "{AGGREGATION}" }}'
        )


def _reason(intervention: Intervention) -> str | None:
    own = intervention.refused_by(ENGINE)
    if own is not None:
        return own
    lacking = sorted(intervention.needs - PRIME_RL)
    if lacking:
        return (
            f"it needs {', '.join(lacking)} of every token, and prime-rl shows a loss log-probabilities alone (its "
            "entropies are logged, without gradient)"
        )
    if intervention.needs_reference:
        return (
            "it needs the reference's log-probabilities, which prime-rl computes for the algorithms opd and opsd "
            "alone, whose tokens never reach this loss"
        )
    if intervention.needs_prompts:
        return "it needs log-probabilities of prompts, and prime-rl shows a loss no tokens"
    return next((why for hook, why in _LACKING.items() if implements(intervention, hook)), None)


def _instead(intervention: Intervention, chosen: Recipe, refused: set[str]) -> str:
    card = intervention.card
    if card is not None and ENGINE in card.instead:
        return card.instead[ENGINE]
    rest = tuple(i for i in chosen.interventions if i.name not in refused)
    taken_so = "" if chosen.base.aggregation == AGGREGATION else f', with aggregation = "{AGGREGATION}"'
    return f"use it under TRL, or leave it out: '{Recipe(chosen.base_part, chosen.base, rest)}'{taken_so}"
