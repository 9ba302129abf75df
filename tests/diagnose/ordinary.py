"""An ordinary run, and kinds of sound runs, as real ones are logged: with noise that neighbours share."""

from collections.abc import Callable

import numpy as np

from .logs import log_of


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
def solve(r):
    r.right = r.right[0] + (0.97 - r.right[0]) * ramp(r.n, 0.0, 0.7)
    r.c["reward"] = np.minimum(r.right + noise(r.rng, r.n, 0.01), 1.0)
    r.c["entropy"] *= 1 - 0.9 * ramp(r.n, 0.0, 0.8)
    r.held(r.right - 0.04)


@kind("healthy: ±1, solved", "healthy")
def _signs(r):
    solve(r)
    r.c["reward"] = 2 * r.c["reward"] - 1
    r.c["reward_dot_max"], r.c["reward_dot_min"] = np.ones(r.n), -np.ones(r.n)


@kind("healthy: scores without bounds", "healthy")
def _scores(r):
    r.c["reward"] = 12 * r.c["reward"] - 3
    r.held(r.right)


@kind("healthy: thinks longer", "healthy")
def _thinks(r):
    r.c["length"] = r.c["length"] * (1 + r.rng.uniform(1.5, 3.0) * r.up())


@kind("healthy: thinks longer, a hard test", "healthy")
def _hard_test(r):
    _thinks(r)
    r.held(0.05 + 0.3 * (r.right - r.right[0]))


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
