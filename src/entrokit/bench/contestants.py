"""Every RLVR method as recipes on one base, at its paper's knobs and at ones that suit a small bench: from the cards.

The papers' fractions and coefficients are for batches a thousand times larger than a bench's, and often do nothing
here. The second setting is chosen before a board is run, on other seeds or by arithmetic, and not changed after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from entrokit.rlvr.cards import Method, methods

BASELINE = "grpo"
"""What every method is added to, and compared with."""


@dataclass(frozen=True)
class Contestant:
    """A method.

    Attributes:
        name: of the base, the intervention or the preset.
        default: recipe at the paper's knobs. tuned: recipe at knobs that suit a small bench; None where it has no knob
            that would make it act more strongly.
        impossible_on: why it cannot be shown, by bench.
    """

    name: str
    default: str
    tuned: str | None = None
    impossible_on: Mapping[str, str] = field(default_factory=dict)

    @property
    def recipes(self) -> tuple[str, ...]:
        return (self.default,) if self.tuned is None else (self.default, self.tuned)


def contestants() -> tuple[Contestant, ...]:
    """The baseline, then all others in order of name."""
    found = (_contestant(method) for method in methods().values() if method.card.benches is not None)
    return tuple(sorted(found, key=lambda c: (c.name != BASELINE, c.name)))


def not_ranked() -> dict[str, str]:
    """Interventions and presets that no bench can show, and why."""
    return {m.name: m.card.not_ranked for m in methods().values() if m.kind != "base" and m.card.benches is None}


def _contestant(method: Method) -> Contestant:
    shown = method.card.benches
    assert shown is not None
    if method.kind != "intervention":
        return Contestant(method.name, method.name, shown.tuned, shown.impossible_on)
    default = f"{BASELINE}+{method.name}" + (f"({shown.fixed})" if shown.fixed else "")
    knobs = ", ".join(filter(None, [shown.fixed, shown.tuned]))
    tuned = None if shown.tuned is None else f"{BASELINE}+{method.name}({knobs})"
    return Contestant(method.name, default, tuned, shown.impossible_on)
