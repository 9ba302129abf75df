"""What `EntropyGRPOTrainer` does with every option of TRL's `GRPOConfig`.

- *honoured*: TRL acts on it as always;
- *mapped*: it says something that the recipe says too; the trainer checks that both agree;
- *refused*: a value other than the default is an error, because the recipe would silently override it.

`docs/trl-options.md` is this table.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import Any

from entrokit.rlvr import Recipe, recipe
from entrokit.rlvr.advantages import DrGRPOAdvantage
from entrokit.rlvr.interventions.adaptive_entropy import AdaptiveEntropy
from entrokit.rlvr.interventions.entropy_bonus import EntropyBonus
from entrokit.rlvr.interventions.forking_tokens import ForkingTokens
from entrokit.rlvr.interventions.reference_kl import ReferenceKL
from entrokit.rlvr.surrogates import CISPO, GSPO, PPOClip, SequenceClip


@dataclass(frozen=True)
class Option:
    """How one option is treated, and why."""

    treatment: str
    note: str


_HONOURED = {
    "generation": "model_init_kwargs trust_remote_code disable_dropout remove_unused_columns num_generations "
    "num_generations_eval max_completion_length ds3_gather_for_generation shuffle_dataset pad_to_multiple_of "
    "generation_batch_size steps_per_generation temperature top_p top_k min_p generation_kwargs chat_template_kwargs "
    "repetition_penalty cache_implementation max_tool_calling_iterations use_transformers_continuous_batching "
    "transformers_continuous_batching_config use_transformers_paged",
    "vLLM": "use_vllm vllm_mode vllm_model_impl vllm_enable_sleep_mode vllm_structured_outputs_regex "
    "vllm_server_base_url vllm_server_host vllm_server_port vllm_server_timeout vllm_group_port "
    "vllm_gpu_memory_utilization vllm_max_model_length vllm_tensor_parallel_size vllm_importance_sampling_correction "
    "vllm_importance_sampling_mode vllm_importance_sampling_clip_max vllm_importance_sampling_clip_min "
    "vllm_importance_sampling_cap",
    "training": "learning_rate num_iterations reward_weights mask_truncated_completions sync_ref_model "
    "ref_model_mixup_alpha ref_model_sync_steps",
    "logging": "log_completions log_multimodal num_completions_to_print log_unique_prompts log_completions_hub_repo "
    "logging_steps",
}

_MAPPED = {
    "loss_type": "the recipe's base: `grpo`, `dr_grpo`, `dapo`, `cispo` (`dispo` is normalised as `dapo`)",
    "epsilon": "the base's knob `clip_low`",
    "epsilon_high": "the base's knob `clip_high` (`cispo`: TRL's bound is `1 + clip_high`)",
    "delta": "TRL's two-sided clip has no counterpart; the base's knob `dual_clip` bounds negative advantages instead",
    "importance_sampling_level": "`sequence` is the base `gspo`",
    "scale_rewards": "`none` is the base `dr_grpo`, `group` the others",
    "beta": "adds `reference-kl(beta=...)` to the recipe; a recipe that holds it sets `beta`",
    "use_bias_correction_kl": "`reference-kl`'s knob `bias_correction`",
    "top_entropy_quantile": "`forking-tokens(rho=..., normalize='all', scope='micro')`",
}

_REFUSED = {
    "multi_objective_aggregation": "advantages are the recipe's; only `sum_then_normalize` has a counterpart",
    "sapo_temperature_neg": "SAPO is not a recipe",
    "sapo_temperature_pos": "SAPO is not a recipe",
    "vespo_k_pos": "VESPO is not a recipe",
    "vespo_lambda_pos": "VESPO is not a recipe",
    "vespo_k_neg": "VESPO is not a recipe",
    "vespo_lambda_neg": "VESPO is not a recipe",
    "off_policy_mask_threshold": "no intervention of that name yet",
    "entropy_coef": "write the bonus as `entropy-bonus(coef=...)` in the recipe",
    **dict.fromkeys(
        ("use_adaptive_entropy", "entropy_coef_min", "entropy_coef_max", "entropy_coef_delta", "entropy_target"),
        "write the bonus as `adaptive-entropy(coef=..., target=...)` in the recipe",
    ),
    "router_aux_loss_coef": "the load-balancing loss of mixture-of-experts models is not carried yet",
    "cast_lm_head_to_fp32": "statistics are summed in float32 whatever the head multiplies in",
}

_OTHER_SAMPLERS = ("use_vllm", "use_transformers_paged", "use_transformers_continuous_batching")

OPTIONS: dict[str, Option] = {
    **{n: Option("honoured", kind) for kind, names in _HONOURED.items() for n in names.split()},
    **{n: Option("mapped", note) for n, note in _MAPPED.items()},
    **{n: Option("refused", note) for n, note in _REFUSED.items()},
}


def resolve(args: Any, wanted: str | Recipe) -> tuple[Any, Recipe]:
    """A copy of a `GRPOConfig` that says what the recipe says, and the recipe with what the config adds to it.

    Raises:
        ValueError: an option that the recipe would override; names both, and what to write instead.
    """
    chosen = recipe(wanted)
    args = copy.copy(args)
    default = {f.name: f.default for f in dataclasses.fields(args)}
    given = {n: getattr(args, n) for n in OPTIONS if hasattr(args, n) and getattr(args, n) != default.get(n)}
    bonus = _bonus_words(chosen)
    for name in _REFUSED:
        if name in given and bonus.get(name) == given[name]:
            setattr(args, name, default[name])  # the recipe adds the bonus: TRL's own stays off
        elif name in given:
            raise ValueError(f"GRPOConfig({name}={given[name]!r}) conflicts with recipe '{chosen}': {_REFUSED[name]}")
    for name in _OTHER_SAMPLERS:
        if chosen.decodes and getattr(args, name, False):
            raise ValueError(
                f"GRPOConfig({name}=True) conflicts with recipe '{chosen}': {chosen.decodes[0]} acts on the logits "
                "while sampling, which only transformers' own generate lets it do; drop one of the two"
            )
    chosen = _with_reference(given, chosen)
    for name, value in implied(chosen).items():
        if name in bonus:
            continue
        if name in given and given[name] != value:
            raise ValueError(
                f"GRPOConfig({name}={given[name]!r}) conflicts with recipe '{chosen}', which means {name}={value!r}: "
                f"drop the option, or change the recipe ({_MAPPED[name]})"
            )
        setattr(args, name, value)
    return args, chosen


def refuse_what_cannot_be_carried(chosen: Recipe) -> None:
    """Raises `ValueError` for an intervention that this trainer does not carry."""
    for intervention in chosen.interventions:
        reason = intervention.refused_by("trl")
        if reason is not None:
            raise ValueError(f"{intervention.name}: {reason}")


def implied(chosen: Recipe) -> dict[str, Any]:
    """What a recipe means in TRL's words; options that TRL has no word for keep TRL's defaults."""
    surrogate = chosen.base.surrogate
    kl, anchor = _find(chosen, ReferenceKL), _anchored(chosen)
    forking = _find(chosen, ForkingTokens)
    own_words = forking is not None and (forking.normalize, forking.scope, forking.invert) == ("all", "micro", False)
    words: dict[str, Any] = {
        "loss_type": {
            "seq-mean-token-mean": "grpo",
            "token-mean": "cispo" if isinstance(surrogate, CISPO) else "dapo",
            "seq-mean-token-sum-norm": "dr_grpo",
            # TRL has no word for it, and `_compute_loss` is ours: what counts is that it divides by rows.
            "seq-mean-token-sum": "grpo",
        }[chosen.base.aggregation],
        "delta": None,
        "importance_sampling_level": "sequence" if isinstance(surrogate, GSPO | SequenceClip) else "token",
        "scale_rewards": "none" if isinstance(chosen.base.advantage, DrGRPOAdvantage) else "group",
        "beta": anchor.beta if anchor is not None else 0.0,
        "use_bias_correction_kl": kl.bias_correction if kl else True,
        "top_entropy_quantile": forking.rho if forking is not None and own_words else 1.0,
    }
    if isinstance(surrogate, PPOClip | GSPO | SequenceClip):
        words |= {"epsilon": surrogate.clip_low, "epsilon_high": surrogate.clip_high}
    if isinstance(surrogate, CISPO):
        words |= {"epsilon_high": 1.0 + surrogate.clip_high}
    return words | _bonus_words(chosen)


def _bonus_words(chosen: Recipe) -> dict[str, Any]:
    adaptive, constant = _find(chosen, AdaptiveEntropy), _find(chosen, EntropyBonus)
    if adaptive is not None:
        return {
            "use_adaptive_entropy": True,
            "entropy_coef": adaptive.coef,
            "entropy_target": adaptive.target,
            "entropy_coef_delta": adaptive.coef_delta,
            "entropy_coef_min": adaptive.coef_min,
            "entropy_coef_max": adaptive.coef_max,
        }
    return {"entropy_coef": constant.coef} if constant is not None else {}


def markdown() -> str:
    """The table of `docs/trl-options.md`."""
    rows = "\n".join(f"| `{n}` | {o.treatment} | {o.note} |" for n, o in OPTIONS.items())
    return f"| option | treatment | note |\n|---|---|---|\n{rows}\n"


def _with_reference(given: dict[str, Any], chosen: Recipe) -> Recipe:
    if "beta" not in given or _anchored(chosen) is not None:
        return chosen
    kl = ReferenceKL(beta=given["beta"], bias_correction=given.get("use_bias_correction_kl", True))
    return recipe(chosen, kl)


def _anchored(chosen: Recipe) -> Any:
    """What needs a reference policy; `ReferenceKL` first, whose words TRL knows."""
    every = [i for i in chosen.interventions if i.needs_reference]
    return next((i for i in every if isinstance(i, ReferenceKL)), every[0] if every else None)


def _find(chosen: Recipe, kind: type[Any]) -> Any:
    return next((i for i in chosen.interventions if isinstance(i, kind)), None)
