"""Remedies for rewards and prompts: nothing to learn from, one kind that went wrong, a reward that is gamed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from ..logged_recipe import base_of
from .any_run import NEAR_REFERENCE, Remedies, of_rl
from .remedy import Remedy, RunWords

_A_WEIGHT_EACH = ("trl", "entrokit-trl", "unsloth")


@of_rl
def against_no_signal(run: RunWords) -> Remedies:
    """Against rewards that are the same for all completions of a prompt."""
    probe = ": `entrokit train --select highest-variance` probes for them" if run.engine in (None, "entrokit") else ""
    return (
        Remedy("score some completions by hand: the reward function gives every completion of a prompt the same"),
        run.pull("curriculum", f"choose prompts that are sometimes right{probe}"),
    )


@of_rl
def against_no_learning(run: RunWords, where: Literal["floor", "ceiling", "flat"] = "floor") -> Remedies:
    """Against a run with next to nothing to learn from.

    Args:
        where: the reward is at its floor (too hard), at its ceiling (too easy), or nearly all groups are flat.
    """
    more = run.doubled("more_completions", "more completions a prompt: a rare success is then found")
    drop = run.pull("dynamic_sampling", "drop groups whose rewards are all equal, and sample others instead")
    if where == "floor":
        easier = run.pull("curriculum", "easier prompts first: such that some completions are right")
        return (easier, more, Remedy("train on worked answers (SFT) first, until some completions are right"))
    if where == "ceiling":
        return (run.pull("curriculum", "harder prompts: leave out those that are always right"), drop)
    hand = Remedy("score some completions by hand: does the reward function tell right from wrong?")
    return (drop, more, hand)


def against_few_prompts(run: RunWords) -> Remedies:
    """Against the same prompts again and again."""
    return (
        Remedy("train on more distinct prompts, and look for duplicates in the data set"),
        Remedy("measure on held-out prompts: the training reward says nothing any more"),
    )


@of_rl
def against_local_failure(run: RunWords, family: str) -> Remedies:
    """Against one kind of prompts that went wrong alone."""
    look = f"look at completions of {family!r}: its verifier or environment is the first suspect"
    return (
        run.pull("log_completions", look),
        run.pull("keep_out_family", "leave the family out until it is mended, then resume from before it broke"),
    )


def _weighed(run: RunWords, text: str, part: str | None, parts: Sequence[str]) -> Remedy:
    """TRL takes one weight a reward function, in their order, and refuses any other number of them."""
    remedy = run.pull("reward_weights", text)
    if run.engine not in _A_WEIGHT_EACH or remedy.write is None:
        return remedy
    if part is None or part not in map(repr, parts):
        return replace(remedy, write=None)
    weights = [1.0 if repr(name) == part else 0.5 for name in parts]
    order = f"{text} (weights of {', '.join(parts)}: put them into the order of your reward functions)"
    return replace(remedy, text=order, write=f"reward_weights={weights}")


@of_rl
def against_reward_hacking(run: RunWords, part: str | None = None, parts: Sequence[str] = ()) -> Remedies:
    """Against a reward that rises while what it stands for does not.

    Args:
        part: what falls meanwhile, as it is to stand in a sentence. parts: names of all functions of the reward.
    """
    which = f": {part} falls, so what rises is earned without it" if part is not None else ""
    weigh = f"give {part or 'what counts'} more weight, or pay the other parts only where it is earned"
    near = f"{base_of(run.config)}+reference-kl(beta=0.05)"
    return (
        run.pull("log_completions", f"read completions from both ends of the run{which}"),
        _weighed(run, weigh, part, parts),
        run.pull("reference_kl", f"from before the turn on, {NEAR_REFERENCE}", near),
    )


@of_rl
def against_reward_imbalance(run: RunWords, part: str) -> Remedies:
    """Against a part of the reward that is learnt while another is not; ``part`` as it is to stand in a sentence."""
    lighter = f"lower the weight of {part} now that it is learnt, or make it a condition instead of a reward"
    return (
        run.pull("reward_weights", lighter),
        Remedy("scale the parts such that their spreads within a group are alike"),
    )


@of_rl
def against_standstill(run: RunWords) -> Remedies:
    """Against a reward that has stopped rising with entropy to spare, or never rose."""
    return (
        run.doubled("more_completions", "more completions a prompt: what is left to learn is smaller than their noise"),
        run.pull("curriculum", "other prompts: those that are sometimes right"),
        run.doubled("lower_learning_rate", "raise the learning rate, if it has decayed or was small"),
    )


@of_rl
def against_instability(run: RunWords) -> Remedies:
    """Against a reward that falls and comes back, again and again."""
    return (
        run.slower("a tenth of the learning rate, or larger batches"),
        run.pull("reference_kl", NEAR_REFERENCE, f"{base_of(run.config)}+reference-kl(beta=0.05)"),
        run.pull("log_completions", "look at the prompts of the falls: a batch of another kind moves the mean as well"),
    )
