"""The numbers in the rules of `verdicts`: ours, chosen on planted runs, and yours to set."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

import yaml

# Of nothing at all there is no first, and no mean.
_COUNTS = ("min_points", "swings", "spikes")


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of the verdicts. Start and end of a run are means over its first and last tenths (3 points at least).

    Attributes:
        min_points: points of entropy below which nothing is said.
        collapse_ratio: entropy at the end, as a share of that at the start, from which down it has collapsed.
        crash_share: reward at the end, as a share of its best, from which down the policy has fallen apart.
        decline: fall of the reward from its best stretch, as a share of its height there, that counts as lost.
        explosion_ratio, explosion_rise: entropy at the end, as a multiple of that at the start, and the rise in nats,
            from which on it has exploded where reward did not gain by it; at twice the multiple whatever reward did.
        plateau_entropy: entropy at the end, as a share of that at the start, from which down a reward that has stopped
            rising counts as convergence.
        plateau_gain: a reward has stopped rising where, with 95 % confidence, the last fifth gained less over the
            middle fifth than this share of what the run has gained.
        solved: reward (or accuracy) from which on low entropy is no failure, where rewards lie in [0, 1].
        no_signal: share of groups with equal rewards from which on there is nothing to learn from.
        few_prompts: distinct prompts up to which a run learns them by heart.
        truncated: share of completions cut at the limit, late in the run.
        mismatch_relative, mismatch_sigmas: how far the sampled tokens' surprise lies from the trained policy's entropy,
            as a share of it and in standard errors; both must be exceeded.
        mismatch_logp: mean difference of log-probabilities, nats. mismatch_kl: nats. mismatch_prob: mean difference of
            probabilities. mismatch_correlation: of probabilities, below which they disagree.
        family_drop, family_sigmas: a family's fall of reward from the better of its first two thirds to its last, and
            that in standard errors, that counts as failure (with half of its reward gone) while the mean holds.
        entropy_limit: nats above which nothing is an entropy, where the vocabulary's size is not known.
        reward_floor: difference of mean rewards, as a share of their scale, below which there is none.
        hard, easy: reward, as a share of its scale, up to which prompts with flat groups are too hard, and from which
            on they are solved.
        flat_groups: share of groups with equal rewards from which on there is too little to learn from.
        spread_lost: spread of advantages, or of rewards within groups, as a share of that at the start, from which
            down they tell nothing apart.
        score_drop: fall of a held-out score (or accuracy) from its best, as a share of it, that counts as lost while
            the reward rises. part_drop: the same of a part of the reward.
        part_gain: gain of a part of the reward, as a share of its top, up to which it has not moved while another
            rose.
        plateau_still: movement of the reward over the second half of a run, with 95 % confidence, as a share of what
            the run has gained, up to which it stands still.
        swing, swings: falls of the reward that are made good again, as a share of its scale, and how many of them
            count.
        never_ends: share of completions cut from the first step to the last from which on nothing ends by itself.
        length_growth, length_worth: growth of the length from which on it is looked at, and the gain by another
            measure, as a share of the reward's, below which the reward pays for length. length_waste: growth that is
            told where nothing was gained.
        length_collapse: length at the end, as a share of the longest stretch, from which down answers have shrunk to
            nothing.
        repetition: share of repeated text.
        kl_blow_up, kl_growth: KL to the reference late in the run, nats, and as a multiple of that early in it.
        spike_ratio, spikes: gradient norm as a multiple of the median, and how many such steps count.
        clip_share: share of clipped tokens late in the run.
        gap_growth: gap between sampler and trainer late in the run, as a multiple of that at the start, from which on a
            steadily growing gap is one of stale weights.
        loss_rise, overfit: of supervised runs: rise of the loss over its lowest stretch, and of the evaluation loss
            over its lowest value, as shares of them.
    """

    min_points: int = 10
    collapse_ratio: float = 0.2
    crash_share: float = 0.1
    decline: float = 0.4
    explosion_ratio: float = 1.5
    explosion_rise: float = 0.15
    plateau_entropy: float = 0.5
    plateau_gain: float = 0.15
    solved: float = 0.9
    no_signal: float = 0.98
    few_prompts: int = 16
    truncated: float = 0.3
    mismatch_relative: float = 0.08
    mismatch_sigmas: float = 5.0
    mismatch_logp: float = 0.1
    mismatch_kl: float = 0.02
    mismatch_prob: float = 0.02
    mismatch_correlation: float = 0.98
    family_drop: float = 0.08
    family_sigmas: float = 4.0
    entropy_limit: float = 20.0
    reward_floor: float = 0.01
    hard: float = 0.2
    easy: float = 0.75
    flat_groups: float = 0.6
    spread_lost: float = 0.2
    score_drop: float = 0.2
    part_drop: float = 0.5
    part_gain: float = 0.05
    plateau_still: float = 0.11
    swing: float = 0.15
    swings: int = 3
    never_ends: float = 0.95
    length_growth: float = 1.5
    length_worth: float = 0.4
    length_waste: float = 3.0
    length_collapse: float = 0.2
    repetition: float = 0.3
    kl_blow_up: float = 0.5
    kl_growth: float = 10.0
    spike_ratio: float = 10.0
    spikes: int = 3
    clip_share: float = 0.3
    gap_growth: float = 5.0
    loss_rise: float = 0.3
    overfit: float = 0.05

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
                raise ValueError(f"Thresholds.{f.name}: must be a number of at least 0, got {value!r}")
            if f.name in _COUNTS and value < 1:
                raise ValueError(f"Thresholds.{f.name}: must be at least 1, got {value!r}")

    @classmethod
    def load(cls, file: str | Path) -> Thresholds:
        """From a YAML file of ``name: number``; what it leaves out keeps its default.

        Raises:
            ValueError: no mapping, or a name that is none of these.
        """
        try:
            given = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{file} is not YAML: {error}") from error
        if not isinstance(given, dict):
            raise ValueError(f"{file}: expected a mapping of threshold names to numbers, got {type(given).__name__}")
        names = [f.name for f in fields(cls)]
        unknown = [str(n) for n in given if n not in names]
        if unknown:
            raise ValueError(f"{file}: no threshold is called {unknown[0]!r}; there are {', '.join(names)}")
        return cls(**given)
