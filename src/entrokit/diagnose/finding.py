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
)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong (or a word that nothing is).

    Attributes:
        verdict: one of `VERDICTS`. cause: in a few words. evidence: sentences with numbers.
        remedies: what fits the cause. onset: step at which it began; None where it has none.
    """

    verdict: str
    cause: str
    evidence: tuple[str, ...]
    remedies: tuple[Remedy, ...] = ()
    onset: float | None = None
