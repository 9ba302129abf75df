"""From a TRL config to the recipe that equals it, or a word that there is none."""

from __future__ import annotations

import dataclasses
from typing import Any

from trl import RLOOConfig

from entrokit.rlvr import Recipe, recipe
from entrokit.rlvr.interventions.adaptive_entropy import AdaptiveEntropy
from entrokit.rlvr.interventions.entropy_bonus import EntropyBonus
from entrokit.rlvr.interventions.forking_tokens import ForkingTokens
from entrokit.rlvr.interventions.reference_kl import ReferenceKL, RewardKL

from .options import OPTIONS, implied


def trl_recipe(args: Any) -> Recipe:
    """The recipe that equals TRL's own trainer under a config: `GRPOTrainer`, or `RLOOTrainer`.

    Args:
        args: a `GRPOConfig` or a `RLOOConfig`.

    Raises:
        ValueError: an option that changes the update and has no counterpart, by its name.
    """
    return _rloo(args) if isinstance(args, RLOOConfig) else _grpo(args)


def _rloo(args: Any) -> Recipe:
    for name in ("normalize_advantages", "reward_clip_range"):
        if getattr(args, name):
            raise ValueError(f"RLOOConfig({name}={getattr(args, name)!r}) has no recipe; shape the reward yourself")
    chosen = recipe(f"rloo_sequence(clip_low={args.epsilon}, clip_high={_high(args)})")
    return recipe(chosen, RewardKL(beta=args.beta)) if args.beta else chosen


def _grpo(args: Any) -> Recipe:
    chosen = recipe(_base(args))
    if args.beta:
        chosen = recipe(chosen, ReferenceKL(beta=args.beta, bias_correction=args.use_bias_correction_kl))
    if args.top_entropy_quantile < 1.0:
        chosen = recipe(chosen, ForkingTokens(rho=args.top_entropy_quantile, normalize="all", scope="micro"))
    if bonus := _bonus(args):
        chosen = recipe(chosen, bonus)
    _check(args, chosen)
    return chosen


def _base(args: Any) -> str:
    high = _high(args)
    clip = f"clip_low={args.epsilon}, clip_high={high}"
    if args.importance_sampling_level == "sequence":
        if args.loss_type != "grpo":
            raise ValueError(
                f"GRPOConfig(importance_sampling_level='sequence', loss_type={args.loss_type!r}) has no recipe: gspo "
                "is a mean over rows, which is loss_type='grpo'"
            )
        return f"gspo({clip}, std_eps=1e-4)"
    if args.loss_type == "cispo" and high <= 1.0:
        raise ValueError(
            f"GRPOConfig(loss_type='cispo', epsilon_high={high:g}) has no recipe: TRL's bound is absolute "
            f"and would cap every ratio at {high:g}; choose epsilon_high above 1, e.g. 5.0"
        )
    bases = {
        "grpo": f"grpo({clip}, dual_clip=None, std_eps=1e-4)",
        "dapo": f"dapo({clip}, dual_clip=None, std_eps=1e-4)",
        "dr_grpo": f"dr_grpo({clip}, dual_clip=None)",
        "cispo": f"cispo(clip_high={high - 1.0}, std_eps=1e-4)",
    }
    if args.loss_type not in bases:
        raise ValueError(f"loss_type={args.loss_type!r} has no recipe; valid are {list(bases)}")
    return bases[args.loss_type]


def _bonus(args: Any) -> EntropyBonus | AdaptiveEntropy | None:
    """TRL's bonus is a mean over a micro-batch's tokens, which is ours where the loss is one too."""
    if not args.entropy_coef and not args.use_adaptive_entropy:
        return None
    if args.loss_type not in ("dapo", "cispo") or args.gradient_accumulation_steps != 1:
        raise ValueError(
            f"GRPOConfig(entropy_coef={args.entropy_coef!r}, loss_type={args.loss_type!r}, gradient_accumulation_steps="
            f"{args.gradient_accumulation_steps}) has no recipe: TRL's bonus is a mean over a micro-batch's tokens. "
            f"Closest is '+entropy-bonus(coef={args.entropy_coef:g})', which equals it with loss_type='dapo' and one "
            "micro-batch a step"
        )
    if not args.use_adaptive_entropy:
        return EntropyBonus(coef=args.entropy_coef)
    return AdaptiveEntropy(
        coef=args.entropy_coef,
        target=args.entropy_target,
        coef_delta=args.entropy_coef_delta,
        coef_min=args.entropy_coef_min,
        coef_max=args.entropy_coef_max,
    )


def _check(args: Any, chosen: Recipe) -> None:
    """Every option that a recipe has a word for, or that TRL's update reads and no recipe has, is as it is in TRL."""
    default = {f.name: f.default for f in dataclasses.fields(args)}
    meant = {
        name: default[name] for name, option in OPTIONS.items() if option.treatment == "refused" and name in default
    }
    meant |= implied(chosen)
    for name, value in meant.items():
        own = _high(args) if name == "epsilon_high" else getattr(args, name)
        if own != value:
            raise ValueError(
                f"GRPOConfig({name}={own!r}) has no recipe beside loss_type={args.loss_type!r}: the closest, "
                f"'{chosen}', means {name}={value!r}"
            )


def _high(args: Any) -> float:
    return float(args.epsilon if args.epsilon_high is None else args.epsilon_high)
