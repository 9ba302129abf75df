"""What a rule says when it fires."""

from __future__ import annotations

from dataclasses import dataclass

from .remedies import Remedy

VERDICTS = (
    "collapse",
    "premature-convergence",
    "explosion",
    "mismatch",
    "truncation",
    "local-failure",
    "healthy",
    "insufficient-data",
    "broken-numbers",
    "impossible-entropy",
    "no-signal",
    "too-easy",
    "reward-hacking",
    "reward-imbalance",
    "length-growth",
    "length-collapse",
    "repetition",
    "kl-blow-up",
    "gradient-spikes",
    "clip-saturation",
    "plateau",
    "instability",
    "loss-divergence",
    "overfitting",
)
"""Old names first, and never another place for one: programs know them."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong (or a word that nothing is).

    Attributes:
        verdict: one of `VERDICTS`. cause: in a few words. evidence: sentences with numbers.
        remedies: what fits the cause.
        onset: the step at which it began; None where that cannot be told.
    """

    verdict: str
    cause: str
    evidence: tuple[str, ...]
    remedies: tuple[Remedy, ...] = ()
    onset: float | None = None
