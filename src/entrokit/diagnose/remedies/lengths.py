"""Remedies for the length of completions: cut, endless from the start, growing, shrinking, repeating themselves."""

from __future__ import annotations

from ..logged_recipe import base_of
from .any_run import NEAR_REFERENCE, Remedies, of_rl
from .remedy import Remedy, RunWords


@of_rl
def against_truncation(run: RunWords) -> Remedies:
    """Against a length limit that is too short."""
    longer = run.doubled("raise_length_limit", "raise the length limit until fewer than a tenth are cut")
    masked = ("mask_truncated", "leave cut completions out of the loss")
    if run.carries_recipes:
        pear = f"{base_of(run.config)}+pear"
        doubt = Remedy("rewards right answers less, the more uncertain their thinking was", pear)
        return (longer, run.pull(*masked), doubt)
    penalty = ("overlong_penalty", "take a little reward from completions that come near the limit")
    return (longer, *run.best([masked, penalty], 2))


@of_rl
def against_length_from_the_start(run: RunWords) -> Remedies:
    """Against completions that are all cut from the first step on: they do not know how to end."""
    return (
        run.pull("stop_token", "name the token that ends a turn in the chat template: often it is not the model's own"),
        run.pull(
            "log_completions", "read some completions: if they go on after the answer, they do not know how to end"
        ),
        run.doubled("raise_length_limit", "if they are cut in the middle of thinking, raise the length limit"),
    )


@of_rl
def against_length_growth(run: RunWords) -> Remedies:
    """Against completions that grow without being better."""
    return (
        run.pull("overlong_penalty", "take a little reward from completions that come near the limit"),
        run.pull("token_mean_loss", "weigh tokens alike, so that long wrong answers are not cheap", "dapo"),
        run.pull("log_completions", "read the longest completions: repetition is for the reward function to see"),
    )


@of_rl
def against_length_collapse(run: RunWords) -> Remedies:
    """Against answers that shrink to nearly nothing."""
    return (
        run.pull(
            "log_completions", "read the short ones: does the reward pay for answers without work, or fine length?"
        ),
        run.pull("reference_kl", f"from before the fall on, {NEAR_REFERENCE}"),
    )


@of_rl
def against_repetition(run: RunWords) -> Remedies:
    """Against completions that repeat themselves."""
    return (
        run.pull("log_completions", "look at the completions' ends; let the reward function give repetition nothing"),
        run.pull("overlong_penalty", "take a little reward from completions that come near the limit"),
        run.slower("go back to before it began, with a tenth of the learning rate"),
    )
