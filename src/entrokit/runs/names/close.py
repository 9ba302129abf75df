"""Names that nobody knows and that look like a quantity's: what to propose to whoever named them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from itertools import islice

from .forms import folded, forms_of, is_statistic

__all__ = ["close_to"]

_MOST, _LOOKED_AT, _ALIKE = 5, 5000, 0.75
_WORDS = {
    "entropy": re.compile(r"entr|(?:^|_)ent(?:_|$)"),
    "reward": re.compile(r"rew(?:ard)?|score|return"),
    "length": re.compile(r"len(?:gth)?(?:_|s|$)|tokens_per"),
    "truncated": re.compile(r"trunc|clipped|cut_off"),
    "accuracy": re.compile(r"acc(?:uracy)?(?:_|$)|correct|solve"),
    "kl": re.compile(r"(?:^|_)kl(?:_|$)"),
}


def close_to(unknown: Iterable[str], quantity: str, known: Sequence[str]) -> list[str]:
    """Those of some names that have a quantity's word in them, or are written much like a name of it that is known.

    Args:
        known: names of the quantity. Names of evaluations and statistics other than the mean are not proposed for a
            quantity of training.
    """
    word = _WORDS.get(quantity)
    wanted = [folded(name) for name in (quantity, *known) if "{" not in name]
    held_out = quantity.startswith(("validation", "eval_loss"))
    scored: list[tuple[float, str]] = []
    for name in islice(dict.fromkeys(unknown), _LOOKED_AT):
        forms = forms_of(name)
        if forms is None or forms.held_out != held_out or _of_spread(name):
            continue
        alike = max((_ratio(forms.folded, other) for other in wanted), default=0.0)
        if (word is not None and word.search(forms.folded)) or alike >= _ALIKE:
            scored.append((alike, name))
    return [name for _, name in sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:_MOST]]


def _ratio(a: str, b: str) -> float:
    matcher = SequenceMatcher(None, a, b, autojunk=False)
    # The two bounds are cheap, and most names are far from all.
    if matcher.real_quick_ratio() < 0.4 or matcher.quick_ratio() < 0.4:
        return 0.0
    return matcher.ratio()


def _of_spread(name: str) -> bool:
    last = re.split(r"[/_.]", name)[-1].lower()
    return last not in ("mean", "avg", "average", "total", "overall", "raw", "all") and is_statistic(last, last=True)
