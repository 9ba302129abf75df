"""Runs in the peers' environment: puts each log to each peer and writes down what it says.

    PEERS/bin/python asked.py < CASES > ANSWERS

A line of CASES: `{"id", "path", "native"}`; a line of ANSWERS: `{"tool", "id", "labels", "unread"}`, labels worst first
as the tool orders them. Each peer comes in by the best door that it has: rldoctor reads the file (of a folder, the logs
in it), rlprobe its own recordings, and else what its TRL adapter maps; rlwatch, which only watches, is fed row by row
through its TRL callback or verl tracker, as if it had been there; zen reads TensorBoard folders, rlvr-audit rewards of
groups. `--versions` prints the versions instead.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

SECONDS_A_CASE = 120
DISTRIBUTIONS = {
    "rldoctor": "rldoctor",
    "rlprobe": "rlprobe",
    "rlwatch": "rlwatch",
    "zen": "zen-rl",
    "rlvr-audit": "rlvr-audit",
}

# The arguments of `rlwatch.log_step` for columns that its callbacks do not know; whoever logs by hand names them so.
RLWATCH_ARGUMENTS = {"entropy_mean": "entropy", "kl_mean": "kl_divergence", "adv_std": "advantage_std"}


class UnreadError(Exception):
    """The tool has no door for this log, or took nothing from it."""


def rldoctor(path: Path, native: str | None) -> list[str]:
    from rl_doctor import diagnose
    from rl_doctor.detectors.base import Severity
    from rl_doctor.ingest import load_run

    labels: list[str] = []
    judged, reason = False, "every check was skipped"
    for log in logs_in(path):
        try:
            run = load_run(str(log))
        except Exception as error:  # its command line catches everything here, and says "could not load"
            reason = str(error)
            continue
        found = diagnose(run)
        judged |= any(f.severity > Severity.SKIPPED for f in found.findings)
        labels += [f.detector for f in found.problems if f.severity >= Severity.WARNING]
    if not judged:
        raise UnreadError(reason)
    return labels


def rlprobe(path: Path, native: str | None) -> list[str]:
    from rlprobe.doctor import diagnose
    from rlprobe.schemas import RunManifest, StepRecord
    from rlprobe.storage import RunWriter

    if native is not None:
        return [finding.signature_id for finding in diagnose(native)]
    from rlprobe.integrations.trl import _map_logs

    mapped = [(row, _map_logs(row)) for row in rows_of(path)]
    if not any(set(fields) - {"extra", "lr", "loss"} for _, fields in mapped):
        raise UnreadError("its TRL adapter knows none of the columns")
    with tempfile.TemporaryDirectory() as folder:
        manifest = RunManifest(run_id="case", created_at="2026-01-01T00:00:00+00:00", algorithm="grpo")
        with RunWriter(Path(folder) / "run", manifest) as writer:
            for number, (row, fields) in enumerate(mapped):
                writer.add_step(StepRecord(step=int(row.get("step", number)), **fields))
        return [finding.signature_id for finding in diagnose(Path(folder) / "run")]


def rlwatch(path: Path, native: str | None) -> list[str]:
    from rlwatch.core import _build_trl_callback, attach
    from rlwatch.integrations.verl_tracking import RLWatchVerLTracker

    rows = list(rows_of(path))
    with tempfile.TemporaryDirectory() as folder:
        monitor = attach(framework="manual", run_id="case", storage={"log_dir": folder})
        fed = 0
        # What it would have sent is what counts, so its own limits on repeats stay as they are.
        log_step, sent = monitor.log_step, []

        def watched(step: int, **metrics: Any) -> Any:
            nonlocal fed
            fed += bool(set(metrics) - {"learning_rate", "loss"})
            alerts = log_step(step, **metrics)
            sent.extend(alert.detector for alert in alerts)
            return alerts

        monitor.log_step = watched
        callback, tracker = _build_trl_callback(monitor)(), RLWatchVerLTracker(monitor)
        for number, row in enumerate(rows):
            named = {RLWATCH_ARGUMENTS.get(k, k): v for k, v in row.items() if isinstance(v, (int, float))}
            step = int(row.get("step", number))
            if any(name.startswith(("actor/", "critic/")) for name in named):
                tracker.log(named, step)
            else:
                callback.on_log(None, types.SimpleNamespace(global_step=step), None, logs=named)
        monitor.stop()
    if not fed:
        raise UnreadError("its callbacks know none of the columns")
    return list(dict.fromkeys(sent))


def zen(path: Path, native: str | None) -> list[str]:
    if not path.is_dir() or not any(path.rglob("events.out.*")):
        raise UnreadError("it reads TensorBoard folders only")
    from zen.detect.rules import detect
    from zen.ingest.tensorboard import load_run

    metrics = load_run(str(path))
    known = {"train/approx_kl", "train/entropy_loss", "train/policy_gradient_loss", "rollout/ep_rew_mean"}
    if not known & set(metrics):
        raise UnreadError("none of its four tags is there")
    return [issue["mode"] for issue in detect(metrics)]


def rlvr_audit(path: Path, native: str | None) -> list[str]:
    from rlvr_audit.core import audit_portfolio

    groups = [row for row in rows_of(path) if isinstance(row.get("rewards"), list)]
    if not groups:
        raise UnreadError("it reads rewards of groups, a prompt a line")
    verdicts = audit_portfolio(groups, G=len(groups[0]["rewards"]))["verdict_histogram"]
    worst = max(verdicts, key=verdicts.get)
    return [] if worst == "HEALTHY" else [worst]


TOOLS: dict[str, Callable[[Path, str | None], list[str]]] = {
    "rldoctor": rldoctor,
    "rlprobe": rlprobe,
    "rlwatch": rlwatch,
    "zen": zen,
    "rlvr-audit": rlvr_audit,
}


def logs_in(path: Path) -> list[Path]:
    """The logs of a folder in the formats that are common to all: what a user would point the tool at."""
    if path.is_file() or any(path.rglob("events.out.*")):
        return [path]
    for pattern in ("metrics.jsonl", "trainer_state.json", "*.jsonl", "*.csv"):
        if found := sorted(path.rglob(pattern)):
            return found
    return [path]


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of JSON lines, of a CSV, or of a Trainer's history; a console is none of these."""
    for log in logs_in(path):
        if log.suffix == ".jsonl":
            lines = log.read_text().splitlines()
            found = [row for row in map(json.loads, filter(None, lines)) if isinstance(row, dict)]
        elif log.suffix == ".json":
            whole = json.loads(log.read_text())
            found = whole if isinstance(whole, list) else whole.get("log_history", [])
        elif log.suffix == ".csv":
            found = [dict(row) for row in csv.DictReader(io.StringIO(log.read_text(encoding="utf-8-sig")))]
        else:
            raise UnreadError("it reads no console")
        for row in found:
            if set(row) != {"config"}:
                # verl's file logger puts the metrics one level down.
                flat = {**row, **row["data"]} if isinstance(row.get("data"), dict) else row
                yield {key: number(value) for key, value in flat.items() if value != ""}


