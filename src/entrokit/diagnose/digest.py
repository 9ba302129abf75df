"""Completions in one pass and bounded memory: what the rules need to know of millions of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from entrokit.runs import Completion
from entrokit.runs.step_account import LIKELY_DOWN, LIKELY_UP, UNLIKELY_DOWN, UNLIKELY_UP

_MOST_FAMILIES, _MOST_STEPS, _MOST_PROMPTS = 64, 20_000, 50_000
OTHER_FAMILIES = "(other families)"
# Tokens a completion whose quadrants are looked at; more would take the time of the whole stream.
_TOKENS_LOOKED_AT = 64


@dataclass
class Cell:
    """Sums over the completions of one family at one step."""

    rows: int = 0
    reward: float = 0.0
    rewarded: int = 0
    truncated: int = 0
    limited: int = 0
    entropy: float = 0.0
    entropic: int = 0

    def add(self, c: Completion) -> None:
        self.rows += 1
        if c.reward is not None and c.reward == c.reward:
            self.reward += c.reward
            self.rewarded += 1
        if c.truncated is not None:
            self.truncated += c.truncated
            self.limited += 1
        if c.entropy is not None and len(c.entropy):
            self.entropy += float(c.entropy.mean())
            self.entropic += 1


@dataclass
class Mismatch:
    """Sampling policy against trained policy, over tokens: sums, and their squares over completions."""

    tokens: int = 0
    surprise: float = 0.0
    entropy: float = 0.0
    gap_square: float = 0.0
    logp_gap: float = 0.0
    logp_tokens: int = 0

    def add(self, c: Completion) -> None:
        if c.logp is None or not len(c.logp):
            return
        if c.entropy is not None and len(c.entropy) == len(c.logp):
            surprise, entropy = -float(c.logp.sum()), float(c.entropy.sum())
            self.tokens += len(c.logp)
            self.surprise += surprise
            self.entropy += entropy
            self.gap_square += (surprise - entropy) ** 2
        if c.sampler_logp is not None and len(c.sampler_logp) == len(c.logp):
            self.logp_gap += float(np.abs(c.sampler_logp - c.logp).sum())
            self.logp_tokens += len(c.logp)

    @property
    def relative(self) -> float:
        """How much more surprising the tokens are than the trained policy's entropy says, as a share of it.

        NaN without tokens; infinite where the policy is certain and its tokens surprise it all the same.
        """
        if not self.tokens:
            return math.nan
        excess = self.surprise - self.entropy
        return excess / self.entropy if self.entropy > 0 else math.copysign(math.inf, excess) if excess else 0.0

    @property
    def sigmas(self) -> float:
        """The same in standard errors; 0 without tokens."""
        return (self.surprise - self.entropy) / self.gap_square**0.5 if self.gap_square > 0 else 0.0


@dataclass
class Digest:
    """What a stream of completions came to. Build it with `digest`.

    Attributes:
        cells: by family (None where the rows do not say) and step.
        prompts: distinct prompts, estimated where there are very many. appearances: prompts over all steps.
        groups, flat_groups: prompts of a step with several rewards, and those among them whose rewards are all equal.
        bounds: mean lowest and highest entropy that top-k log-probabilities allow, nats; None without any.
        free: sums of the sampled-logit estimate of each quadrant's change of entropy; only proportions mean something.
    """

    cells: dict[tuple[str | None, float], Cell] = field(default_factory=dict)
    rows: int = 0
    prompts: int = 0
    appearances: int = 0
    groups: int = 0
    flat_groups: int = 0
    mismatch: Mismatch = field(default_factory=Mismatch)
    bounds: tuple[float, float] | None = None
    free: dict[str, float] = field(default_factory=dict)

    @property
    def families(self) -> list[str]:
        return sorted({f for f, _ in self.cells if f is not None})

    def course(self, family: str | None, what: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Steps, means and numbers of completions ``[N]`` of ``reward``, ``entropy`` or ``truncated``.

        Args:
            family: one family; None for all completions together.
        """
        total, count = {"reward": ("reward", "rewarded"), "entropy": ("entropy", "entropic")}.get(
            what, ("truncated", "limited")
        )
        sums: dict[float, list[float]] = {}
        for (own, step), cell in self.cells.items():
            if (family is None or own == family) and getattr(cell, count):
                at = sums.setdefault(step, [0.0, 0.0])
                at[0] += getattr(cell, total)
                at[1] += getattr(cell, count)
        steps = sorted(sums)
        return (
            np.array(steps),
            np.array([sums[s][0] / sums[s][1] for s in steps]),
            np.array([sums[s][1] for s in steps]),
        )


