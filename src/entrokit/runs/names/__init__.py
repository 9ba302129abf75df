"""What engines call the quantities of a run: a file of names an engine, and how a name is looked up in them.

The page `docs/names.md` says how to add one.
"""

from __future__ import annotations

from typing import Any

from .engine_file import EngineFile
from .lookup import Meaning, Names

__all__ = ["EngineFile", "Meaning", "Names", "canonical"]

_ONCE = frozenset(
    {
        "entropy",
        "trainer_entropy",
        "sampler_surprise",
        "reward",
        "accuracy",
        "truncated",
        "zero_variance",
        "sampler_logp_gap",
        "sampler_prob_gap",
        "sampler_correlation",
        "sampler_kl",
        "sampler_logp",
        "trainer_logp",
    }
)


def canonical(name: str) -> tuple[str, int] | None:
    """entrokit's name for a metric and its rank among those of the same quantity; None for any other metric.

    For callers that know no engine and no scale: see `Names.meaning`. A validation family counts as a reward's.
    """
    meant = Names.load().meaning(name)
    if meant is None or (meant.scale, meant.offset) != (1.0, 0.0):
        return None
    kind, _, family = meant.key.partition("/")
    if family and kind in ("reward", "entropy", "validation"):
        return f"{'reward' if kind == 'validation' else kind}/{family}", 0
    return (meant.key, meant.rank) if meant.key in _ONCE else None


def __getattr__(name: str) -> Any:
    files = Names.load()._files
    if name == "CANONICAL":
        return {
            key: tuple(m.pattern for file in files for m in file.metrics if m.key == key and "{" not in m.pattern)
            for key in sorted(_ONCE)
        }
    if name == "STEP":
        return tuple(Names.load().all_step_names())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
