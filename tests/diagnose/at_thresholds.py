"""Runs in which one threshold alone decides: each is written with the number that the threshold is compared with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.runs.cases import jsonl

from .cases import table

N = 100  # points of a series: its start and its end are means of ten
COLLAPSE = ("collapse", "entropy was spent")
CRASH = ("collapse", "the policy fell apart: steps too large")
EXPLOSION = ("explosion", "entropy pays more than the reward")
PLATEAU = ("premature-convergence", "entropy was spent before the reward was found")
DECLINE = ("collapse", "the reward falls")
NO_SIGNAL = ("no-signal", "all completions of a prompt get the same reward")
FEW_PROMPTS = ("premature-convergence", "the same prompts again and again")
MISMATCH = ("mismatch", "sampling and training policies differ")
TRUNCATION = ("truncation", "the length limit is too short")
LOCAL = ("local-failure", "'code' went wrong alone")
INSUFFICIENT = ("insufficient-data", "too little was written")

Write = Callable[[Path], Path]


def flat(value, n=N):
    return np.full(n, float(value))


def parts(*parts):
    """A course of flat parts, each given as ``(points, value)``."""
    return np.concatenate([flat(value, n) for n, value in parts])


def moving(ratio, start=1.0):
    """Flat over the first and the last tenth, a line between: the end is ``ratio`` times the start."""
    return start * np.concatenate([flat(1.0, 10), np.linspace(1.0, ratio, N - 20), flat(ratio, 10)])


def alternating(mean, swing, n=N):
    """``mean - swing`` and ``mean + swing`` in turn: an even stretch has that mean, and the mean square ``swing²``."""
    return mean + swing * np.where(np.arange(n) % 2, 1.0, -1.0)


RISING, FALLING = np.linspace(0.2, 0.6, N), np.linspace(0.4, 0.3, N)


def series(**courses) -> Write:
    """A table without noise; ``a__b`` stands for ``a/b``. Shorter courses end early."""

    def write(folder):
        if len({len(values) for values in courses.values()}) == 1:
            return table(folder, 0.0, **{name.replace("__", "/"): values for name, values in courses.items()})
        longest = max(len(values) for values in courses.values())
        rows = [{n: float(v[i]) for n, v in courses.items() if i < len(v)} | {"step": i} for i in range(longest)]
        return jsonl(folder / "m.jsonl", rows)

    return write


def completions(rows) -> Write:
    """Rollouts alone, of a prompt of their own where they do not say which."""
    rows = [{"prompt": f"own {i}", "completion": "x", "entropy": [0.5]} | row for i, row in enumerate(rows)]
    return lambda folder: jsonl(folder / "r.jsonl", rows)


def family(**courses) -> Write:
    """A family 'code' beside one that holds, in a run of which nothing else is wrong."""
    n = len(next(iter(courses.values())))
    whole = {"entropy": flat(0.5, n), "reward": np.linspace(0.5, 0.6, n), "reward__maths": flat(0.5, n)}
    return series(**whole | courses)


def constant_rewards_alone(n):
    """``n`` steps of two groups each, all rewards equal; no entropy."""
    rows = [{"step": i, "prompt": f"{i} {j // 2}", "reward": 0.5, "entropy": []} for i in range(n) for j in range(4)]
    return completions(rows)


def equal_groups(n):
    """``n`` groups of two equal rewards, among completions of which each has a prompt of its own."""
    alone = [{"step": i, "reward": i / 40} for i in range(40)]
    groups = [{"step": i, "prompt": f"{i}", "reward": i / 40} for i in range(n) for _ in range(2)]
    return completions(sorted(alone + groups, key=lambda row: row["step"]))


def share_of_equal_groups(share, groups=1000):
    equal = round(share * groups)
    rewards = [(i % 3 == 0,) * 2 if i < equal else (0, 1) for i in range(groups)]
    return completions(
        {"step": i // 50, "prompt": f"{i}", "reward": float(r)} for i, pair in enumerate(rewards) for r in pair
    )


def prompts(n):
    """Twelve steps of ``n`` prompts, the same at each."""
    return completions(
        {"step": i, "prompt": f"{j}", "reward": float((i + j) % 3 == 0)} for i in range(12) for j in range(n)
    )


def surprise(relative, sigmas):
    """Surprise off an entropy of 1 by that much: 50 late points, whose standard error is ``swing / 7``."""
    gaps = alternating(relative, 7.0 * abs(relative) / sigmas)
    return series(entropy=flat(1.0), reward=RISING, rollout_entropy=1.0 + gaps)


def surprise_of_completions(relative, sigmas):
    """The same over 100 completions, whose standard error is a tenth of their gaps' root mean square."""
    gaps = alternating(relative, relative * ((10.0 / sigmas) ** 2 - 1.0) ** 0.5)
    return completions(
        {"step": i // 5, "reward": i / N, "entropy": [1.0], "logp": [-1.0 - gap]} for i, gap in enumerate(gaps)
    )


def logp_of_completions(gap):
    """Tokens as surprising as their entropy says, and what the sampler says of them."""
    row = {"entropy": [0.5, 0.5], "logp": [-0.5, -0.5], "sampler_logp": [-0.5, -0.5 - 2 * gap]}
    return completions(row | {"step": i, "reward": i / N} for i in range(20))


def reported(**courses):
    return series(entropy=flat(0.5), reward=RISING, **courses)


@dataclass(frozen=True)
class Case:
    """A run that sets off a finding on one side of a threshold, and not on the other.

    Attributes:
        field: of `Thresholds`. default: what it is, in numbers here. other: what a user may set it to.
        run: writes the run for the number that is compared. above: whether larger numbers set the finding off.
        just: the two numbers around a threshold, as shares of it; for counts, what is added to it.
    """

    field: str
    default: float
    other: float
    name: str
    finding: tuple[str, str]
    above: bool
    run: Callable[[float], Write]
    just: tuple[float, float] = (0.99, 1.01)

    def around(self, threshold):
        """The numbers just below and just above."""
        low, high = self.just
        return (threshold + low, threshold + high) if isinstance(low, int) else (threshold * low, threshold * high)


def _min_points():
    known = {"entropy": flat(0.5, 40)}
    spent = {"entropy": moving(0.4)}
    rows = [
        ("of entropy", INSUFFICIENT, False, lambda n: series(entropy=flat(0.5, n), reward=np.linspace(0.2, 0.6, n))),
        ("of reward without entropy", NO_SIGNAL, True, constant_rewards_alone),
        ("of a constant reward", NO_SIGNAL, True, lambda n: series(reward=flat(0.5, n), **known)),
        ("groups of completions", NO_SIGNAL, True, equal_groups),
        ("of a reward that was lost", CRASH, True, lambda n: series(reward=parts((n - 4, 0.5), (4, 0.0)), **known)),
        (
            "twice, of one that stopped",
            PLATEAU,
            True,
            lambda n: series(reward=parts((5, 0), (2 * n - 5, 0.4)), **spent),
        ),
        ("half, of surprise", MISMATCH, True, lambda n: series(rollout_entropy=flat(0.8, n // 2 * 2), **known)),
    ]
    return [Case("min_points", 10, 14, *row, just=(-1, 0)) for row in rows]


def _collapse_ratio():
    rows = [
        ("of the run", COLLAPSE, False, lambda x: series(entropy=moving(x), reward=RISING)),
        ("of a family", LOCAL, False, lambda x: family(entropy__code=moving(x))),
        (
            "once and a half, of all beside a family",
            LOCAL,
            True,
            lambda x: family(entropy__code=moving(0.01), entropy=moving(1.5 * x)),
        ),
    ]
    return [Case("collapse_ratio", 0.2, 0.3, *row) for row in rows]


def _crash_share():
    def lost(share):
        return parts((40, 0.4), (20, 0.8), (40, 0.8 * share))

    late = parts((80, 0.0), (20, 0.6))
    rows = [
        ("of the run", CRASH, False, lambda x: series(entropy=flat(0.5), reward=lost(x))),
        (
            "before completions were cut",
            TRUNCATION,
            True,
            lambda x: series(entropy=flat(0.5), reward=lost(x), truncated=late),
        ),
    ]
    return [Case("crash_share", 0.1, 0.2, *row) for row in rows]


def _decline():
    def fallen(share):
        """From 0.6 down by that share of it, for the second half."""
        return parts((50, 0.6), (50, 0.6 * (1 - share)))

    return [
        Case("decline", 0.4, 0.6, "", DECLINE, True, lambda x: series(entropy=flat(0.5), reward=fallen(x))),
    ]


def _explosion_ratio():
    late = parts((60, 0.0), (40, 0.6))
    rows = [
        ("of the run", EXPLOSION, True, lambda x: series(entropy=moving(x), reward=FALLING)),
        ("twice, whatever the reward did", EXPLOSION, True, lambda x: series(entropy=moving(2 * x), reward=RISING)),
        ("of a family", LOCAL, True, lambda x: family(entropy__code=moving(x))),
        ("of all beside a family", LOCAL, False, lambda x: family(entropy__code=moving(9.0), entropy=moving(x))),
        (
            "half of the way, before completions were cut",
            TRUNCATION,
            False,
            lambda x: series(entropy=parts((30, 1.0), (70, (1 + x) / 2)), reward=FALLING, truncated=late),
        ),
    ]
    return [Case("explosion_ratio", 1.5, 2.0, *row) for row in rows]


def _explosion_rise():
    def rise(x):
        return moving((0.1 + x) / 0.1, start=0.1)

    rows = [
        ("of the run", EXPLOSION, True, lambda x: series(entropy=rise(x), reward=FALLING)),
        ("of a family", LOCAL, True, lambda x: family(entropy__code=rise(x))),
    ]
    return [Case("explosion_rise", 0.15, 0.3, *row) for row in rows]


def _plateau():
    early = parts((20, 0.2), (80, 0.4))

    def still_gaining(share):
        """The last fifth is above the middle one by that share of 0.4, which is what the run gained."""
        return parts((40, 0.2), (30, 0.6 - 0.4 * share), (30, 0.6))

    return [
        Case("plateau_entropy", 0.5, 0.7, "", PLATEAU, False, lambda x: series(entropy=moving(x), reward=early)),
        Case(
            "plateau_gain",
            0.15,
            0.3,
            "",
            PLATEAU,
            False,
            lambda x: series(entropy=moving(0.4), reward=still_gaining(x)),
        ),
    ]


def _solved():
    def reached(x):
        return parts((30, 0.2), (70, x))

    rows = [
        ("reward, of a collapse", COLLAPSE, False, lambda x: series(entropy=moving(0.1), reward=reached(x))),
        (
            "accuracy, of a collapse",
            COLLAPSE,
            False,
            lambda x: series(entropy=moving(0.1), reward=RISING, accuracy=reached(x)),
        ),
        ("reward, of a plateau", PLATEAU, False, lambda x: series(entropy=moving(0.4), reward=reached(x))),
    ]
    return [Case("solved", 0.9, 0.7, *row) for row in rows]


def _causes():
    def flat_groups(share):
        return reported(frac_reward_zero_std=flat(share))

    def from_the_start(share):
        """Cut off before entropy rose if that counts as cut off, and after it otherwise."""
        rising = parts((30, 1.0), (70, 1.4))
        return series(entropy=rising, reward=RISING, truncated=parts((50, share), (50, 0.8)))

    return [
        Case("no_signal", 0.98, 0.9, "logged", NO_SIGNAL, True, flat_groups),
        Case("no_signal", 0.98, 0.9, "of completions", NO_SIGNAL, True, share_of_equal_groups),
        Case("few_prompts", 16, 12, "", FEW_PROMPTS, False, prompts, just=(0, 1)),
        Case("truncated", 0.3, 0.5, "late", TRUNCATION, True, lambda x: reported(truncated=parts((50, 0), (50, x)))),
        Case("truncated", 0.3, 0.5, "when it began", TRUNCATION, True, from_the_start),
    ]


def _mismatch():
    def mean_logps(gap):
        return reported(rollout_logp=flat(-0.5), trainer_logp=flat(-0.5 - gap))

    relative = ("mismatch_relative", 0.08, 0.15)
    sigmas = ("mismatch_sigmas", 5.0, 7.0)
    logp = ("mismatch_logp", 0.1, 0.2)
    return [
        Case(*relative, "too surprising", MISMATCH, True, lambda x: surprise(x, 50.0)),
        Case(*relative, "not surprising enough", MISMATCH, True, lambda x: surprise(-x, 50.0)),
        Case(*relative, "in completions", MISMATCH, True, lambda x: surprise_of_completions(x, 9.9)),
        Case(*sigmas, "logged", MISMATCH, True, lambda x: surprise(0.2, x)),
        Case(*sigmas, "in completions", MISMATCH, True, lambda x: surprise_of_completions(0.2, x)),
        Case(*logp, "reported", MISMATCH, True, lambda x: reported(sampler_logp_gap=flat(x))),
        Case(*logp, "of means", MISMATCH, True, mean_logps),
        Case(*logp, "in completions", MISMATCH, True, logp_of_completions),
        Case("mismatch_kl", 0.02, 0.05, "", MISMATCH, True, lambda x: reported(mismatch_kl=flat(x))),
        Case("mismatch_prob", 0.02, 0.05, "", MISMATCH, True, lambda x: reported(rollout_probs_diff_mean=flat(x))),
        Case(
            "mismatch_correlation",
            0.98,
            0.9,
            "",
            MISMATCH,
            False,
            lambda x: reported(rollout_actor_probs_pearson_corr=flat(x)),
        ),
    ]


def _families():
    def fell(drop):
        """From little: half of what was there is less than the drop."""
        return family(reward__code=parts((60, 1.2 * drop), (30, 0.2 * drop)))

    def noisy(sigmas):
        """A fall of 0.4 between thirds of 30 points; a third's standard error is ``swing / 29 ** 0.5``."""
        swing = 0.4 / sigmas * (29 / 2) ** 0.5
        return family(reward__code=np.concatenate([alternating(0.6, swing, 60), alternating(0.2, swing, 30)]))

    return [
        Case("family_drop", 0.08, 0.12, "", LOCAL, True, fell),
        Case("family_sigmas", 4.0, 6.0, "", LOCAL, True, noisy),
    ]


FIRST_THRESHOLDS = [
    *_min_points(),
    *_collapse_ratio(),
    *_crash_share(),
    *_decline(),
    *_explosion_ratio(),
    *_explosion_rise(),
    *_plateau(),
    *_solved(),
    *_causes(),
    *_mismatch(),
    *_families(),
]
