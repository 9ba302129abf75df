"""From verl's actor config to a recipe, or to an error at start-up that names the override to write."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from verl.workers.config import PolicyLossConfig

from entrokit.rlvr import BASES, Base, Recipe, recipe
from entrokit.rlvr.advantages import GivenAdvantages
from entrokit.rlvr.aggregation import AGGREGATIONS
from entrokit.rlvr.grammar import build_intervention
from entrokit.rlvr.intervention import Intervention, implements
from entrokit.rlvr.parts import Part
from entrokit.rlvr.surrogates import PPOClip

from ..carried import VERL
from .names import PREFIX

ACTOR = "actor_rollout_ref.actor"
_VERLS_CLIP = {"clip_ratio_low": 0.2, "clip_ratio_high": 0.2, "clip_ratio_c": 3.0}


@dataclass
class RecipePolicyLossConfig(PolicyLossConfig):  # type: ignore[misc]
    """verl's `PolicyLossConfig` with a recipe string, for ``loss_mode=entrokit``.

    ``correct`` names the column that says which completions are right: a key of what the reward function returned
    beside its score (``acc``, say). By default a score of 1 is right, as long as scores are 0 and 1 alone.

    ``actor_rollout_ref.actor.policy_loss._target_=entrokit.engines.verl.RecipePolicyLossConfig`` puts it in the place
    of verl's own.
    """

    recipe: str | None = None
    correct: str | None = None


def recipe_of(config: Any) -> Recipe | None:
    """The recipe that verl's `ActorConfig` asks for; None where its ``loss_mode`` is not one of ours.

    - ``loss_mode=entrokit`` and ``policy_loss.recipe``: that recipe, its base included;
    - ``loss_mode=entrokit-<intervention>``: the intervention at its paper's defaults, upon verl's own clip,
      aggregation and advantages;
    - ``loss_mode=entrokit-<base>``: that base.

    Raises:
        ValueError: an unknown name, or options that contradict each other; says which to change.
    """
    mode, text = config.policy_loss.loss_mode, config.policy_loss.get("recipe", None)
    if mode != PREFIX and not mode.startswith(PREFIX + "-"):
        return None
    if mode == PREFIX:
        if not text:
            raise ValueError(
                f"loss_mode={PREFIX} needs a recipe: {ACTOR}.policy_loss._target_=entrokit.engines.verl."
                f"RecipePolicyLossConfig and +{ACTOR}.policy_loss.recipe='grpo+steer(min_weight=0.7)'"
            )
        return _agreeing(recipe(text), config)
    if text:
        raise ValueError(f"loss_mode={mode} is a recipe of its own; with recipe={text!r} write loss_mode={PREFIX}")
    name = mode.removeprefix(PREFIX + "-")
    if name.replace("-", "_") in BASES:
        return _agreeing(recipe(name), config)
    return Recipe(Part("verl", {}), _verls_base(config), (build_intervention(Part(name, {})),))


def with_advantages(chosen: Recipe, advantages: Tensor) -> Recipe:
    """The recipe for one batch: where its base is verl's, with the advantages that verl computed."""
    if not isinstance(chosen.base.advantage, GivenAdvantages):
        return chosen
    return replace(chosen, base=replace(chosen.base, advantage=GivenAdvantages(advantages)))


def refuse(chosen: Recipe, config: Any) -> None:
    """What verl cannot carry of a recipe.

    Raises:
        ValueError: names the part, what verl lacks, and what to write instead.
    """
    for intervention in chosen.interventions:
        lacking = sorted(intervention.needs - VERL)
        if lacking:
            raise ValueError(
                f"{intervention.name} needs {', '.join(lacking)} of every token, and verl's engines compute "
                f"log-probabilities and entropies alone; {_instead(intervention)}"
            )
        if intervention.name in chosen.decodes:
            raise ValueError(
                f"{intervention.name} acts on the logits while sampling, which verl leaves to vLLM or SGLang; drop it, "
                "or use it under TRL with transformers' own generate"
            )
        own_reason = intervention.refused_by("verl")
        if own_reason is not None:
            raise ValueError(f"{intervention.name}: {own_reason}")
        if intervention.replays:
            raise ValueError(
                f"{intervention.name} takes updates of its own on what it remembers, and verl's worker has no place "
                "for them; use it under TRL"
            )
        if intervention.needs_reference and not config.use_kl_loss:
            raise ValueError(
                f"{intervention.name} needs the reference's log-probabilities: write {ACTOR}.use_kl_loss=True and "
                f"{ACTOR}.kl_loss_coef=0 (verl then computes them, and adds no loss of its own)"
            )
        if isinstance(chosen.base.advantage, GivenAdvantages) and implements(intervention, "reward"):
            raise ValueError(
                f"{intervention.name} acts on rewards, and loss_mode={PREFIX}-{intervention.name} takes advantages "
                f"that verl has already made of them: write loss_mode={PREFIX} and policy_loss.recipe="
                f"'grpo+{intervention.name}'"
            )
    if config.strategy not in ("fsdp", "fsdp2"):
        raise ValueError(
            f"{ACTOR}.strategy={config.strategy}: entrokit's recipes run with fsdp and fsdp2; with others, use a "
            "loss_mode of verl's own"
        )


def _instead(intervention: Intervention) -> str:
    card = intervention.card
    return "use it under TRL" if card is None else card.instead.get("verl", "use it under TRL")


def _verls_base(config: Any) -> Base:
    low, high = (
        config.clip_ratio if value is None else value for value in (config.clip_ratio_low, config.clip_ratio_high)
    )
    if config.loss_agg_mode not in AGGREGATIONS:
        raise ValueError(f"{ACTOR}.loss_agg_mode={config.loss_agg_mode}: recipes know {list(AGGREGATIONS)}")
    return Base(GivenAdvantages(), PPOClip(low, high, config.clip_ratio_c), config.loss_agg_mode)


def _agreeing(chosen: Recipe, config: Any) -> Recipe:
    """The recipe, where verl's config says nothing else about what it decides."""
    if chosen.base.aggregation != config.loss_agg_mode:
        raise ValueError(
            f"{ACTOR}.loss_agg_mode={config.loss_agg_mode} conflicts with recipe '{chosen}', which means "
            f"{chosen.base.aggregation}: write {ACTOR}.loss_agg_mode={chosen.base.aggregation}, or take another base"
        )
    for name, default in _VERLS_CLIP.items():
        if getattr(config, name) not in (default, None):
            raise ValueError(
                f"{ACTOR}.{name}={getattr(config, name)} is not read with recipe '{chosen}': write the clip as knobs "
                "of its base, e.g. grpo(clip_low=0.2, clip_high=0.28, dual_clip=3.0)"
            )
    return chosen
