"""Every RLVR method of the catalogue as recipes on one base, at its paper's knobs and at ones that suit a small bench.

The papers' fractions and coefficients are for batches a thousand times larger than a bench's, and often do nothing
here. The second setting was chosen before the scoreboard was run, on other seeds or by arithmetic, and was not changed
after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

BASELINE = "grpo"
"""What every method is added to, and compared with."""


@dataclass(frozen=True)
class Contestant:
    """A method.

    Attributes:
        name: of the intervention, or of the base that is the method.
        default: recipe at the paper's knobs. suited: recipe at knobs that suit a small bench; None where it has no
            knob that would make it act more strongly.
        absent: why it cannot be shown, by bench.
    """

    name: str
    default: str
    suited: str | None = None
    absent: Mapping[str, str] = field(default_factory=dict)

    @property
    def recipes(self) -> tuple[str, ...]:
        return (self.default,) if self.suited is None else (self.default, self.suited)


def _added(
    name: str, knobs: str | None = None, *, fixed: str = "", absent: Mapping[str, str] | None = None
) -> Contestant:
    suited = None if knobs is None else f"{BASELINE}+{name}({', '.join(filter(None, [fixed, knobs]))})"
    return Contestant(name, f"{BASELINE}+{name}" + (f"({fixed})" if fixed else ""), suited, absent or {})


_NO_SAMPLER = {"tabular": "acts while a language model samples"}
_NO_REFERENCE = {"tabular": "there is no reference policy"}

CONTESTANTS: tuple[Contestant, ...] = (
    Contestant(BASELINE, BASELINE),
    _added("clip-cov", "ratio=0.1, low=0.5, high=50"),
    _added("kl-cov", "ratio=0.1"),
    _added("steer", "min_weight=0.1, iclip=False, scale_quantile=0.9"),
    _added("forking-tokens", "rho=0.5"),
    _added("clip-b", "mu=0.5"),
    _added("clip-v", "mu=0.5, max_frac=1.0"),
    _added("token-group-average"),
    _added("adaptive-clip", "alpha=2.0"),
    _added("redistribute-advantage"),
    _added("adaptive-temperature", "tau=0.2", absent=_NO_SAMPLER),
    Contestant("hapo", "hapo", absent=_NO_SAMPLER),
    _added("canon", "mu=0.5"),
    _added("arm", "alpha=1.0", absent={"tabular": "there are no prompts whose log-probabilities it needs"}),
    _added("perplexity-shaping", "alpha=0.3"),
    _added("position-shaping", "gamma=0.5"),
    _added("weighted-grpo", "w_neg=0.5"),
    # On countdown no completion has a marker: the last token stands for it, nothing follows, and α weighs nothing.
    _added("pear", fixed="end_of_thinking='='", absent={"tabular": "a completion has no two phases"}),
    _added("siren", "coef=1.0"),
    _added("tea", "alpha=0.5"),
    _added("reference-kl", "beta=0.2", absent=_NO_REFERENCE),
    _added("reward-kl", "beta=0.2", absent=_NO_REFERENCE),
    _added("entropy-bonus", "coef=0.02"),
    _added("epo", "coef=0.02, alpha=1.0, kappa_low=0.8, kappa_high=1.2"),
    _added("empg", "k=3.0, zeta=0.5"),
    _added("aepo-reward", "window=2", absent={"tabular": "a completion of one token has no window"}),
    _added("aepo-kl", "beta=0.2, window=2", absent=_NO_REFERENCE),
    Contestant(
        "ares", "ares", "dapo(clip_high=0.3)+aepo-reward(window=2)+aepo-kl(beta=0.2, window=2)", absent=_NO_REFERENCE
    ),
    _added(
        "self-imitation",
        "size=128, warmup=20",
        fixed="tools_only=False",
        absent={"tabular": "there are no updates beside those on the samples"},
    ),
    Contestant("dispo", "dispo", "dispo(pos_low=0.2, pos_high=1.0, neg_low=0.2, neg_high=1.0)"),
)

UNRANKED: Mapping[str, str] = {
    "recap": "weighs several rewards against one another; the benches have one",
    "epo-official": "its penalty has no gradient: it trains as entropy-bonus does",
    "tool-reward": "nothing on the benches calls a tool; see the maze in docs/verdicts.md",
}
"""Interventions that no bench can show, and why."""
