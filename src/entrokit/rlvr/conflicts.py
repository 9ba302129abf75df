"""What cannot stand together in one recipe, and why."""

from __future__ import annotations

from collections.abc import Sequence

from .intervention import Intervention, implements
from .surrogates import Surrogate


def conflict(interventions: Sequence[Intervention], base: Surrogate, chosen: Surrogate) -> str | None:
    """Why these interventions make no recipe, or ``None``.

    Args:
        base: surrogate of the recipe's base. chosen: the one that the recipe has with these interventions.
    """
    names = [i.name for i in interventions]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        return f"{twice[0]} stands in it twice"
    owners = [i for i in interventions if implements(i, "surrogate")]
    if len(owners) > 1:
        return f"{owners[0].name} and {owners[1].name} each bring a surrogate; take one"
    refusals = (i.refuse(base if i in owners else chosen) for i in interventions)
    return _overwritten(interventions) or _unread(interventions) or next(filter(None, refusals), None)


def _overwritten(interventions: Sequence[Intervention]) -> str | None:
    """What one intervention made of rewards, or of advantages, must not be thrown away by another."""
    for place, later in enumerate(interventions):
        if later.replaces is None:
            continue
        lost = [i for i in interventions[:place] if implements(i, later.replaces)]
        if lost:
            both = lost[0].replaces == later.replaces
            instead = "take one of them" if both else f"write {later.name} before {lost[0].name}"
            return (
                f"{later.name} takes the place of the {later.replaces}s that {lost[0].name} makes, which would do "
                f"nothing; {instead}"
            )
    return None


def _unread(interventions: Sequence[Intervention]) -> str | None:
    blind = [i for i in interventions if not i.reads_rewards]
    shaping = [i for i in interventions if implements(i, "reward")]
    if not blind or not shaping:
        return None
    return (
        f"{blind[0].name} makes advantages of who is right, not of the rewards that {shaping[0].name} makes, which "
        "would do nothing; take one of them"
    )
