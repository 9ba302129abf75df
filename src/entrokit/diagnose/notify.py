"""Tells somebody of a verdict: JSON to a URL, or to a command. Whatever goes wrong there is said, never raised."""

from __future__ import annotations

import json
import logging
import shlex
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from .finding import Finding

TIMEOUT = 5.0
"""Seconds after which a notice is given up."""

# What ends itself at the limit is given the time to say so.
_GRACE = 0.5

Notify = Callable[[Mapping[str, Any]], None]

_LOG = logging.getLogger(__name__)


def notifier(target: str | Sequence[str] | None) -> Notify | None:
    """What sends notices to a target.

    Args:
        target: ``http://…`` or ``https://…``, to which JSON is posted; or a command, as a list of arguments or in one
            text that is split as a shell would split it, that gets the JSON on its standard input. No shell runs it.
            None: nobody is told.

    Returns:
        A function of a notice (plain values). It returns within about `TIMEOUT` seconds, and raises nothing: a
        failure is a warning in the log of ``entrokit.diagnose.notify``, with no more of a URL than its host.

    Raises:
        ValueError: an empty target, or a URL of another kind.
    """
    if target is None:
        return None
    if isinstance(target, str) and "://" in target.split(" ")[0]:
        parts = urlsplit(target)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"notify: a URL begins with http:// or https:// and a host, got {parts.scheme}://…")
        return lambda notice: _within(lambda: _post(target, notice), f"{parts.scheme}://{parts.hostname}")
    command = shlex.split(target) if isinstance(target, str) else [str(argument) for argument in target]
    if not command or not command[0]:
        raise ValueError("notify: neither a URL nor a command")
    return lambda notice: _within(lambda: _run(command, notice), command[0])


def notice_of(findings: Sequence[Finding], *, run: str, step: float | None, before: str | None) -> dict[str, Any]:
    """What is sent: the verdict with its evidence and remedies, as plain values.

    ``text`` says it in a sentence, as chat programs' incoming hooks show it. ``run`` is a name, never a whole path.
    """
    first = findings[0]
    at = "" if step is None else f" at step {step:g}"
    return {
        "tool": "entrokit",
        "run": run,
        "step": step,
        "verdict": first.verdict,
        "before": before,
        "cause": first.cause,
        "evidence": list(first.evidence),
        "remedies": [str(remedy) for remedy in first.remedies],
        "also": [finding.verdict for finding in findings[1:]],
        "text": f"{run}{at}: {first.verdict}: {first.cause}" + (f" (before: {before})" if before else ""),
    }


def _within(send: Callable[[], None], whom: str) -> None:
    """Runs ``send`` for `TIMEOUT` seconds at most: a server that answers a byte at a time must not hold up training."""

    def guarded() -> None:
        try:
            send()
        # Training must not end because a chat program's server did.
        except Exception as error:
            _LOG.warning("%s was not told: %s", whom, _without_url(error))

    thread = threading.Thread(target=guarded, daemon=True, name="entrokit-notify")
    thread.start()
    thread.join(TIMEOUT + _GRACE)
    if thread.is_alive():
        _LOG.warning("%s was not told: no answer within %g seconds", whom, TIMEOUT)


def _post(url: str, notice: Mapping[str, Any]) -> None:
    body = json.dumps(notice, ensure_ascii=True).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", "User-Agent": "entrokit"})
    with urllib.request.urlopen(request, timeout=TIMEOUT):
        pass


def _run(command: Sequence[str], notice: Mapping[str, Any]) -> None:
    subprocess.run(
        command,
        input=json.dumps(notice, ensure_ascii=True).encode(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=TIMEOUT,
        check=True,
    )


def _without_url(error: Exception) -> str:
    """An error in words that hold no URL and no arguments: hooks' URLs are secrets, and logs are shared."""
    if isinstance(error, subprocess.CalledProcessError):
        return f"it left with {error.returncode}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it took more than {TIMEOUT:g} seconds and was ended"
    status = f" {error.code}" if isinstance(error, urllib.error.HTTPError) else ""
    return f"{type(error).__name__}{status}"
