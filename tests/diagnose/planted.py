"""Courses as real runs log them, healthy or with one thing gone wrong: seeded, with noise that neighbours share.

Which finding is right for a kind was written down before any was run. Even seeds were looked at while thresholds were
chosen; odd seeds are for the check alone. `python -m tests.diagnose.planted [even]` prints the confusion table.
"""

import sys
from collections import Counter
from collections.abc import Callable

import numpy as np

from entrokit.diagnose import diagnose

from .logs import log_of

CHOSEN_ON, CHECKED_ON = range(0, 40, 2), range(1, 40, 2)


def noise(rng, n, sd, alike=None):
    """Noise of that spread ``[n]``, each point like the one before."""
    rho = rng.uniform(0.0, 0.6) if alike is None else alike
    out = np.empty(n)
    value = rng.normal()
    for i, fresh in enumerate(rng.normal(size=n)):
        value = rho * value + (1 - rho * rho) ** 0.5 * fresh
        out[i] = value
    return sd * out


def ramp(n, begin, end=1.0):
    """0 up to a share of the run, 1 from another on, a line between."""
    return np.clip((np.linspace(0, 1, n) - begin) / max(end - begin, 1e-9), 0, 1)


class Run:
    """An ordinary run of 0/1 rewards to which something can be done; ``c`` holds its courses."""

    def __init__(self, seed):
        self.rng = rng = np.random.default_rng(seed)
        self.n = n = int(rng.integers(120, 400))
        self.begin = rng.uniform(0.25, 0.55)
        self.config = {}
        self.kind = "rl"
        x = np.linspace(0, 1, n)
        low, high = rng.uniform(0.1, 0.3), rng.uniform(0.6, 0.8)
        self.right = low + (high - low) * (1 - np.exp(-1.5 * x)) / (1 - np.exp(-1.5))
        entropy = rng.uniform(0.4, 1.2) * (1 - rng.uniform(0.2, 0.4) * x)
        self.c = {
            "reward": self.right + noise(rng, n, 0.02),
            "entropy": entropy + noise(rng, n, 0.01),
            "kl": rng.uniform(0.05, 0.35) * x**1.2 + 0.002 + np.abs(noise(rng, n, 0.004)),
            "grad_norm": rng.uniform(0.1, 1.0) * np.exp(noise(rng, n, rng.uniform(0.1, 0.4))),
            "loss": noise(rng, n, 0.02),
            "clip_share": np.abs(rng.uniform(0.001, 0.12) + noise(rng, n, 0.004)),
            "length": rng.uniform(200, 2000) * (1 + rng.uniform(-0.2, 0.35) * x) * (1 + noise(rng, n, 0.03)),
            "truncated": np.clip(rng.uniform(0.0, 0.08) + noise(rng, n, 0.01), 0, 1),
            "zero_variance": np.clip(0.15 + 0.3 * x * self.right + noise(rng, n, 0.04), 0, 1),
            "advantage_dot_std": 0.95 + noise(rng, n, 0.03),
            "validation": self.right[:: max(n // 16, 1)]
            - 0.04
            + rng.normal(0, 0.015, len(self.right[:: max(n // 16, 1)])),
        }

    def up(self, by=None):
        return ramp(self.n, self.begin, 1.0 if by is None else by)

    def held(self, values):
        """As evaluations of a score would show it."""
        every = max(self.n // 16, 1)
        self.c["validation"] = values[::every] + self.rng.normal(0, 0.015, len(values[::every]))

    def log(self):
        return log_of(self.c, config=self.config, kind=self.kind)


KINDS: dict[str, tuple[str, Callable[[Run], None]]] = {}


def kind(name, finding):
    def add(change):
        KINDS[name] = (finding, change)
        return change

    return add


@kind("healthy", "healthy")
def _healthy(r):
    pass


@kind("healthy: solved", "healthy")
def _solved(r):
    r.right = r.right[0] + (0.97 - r.right[0]) * ramp(r.n, 0.0, 0.7)
    r.c["reward"] = np.minimum(r.right + noise(r.rng, r.n, 0.01), 1.0)
    r.c["entropy"] *= 1 - 0.9 * ramp(r.n, 0.0, 0.8)
    r.held(r.right - 0.04)


@kind("healthy: ±1, solved", "healthy")
def _signs(r):
    _solved(r)
    r.c["reward"] = 2 * r.c["reward"] - 1
    r.c["reward_dot_max"], r.c["reward_dot_min"] = np.ones(r.n), -np.ones(r.n)


@kind("healthy: scores without bounds", "healthy")
def _scores(r):
    r.c["reward"] = 12 * r.c["reward"] - 3
    r.held(r.right)


@kind("healthy: thinks longer", "healthy")
def _thinks(r):
    r.c["length"] = r.c["length"] * (1 + r.rng.uniform(1.5, 3.0) * r.up())


@kind("healthy: format first", "healthy")
def _format_first(r):
    form = np.clip(0.3 + 0.68 * ramp(r.n, 0.0, 0.15) + noise(r.rng, r.n, 0.01), 0, 1)
    r.c["reward_dot_part__accuracy"] = r.right + noise(r.rng, r.n, 0.02)
    r.c["reward_dot_part__format"] = form
    r.c["reward"] = r.c["reward_dot_part__accuracy"] + form


@kind("healthy: explores", "healthy")
def _explores(r):
    r.c["entropy"] = r.c["entropy"][0] * (1 + 0.6 * np.linspace(0, 1, r.n)) + noise(r.rng, r.n, 0.01)


@kind("healthy: experts, another engine", "healthy")
def _experts(r):
    r.c["sampler_correlation"] = 0.972 + noise(r.rng, r.n, 0.002)
    r.c["sampler_prob_gap"] = np.abs(0.006 + noise(r.rng, r.n, 0.0004))
    r.c["sampler_kl"] = np.abs(0.001 + noise(r.rng, r.n, 0.0002))


@kind("healthy: form given up for answers", "healthy")
def _form_given_up(r):
    r.c["reward_dot_part__correctness"] = r.right + noise(r.rng, r.n, 0.02)
    r.c["reward_dot_part__strict_format"] = np.abs(noise(r.rng, r.n, 0.002))
    r.c["reward_dot_part__length_penalty"] = -0.02 - 0.1 * r.up() + noise(r.rng, r.n, 0.005)
    r.c["reward"] = sum(v for k, v in r.c.items() if "part" in k)


@kind("healthy: penalties, noisy", "healthy")
def _penalties(r):
    r.c["reward"] = 1.1 * r.right - 0.15 + noise(r.rng, r.n, 0.07)
    r.held(r.right)


@kind("healthy: learns late", "healthy")
def _late(r):
    r.right = 0.08 + 0.5 * ramp(r.n, 0.4, 1.1)
    r.c["reward"] = r.right + noise(r.rng, r.n, 0.02)
    r.held(r.right)


@kind("healthy: shorter answers", "healthy")
def _shorter(r):
    r.c["length"] = r.c["length"] * (1 - 0.7 * ramp(r.n, 0.0, 0.8))


@kind("healthy: heavy tails", "healthy")
def _tails(r):
    r.c["grad_norm"] = 0.3 * np.exp(0.4 * r.rng.standard_t(4, r.n))
    r.c["kl"] = r.c["kl"] * np.exp(0.5 * r.rng.standard_t(3, r.n))


@kind("healthy: short", "healthy")
def _short(r):
    keep = int(r.rng.integers(25, 60))
    r.c = {name: v[:keep] if len(v) == r.n else v[:4] for name, v in r.c.items()}


@kind("healthy: a few points that are none", "healthy")
def _some_nan(r):
    r.c["accuracy"] = np.where(np.arange(r.n) % 5, np.nan, r.right)
    r.c["terminated_length"] = np.where(np.arange(r.n) % 7, r.c["length"], np.nan)
    r.c["kl"][0] = np.nan
    r.c["grad_norm"][:3] = np.inf


@kind("NaN from a step on", "broken-numbers")
def _nan(r):
    at = int(r.begin * r.n)
    for name in ("loss", "grad_norm", "entropy", "kl"):
        r.c[name][at + int(r.rng.integers(0, 3)) :] = np.nan
    r.c["reward"][at + 3 :] = 0.0
    r.c["truncated"][at + 3 :] = 1.0


@kind("entropy summed over tokens", "impossible-entropy")
def _summed(r):
    r.c["entropy"] = r.c["entropy"] * r.c["length"]


@kind("entropy's negative", "impossible-entropy")
def _negative(r):
    r.c["entropy"] = -r.c["entropy"]


@kind("entropy switched off", "impossible-entropy")
def _off(r):
    r.c["entropy"] = np.zeros(r.n)


@kind("reward at its floor", "no-signal")
def _floor(r):
    r.c["reward"] = (r.rng.random(r.n) < 0.1) / 512
    r.c["zero_variance"] = 1.0 - r.c["reward"] * 4
    r.held(np.zeros(r.n))


@kind("too hard", "no-signal")
def _hard(r):
    r.c["reward"] = np.clip(0.04 + noise(r.rng, r.n, 0.01), 0, 1)
    r.c["zero_variance"] = np.clip(0.75 + noise(r.rng, r.n, 0.06), 0, 1)
    r.held(np.full(r.n, 0.03))


@kind("groups become flat", "no-signal")
def _flat(r):
    r.c["zero_variance"] = np.clip(0.1 + 0.75 * r.up() + noise(r.rng, r.n, 0.03), 0, 1)


@kind("advantages vanish", "no-signal")
def _vanish(r):
    r.c["advantage_dot_std"] = r.c["advantage_dot_std"] * (1 - 0.95 * r.up(r.begin + 0.25))


@kind("solved, groups flat", "too-easy")
def _easy(r):
    _solved(r)
    r.c["zero_variance"] = np.clip(0.1 + 0.75 * ramp(r.n, 0.2, 0.8) + noise(r.rng, r.n, 0.04), 0, 1)


@kind("format instead of answers", "reward-hacking")
def _hacked_parts(r):
    answers = np.clip(0.35 - 0.3 * r.up(r.begin + 0.2) + noise(r.rng, r.n, 0.02), 0, 1)
    form = np.clip(0.3 + 0.65 * r.up(r.begin + 0.2) + noise(r.rng, r.n, 0.02), 0, 1)
    r.c["reward_dot_part__accuracy"], r.c["reward_dot_part__format"] = answers, form
    r.c["reward"] = answers + form
    del r.c["validation"]


@kind("held-out score falls", "reward-hacking")
def _hacked(r):
    r.held(0.2 + 0.25 * ramp(r.n, 0, r.begin) - 0.2 * r.up())


@kind("one part learnt alone", "reward-imbalance")
def _imbalance(r):
    answers = np.clip(0.12 + noise(r.rng, r.n, 0.02), 0, 1)
    form = np.clip(0.2 + 0.77 * ramp(r.n, 0.05, 0.4) + noise(r.rng, r.n, 0.02), 0, 1)
    r.c["reward_dot_part__accuracy"], r.c["reward_dot_part__format"] = answers, form
    r.c["reward"] = answers + 0.2 * form
    r.held(np.full(r.n, 0.12))


@kind("reward pays for length", "length-growth")
def _paid(r):
    r.c["length"] = r.c["length"] * (1 + 2.5 * r.up())
    r.c["reward"] = r.right[0] + 0.5 * r.up() + noise(r.rng, r.n, 0.02)
    r.held(np.full(r.n, r.right[0]) + 0.03 * r.up())


@kind("length for nothing", "length-growth")
def _wasted(r):
    r.c["length"] = r.c["length"] * (1 + 3.5 * r.up())
    r.c["reward"] = r.right[0] + noise(r.rng, r.n, 0.02)
    r.held(np.full(r.n, r.right[0]))


@kind("answers shrink", "length-collapse")
def _shrunk(r):
    r.c["length"] = r.c["length"] * (1 - 0.95 * r.up(r.begin + 0.2))
    r.c["reward"] = 0.5 - 0.15 * r.up() + noise(r.rng, r.n, 0.02)
    r.held(0.45 - 0.05 * r.up())


@kind("nothing ends", "truncation")
def _endless(r):
    r.c["truncated"] = np.ones(r.n)
    r.c["terminated_length"] = np.zeros(r.n)
    r.c["length"] = np.full(r.n, 512.0)
    r.c["reward"] = np.clip(0.03 + noise(r.rng, r.n, 0.01), 0, 1)


@kind("limit too short", "truncation")
def _cut(r):
    r.c["length"] = r.c["length"] * (1 + 1.5 * r.up())
    r.c["truncated"] = np.clip(0.04 + 0.5 * r.up() + noise(r.rng, r.n, 0.02), 0, 1)


@kind("KL runs away", "kl-blow-up")
def _kl(r):
    r.c["kl"] = r.c["kl"] * np.exp(r.rng.uniform(3.5, 5.0) * r.up())


@kind("gradient spikes", "gradient-spikes")
def _spikes(r):
    r.c["grad_norm"] = 0.4 * np.exp(noise(r.rng, r.n, 0.2))
    at = r.rng.choice(np.arange(r.n // 10, r.n), size=int(r.rng.integers(4, 9)), replace=False)
    r.c["grad_norm"][at] *= r.rng.uniform(25, 150, len(at))


@kind("gradient grows", "gradient-spikes")
def _grows(r):
    r.begin = max(r.begin, 0.5)
    r.c["grad_norm"] = r.c["grad_norm"] * np.exp(4 * r.up(0.85))


@kind("clip saturates", "clip-saturation")
def _clip(r):
    r.c["clip_share"] = np.clip(0.08 + r.rng.uniform(0.35, 0.5) * r.up() + noise(r.rng, r.n, 0.015), 0, 1)


@kind("plateau", "plateau")
def _plateau(r):
    r.right = r.right[0] + (0.55 - r.right[0]) * ramp(r.n, 0.0, 0.3)
    r.c["reward"] = r.right + noise(r.rng, r.n, 0.015)
    r.held(r.right - 0.04)


@kind("up and down", "instability")
def _swings(r):
    falls = r.rng.integers(4, 6)
    r.c["reward"] = 0.45 + 0.25 * np.sin(2 * np.pi * falls * np.linspace(0, 1, r.n)) + noise(r.rng, r.n, 0.02)
    r.held(np.full(r.n, 0.4))


@kind("stale weights", "mismatch")
def _stale(r):
    r.c["sampler_logp_gap"] = (
        0.004 + r.rng.uniform(0.05, 0.4) * np.linspace(0, 1, r.n) ** 1.5 + noise(r.rng, r.n, 0.001)
    )


@kind("precision", "mismatch")
def _precision(r):
    r.c["sampler_prob_gap"] = np.abs(0.035 + noise(r.rng, r.n, 0.002))


@kind("repetition", "repetition")
def _repeats(r):
    r.c["repetition"] = np.clip(0.02 + 0.5 * r.up() + noise(r.rng, r.n, 0.01), 0, 1)


@kind("entropy gone", "collapse")
def _gone(r):
    r.c["entropy"] = r.c["entropy"] * np.exp(-4 * r.up(r.begin + 0.2))


@kind("entropy explodes", "explosion")
def _explodes(r):
    r.c["entropy"] = r.c["entropy"] + 3 * r.up()
    r.c["reward"] = r.c["reward"] * (1 - 0.7 * r.up())


@kind("policy falls apart", "collapse")
def _apart(r):
    r.c["reward"] = np.clip(r.c["reward"] * (1 - r.up(r.begin + 0.05)), 0, 1)
    r.held(r.right * (1 - r.up(r.begin + 0.05)))


def _supervised(r):
    loss = 0.8 + 1.5 * np.exp(-5 * np.linspace(0, 1, r.n)) + noise(r.rng, r.n, 0.03)
    grad = r.c["grad_norm"]
    r.kind, r.c = "supervised", {"loss": loss, "grad_norm": grad}
    r.c["eval_loss"] = loss[:: max(r.n // 10, 1)] + 0.05


@kind("healthy: supervised", "healthy")
def _fine_tuned(r):
    _supervised(r)


@kind("loss rises again", "loss-divergence")
def _diverges(r):
    _supervised(r)
    r.c["loss"] = r.c["loss"] + 1.5 * r.up()


@kind("learnt by heart", "overfitting")
def _by_heart(r):
    _supervised(r)
    r.c["eval_loss"] = r.c["eval_loss"] + 0.4 * ramp(len(r.c["eval_loss"]), r.begin)


@kind("loss stands still", "plateau")
def _stands(r):
    _supervised(r)
    r.c["loss"] = 2.3 + noise(r.rng, r.n, 0.03)


def findings(name, seed):
    """The verdicts of one run's findings, most important first."""
    run = Run(1000 * sorted(KINDS).index(name) + seed)
    KINDS[name][1](run)
    return tuple(f.verdict for f in diagnose(run.log()).findings)


def found(name, seed):
    """Whether the right finding is there: as the verdict where the run is healthy, and anywhere among them else."""
    told = findings(name, seed)
    return told[0] == "healthy" if KINDS[name][0] == "healthy" else KINDS[name][0] in told


def table(seeds):
    """The confusion table as lines of Markdown: found, as the verdict, and every verdict given."""
    lines = ["| planted | right | found | as the verdict | verdicts |", "|---|---|---|---|---|"]
    for name, (right, _) in KINDS.items():
        told = [findings(name, seed) for seed in seeds]
        hit = sum(f[0] == "healthy" if right == "healthy" else right in f for f in told)
        first = sum(f[0] == right for f in told)
        counts = ", ".join(f"{v} {c}" for v, c in Counter(f[0] for f in told).most_common())
        lines.append(f"| {name} | `{right}` | {hit}/{len(told)} | {first}/{len(told)} | {counts} |")
    return lines


if __name__ == "__main__":
    sys.stdout.write("\n".join(table(CHOSEN_ON if "even" in sys.argv[1:] else CHECKED_ON)) + "\n")
