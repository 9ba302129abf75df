"""What a scheduler acts upon: verdicts by name, and the number that each of them leaves a process with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from .finding import Finding

# Scripts compare with these: a number is never given to another verdict. What is new takes the next one.
EXIT_CODES: Mapping[str, int] = MappingProxyType(
    {
        "broken-numbers": 10,
        "collapse": 11,
        "premature-convergence": 12,
        "explosion": 13,
        "mismatch": 14,
        "truncation": 15,
        "local-failure": 16,
        "insufficient-data": 17,
        "no-signal": 18,
        "impossible-entropy": 19,
        "reward-hacking": 20,
        "too-easy": 21,
        "reward-imbalance": 22,
        "length-growth": 23,
        "length-collapse": 24,
        "repetition": 25,
        "kl-blow-up": 26,
        "gradient-spikes": 27,
        "clip-saturation": 28,
        "plateau": 29,
        "instability": 30,
        "loss-divergence": 31,
        "overfitting": 32,
    }
)
"""Exit code of each verdict that can be named; 0, 1 and 2 are success, an error and a wrong command."""

QUIET = frozenset({"healthy", "insufficient-data"})
"""Verdicts that are no failure of a run: ``any`` leaves them out."""

ANY = "any"


def named(verdicts: str | Iterable[str]) -> frozenset[str]:
    """The verdicts that are meant by names, or by ``any``: all but those of `QUIET`.

    Args:
        verdicts: names, as a list or in one text with commas between.

    Raises:
        ValueError: a name that no failure has; the message lists those there are.
    """
    names = [v.strip() for v in (verdicts.split(",") if isinstance(verdicts, str) else verdicts)]
    unknown = [n for n in names if n not in EXIT_CODES and n != ANY]
    if unknown:
        raise ValueError(f"no failure is called {unknown[0]!r}; there are {', '.join(EXIT_CODES)}, and {ANY}")
    every = frozenset(EXIT_CODES) - QUIET if ANY in names else frozenset()
    return every | frozenset(n for n in names if n != ANY)


def first_named(findings: Sequence[Finding], names: frozenset[str]) -> Finding | None:
    """The first finding, most important first, whose verdict is among names; None where none is."""
    return next((f for f in findings if f.verdict in names), None)


def exit_code(findings: Sequence[Finding], names: frozenset[str]) -> int:
    """0 where no finding's verdict is among names, or else the code of the first that is."""
    found = first_named(findings, names)
    return 0 if found is None else EXIT_CODES[found.verdict]


def table_of_codes() -> str:
    """All codes in one line: ``10 broken-numbers, 11 collapse, …``."""
    return ", ".join(f"{code} {verdict}" for verdict, code in EXIT_CODES.items())
