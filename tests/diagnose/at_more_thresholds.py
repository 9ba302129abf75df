"""Runs in which one threshold of the rules on rewards' parts, lengths, updates and losses alone decides."""

import math

import numpy as np

from .at_thresholds import FALLING, RISING, Case, N, alternating, flat, moving, parts
from .logs import log_of

SOLVED = "the prompts are solved: most groups teach nothing any more"
TOO_HARD = ("no-signal", "too hard: hardly any answer is right")
AT_FLOOR = ("no-signal", "the reward hardly ever leaves its floor")
LOST = ("no-signal", "the signal was lost: groups tell nothing apart any more")
EASY = ("too-easy", SOLVED)
HACKED_SCORE = ("reward-hacking", "the reward rises and the held-out score falls")
HACKED_PART = ("reward-hacking", "the sum of the rewards rises and 'accuracy' falls")
IMBALANCE = ("reward-imbalance", "'format' was learnt, 'accuracy' was not")
STILL = ("plateau", "the reward stands still")
SWINGS = ("instability", "the reward falls and comes back, again and again")
ENDLESS = ("truncation", "no completion ends by itself: a stop token or the chat template")
PAID = ("length-growth", "the reward pays for length")
WASTED = ("length-growth", "completions grow, and nothing is gained")
SHRUNK = ("length-collapse", "answers have shrunk to nearly nothing")
REPEATS = ("repetition", "completions repeat themselves")
KL = ("kl-blow-up", "the policy runs away from its reference")
SPIKES = ("gradient-spikes", "single steps have a gradient many times the usual")
GROWN = ("gradient-spikes", "the gradient has grown many times over")
CLIPPED = ("clip-saturation", "most of an update is clipped away")
STALE = ("mismatch", "the gap between sampler and trainer grows: stale weights")
DIVERGED = ("loss-divergence", "the loss rises again")
BY_HEART = ("overfitting", "the training loss falls and the evaluation loss rises")
SUMMED = ("impossible-entropy", "what is logged as entropy is none")


def run(**courses):
    """A sound run with these courses in it."""
    given = {"entropy": np.linspace(0.6, 0.5, N), "reward": RISING} | courses
    log = log_of(given)
    return lambda folder: log


def supervised(**courses):
    log = log_of(courses, kind="supervised")
    return lambda folder: log


def _signal():
    def spread(x):
        return run(advantage_dot_std=moving(x))

    return [
        Case(
            "reward_floor", 0.01, 0.05, "no signal", AT_FLOOR, False, lambda x: run(reward=x * np.linspace(0.9, 1, N))
        ),
        Case(
            "hard", 0.2, 0.3, "", TOO_HARD, False, lambda x: run(reward=alternating(x, 0.001), zero_variance=flat(0.7))
        ),
        Case(
            *("easy", 0.75, 0.65, "", EASY, True),
            lambda x: run(reward=parts((50, 0.2), (50, x)), zero_variance=parts((50, 0.1), (50, 0.7))),
        ),
        Case(
            *("flat_groups", 0.6, 0.7, "lost", LOST, True),
            lambda x: run(zero_variance=parts((50, 0.1), (50, x))),
        ),
        Case(
            *("flat_groups", 0.6, 0.7, "solved", EASY, True),
            lambda x: run(reward=parts((50, 0.2), (50, 0.95)), zero_variance=parts((50, 0.1), (50, x))),
        ),
        Case(
            "flat_groups",
            0.6,
            0.7,
            "hard",
            TOO_HARD,
            True,
            lambda x: run(reward=alternating(0.1, 0.001), zero_variance=flat(x)),
        ),
        Case("spread_lost", 0.2, 0.4, "of advantages", LOST, False, spread),
        Case("spread_lost", 0.2, 0.4, "in groups", LOST, False, lambda x: run(reward_dot_group_std=moving(x))),
    ]


