"""The quantities that a run is judged by: their keys, units and meaning, whatever an engine calls them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["QUANTITIES", "STATISTICS", "Quantity", "is_key"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A quantity of a run.

    Attributes:
        unit: of its values. about: one sentence.
    """

    unit: str
    about: str


QUANTITIES: dict[str, Quantity] = {
    "entropy": Quantity("nats per token", "Entropy of the policy, mean over the tokens that are trained on."),
    "trainer_entropy": Quantity("nats per token", "Entropy of the trained policy at the states that were sampled."),
    "sampler_surprise": Quantity(
        "nats per token", "Minus the trained policy's log-probability of what was sampled: its entropy, on policy."
    ),
    "reward": Quantity("its own scale", "Total reward, mean over a batch."),
    "reward.group_std": Quantity("the reward's scale", "Standard deviation inside a group, mean over the groups."),
    "accuracy": Quantity("share, 0 to 1", "Share of the completions in training that are right."),
    "validation": Quantity("share, 0 to 1, or its own scale", "Score on held-out prompts."),
    "length": Quantity("tokens", "Length of a completion, mean over a batch."),
    "terminated_length": Quantity("tokens", "Length of those completions that ended by themselves."),
    "truncated": Quantity("share, 0 to 1", "Share of the completions that were cut at the length limit."),
    "repetition": Quantity("share, 0 to 1", "Share of a completion that repeats what stands before it."),
    "zero_variance": Quantity("share, 0 to 1", "Share of the groups whose rewards are all equal."),
    "kl": Quantity("nats", "Divergence of the policy from the reference."),
    "update_kl": Quantity("nats", "Divergence of the policy from the one that the batch was sampled with."),
    "grad_norm": Quantity("norm", "Norm of the gradient, before it is clipped."),
    "loss": Quantity("its own scale", "Loss that is minimised."),
    "value_loss": Quantity("its own scale", "Loss of the value function."),
    "learning_rate": Quantity("step size", "Learning rate."),
    "clip_share": Quantity("share, 0 to 1", "Share of the tokens whose ratio was clipped."),
    "clip_share.low": Quantity("share, 0 to 1", "Share of the tokens whose ratio was clipped below."),
    "clip_share.high": Quantity("share, 0 to 1", "Share of the tokens whose ratio was clipped above."),
    "ratio": Quantity("ratio", "Probability of a token under the policy over that under the one of the batch."),
    "advantage": Quantity("the reward's scale, or standard deviations", "Advantage, mean over a batch."),
    "sampler_logp_gap": Quantity(
        "nats per token", "Log-probabilities of the engine that samples against the trainer's: absolute difference."
    ),
    "sampler_prob_gap": Quantity(
        "probability", "Probabilities of the engine that samples against the trainer's: absolute difference."
    ),
    "sampler_correlation": Quantity(
        "correlation, -1 to 1", "Probabilities of the engine that samples against the trainer's."
    ),
    "sampler_kl": Quantity("nats per token", "Divergence of the engine that samples from the trainer."),
    "sampler_logp": Quantity("nats per token", "Log-probability of what was sampled, from the engine that samples."),
    "trainer_logp": Quantity("nats per token", "Log-probability of what was sampled, from the trainer."),
    "seconds": Quantity("s", "Time of a step."),
    "tokens": Quantity("tokens", "Tokens of a step."),
    "tokens_per_second": Quantity("tokens / s", "Throughput, of the run or of a GPU."),
    "token_accuracy": Quantity("share, 0 to 1", "Share of the tokens that are the likeliest (supervised)."),
    "eval_loss": Quantity("nats per token", "Loss on held-out examples (supervised)."),
}
"""By key. A key alone is a mean; `STATISTICS` stand behind a dot."""

STATISTICS = ("std", "min", "max", "median")
"""Other statistics of a quantity over its batch: ``reward.max``."""

_FAMILIES = ("reward/", "entropy/", "validation/")
_PARTS = ("reward.part/", "kl.position/")


def is_key(key: str) -> bool:
    """Whether a key names a quantity, a statistic of one (``length.max``), the course of a family of prompts or
    environments (``reward/<family>``, ``entropy/<family>``, ``validation/<family>``), that of a reward function
    (``reward.part/<function>``), or the KL of one stretch of a completion (``kl.position/<n>``)."""
    if key in QUANTITIES:
        return True
    for prefix in (*_FAMILIES, *_PARTS):
        if key.startswith(prefix):
            return len(key) > len(prefix)
    base, _, statistic = key.rpartition(".")
    return base in QUANTITIES and statistic in STATISTICS
