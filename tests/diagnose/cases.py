"""The plainest run of each verdict, as a table of series, and what such tables are made of."""

import numpy as np

STEPS = np.arange(100)


def line(start, end, n=100):
    return np.linspace(start, end, n)


def falling(start, end, n=100, speed=6.0):
    return end + (start - end) * np.exp(-speed * np.arange(n) / n)


def table(folder, noise=0.005, **series):
    rng = np.random.default_rng(0)
    file = folder / "run.csv"
    noisy = {k: v + noise * rng.normal(size=len(v)) if k not in ("truncated",) else v for k, v in series.items()}
    rows = zip(range(len(next(iter(noisy.values())))), *noisy.values(), strict=True)
    file.write_text("step," + ",".join(noisy) + "\n" + "".join(",".join(map(str, r)) + "\n" for r in rows))
    return file


CASES = {
    "collapse": {"entropy": falling(0.9, 0.03), "reward": falling(0.2, 0.4)},
    "collapse of the policy": {"entropy": line(0.5, 0.5), "reward": falling(0.4, 0.0, speed=12)},
    "premature-convergence": {"entropy": falling(0.9, 0.35), "reward": falling(0.2, 0.4)},
    "no-signal": {"entropy": line(0.6, 0.6), "reward": np.full(100, 0.5)},
    "explosion": {"entropy": line(0.4, 3.0), "reward": line(0.4, 0.1)},
    "mismatch": {"entropy": line(0.6, 0.4), "reward": line(0.2, 0.6), "rollout_entropy": line(0.6, 0.4) - 0.15},
    "mismatch of log-probabilities": {
        "entropy": line(0.6, 0.4),
        "reward": line(0.2, 0.6),
        "sampling/sampling_logp_difference/mean": line(0.2, 0.4),
    },
    "mismatch of mean log-probabilities": {
        "entropy": line(0.6, 0.4),
        "reward": line(0.2, 0.6),
        "rollout_logp": line(-0.6, -0.4),
        "trainer_logp": line(-0.8, -0.7),
    },
    "mismatch of two entropies": {
        "trainer_entropy": line(0.6, 0.4),
        "reward": line(0.2, 0.6),
        "rollout_entropy": line(0.6, 0.4) + 0.15,
    },
    "truncation": {"entropy": line(0.5, 0.9), "reward": line(0.3, 0.3), "truncated": line(0.1, 0.8)},
    "local-failure": {
        "entropy": line(0.6, 0.4),
        "reward": line(0.3, 0.5),
        "reward/maths": line(0.3, 0.9),
        "reward/code": line(0.4, 0.05),
    },
    "local-failure of entropy": {
        "entropy": line(0.6, 0.5),
        "reward": line(0.3, 0.5),
        "entropy/maths": line(0.6, 0.6),
        "entropy/code": falling(0.6, 0.02),
    },
    "healthy": {"entropy": line(0.6, 0.4), "reward": line(0.2, 0.6)},
    "healthy when solved": {"entropy": falling(0.6, 0.02), "reward": falling(0.2, 0.97)},
    "healthy with more entropy": {"entropy": line(0.3, 0.6), "reward": line(0.2, 0.7)},
    "plateau": {"entropy": line(0.6, 0.4), "reward": falling(0.2, 0.5, speed=20)},
    "insufficient-data": {"entropy": line(0.6, 0.4, 5), "reward": line(0.2, 0.6, 5)},
}
