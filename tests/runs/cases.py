"""Completions that tests write."""

from entrokit.runs.layout import ROLLOUT_COLUMNS


def columns(rows=2):
    """A generation batch of equal completions, as `RunWriter.rollouts` takes it."""
    one = {
        "group": 0,
        "prompt": "1 2 3=6:",
        "family": None,
        "completion": "1+2+3",
        "reward": 1.0,
        "advantage": 0.5,
        "truncated": False,
        "tokens": ["1", "+", "2"],
        "entropy": [0.1, 0.2, 0.3],
        "logp": [-0.1, -0.2, -0.3],
    }
    return {name: [one[name]] * rows for name in ROLLOUT_COLUMNS}
