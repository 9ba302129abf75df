"""What is said of a method outside its code: to tests, benches, engines and pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class OnBenches:
    """How the scoreboard shows a method upon its baseline.

    Attributes:
        fixed: knobs without which it cannot run there, as a recipe writes them.
        tuned: knobs that suit a batch of a few thousand tokens, chosen on other seeds before the board was run; None
            where there is no knob that would make it act more strongly. A base or a preset writes a whole recipe.
        impossible_on: why it cannot be shown, by bench.
    """

    fixed: str = ""
    tuned: str | None = None
    impossible_on: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Card:
    """See the module.

    Attributes:
        paper: arXiv id of where it comes from.
        examples: recipes at which it acts on a batch of a few short completions, with a task whose rewards are 0 and 1.
            Every test that goes through all methods trains with these; the first is shown to users.
        benches: how the scoreboard shows it. not_ranked: why it cannot; one of both.
        refused_by: why an engine cannot carry it, by engine. instead: where an engine lacks what it needs, what to do.

    Raises:
        ValueError: no example, or neither (or both) of ``benches`` and ``not_ranked``.
    """

    paper: str
    examples: tuple[str, ...]
    benches: OnBenches | None = None
    not_ranked: str = ""
    refused_by: Mapping[str, str] = field(default_factory=dict)
    instead: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.examples, str) or not self.examples:
            raise ValueError(
                f"Card of {self.paper}: examples must be a tuple of recipes, at least one; got {self.examples!r}"
            )
        if (self.benches is None) == (not self.not_ranked):
            raise ValueError(f"Card of {self.paper}: give benches, or say in not_ranked why no bench can show it")


@dataclass(frozen=True)
class Preset:
    """A paper that is a whole recipe: ``name`` stands for ``recipe``."""

    name: str
    recipe: str
    card: Card