def digest(completions: Iterable[Completion]) -> Digest:
    """One pass over completions. Memory grows with steps, families and distinct prompts, each up to a limit."""
    result = Digest()
    prompts = _DistinctPrompts()
    low = high = 0.0
    bounded, now = 0, None
    families: set[str] = set()
    latest: dict[str | None, float] = {}
    for c in completions:
        if c.step != now:
            result.groups, result.flat_groups = _closed(result, prompts)
            now = c.step
        family = c.family
        if family is not None and family not in families:
            if len(families) < _MOST_FAMILIES:
                families.add(family)
            else:
                family = OTHER_FAMILIES
        key = (family, c.step)
        if key not in result.cells and len(result.cells) >= _MOST_STEPS:
            key = (family, latest.get(family, c.step))
        latest[family] = key[1]
        result.cells.setdefault(key, Cell()).add(c)
        result.rows += 1
        prompts.add(c)
        result.mismatch.add(c)
        _add_quadrants(result.free, c)
        if c.entropy_bounds is not None and len(c.entropy_bounds):
            low, high = low + float(c.entropy_bounds[:, 0].mean()), high + float(c.entropy_bounds[:, 1].mean())
            bounded += 1
    result.groups, result.flat_groups = _closed(result, prompts)
    result.prompts, result.appearances = prompts.distinct, prompts.appearances
    result.bounds = (low / bounded, high / bounded) if bounded else None
    return result


def _closed(result: Digest, prompts: _DistinctPrompts) -> tuple[int, int]:
    several, flat = prompts.close_step()
    return result.groups + several, result.flat_groups + flat


def _add_quadrants(sums: dict[str, float], c: Completion) -> None:
    """STEER's estimate for the sampled logit (arXiv 2510.10150, Theorem 1, on-policy): ``-A π (1 - π) (log π + H)``."""
    if not c.advantage or c.logp is None or c.entropy is None or len(c.logp) != len(c.entropy):
        return
    logp, entropy = c.logp[:_TOKENS_LOOKED_AT], c.entropy[:_TOKENS_LOOKED_AT]
    p = np.exp(logp)
    change = -c.advantage * p * (1 - p) * (logp + entropy)
    likely = logp > -entropy
    names = (LIKELY_UP, UNLIKELY_UP) if c.advantage > 0 else (LIKELY_DOWN, UNLIKELY_DOWN)
    for name, mask in zip(names, (likely, ~likely), strict=True):
        sums[name] = sums.get(name, 0.0) + float(change[mask].sum())


class _DistinctPrompts:
    """Counts distinct prompts by the smallest of their hashes, and looks at each step's groups of equal prompts."""

    def __init__(self) -> None:
        self._hashes: set[int] = set()
        self._limit = 1 << 64
        self._step: dict[int, tuple[float, float, int]] = {}
        self.appearances = 0

    def add(self, c: Completion) -> None:
        key = int.from_bytes(hashlib.blake2b(c.prompt.encode("utf-8", "replace"), digest_size=8).digest(), "big")
        if key < self._limit:
            self._hashes.add(key)
            if len(self._hashes) > _MOST_PROMPTS:
                self._limit //= 2
                self._hashes = {h for h in self._hashes if h < self._limit}
        if c.reward is not None and (key in self._step or len(self._step) < _MOST_PROMPTS):
            low, high, n = self._step.get(key, (c.reward, c.reward, 0))
            self._step[key] = (min(low, c.reward), max(high, c.reward), n + 1)

    def close_step(self) -> tuple[int, int]:
        """Groups of several rewards at the step that ends, and those whose rewards are all equal."""
        several = [(low, high) for low, high, n in self._step.values() if n > 1]
        self.appearances += len(self._step)
        self._step = {}
        return len(several), sum(low == high for low, high in several)

    @property
    def distinct(self) -> int:
        return round(len(self._hashes) * ((1 << 64) / self._limit))
