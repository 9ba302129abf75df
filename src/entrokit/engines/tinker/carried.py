"""What the Tinker API cannot carry of a recipe, said before anything is sampled."""

from __future__ import annotations

from entrokit.rlvr import Recipe
from entrokit.rlvr.intervention import Intervention

from ..carried import TINKER

ENGINE = "tinker"


def refuse(chosen: Recipe, *, reference: bool, max_length: int | None) -> None:
    """Refuses what cannot run.

    Args:
        reference: whether a reference policy was given. max_length: of a completion, where it was said.

    Raises:
        ValueError: names the part, what Tinker lacks, and what to write instead.
    """
    for intervention in chosen.interventions:
        name = intervention.name
        if name in chosen.decodes:
            raise ValueError(
                f"{name} acts on the logits while sampling, which Tinker's servers do by themselves; "
                f"{_instead(intervention)}"
            )
        lacking = sorted(intervention.needs - TINKER)
        if lacking:
            raise ValueError(
                f"{name} needs {', '.join(lacking)} of every token, and the Tinker API gives log-probabilities alone; "
                f"{_instead(intervention)}"
            )
        if intervention.needs_prompts:
            raise ValueError(
                f"{name} needs log-probabilities of the prompts, which Tinker's sampler does not give with its "
                f"completions; {_instead(intervention)}"
            )
        if intervention.replays:
            raise ValueError(
                f"{name} takes updates of its own on what it remembers, and a loss function under Tinker cannot; "
                f"{_instead(intervention)}"
            )
        own_reason = intervention.refused_by(ENGINE)
        if own_reason is not None:
            raise ValueError(f"{name}: {own_reason}")
        if intervention.needs_reference and not reference:
            raise ValueError(
                f"{name} needs the reference's log-probabilities: write TinkerRecipe(..., reference="
                "service_client.create_sampling_client(base_model=...))"
            )
    if chosen.base.aggregation == "seq-mean-token-sum-norm" and max_length is None:
        raise ValueError(
            f"{chosen.base_part.name} divides by the longest completion allowed: write TinkerRecipe(..., "
            "max_length=...), the max_tokens that you sample with (of an episode of several turns, its limit)"
        )


def _instead(intervention: Intervention) -> str:
    card = intervention.card
    default = "use it under TRL or verl, whose engines have the whole distribution"
    return default if card is None else card.instead.get(ENGINE, default)
