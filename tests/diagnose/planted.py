"""Courses as real runs log them, healthy or with one thing gone wrong: seeded, and counted.

Which finding is right for a kind was written down before any was run. Even seeds were looked at while thresholds were
chosen; odd seeds are for the check alone. `python -m tests.diagnose.planted [even]` prints the confusion table.
"""

import sys
from collections import Counter

from entrokit.diagnose import diagnose

from .failures import KINDS
from .ordinary import Run

CHOSEN_ON, CHECKED_ON = range(0, 40, 2), range(1, 40, 2)


def findings(name, seed):
    """The verdicts of one run's findings, most important first."""
    run = Run(1000 * sorted(KINDS).index(name) + seed)
    KINDS[name][1](run)
    return tuple(f.verdict for f in diagnose(run.log()).findings)


def found(name, seed):
    """Whether the right finding is there: as the verdict where the run is healthy, and anywhere among them else."""
    told = findings(name, seed)
    return told[0] == "healthy" if KINDS[name][0] == "healthy" else KINDS[name][0] in told


def table(seeds):
    """The confusion table as lines of Markdown: found, as the verdict, and every verdict given."""
    lines = ["| planted | right | found | as the verdict | verdicts |", "|---|---|---|---|---|"]
    for name, (right, _) in KINDS.items():
        told = [findings(name, seed) for seed in seeds]
        hit = sum(f[0] == "healthy" if right == "healthy" else right in f for f in told)
        first = sum(f[0] == right for f in told)
        counts = ", ".join(f"{v} {c}" for v, c in Counter(f[0] for f in told).most_common())
        lines.append(f"| {name} | `{right}` | {hit}/{len(told)} | {first}/{len(told)} | {counts} |")
    return lines


if __name__ == "__main__":
    sys.stdout.write("\n".join(table(CHOSEN_ON if "even" in sys.argv[1:] else CHECKED_ON)) + "\n")
