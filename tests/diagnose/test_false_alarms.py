"""Sound runs that look like failures, each beside the failure that it looks like."""

from collections import Counter

import numpy as np
import pytest

from entrokit.diagnose import diagnose

from .logs import log_of

SEEDS = range(8)


def rewards(rng, n, of=256, low=0.2, high=0.7):
    """Means of so many 0/1 rewards, rising."""
    return rng.binomial(of, np.linspace(low, high, n)) / of


def told(make, n, verdict, **more):
    """In how many of some runs a verdict is among the findings."""
    found = Counter()
    for seed in SEEDS:
        rng = np.random.default_rng([seed, n])
        courses = {"entropy": np.linspace(0.6, 0.45, n) + 0.005 * rng.normal(size=n), "reward": rewards(rng, n)}
        found[verdict in {f.verdict for f in diagnose(log_of(courses | make(rng, n), **more)).findings}] += 1
    return found[True]


def spent(n):
    return {"entropy": 0.5 * np.exp(-3.5 * np.linspace(0, 1, n))}


def rising(n, end):
    return end * (0.5 + 0.5 * (1 - np.exp(-6 * np.linspace(0, 1, n))))


def solved_in_percent(rng, n):
    return spent(n) | {"reward": 3 * rising(n, 0.97) - 1, "accuracy": 100 * rising(n, 0.97)}


def half_right_in_percent(rng, n):
    return spent(n) | {"reward": 3 * rising(n, 0.5) - 1, "accuracy": 100 * rising(n, 0.5)}


def rewards_to(top, at):
    return lambda rng, n: spent(n) | {"reward": rising(n, at) * top}


def costs_to(last):
    return lambda rng, n: spent(n) | {"reward": last - 20 * np.exp(-6 * np.linspace(0, 1, n))}


def parts_to(right):
    def make(rng, n):
        parts = {"reward_dot_part__accuracy": rising(n, right), "reward_dot_part__format": rising(n, 0.99)}
        return spent(n) | parts | {"reward": sum(parts.values())}

    return make


def with_part(name, values):
    def make(rng, n):
        right = np.clip(0.2 + 2.5 * np.linspace(0, 1, n), 0, 0.95) + 0.005 * rng.normal(size=n)
        part = values(rng, n)
        return {f"reward_dot_part__{name}": part, "reward_dot_part__correct": right, "reward": right + part}

    return make


def stages(rng, n):
    """A curriculum: at every stage the reward falls at once and rises slowly."""
    through = np.linspace(0, 5, n, endpoint=False) % 1
    return {"reward": rng.binomial(512, 0.35 + 0.35 * through) / 512}


def crashes(rng, n):
    """Falls at uneven steps, made good slowly."""
    at, level, values = set((np.array([0.15, 0.28, 0.57, 0.68]) * n).astype(int)), 0.7, []
    for i in range(n):
        level += 0.12 * (0.7 - level) - (0.4 if i in at else 0.0)
        values.append(level)
    return {"reward": np.array(values) + 0.01 * rng.normal(size=n)}


def flat_groups(start, end, sd):
    return lambda rng, n: {
        "reward": np.full(n, 0.5) + 0.02 * rng.normal(size=n),
        "zero_variance": np.clip(np.linspace(start, end, n) + sd * rng.normal(size=n), 0, 1),
    }


def flat_and_learning(gain):
    return lambda rng, n: {
        "reward": 0.25 + gain * np.linspace(0, 1, n) + 0.01 * rng.normal(size=n),
        "zero_variance": np.full(n, 0.65),
    }


def spread_of_small_batches(rng, n):
    return {"advantage_dot_std": np.where(rng.random(n) < 0.4, 0.0, 0.93)}


def spread_that_is_lost(rng, n):
    return {"advantage_dot_std": np.linspace(0.93, 0.02, n)}


def kl_line(rng, n):
    return {"kl": 0.6 * np.linspace(0, 1, n) * np.exp(0.2 * rng.normal(size=n))}


def kl_runs_away(rng, n):
    return {"kl": 3 * np.linspace(0, 1, n) ** 6}


def held_out(before, after, questions):
    return lambda rng, n: {
        "validation": rng.binomial(questions, np.where(np.arange(n) < n / 2, before, after)) / questions
    }


def noisy_entropy(rng, n):
    return {"entropy": 0.4 * np.exp(0.45 * rng.normal(size=n)), "reward": rng.binomial(8, 0.4, n) / 8}


def rising_entropy(rng, n):
    return {"entropy": np.linspace(0.4, 2.0, n), "reward": rng.binomial(8, 0.4, n) / 8}


def longer(gain):
    return lambda rng, n: {
        "length": np.linspace(600, 3000, n),
        "reward": 0.3 + gain * np.linspace(0, 1, n) + 0.03 * rng.normal(size=n),
    }


def rare_rewards(rng, n):
    right = rng.binomial(8, 0.12, n) / 8
    right[-4:] = 0.0
    return {"reward": right}


