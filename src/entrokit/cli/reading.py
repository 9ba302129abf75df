"""What `diagnose` and `watch` share: options that say how a log is to be read and judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from entrokit.diagnose import Diagnosis, Thresholds
    from entrokit.runs import TrainingLog

Value = TypeVar("Value")

# `diagnose.exit_codes`, written out: `--help` has to wait for no import. A test holds the two together.
CODES = (
    "10 broken-numbers, 11 collapse, 12 premature-convergence, 13 explosion, 14 mismatch, 15 truncation, "
    "16 local-failure, 17 insufficient-data, 18 no-signal, 19 impossible-entropy, 20 reward-hacking, 21 too-easy, "
    "22 reward-imbalance, 23 length-growth, 24 length-collapse, 25 repetition, 26 kl-blow-up, 27 gradient-spikes, "
    "28 clip-saturation, 29 plateau, 30 instability, 31 loss-divergence, 32 overfitting"
)

ThresholdsOption = Annotated[str | None, typer.Option(help="YAML file of thresholds; see docs/diagnose.md")]
FailOn = Annotated[
    str | None,
    typer.Option(
        metavar="VERDICTS",
        help=f"leave with a verdict's number if one of these is found (commas between, or 'any'): {CODES}",
    ),
]
NameOption = Annotated[
    list[str] | None,
    typer.Option("--name", metavar="QUANTITY=COLUMN", help="take a column for a quantity; may be given several times"),
]
RewardRange = Annotated[
    str | None, typer.Option(metavar="LOW,HIGH", help="between which bounds a reward lies, e.g. 0,2 or -1,1")
]


def option(name: str, read: Callable[[], Value]) -> Value:
    """What an option says; where it cannot be meant, a wrong command (exit code 2) instead of an error."""
    try:
        return read()
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=name) from error


@dataclass(frozen=True)
class Reading:
    """How logs are read and judged, as options say it."""

    names: Mapping[str, str]
    thresholds: Thresholds | None
    reward_range: tuple[float, float] | None

    @classmethod
    def of(cls, names: list[str] | None, thresholds: str | None, reward_range: str | None) -> Reading:
        """From the options as they were written.

        Raises:
            typer.BadParameter: one cannot be meant. ValueError, OSError: of the file of thresholds.
        """
        from entrokit.diagnose import Thresholds

        return cls(
            option("--name", lambda: names_of(names or [])),
            Thresholds.load(thresholds) if thresholds else None,
            None if reward_range is None else option("--reward-range", lambda: range_of(reward_range)),
        )

    def read(self, path: Path) -> TrainingLog:
        """The run that is there, or the one of several that is judged."""
        from entrokit.runs.read_log import read_log

        return read_log(path, self.names or None)

    def read_all(self, path: Path) -> list[TrainingLog]:
        """All runs that are there."""
        from entrokit.runs.read_log import read_logs

        return read_logs(path, self.names or None)

    def judge_first(self, logs: Sequence[TrainingLog]) -> Diagnosis:
        """What is wrong with the first of several runs, beside the verdicts of the others."""
        from entrokit.diagnose.diagnosis import diagnose_logs

        return diagnose_logs(logs, self.thresholds, reward_range=self.reward_range)

    def judge(self, log: TrainingLog) -> Diagnosis:
        """What is wrong with a run."""
        from entrokit import diagnose as explain

        return explain.diagnose(log, self.thresholds, reward_range=self.reward_range)


def path_of(text: str) -> Path:
    """A path that was given; an empty one is a variable of a script that was not set, not the current folder."""
    if not text.strip():
        raise typer.BadParameter("the path is empty", param_hint="PATH")
    return Path(text)


def failing(verdicts: str | None) -> frozenset[str]:
    """The verdicts of ``--fail-on``."""
    from entrokit.diagnose.exit_codes import named

    return frozenset() if verdicts is None else option("--fail-on", lambda: named(verdicts))


def names_of(pairs: list[str]) -> dict[str, str]:
    """``quantity=column`` each; a column may hold further signs of equality."""
    found: dict[str, str] = {}
    for pair in pairs:
        quantity, equals, column = (part.strip() for part in pair.partition("="))
        if not (quantity and equals and column):
            raise ValueError(f"expected QUANTITY=COLUMN, e.g. entropy=my/metric, got {pair!r}")
        if found.setdefault(quantity, column) != column:
            raise ValueError(f"{quantity} is given twice: {found[quantity]} and {column}")
    return found


def range_of(text: str) -> tuple[float, float]:
    """``low,high``, two finite numbers."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"expected two numbers with a comma between, e.g. 0,2, got {text!r}") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"the first must be less than the second, and both finite, got {text!r}")
    return low, high
