"""Remedies for what befalls runs of any kind, with rewards or supervised: numbers that broke, gradients, losses."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from .remedy import Remedy, RunWords

Remedies = tuple[Remedy, ...]
NEAR_REFERENCE = "holds the policy near a reference"
_P = ParamSpec("_P")
_Function = Callable[Concatenate[RunWords, _P], Remedies]


def of_rl(against: _Function[_P]) -> _Function[_P]:
    """A supervised run has neither rewards nor a sampler: it gets what is done about a loss that diverges."""

    @wraps(against)
    def of_any(run: RunWords, /, *args: _P.args, **kwargs: _P.kwargs) -> Remedies:
        return against_supervised_divergence(run) if run.supervised else against(run, *args, **kwargs)

    return of_any


def against_gradient_spikes(run: RunWords) -> Remedies:
    """Against single steps with a gradient many times larger than usual."""
    look = "look at the batch of the spike: one very long or very wrong row may make it"
    return (
        run.clipped("clip the gradient's norm harder"),
        run.slower("a tenth of the learning rate"),
        run.pull("warmup", "warm the learning rate up") if run.supervised else run.pull("log_completions", look),
    )


def against_broken_numbers(run: RunWords, step: float | None = None, first: str | None = None) -> Remedies:
    """Against NaN and infinity.

    Args:
        step: the first that was broken. first: which quantity turned first, by entrokit's name.
    """
    before = f"a checkpoint from before step {step:g}" if step else "a checkpoint from before"
    source = first or ""
    if source.startswith("reward"):
        cause = Remedy(
            "the reward turned first: look for a division by 0, a logarithm of 0 or an empty completion in it"
        )
    elif source.startswith(("entropy", "sampler", "trainer_", "ratio", "kl", "update_kl")):
        cause = Remedy(
            "log-probabilities turned first: compute them in float32 from bfloat16 weights, as float16 overflows, and "
            "look for tokens of probability 0 (masked logits)"
        )
    else:
        cause = run.clipped("clip the gradient's norm harder; float16 overflows above 65504, bfloat16 does not")
    return (
        run.slower(f"resume from {before}, with a tenth of the learning rate"),
        cause,
        run.pull("skip_nonfinite", "leave out steps whose gradient is not finite"),
    )


def against_impossible_entropy(run: RunWords, kind: str) -> Remedies:
    """Against a number that can be no entropy in nats per token.

    Args:
        kind: `negative`, `summed`, `too large`, `zero` or `constant`, as `impossible.Kind`.
    """
    how = {
        "negative": "write the entropy itself: what is logged is its negative, the term of a loss",
        "summed": "divide by the number of tokens: what is logged is summed over a completion",
        "too large": "write nats per token: what is logged is summed, or in another unit",
        "zero": "entropy is not computed: turn it on",
    }.get(kind, "look at where entropy is computed: a course that never moves was not measured")
    if kind == "summed" and not run.supervised:
        mean = run.pull("token_mean_loss", how)
        if mean.write is not None:
            return (mean,)
    masked = "take the mean over the completion's tokens alone, without prompt and padding"
    return (run.pull("log_entropy", how), Remedy(masked)) if not run.supervised else (Remedy(how), Remedy(masked))


def against_too_little(run: RunWords, *, begun: bool = False) -> Remedies:
    """Against a log that holds too little to judge.

    Args:
        begun: whether it has some points of what is wanted, and only lacks more of them.
    """
    table = "a CSV with step,reward,entropy is enough"
    if run.supervised or not run.levers.entries:
        return (Remedy(f"log entropy and reward at every step: {table}"),)
    often = run.pull("log_every_step", f"at every step; {table}")
    if begun:
        return (run.pull("log_every_step", "let it go on for some more steps, and log every one"),)
    named = run.pull("log_entropy", "log entropy and reward")
    return (named, often) if named.write != often.write else (named,)


def against_supervised_divergence(run: RunWords) -> Remedies:
    """Against a training loss of a supervised run that rises."""
    return (
        run.slower("go back to a checkpoint from before, with a tenth of the learning rate"),
        run.clipped("clip the gradient's norm harder"),
        run.pull("warmup", "warm the learning rate up"),
    )


def against_overfitting(run: RunWords) -> Remedies:
    """Against a loss on held-out rows that rises while that on training rows falls."""
    return (
        run.pull("fewer_epochs", "stop where the held-out loss was lowest: fewer epochs"),
        run.pull("evaluate_often", "measure it more often, and keep the checkpoint of its lowest point"),
        run.pull("weight_decay", "more distinct rows; weight decay helps a little"),
    )


def against_loss_standstill(run: RunWords) -> Remedies:
    """Against a training loss of a supervised run that does not fall."""
    return (
        Remedy(
            "check that parameters are trained at all (frozen layers, an idle adapter), and which labels are masked"
        ),
        run.doubled("lower_learning_rate", "raise the learning rate"),
    )