def number(value: Any) -> Any:
    with contextlib.suppress(TypeError, ValueError):
        return float(value) if isinstance(value, str) else value
    return value


def ask(tool: str, case: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"tool": tool, "id": case["id"], "labels": [], "unread": None, "crashed": None}
    signal.alarm(SECONDS_A_CASE)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            answer["labels"] = TOOLS[tool](Path(case["path"]), case["native"] if tool == case["maker"] else None)
    except UnreadError as reason:
        answer["unread"] = str(reason)
    except Exception as error:
        answer["crashed"] = f"{type(error).__name__}: {error}"[:200]
    finally:
        signal.alarm(0)
    return answer


def main() -> None:
    if "--versions" in sys.argv:
        print(json.dumps({tool: version(name) for tool, name in DISTRIBUTIONS.items()}))
        return

    def late(*_: Any) -> None:
        raise TimeoutError(f"no answer within {SECONDS_A_CASE} s")

    signal.signal(signal.SIGALRM, late)
    # Two of the peers' TRL adapters need this one name of transformers, and nothing else of it, to be imported.
    sys.modules.setdefault("transformers", types.SimpleNamespace(TrainerCallback=object))  # type: ignore[arg-type]
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        for tool in TOOLS:
            print(json.dumps(ask(tool, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
