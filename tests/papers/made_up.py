"""Findings and entries that claim nothing."""

from entrokit.papers import Experiment, Finding, Paper, Result
from entrokit.report import Chart, Series


def finding(claim="H rises", passed=True, **changes):
    raw = {"H": [1.0, 2.5]}
    return Finding(
        **{"claim": claim, "criterion": "H > 0 | mean", "measured": "+1", "passed": passed, "raw": raw} | changes
    )


def chart():
    series = Series("a", [0.0, 1.0], [1.0, 2.0], marks=True, low=[0.5, 1.0], high=[2.0, 3.0], labels=["", "end"])
    return Chart("picture", "x", "y", (series,), y_line=0.0)


def entry(run, **changes):
    """An entry whose one experiment is ``own``."""
    experiment = Experiment(**{"run": run, "seeds": 2, "minutes": 0.1, "criterion": "H rises"} | changes)
    return Paper("made-up", "Title", "2501.00001", 2025, "tests", "H rises.", (), (), {"own": experiment})


def result(*findings, charts=(), **changes):
    plain = {
        "command": "entrokit reproduce made-up --experiment own --seeds 2",
        "commit": "abc",
        "date": "2026-01-31",
        "versions": {"python": "3.12.0", "torch": "2.8.0"},
        "seeds": (0, 1),
        "seconds": 1.5,
        "findings": findings or (finding(),),
        "charts": tuple(charts),
    }
    return Result(**plain | changes)
