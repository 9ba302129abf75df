"""What a battery is made of: checks that say in a sentence what they hold, and how their failures read."""

from __future__ import annotations

import unittest
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass


class Skipped(unittest.SkipTest):
    """A check that has nothing to look at here, and why. pytest and unittest count it as skipped, not as passed."""


class CheckFailed(AssertionError):  # noqa: N818
    """A method does not do what a check holds. `failures`: those of a whole battery; itself alone for one check."""

    def __init__(self, message: str, failures: tuple[CheckFailed, ...] = ()) -> None:
        super().__init__(message)
        self.failures = failures or (self,)


@dataclass(frozen=True)
class Check:
    """One check of a battery, to be called without arguments.

    Attributes:
        name: as reports and test ids print it. holds: a sentence, what the check holds.
        run: raises `Skipped`, or any other exception for a failure; an AssertionError's message is what was found.
        subject: what is checked, as messages call it.
    """

    name: str
    holds: str
    run: Callable[[], None]
    subject: str

    def __call__(self) -> None:
        """Run it.

        Raises:
            CheckFailed: naming the subject, the check, its sentence and what was found, whatever `run` raised.
            Skipped: it has nothing to look at.
        """
        try:
            self.run()
        except (Skipped, KeyboardInterrupt):
            raise
        # Whatever a method raises, SystemExit and a runner's own skip among it, is a failure of the method.
        except BaseException as error:
            raise CheckFailed(
                f"{self.subject}: check `{self.name}` failed\n  holds: {self.holds}\n  found: {said(error)}"
            ) from error

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Report:
    """A battery without a failure: the names of the checks that passed, and of those skipped, with the reason."""

    subject: str
    passed: tuple[str, ...]
    skipped: Mapping[str, str]

    def __str__(self) -> str:
        lines = [f"{self.subject}: {len(self.passed)} checks passed, {len(self.skipped)} skipped"]
        return "\n".join(lines + [f"  {name} skipped: {reason}" for name, reason in self.skipped.items()])


def run_checks(subject: str, checks: Iterable[Check]) -> Report:
    """Run them all, whichever fail: one run says everything that there is to mend.

    Raises:
        CheckFailed: with every failure in its message, and as `failures`.
    """
    passed: list[str] = []
    skipped: dict[str, str] = {}
    failures: list[CheckFailed] = []
    for check in checks:
        try:
            check()
        except Skipped as reason:
            skipped[check.name] = str(reason)
        except CheckFailed as failure:
            failures.append(failure)
        else:
            passed.append(check.name)
    if failures:
        total = len(passed) + len(skipped) + len(failures)
        head = f"{subject}: {len(failures)} of {total} checks failed, {len(skipped)} skipped"
        raise CheckFailed("\n\n".join([head, *map(str, failures)]), tuple(failures)) from failures[0]
    return Report(subject, tuple(passed), skipped)


def said(error: BaseException) -> str:
    """What an AssertionError found, or any other error with its type."""
    if isinstance(error, AssertionError) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