def _rewards():
    def accuracy(left):
        falls = np.concatenate([flat(0.5, 20), np.linspace(0.5, 0.5 * left, 60), flat(0.5 * left, 20)])
        form = np.linspace(0.1, 0.9, N)
        return run(reward=falls + form, reward_dot_part__accuracy=falls, reward_dot_part__format=form)

    def gained(x):
        form, answers = parts((20, 0.2), (100, 1.0)), parts((20, 0.1), (100, 0.1 + x))
        return run(reward=form + answers, reward_dot_part__format=form, reward_dot_part__accuracy=answers)

    def still(share):
        """A run that gained 0.5 in all, that share of it in its second half, by a line."""
        rise = share * 0.5
        first = np.linspace(0.2, 0.7 - rise, 20)
        return run(
            reward=np.concatenate([flat(0.2, 20), first, flat(0.7 - rise, 60), np.linspace(0.7 - rise, 0.7, 100)])
        )

    def swinging(depth, falls):
        high, low = flat(0.6, 15), flat(0.6 - depth, 15)
        return run(reward=np.concatenate([np.concatenate([high, low])] * falls + [high, high]))

    def score(lost):
        return run(validation=parts((40, 0.6), (60, 0.6 * (1 - lost))))

    return [
        Case("score_drop", 0.2, 0.3, "", HACKED_SCORE, True, score),
        Case("part_drop", 0.5, 0.7, "", HACKED_PART, True, lambda x: accuracy(1 - x)),
        Case("part_gain", 0.05, 0.1, "", IMBALANCE, False, gained),
        Case("plateau_still", 0.11, 0.2, "", STILL, False, lambda x: still(x / 1.0), just=(0.9, 1.1)),
        Case("swing", 0.15, 0.3, "", SWINGS, True, lambda x: swinging(x, 4), just=(0.97, 1.03)),
        Case("swings", 3, 5, "", SWINGS, True, lambda n: swinging(0.4, n), just=(-1, 0)),
    ]


def _lengths():
    def paid(x):
        return run(length=300 * moving(x), reward=moving(3.0, 0.2), validation=flat(0.3))

    def worth(x):
        return run(length=moving(3.0, 300), reward=moving(3.0, 0.2), validation=0.3 + x * (moving(3.0, 0.2) - 0.2))

    return [
        Case("never_ends", 0.95, 0.8, "", ENDLESS, True, lambda x: run(truncated=flat(x))),
        Case("length_growth", 1.5, 2.0, "", PAID, True, paid),
        Case("length_worth", 0.4, 0.6, "", PAID, False, worth, just=(0.95, 1.05)),
        Case(
            "length_waste",
            3.0,
            4.0,
            "",
            WASTED,
            True,
            lambda x: run(length=300 * moving(x), reward=alternating(0.3, 0.01)),
        ),
        Case("length_collapse", 0.2, 0.4, "", SHRUNK, False, lambda x: run(length=300 * moving(x), reward=FALLING)),
        Case("repetition", 0.3, 0.5, "", REPEATS, True, lambda x: run(repetition=parts((50, 0.02), (50, x)))),
    ]


def _updates():
    def diverging(late):
        return run(kl=np.concatenate([flat(0.004, 60), np.linspace(0.004, late, 30), flat(late, 10)]))

    def spikes(size, count):
        norm = 0.5 * np.exp(alternating(0.0, 0.05))
        usual = math.exp(float(np.median(np.log(norm))))
        norm[20 : 20 + 9 * count : 9] = size * usual
        return run(grad_norm=norm)

    def stale(x):
        return run(sampler_logp_gap=moving(x, 0.01))

    return [
        Case("kl_blow_up", 0.5, 1.5, "", KL, True, diverging),
        Case("kl_growth", 10.0, 30.0, "", KL, True, lambda x: run(kl=parts((60, 0.1), (40, 0.1 * x)))),
        Case("spike_ratio", 10.0, 20.0, "single steps", SPIKES, True, lambda x: spikes(x, 5), just=(0.9, 1.1)),
        Case(
            "spike_ratio", 10.0, 20.0, "for good", GROWN, True, lambda x: run(grad_norm=parts((70, 0.5), (30, 0.5 * x)))
        ),
        Case("spikes", 3, 5, "", SPIKES, True, lambda n: spikes(40.0, n), just=(-1, 0)),
        Case("clip_share", 0.3, 0.5, "", CLIPPED, True, lambda x: run(clip_share=parts((50, 0.05), (50, x)))),
        Case("gap_growth", 5.0, 9.0, "", STALE, True, stale),
    ]


def _numbers_and_losses():
    def rising(x):
        return supervised(loss=np.concatenate([np.linspace(2.0, 1.0, 40), flat(1.0, 20), flat(1.0 + x, 40)]))

    def held(x):
        return supervised(
            loss=np.linspace(2.0, 1.0, N),
            eval_loss=np.concatenate([np.linspace(2.0, 1.0, 6), flat(1.0, 6), flat(1.0 + x, 6)]),
        )

    return [
        Case("entropy_limit", 20.0, 30.0, "", SUMMED, True, lambda x: run(entropy=alternating(x, 0.001))),
        Case("loss_rise", 0.3, 0.6, "", DIVERGED, True, rising),
        Case("overfit", 0.05, 0.2, "", BY_HEART, True, held),
    ]


MORE_THRESHOLDS = [*_signal(), *_rewards(), *_lengths(), *_updates(), *_numbers_and_losses()]
