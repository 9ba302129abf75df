"""A reliability picture as a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from entrokit.losses.preference import Reliability, pool_reliability
from entrokit.report import Chart, Series


def reliability_chart(title: str, what: str, pictures: Mapping[str, Sequence[Reliability]]) -> Chart:
    """One line a way to read utilities, all its pictures together; bars are standard errors of the share.

    Args:
        what: the probability of what.
    """
    series = [Series("as often as said", [0.0, 1.0], [0.0, 1.0])]
    for name, own in pictures.items():
        pooled = pool_reliability(own)
        errors = [(a * (1.0 - a) / n) ** 0.5 for a, n in zip(pooled.accuracy, pooled.count, strict=True)]
        low, high = ([a + s * e for a, e in zip(pooled.accuracy, errors, strict=True)] for s in (-1.0, 1.0))
        series.append(Series(name, list(pooled.confidence), list(pooled.accuracy), low=low, high=high))
    return Chart(title, f"probability of {what} (bars: standard errors)", "share that was right", tuple(series))
