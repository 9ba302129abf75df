"""Ordinary runs with one thing gone wrong, and the finding that is right for each."""

import numpy as np

from .ordinary import KINDS, kind, noise, ramp, solve

__all__ = ["KINDS"]


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
    r.c["reward"] *= 0.8
    r.c["zero_variance"] = np.clip(0.1 + 0.75 * r.up() + noise(r.rng, r.n, 0.03), 0, 1)


@kind("advantages vanish", "no-signal")
def _vanish(r):
    r.c["advantage_dot_std"] = r.c["advantage_dot_std"] * (1 - 0.95 * r.up(r.begin + 0.25))


@kind("solved, groups flat", "too-easy")
def _easy(r):
    solve(r)
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
    form = np.clip(0.2 + 0.77 * ramp(r.n, 0.05, 0.2) + noise(r.rng, r.n, 0.02), 0, 1)
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
