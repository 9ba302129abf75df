"""What four paths have in common, and how much of the weight is one path's."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from entrokit.papers.told import spread
from entrokit.report import Chart, Series

from ..claims import judge_interval
from ..evidence import Finding


def likelier(claim: str, what: str, own: str, other: str, log_probs: dict[str, list[float]]) -> Finding:
    """Whether one arm's sequences are likelier than another's; ``what``: which is taken from which."""
    return judge_interval(
        claim,
        f"log-probability, {what}",
        "nats",
        log_probs[own],
        log_probs[other],
        log_probs,
        above=True,
        reference="ours",
    )


def one_hot(when: str, arm: str, late: dict[str, list[float]]) -> Finding:
    return Finding(
        f"One path ends up with nearly all of the weight ({arm}).",
        f"four paths, {when}: exp(H(w)) at most 1.5 in the mean, every seed",
        "; ".join(f"{name} {spread(own, '.2f')}" for name, own in late.items()),
        max(late[arm]) <= 1.5,
        "independent expectation: one-hot after a few tens of tokens",
        late,
    )


def one_stem(when: str, arm: str, shared: dict[str, list[float]]) -> Finding:
    return Finding(
        f"Its paths are one path but for their last tokens ({arm}).",
        f"{when}, every seed: all paths have at least half of their tokens in common, from the first on",
        "; ".join(f"{name} {spread(own, '.2f')}" for name, own in shared.items()),
        min(shared[arm]) >= 0.5,
        "ours",
        shared,
    )


def effective_chart(title: str, courses: dict[str, Sequence[float]]) -> Chart:
    series = (Series(arm, list(range(1, len(own) + 1)), list(own)) for arm, own in courses.items())
    return Chart(title, "token", "exp(H(w))", tuple(series), y_line=1.0)


def mean_course(courses: Sequence[Sequence[float]]) -> list[float]:
    length = min(len(own) for own in courses)
    return [statistics.fmean(own[t] for own in courses) for t in range(length)]
