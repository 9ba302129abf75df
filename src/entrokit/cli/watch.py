"""`entrokit watch`: follows a log or a folder that grows, and says when the verdict changes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from .bars import bars
from .manual import INTERRUPTED
from .reading import FailOn, NameOption, Reading, RewardRange, ThresholdsOption, failing, option, path_of
from .shown import printable, shown, style_of

if TYPE_CHECKING:
    from entrokit.diagnose import Diagnosis

console = Console()

# A reading that takes longer than this share of the interval lengthens it: the log is read as a whole each time.
_SHARE = 0.1
_FOLDER = -1

Stamp = tuple[int, int, int]


def watch(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="a log or folder that a run writes; it need not be there yet")
    ],
    every: Annotated[float, typer.Option(help="seconds from one look to the next", min=0.1)] = 10.0,
    fail_on: FailOn = None,
    patience: Annotated[int, typer.Option(help="looks in a row that must find a verdict of --fail-on", min=1)] = 3,
    once: Annotated[bool, typer.Option("--once", help="look once, and leave")] = False,
    notify: Annotated[
        str | None, typer.Option(metavar="URL-OR-COMMAND", help="post or hand over the verdict as JSON when it changes")
    ] = None,
    name: NameOption = None,
    reward_range: RewardRange = None,
    thresholds: ThresholdsOption = None,
) -> None:
    """Follows a run that is being written: its courses in a small panel, and a line whenever the verdict changes.

    Ends at Ctrl-C (exit code 130, with the last verdict), or when --fail-on is found (the verdict's number).
    """
    from entrokit.diagnose.notify import notifier

    where, names = path_of(path), failing(fail_on)
    tell = option("--notify", lambda: notifier(notify))
    reading = Reading.of(name, thresholds, reward_range)
    follower = Follower(where, lambda: reading.judge(reading.read(where)))
    panel = Panel(console, where, every)
    streak, code = 0, 0
    try:
        with panel:
            while True:
                before = follower.verdict
                look = follower.look()
                if look.said:
                    panel.say(Text(printable(look.said), style="dim"))
                if look.changed and follower.diagnosis is not None:
                    if not once:
                        panel.say(_verdict_line(follower.diagnosis, before))
                    if tell is not None and not _is_quiet(follower.verdict, before):
                        tell(_notice(follower.diagnosis, where, before))
                if look.stands and follower.diagnosis is not None:
                    panel.show(follower.diagnosis, look)
                    code = _named(follower.diagnosis, names)
                    streak = streak + 1 if code else 0
                if once or (code and streak >= patience):
                    break
                _sleep(pause(every, look.seconds))
    except KeyboardInterrupt:
        last = "no verdict yet" if follower.diagnosis is None else f"last verdict: {follower.verdict}"
        console.print(Text(f"Stopped; {last}" + _cause(follower.diagnosis)))
        raise typer.Exit(INTERRUPTED) from None
    if follower.diagnosis is None:
        raise typer.Exit(1)
    console.print(shown(follower.diagnosis), crop=False)
    raise typer.Exit(code)


@dataclass(frozen=True)
class Look:
    """What one look brought.

    Attributes:
        stands: whether there is a verdict of what is there now. changed: whether it is another, or the first.
        said: a word about the path itself (not there, begun anew, not readable), once. seconds: what it took.
    """

    stands: bool = False
    changed: bool = False
    said: str = ""
    seconds: float = 0.0


class Follower:
    """Looks at a path again and again, and reads it where it is not what it was.

    Args:
        path: need not be there. judge: reads and judges what is there now.
    """

    def __init__(self, path: Path, judge: Callable[[], Diagnosis]) -> None:
        self._path, self._judge = path, judge
        self._stamp: Stamp | None = None
        self._said, self._readable = "", False
        self.diagnosis: Diagnosis | None = None

    @property
    def verdict(self) -> str | None:
        """The last one; it stays when the log is gone."""
        return None if self.diagnosis is None else self.diagnosis.verdict

    def look(self) -> Look:
        """Looks once. What cannot be read is said, not raised: it may be half-written."""
        began = time.monotonic()
        stamp = stamp_of(self._path)
        if stamp is None:
            gone = "is gone; waiting for it" if self._stamp is not None else "is not there yet; waiting for it"
            self._stamp = None
            return Look(said=self._once(f"{self._path} {gone}"))
        if stamp == self._stamp:
            return Look(self._readable, seconds=time.monotonic() - began)
        anew = self._stamp is not None and _is_new_file(self._stamp, stamp)
        self._stamp, self._readable = stamp, False
        said = f"{self._path} was begun anew (emptied or replaced)" if anew else ""
        before = self.diagnosis
        try:
            self.diagnosis = self._judge()
        except ImportError:
            raise
        except (ValueError, OSError) as error:
            told = self._once(f"nothing to judge yet: {error}")
            return Look(said="; ".join(filter(None, (said, told))), seconds=time.monotonic() - began)
        self._said, self._readable = "", True
        changed = before is None or _first(before) != _first(self.diagnosis)
        return Look(True, changed, said, time.monotonic() - began)

    def _once(self, text: str) -> str:
        new, self._said = text != self._said, text
        return text if new else ""


def _is_new_file(before: Stamp, now: Stamp) -> bool:
    """Whether a file was emptied or replaced. A folder may well shrink: engines remove old checkpoints."""
    return _FOLDER not in (before[2], now[2]) and (now[0] < before[0] or now[2] != before[2])


def stamp_of(path: Path) -> Stamp | None:
    """Size, time of the last change, and which file it is; of a folder, of all files below it together; None: gone.

    A link to a folder within a folder is not followed: it may lead back.
    """
    try:
        if not path.is_dir():
            status = path.stat()
            return status.st_size, status.st_mtime_ns, status.st_ino
    except OSError:
        return None
    size = newest = 0
    for folder, _, files in os.walk(path):
        for file in files:
            try:
                status = os.stat(os.path.join(folder, file))
            except OSError:  # removed meanwhile
                continue
            size, newest = size + status.st_size, max(newest, status.st_mtime_ns)
    return size, newest, _FOLDER


def pause(every: float, took: float) -> float:
    """Seconds until the next look, so that reading takes a tenth of the time at most."""
    return max(every, took / _SHARE)


class Panel:
    """Where it is shown: a live panel of a terminal, or lines, where the output is a file or a pipe."""

    def __init__(self, console: Console, path: Path, every: float) -> None:
        self._console, self._path, self._every = console, path, every
        self._live = Live(console=console, transient=True, refresh_per_second=1) if console.is_terminal else None

    def __enter__(self) -> Panel:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, line: Text) -> None:
        """A line that stays."""
        self._console.print(Text.assemble((time.strftime("%H:%M:%S "), "dim"), line), soft_wrap=True)

    def show(self, d: Diagnosis, look: Look) -> None:
        """The newest numbers, in the place of those before."""
        if self._live is not None:
            wait = pause(self._every, look.seconds)
            read = f"read {time.strftime('%H:%M:%S')} in {look.seconds:.1f} s, again in {wait:.0f} s"
            self._live.update(panel_of(d, f"{read}: {self._path}"), refresh=True)


def panel_of(d: Diagnosis, head: str) -> Group:
    """Courses of entropy and reward as small bars, and the verdict with its first evidence."""
    lines = [Text(printable(head), style="dim", no_wrap=True, overflow="ellipsis")]
    for label, course in (("entropy", d.facts.entropy), ("reward", d.facts.reward)):
        if course is not None and len(course):
            start, end = f"{course.start:.3g}", f"{course.end:.3g}"
            lines.append(Text(f"{label:<8} {bars(course.values.tolist())}  {start} → {end}", no_wrap=True))
    first = d.findings[0]
    step = _step(d)
    at = "" if step is None else f"step {step:g}  "
    lines.append(Text.assemble((at, "dim"), (first.verdict, style_of(first.verdict)), f": {printable(first.cause)}"))
    lines += [Text(f"  {printable(e)}", style="dim") for e in first.evidence[:1]]
    return Group(*lines)


def _verdict_line(d: Diagnosis, before: str | None) -> Text:
    first, step = d.findings[0], _step(d)
    at = "" if step is None else f"step {step:g}: "
    was = "" if before in (None, first.verdict) else f"{before} → "
    also = "".join(f"; also {f.verdict}" for f in d.findings[1:])
    evidence = f" ({printable(first.evidence[0])})" if first.evidence else ""
    return Text.assemble(
        at, was, (first.verdict, style_of(first.verdict)), f": {printable(first.cause)}{evidence}{also}"
    )


def _named(d: Diagnosis, names: frozenset[str]) -> int:
    from entrokit.diagnose.exit_codes import exit_code

    return exit_code(d.findings, names)


def _is_quiet(verdict: str | None, before: str | None) -> bool:
    """Whether nothing has happened that anybody wants to be called for: a run that begins."""
    from entrokit.diagnose.exit_codes import QUIET

    return verdict in QUIET and (before is None or before in QUIET)


def _notice(d: Diagnosis, where: Path, before: str | None) -> dict[str, Any]:
    from entrokit.diagnose.notify import notice_of

    return notice_of(d.findings, run=where.absolute().name, step=_step(d), before=before)


def _step(d: Diagnosis) -> float | None:
    return max((float(s.steps[-1]) for s in d.facts.log.series.values() if len(s)), default=None)


def _first(d: Diagnosis) -> tuple[str, str]:
    return d.findings[0].verdict, d.findings[0].cause


def _cause(d: Diagnosis | None) -> str:
    return "" if d is None else f": {printable(d.findings[0].cause)}"


_sleep = time.sleep
