"""Utilities whose numbers the sheet gives, and rows that are drawn."""

from types import SimpleNamespace

import torch

from entrokit.losses.preference import UtilityToProbability

FLOAT64 = torch.float64
END, PAD = 7, 0
# Check 1: u = W x.
W = torch.tensor([[0.2, 0.1, -0.3], [0.5, -0.2, 0.4], [-0.1, 0.3, 0.2], [0.0, 0.6, -0.5]], dtype=FLOAT64)
X = torch.tensor([1.0, -0.5, 2.0], dtype=FLOAT64)
# Checks 4 and 5.
U = torch.tensor([1.2, 0.4, 0.9, -1.0], dtype=FLOAT64)
GAIN = torch.tensor(
    [[1.0, 0.2, 0.0, 0.1], [0.2, 1.0, 0.6, 0.5], [0.0, 0.6, 1.0, 0.4], [0.1, 0.5, 0.4, 1.0]], dtype=FLOAT64
)


def rows(count, candidates, seed=0, dtype=FLOAT64):
    """Utilities ``[count, candidates]`` and targets drawn from softmax(1.5 u): neither separable nor all wrong."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(count, candidates, dtype=FLOAT64, generator=generator)
    target = torch.multinomial(torch.softmax(1.5 * u, -1), 1, generator=generator)[:, 0]
    return u.to(dtype), target


def forbidding(u, target, seed=0):
    """A fifth of the candidates at -inf, none of them observed."""
    out = torch.rand(u.shape, generator=torch.Generator().manual_seed(seed)) < 0.2
    return u.masked_fill(out.scatter(-1, target[:, None], False), -torch.inf)


def at(tau, kind="temperature"):
    """A map of that temperature."""
    made = UtilityToProbability(kind)
    made.slopes_, made.breaks_, made.tau_ = (1.0 / tau,), (0.0,), tau
    return made


def written(sequences, prompt_length=2, **more):
    """What `generate` would return for these rows of tokens, with random logits."""
    sequences = torch.tensor(sequences)
    g = torch.Generator().manual_seed(0)
    steps = sequences.shape[1] - prompt_length
    # Equal rows have equal logits, as of a model.
    rows = [torch.randn(steps, 9, dtype=FLOAT64, generator=g) for _ in sequences]
    seen = {}
    rows = [seen.setdefault(tuple(s.tolist()), r) for s, r in zip(sequences, rows, strict=True)]
    logits = tuple(torch.stack([r[t] for r in rows]) for t in range(steps))
    return SimpleNamespace(sequences=sequences, logits=logits, scores=None, **more)
