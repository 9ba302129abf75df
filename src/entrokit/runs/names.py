"""One name for what every engine calls differently."""

from __future__ import annotations

import re

CANONICAL: dict[str, tuple[str, ...]] = {
    "entropy": (
        "entropy", "actor/entropy", "actor/entropy_loss", "policy_entropy", "policy/entropy", "objective/entropy",
        "mean_entropy", "entropy_mean", "entropy/mean", "token_entropy", "mean_token_entropy",
    ),
    "reward": (
        "reward", "critic/score/mean", "critic/rewards/mean", "mean_reward", "reward_mean", "reward/mean",
        "rewards/mean", "objective/scores", "avg_reward", "return", "score",
    ),
    "accuracy": ("pass@1", "accuracy", "acc", "acc/mean", "critic/acc/mean"),
    "truncated": (
        "truncated", "completions/clipped_ratio", "response_length/clip_ratio", "truncation", "clipped_ratio",
        "truncation_rate", "truncated_ratio", "truncated_fraction", "frac_truncated", "truncated_share",
    ),
    "zero_variance": ("frac_reward_zero_std", "zero_variance", "frac_zero_std"),
    "sampler_logp_gap": (
        "sampling/sampling_logp_difference/mean", "sampler_logp_gap", "sampling_logp_difference", "logp_difference",
        "logprob_diff", "logp_diff",
    ),
    "sampler_prob_gap": ("training/rollout_probs_diff_mean", "rollout_probs_diff_mean"),
    "sampler_correlation": ("training/rollout_actor_probs_pearson_corr", "rollout_actor_probs_pearson_corr"),
    "sampler_kl": ("rollout_corr/kl", "mismatch/mismatch_kl", "mismatch_kl", "sampler_kl", "rollout_kl"),
    "sampler_logp": ("sampler_logp", "rollout_logp", "rollout_log_prob", "rollout_logprob", "sampling_logp"),
    "trainer_logp": ("trainer_logp", "train_logp", "actor_logp", "logp", "log_prob", "logprob", "trainer_logprob"),
    "sampler_surprise": (
        "sampled/surprise", "rollout_entropy", "sampler_entropy", "sampling_entropy", "inference_entropy",
        "vllm_entropy", "rollout/entropy",
    ),
    "trainer_entropy": ("sampled/entropy", "trainer_entropy", "train_entropy"),
}  # fmt: skip
"""entrokit's names of series, and those of TRL, verl and plain tables; the first that is there counts."""

STEP = ("step", "global_step", "training/global_step", "_step", "iteration", "iter", "steps")

_OF = {alias: (name, rank) for name, aliases in CANONICAL.items() for rank, alias in enumerate(aliases)}
_FAMILY = re.compile(r"(reward|entropy)[/:]([^/]+)")
_ENVIRONMENT = re.compile(r"envs?/([^/]+)/(reward|entropy)")
_VALIDATION = re.compile(r"val-core/(.+)/(?:acc|reward|score)/mean@\d+")


def canonical(name: str) -> tuple[str, int] | None:
    """entrokit's name for a metric and how far behind its first alias it stands; None for any other metric.

    ``reward/<family>``, ``entropy/<family>``, ``env/<family>/reward`` and verl's ``val-core/<data source>/…/mean@k``
    are a family's series. Metrics of evaluations (``eval_…``, ``eval/…``) are none of these.
    """
    plain = name.strip().removeprefix("train/")
    found = _OF.get(plain) or _OF.get(plain.lower())
    if found is not None:
        return found
    if family := _FAMILY.fullmatch(plain):
        return f"{family[1]}/{family[2]}", 0
    if family := _ENVIRONMENT.fullmatch(plain):
        return f"{family[2]}/{family[1]}", 0
    if family := _VALIDATION.fullmatch(plain):
        return f"reward/{family[1]}", 0
    return None
