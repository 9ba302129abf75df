"""The forms in which a tracker may write an engine's name, and which names are no training quantities."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["LONGEST", "Forms", "folded", "forms_of", "is_held_out", "is_statistic", "stripped"]

LONGEST = 300
"""Characters of a name; no longer one is a metric's."""

_PREFIX = re.compile(r"(?:train|metrics|training|global)[/_.](?=.)", re.IGNORECASE)
_HELD_OUT = re.compile(r"(?:eval|evals|evaluation|val|valid|validation|test)(?=[/_.\-@ ]|$)", re.IGNORECASE)
_SLASH, _FOLD = re.compile(r"\s*/\s*"), re.compile(r"[\s/._:\-]+")
_PANEL = ("__MIN", "__MAX")

_WORDS = (
    "mean|avg|average|std|stddev|var|variance|min|max|median|sum|total|count|num|all|agg|overall|raw|norm|"
    "p\\d+|q\\d+|hist|histogram|range|delta|diff|scale|baseline|coef|coeff|weight|weights|loss|lr|rate|ratio|"
    "frac|fraction|pct|time|step|group_std|zero_std"
)
_STATISTIC = re.compile(rf"_?(?:{_WORDS})", re.IGNORECASE)
_LIKE_A_STATISTIC = re.compile(
    r"(?:mean|avg|average|std|min|max|median|sum|total|num|count|frac|fraction|pct|percent|n)_.*"
    r"|.*[_\-](?:mean|avg|average|std|var|min|max|median|sum|total|count|rate|ratio|frac|fraction|pct|p\d+|time|"
    r"seconds|coef|coeff|weight|loss|hist|histogram)|.*pass@.*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Forms:
    """A name, as it was written and in the forms that may be an engine's.

    Attributes:
        strict: as written, without prefixes, and with ``/`` between the pieces; each once, in this order.
        folded: lower case, with one ``_`` between the pieces. flat: whether no ``/`` is in it.
        held_out: whether it is of evaluations.
    """

    strict: tuple[str, ...]
    folded: str
    flat: bool
    held_out: bool


def forms_of(name: str) -> Forms | None:
    """The forms of a name; None where it is no metric's: empty, far too long, or with control characters."""
    plain = name.strip()
    if not plain or len(name) > LONGEST or not plain.isprintable() or plain.endswith(_PANEL):
        return None
    bare = _without_run(plain)
    short = stripped(bare)
    slashed = _SLASH.sub("/", short)
    if "/" not in slashed:
        slashed = slashed.replace(".", "/")
    strict = tuple(dict.fromkeys((plain, bare, short, slashed)))
    return Forms(strict, folded(short), "/" not in bare, is_held_out(slashed))


def _without_run(name: str) -> str:
    """W&B's panels write ``<run> - <metric>``."""
    return name.rpartition(" - ")[2].strip() or name


def stripped(name: str) -> str:
    """Without the prefixes that trackers put before a metric of training, of which there may be two."""
    for _ in range(2):
        name = _PREFIX.sub("", name, count=1) if _PREFIX.match(name) else name
    return name


def folded(name: str) -> str:
    """In lower case, with one ``_`` for whatever stands between its pieces."""
    return _FOLD.sub("_", name.lower()).strip("_")


def is_held_out(name: str) -> bool:
    """Whether a name is of evaluations: they are no quantities of training."""
    return _HELD_OUT.match(name) is not None


def is_statistic(captured: str, *, last: bool) -> bool:
    """Whether what stands for a family or a reward function is a statistic, such as ``std`` or ``avg_raw_reward``.

    Args:
        last: whether nothing of the name follows; otherwise (``rewards/<function>/mean``) the statistic does, and only
            words that are nothing else count.
    """
    pieces = re.split(r"[/:]", captured)
    return any(
        not piece or _STATISTIC.fullmatch(piece) or (last and _LIKE_A_STATISTIC.fullmatch(piece)) for piece in pieces
    )
