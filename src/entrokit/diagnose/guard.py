"""`Guard`: judges a run while it runs, from the numbers of each step, and says when to stop.

    guard = Guard(stop_on=("broken-numbers", "collapse"))
    for step in range(1000):
        metrics = train_step()
        verdict = guard.add(step, metrics)
        if verdict is not None:
            print(verdict)
            if verdict.stop:
                save()
                break

It is `diagnose` on what was given so far. `entrokit.engines.guard.EntropyGuard` is the same as a callback.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

from entrokit.runs import Notes, TrainingLog
from entrokit.runs.columns import number_of
from entrokit.runs.courses import courses_of
from entrokit.runs.names import Names
from entrokit.runs.read_log import kind_of
from entrokit.runs.recording import Recording
from entrokit.runs.row import Row

from .diagnosis import Diagnosis, diagnose
from .exit_codes import first_named, named
from .finding import Finding
from .notify import notice_of, notifier
from .scale import checked_range
from .thresholds import Thresholds

# A look costs as much as there are rows: from 100 times `every` on, one is taken for each hundredth that was added.
_SHARE = 100


@dataclass(frozen=True)
class Verdict:
    """What a guard has to say of a step.

    Attributes:
        step: of the last row that was judged. finding: the one that it is about: the first, or what it stops for.
        before: the verdict that was said before; None at first. stop: whether to stop. diagnosis: the whole of it.
    """

    step: float
    finding: Finding
    before: str | None
    stop: bool
    diagnosis: Diagnosis

    @property
    def name(self) -> str:
        """One of `VERDICTS`."""
        return self.finding.verdict

    def __str__(self) -> str:
        said = f"step {self.step:g}: {self.name}: {self.finding.cause}"
        if self.finding.evidence:
            said += f" ({'; '.join(self.finding.evidence)})"
        if self.finding.remedies:
            said += f". What to do: {self.finding.remedies[0]}"
        return said


class Guard:
    """Judges a run as its numbers come.

    Args:
        stop_on: verdicts at which to stop (names, or ``any``); found first or beside another.
        warn_on: verdicts that are worth a word; a change to any of them, and back, is said once.
        patience: looks in a row that must find a verdict of ``stop_on``.
        every: steps from one look to the next. Rows that hold NaN or infinity are looked at at once: the first few of
            them, and as long as they are what to stop for. Beyond 100 looks the log grows by a hundredth between two,
            so that all of them together cost no more than in proportion to its length.
        thresholds, reward_range: as of `diagnose`.
        notify: URL or command that is told (`notifier`); nobody by default.
        run: its name, in what is said and sent. config: hyperparameters, for the words of remedies.
        engine: whose names the metrics have, where it is known.

    Raises:
        ValueError: a number out of range, or a verdict that there is none of.
    """

    def __init__(
        self,
        *,
        stop_on: str | Iterable[str] = ("broken-numbers", "collapse"),
        warn_on: str | Iterable[str] = "any",
        patience: int = 3,
        every: float = 10,
        thresholds: Thresholds | None = None,
        reward_range: tuple[float, float] | None = None,
        notify: str | Sequence[str] | None = None,
        run: str = "run",
        config: Mapping[str, Any] | None = None,
        engine: str | None = None,
    ) -> None:
        if not (_is_number(patience) and _is_number(every)) or patience < 1 or not every > 0:
            raise ValueError(f"Guard: patience must be at least 1 and every above 0, got {patience!r} and {every!r}")
        if thresholds is not None and not isinstance(thresholds, Thresholds):
            raise ValueError(f"Guard: thresholds must be `Thresholds`, got {type(thresholds).__name__}")
        # Now, and not at the first look: by then training runs.
        if reward_range is not None:
            checked_range(reward_range)
        self.stop_on, self.warn_on = named(stop_on), named(warn_on)
        self.patience, self.every = patience, every
        self.run, self.config, self.engine = run, dict(config or {}), engine
        self._thresholds, self._reward_range, self._notify = thresholds, reward_range, notifier(notify)
        self.restart()

    def restart(
        self, state: Mapping[str, Any] | None = None, rows: Iterable[tuple[float, Mapping[str, Any]]] = ()
    ) -> None:
        """Forgets all, or goes on from a `state_dict` and the rows that were logged until then.

        Rows up to a stop are left out: whoever goes on after it has read the verdict, and would read it again.
        """
        state = state or {}
        self._verdict: str | None = state.get("verdict")
        self._streak: int = state.get("streak", 0)
        self._stopped: float | None = state.get("stopped")
        self._rows: list[Row] = []
        self._broken_in_a_row = 0
        for step, metrics in rows:
            self._keep(step, metrics)
        looked = state.get("looked")
        self._looked: float | None = looked if looked is not None else self._last

    def state_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint; the rows themselves are in the run's log."""
        return {
            "verdict": self._verdict,
            "streak": self._streak,
            "looked": self._looked,
            "stopped": self._stopped,
        }

    def add(self, step: float, metrics: Mapping[str, Any]) -> Verdict | None:
        """Takes the numbers of a step, and looks at the run where it is time to.

        Args:
            step: optimiser step. metrics: by the names of any engine, or ``entropy``, ``reward``, …; values that are
                no numbers, and names that are not known, are passed over.

        Returns:
            What there is to say: the verdict has changed, or it is time to stop. None otherwise.

        Raises:
            ValueError: a step that is no finite number.
        """
        broken = self._keep(step, metrics)
        self._broken_in_a_row = self._broken_in_a_row + 1 if broken else 0
        return self.look() if self._is_time(step) else None

    def look(self) -> Verdict | None:
        """Looks at the run now, whatever ``every`` says; answers as `add` does."""
        if self._last is None:
            return None
        step, before = self._last, self._verdict
        found = self.judge()
        fatal = first_named(found.findings, self.stop_on)
        self._looked, self._streak = step, self._streak + 1 if fatal else 0
        if fatal is not None and self._streak >= self.patience:
            self._verdict, self._streak, self._stopped = fatal.verdict, 0, step
            self._rows = []
            return self._said(Verdict(step, fatal, before, True, found))
        first = found.findings[0]
        told = first_named(found.findings, self.warn_on)
        self._verdict = first.verdict
        mended = before in self.warn_on and first.verdict != "insufficient-data"
        changed = first.verdict != before and (told is not None or mended)
        return self._said(Verdict(step, first, before, False, found)) if changed else None

    def judge(self) -> Diagnosis:
        """The diagnosis of what was given so far; counts as no look."""
        log = log_of(self._rows, self.run, self.config, self.engine)
        return diagnose(log, self._thresholds, reward_range=self._reward_range)

    @property
    def _last(self) -> float | None:
        return self._rows[-1].step if self._rows else None

    def _keep(self, step: float, metrics: Mapping[str, Any]) -> bool:
        """Keeps a row; whether a number in it is not finite."""
        if not _is_finite(step):
            raise ValueError(f"Guard: a step must be a finite number, got {step!r}")
        if self._stopped is not None and step <= self._stopped:
            return False
        numbers = {str(name): number for name, value in metrics.items() if (number := number_of(value)) is not None}
        self._rows.append(Row(numbers, len(self._rows) + 1, float(step)))
        return not all(map(math.isfinite, numbers.values()))

    def _is_time(self, step: float) -> bool:
        if self._broken_in_a_row and (self._broken_in_a_row <= self.patience or self._streak):
            return True
        if self._looked is None or step < self._looked:
            self._looked = step
        first = self._rows[0].step if self._rows else None
        return step - self._looked >= max(self.every, (step - (step if first is None else first)) / _SHARE)

    def _said(self, verdict: Verdict) -> Verdict:
        if self._notify is not None:
            findings = [verdict.finding, *(f for f in verdict.diagnosis.findings if f is not verdict.finding)]
            sent = notice_of(findings, run=self.run, step=verdict.step, before=verdict.before)
            self._notify(sent | {"stop": verdict.stop})
        return verdict


def _is_finite(step: Any) -> bool:
    try:
        return math.isfinite(step)
    except (TypeError, ValueError, OverflowError):
        return False


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def log_of(rows: Sequence[Row], run: str, config: Mapping[str, Any], engine: str | None) -> TrainingLog:
    """Rows in memory as a log, read as those of a file; where steps begin anew, the run that was begun last."""
    notes = Notes()
    recording = Recording("rows in memory", Path(run), lambda: iter(rows), config, run)
    courses = courses_of(recording, Names.load(), notes)
    if not courses:
        return TrainingLog(Path(run), recording.source, config=config, notes=notes, engine=engine, run=run)
    last = courses[-1]
    return TrainingLog(
        Path(run),
        recording.source,
        last.series,
        config,
        notes=notes,
        engine=engine or last.engine,
        kind=kind_of(last.series),
        columns=last.columns,
        run=run,
    )