def lost_rewards(rng, n):
    right = rng.binomial(8, 0.6, n) / 8
    right[-n // 3 :] = 0.0
    return {"reward": right}


def tiny(gain):
    return lambda rng, n: {"reward": 1e-4 * (0.3 + gain * np.linspace(0, 1, n))}


def hardly_ever(rng, n):
    return {"reward": np.where(np.arange(n) % 7, 0.0, 1e-3)}


# A verdict; a sound run without it; the failure with it; points.
PAIRS = {
    "accuracy in percent": ("collapse", solved_in_percent, half_right_in_percent, 60),
    "rewards of 100": ("collapse", rewards_to(100, 0.97), rewards_to(100, 0.7), 60),
    "costs that end at nothing": ("collapse", costs_to(-0.1), costs_to(-6.0), 60),
    "all parts at their tops": ("plateau", parts_to(0.96), parts_to(0.6), 200),
    "a penalty": (
        "reward-imbalance",
        with_part("toxicity", lambda rng, n: -0.05 - 0.05 * rng.random(n)),
        with_part("safety", lambda rng, n: 0.2 + 0.01 * rng.normal(size=n)),
        200,
    ),
    "a part of a small weight, earned all along": (
        "reward-imbalance",
        with_part("brevity", lambda rng, n: np.full(n, 0.2)),
        with_part("brevity", lambda rng, n: np.zeros(n)),
        200,
    ),
    "a curriculum": ("instability", stages, crashes, 400),
    "flat groups that hardly grow": ("no-signal", flat_groups(0.55, 0.64, 0.05), flat_groups(0.3, 0.75, 0.05), 60),
    "flat groups and a reward that rises": ("no-signal", flat_and_learning(0.4), flat_and_learning(0.02), 60),
    "spread in small batches": ("no-signal", spread_of_small_batches, spread_that_is_lost, 60),
    "KL that grows by a line": ("kl-blow-up", kl_line, kl_runs_away, 24),
    "a test of 30 questions": ("reward-hacking", held_out(0.15, 0.15, 30), held_out(0.8, 0.3, 30), 16),
    "entropy of small batches": ("explosion", noisy_entropy, rising_entropy, 15),
    "longer answers, a noisy gain": ("length-growth", longer(0.25), longer(0.0), 30),
    "rare rewards": ("collapse", rare_rewards, lost_rewards, 30),
    "tiny rewards": ("no-signal", tiny(0.7), hardly_ever, 30),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_sound_run_is_not_told_and_its_failure_is(name):
    verdict, sound, failure, n = PAIRS[name]
    assert told(sound, n, verdict) == 0
    assert told(failure, n, verdict) == len(SEEDS)


def test_accuracy_in_percent_is_noted():
    noted = "accuracy is written in percent, and judged as a share"
    rng = np.random.default_rng(0)
    assert noted in diagnose(log_of(solved_in_percent(rng, 60))).notes
    assert noted not in diagnose(log_of({"accuracy": np.linspace(0.1, 1.0, 60)})).notes


def test_a_loss_around_nothing_does_not_diverge_and_one_that_leaves_it_does():
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        swing = 0.02 * np.sin(np.linspace(0, 9, 120)) + 0.01 * rng.normal(size=120)
        assert diagnose(log_of({"loss": swing}, kind="supervised")).verdict == "healthy"
        left = swing + np.where(np.arange(120) > 90, 0.5, 0.0)
        assert diagnose(log_of({"loss": left}, kind="supervised")).verdict == "loss-divergence"


@pytest.mark.parametrize(("norm", "broken"), [(0.4, False), (np.nan, True)])
def test_one_nan_at_the_end_breaks_a_run_unless_its_gradient_is_sound(norm, broken):
    entropy = np.linspace(0.6, 0.5, 60)
    entropy[-1] = np.nan
    d = diagnose(log_of({"entropy": entropy, "reward": np.linspace(0.2, 0.6, 60), "grad_norm": [0.4] * 59 + [norm]}))
    assert (d.verdict == "broken-numbers") is broken
    assert broken or any("entropy is nan" in note for note in d.notes)
    alone = diagnose(log_of({"entropy": entropy, "reward": np.linspace(0.2, 0.6, 60)}))
    assert alone.verdict == "broken-numbers"


@pytest.mark.parametrize("rate", [10**400, float("nan"), float("inf"), "fast", ["1e-6"], True, -1.0, None])
def test_a_learning_rate_that_is_none_is_left_out(rate):
    lost = {"entropy": np.full(40, 0.5), "reward": np.repeat([0.5, 0.0], 20)}
    (first, *_) = diagnose(log_of(lost, config={"learning_rate": rate})).findings
    assert first.verdict == "collapse"
    assert not any("learning rate" in e for e in first.evidence)
    (known, *_) = diagnose(log_of(lost, config={"learning_rate": 3e-6})).findings
    assert "the learning rate was 3e-06" in known.evidence


def test_a_bonus_above_a_share_of_one_is_no_percent():
    noted = "accuracy is written in percent, and judged as a share"
    assert noted not in diagnose(log_of({"accuracy": np.linspace(0.1, 1.2, 60)})).notes
    assert noted in diagnose(log_of({"accuracy": np.linspace(0.1, 1.6, 60)})).notes
