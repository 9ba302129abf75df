"""`diagnose`: from a run on disk, of whichever engine, to what happened to its entropy, why, and what to do."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from entrokit.runs import Notes, Run, TrainingLog, read_logs
from entrokit.runs.readers.entrokit_run import evaluations
from entrokit.runs.readers.lines import json_objects
from entrokit.runs.step_account import StepAccount

from .boundary import Boundary, boundary_of
from .broken import remarks
from .digest import digest
from .facts import Facts, facts_of
from .finding import Finding
from .hints import hint
from .law import LawOfRun, law_of_run
from .scale import in_percent
from .thresholds import Thresholds
from .verdicts import findings_of
from .waterfall import Waterfall, waterfall_of

_ROUNDING = 0.01


@dataclass(frozen=True)
class OtherRun:
    """A run that was found beside the one that is judged. ``cause``: of the first finding."""

    run: str
    verdict: str
    cause: str


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found.

    Attributes:
        findings: every rule that fired, most important first; the first one is the verdict.
        law: the law of entropy and reward; None without enough points of both.
        waterfall: where the entropy went; None without accounts. boundary: None without two evaluations.
        missing: what was not written, and so could not be judged. notes: what was left out, or taken for something.
        others: the other runs that were found in the same place, each with its verdict.
    """

    facts: Facts
    findings: tuple[Finding, ...]
    thresholds: Thresholds
    law: LawOfRun | None
    waterfall: Waterfall | None
    boundary: Boundary | None
    missing: tuple[str, ...]
    notes: tuple[str, ...] = ()
    others: tuple[OtherRun, ...] = ()

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`."""
        return self.findings[0].verdict

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the verdict on top, beside evidence, remedies and everything measured."""
        first, facts = self.findings[0], self.facts
        named = {"entropy": facts.entropy, "reward": facts.reward, "truncated": facts.truncated}
        courses = {
            n: {"start": c.start, "end": c.end, "best": c.best, "points": len(c)}
            for n, c in named.items()
            if c is not None
        }
        plain: dict[str, Any] = _plain(
            {
                "verdict": self.verdict,
                "cause": first.cause,
                "onset": first.onset,
                "evidence": list(first.evidence),
                "remedies": [asdict(r) for r in first.remedies],
                "also": [asdict(f) for f in self.findings[1:]],
                "source": facts.log.source,
                "courses": courses,
                "reward_scale": None if facts.scale is None else asdict(facts.scale),
                "entropy_bounds_top_k": facts.digest.bounds,
                "law": None if self.law is None else asdict(self.law) | {"predicted_ceiling": self.law.law.ceiling},
                "account": None if self.waterfall is None else asdict(self.waterfall),
                "boundary": None if self.boundary is None else asdict(self.boundary),
                "thresholds": asdict(self.thresholds),
                "missing": list(self.missing),
                "notes": list(self.notes),
                "run": facts.log.run,
                "others": [asdict(other) for other in self.others],
            }
        )
        return plain

    def to_json(self) -> str:
        """`to_dict` as JSON of ASCII characters only."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=True)


def diagnose(
    run: str | Path | Run | TrainingLog,
    thresholds: Thresholds | None = None,
    *,
    reward_range: tuple[float, float] | None = None,
) -> Diagnosis:
    """Says what happened to a run's entropy, why, and what to do.

    Args:
        run: a path that `entrokit.runs.read_log` reads, a `Run`, or what `read_log` returned.
        thresholds: of the rules.
        reward_range: lowest and highest reward that a completion can get; by default what the log tells of them.

    Where several runs lie in one place the first of `read_logs` is judged, and the verdicts of the others are told.

    Raises:
        RunReadError: nothing there, or nothing in it is recognised.
        ValueError: a reward range that is none.
    """
    if isinstance(run, TrainingLog):
        return _judged(run, thresholds or Thresholds(), reward_range)
    return diagnose_logs(read_logs(run.folder if isinstance(run, Run) else run), thresholds, reward_range=reward_range)


def diagnose_logs(
    logs: Sequence[TrainingLog],
    thresholds: Thresholds | None = None,
    *,
    reward_range: tuple[float, float] | None = None,
) -> Diagnosis:
    """The diagnosis of the first of several runs, with the verdicts of the others; arguments as of `diagnose`."""
    found = [_judged(log, thresholds or Thresholds(), reward_range) for log in logs]
    others = tuple(
        OtherRun(log.run or log.where.name, d.verdict, d.findings[0].cause)
        for log, d in zip(logs[1:], found[1:], strict=True)
    )
    return replace(found[0], others=others)


def _judged(log: TrainingLog, chosen: Thresholds, reward_range: tuple[float, float] | None) -> Diagnosis:
    accounts = list(accounts_of(log.account, log.notes))
    facts = facts_of(log, digest(log.completions()), accounts, chosen, reward_range)
    boundary = boundary_of(evaluations(log.where, log.notes)) if log.source == "entrokit run" else None
    return Diagnosis(
        facts,
        tuple(findings_of(facts, chosen)),
        chosen,
        _law(facts),
        waterfall_of(accounts, facts.entropy),
        boundary,
        tuple(_missing(facts, boundary)),
        (*log.notes.lines(), *remarks(log, facts.turned), *_percent(log)),
    )


def accounts_of(file: Path | None, notes: Notes) -> Iterator[StepAccount]:
    """The accounts in a file, in order; damaged lines are left out, and noted."""
    if file is None:
        return
    for number, row in json_objects(file, notes):
        try:
            yield StepAccount.from_dict(row)
        except ValueError as error:
            notes.add(f"a line is {error}, and is left out", f"{file.name}:{number}")


def _percent(log: TrainingLog) -> list[str]:
    return ["accuracy is written in percent, and judged as a share"] if in_percent(log.get("accuracy")) else []


def _law(facts: Facts) -> LawOfRun | None:
    h, r = facts.entropy, facts.reward
    if h is None or r is None:
        return None
    rewards = dict(zip(r.steps.tolist(), r.values.tolist(), strict=True))
    pairs = [(v, rewards[s]) for s, v in zip(h.steps.tolist(), h.values.tolist(), strict=True) if s in rewards]
    try:
        law = law_of_run([p[0] for p in pairs], [p[1] for p in pairs])
    except ValueError:
        return None
    top = facts.scale.high if facts.scale is not None and facts.scale.known else math.inf
    if law.law.ceiling > top + _ROUNDING * abs(top):
        law = replace(law, doubts=(*law.doubts, f"the ceiling lies above all that a reward can be ({top:g})"))
    return law


def _missing(facts: Facts, boundary: Boundary | None) -> list[str]:
    ours = facts.log.source == "entrokit run"
    absent = [
        (facts.entropy is None and facts.doubt is None, f"no entropy was written{hint(facts.log, 'entropy')}"),
    ]
    # Of a supervised run nobody expects the rest.
    if facts.log.kind != "supervised":
        absent += [
            (facts.reward is None, f"no reward was written{hint(facts.log, 'reward')}"),
            (facts.truncated is None, "no share of truncated completions was written: truncation cannot be judged"),
            (not facts.digest.rows, "no completions were written: prompts and families cannot be judged"),
            (ours and not facts.accounts, "no entropy account was kept (train --account-every 10)"),
            (ours and boundary is None, "no two evaluations of the same prompts were written"),
        ]
    return [what for missing, what in absent if missing]


def _plain(value: Any) -> Any:
    """Keys as texts, tuples as lists, and null for what is not finite."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
