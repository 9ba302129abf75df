"""`entrokit diagnose` beside its peers, on planted runs, field cases, and the runs that the peers simulate themselves.

    python -m venv PEERS && PEERS/bin/pip install rldoctor rlprobe rlwatch zen-rl rlvr-audit
    python benchmarks/diagnosis.py --peers PEERS [--seeds 0-9] [--planted FOLDER] [--field FOLDER] [--json FILE]

The peers' simulators run in the peers' environment. Planted runs are those that `experiments/planted_causes.py` has
left in its folder (half a minute a run; none is trained here). A tool is right where any of its labels names a right
kind: that it was named first, and how many labels stood beside it, is counted apart. Without `--peers` entrokit stands
alone, on planted runs and field cases. Ten seeds take about two minutes.

rlprobe finds its own length hacking in 1 of 10 runs of 500 steps, and in all of 200: see `--steps`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from diagnosing.cases import Case, field, planted, simulated, without_answer
from diagnosing.counts import Answer, Outcome, by_kind, confusions, markdown, outcome, summary, table

from entrokit.diagnose import diagnose
from entrokit.runs import RunReadError

ROOT = Path(__file__).parents[1]

# Which kinds of failure a label names. Kinds are plain words, one list for all tools; a label that can mean several
# (rldoctor has one detector for truncation and for padding) counts as each of them. Of rldoctor only what is at least
# a warning counts, as in its own selftest; of rlprobe every finding does, since it gives some failures as information.
#
# entrokit's labels are (verdict, cause); where the cause is not here, (verdict, None) holds.
OURS: dict[tuple[str, str | None], tuple[str, ...]] = {
    ("collapse", None): ("collapse",),
    ("premature-convergence", None): ("collapse",),
    ("premature-convergence", "entropy was spent before the reward was found"): ("collapse", "plateau"),
    ("premature-convergence", "the same prompts again and again"): ("few prompts",),
    ("premature-convergence", "all completions of a prompt get the same reward"): ("no signal",),
    ("explosion", None): ("explosion",),
    ("mismatch", None): ("mismatch",),
    ("truncation", None): ("truncation",),
    ("local-failure", None): ("local failure",),
    ("broken-numbers", None): ("broken numbers",),
    ("impossible-entropy", None): ("impossible entropy",),
    ("no-signal", None): ("no signal",),
    ("no-signal", "the reward hardly ever leaves its floor"): ("no signal", "too hard"),
    ("no-signal", "too hard: hardly any answer is right"): ("no signal", "too hard"),
    ("reward-imbalance", None): ("one part of the reward",),
    ("length-collapse", None): ("length collapse",),
    ("instability", None): ("instability",),
    ("loss-divergence", None): ("loss",),
    ("overfitting", None): ("overfitting",),
    ("too-easy", None): ("too easy",),
    ("too-hard", None): ("too hard",),
    ("plateau", None): ("plateau",),
    ("reward-hacking", None): ("reward hacking", "one part of the reward", "length hacking"),
    ("length-growth", None): ("length hacking",),
    ("kl-blow-up", None): ("KL blow-up",),
    ("kl-blow-up", "one stretch of the positions leaves the reference alone"): ("drift at one position",),
    ("gradient-spikes", None): ("gradient spikes",),
    ("clip-saturation", None): ("clip saturation",),
    ("repetition", None): ("repetition",),
}
PEERS: dict[str, dict[str, tuple[str, ...]]] = {
    "rldoctor": {
        "advantage_collapse": ("no signal", "too easy", "too hard"),
        "clip_saturation": ("clip saturation",),
        "entropy_collapse": ("collapse",),
        "gradient_pathology": ("gradient spikes", "broken numbers", "no signal"),
        "kl_drift": ("KL blow-up",),
        "length_pathology": ("truncation", "length hacking"),
        "plateau": ("plateau",),
        "reward_composition": ("one part of the reward",),
        "reward_hacking": ("reward hacking",),
    },
    "rlprobe": {
        "ADV_COLLAPSE": ("no signal",),
        "CLIP_SATURATION": ("clip saturation",),
        "DEGENERATE_GROUPS": ("no signal", "too easy", "too hard"),
        "ENTROPY_COLLAPSE": ("collapse",),
        "FORMAT_GAMING": ("one part of the reward", "reward hacking"),
        "GRAD_PATHOLOGY": ("gradient spikes", "broken numbers"),
        "KL_BLOWUP": ("KL blow-up",),
        "REF_POLICY_DRIFT_ASYMMETRY": ("drift at one position",),
        "REPETITION_SPIRAL": ("repetition",),
        "REWARD_HACK_LENGTH": ("length hacking", "reward hacking"),
        "REWARD_STD_DEATH": ("no signal", "too easy"),
        "THROUGHPUT_ROT": ("throughput",),
        "TRUNCATION_STARVE": ("truncation",),
        "VALUE_DIVERGENCE": ("value loss",),
    },
    "rlwatch": {
        "advantage_variance": ("advantage variance",),
        "entropy_collapse": ("collapse",),
        "gradient_norm_spike": ("gradient spikes",),
        "kl_explosion": ("KL blow-up",),
        "loss_nan": ("broken numbers",),
        "reward_hacking": ("reward hacking",),
        "reward_mean_drift": ("reward hacking",),
    },
    "zen": {
        "ADVANTAGE_NOT_NORMALIZED": ("advantage variance",),
        "CAPPED_PERFORMANCE": ("plateau",),
        "DEAD_RUN": ("no signal", "too hard"),
        "LR_TOO_HIGH": ("KL blow-up",),
        "POLICY_COLLAPSE": ("collapse",),
    },
    "rlvr-audit": {
        "CROSS_PROMPT_MISGROUP": ("groups of several prompts",),
        "DEPENDENCE_DEAD": ("few prompts", "collapse"),
        "PSEUDO_SIGNAL": ("reward hacking",),
        "SATURATED": ("too easy", "no signal"),
        "SOFT_PLATEAU": ("plateau",),
        "STARVED": ("too hard", "no signal"),
        "WINDOW_TAX_HEAVY": ("late detection",),
    },
}

# Not what is compared, though counted in all tables but the first. Beside another failure, or on a healthy log, a word
# on these is no alarm: a busy machine makes steps slow.
OUTSIDE = frozenset({"throughput", "value loss"})

# No alarm, and no failure: what `diagnose` says when it finds nothing, or has too little to say so.
NO_ALARM = "healthy"
TOO_LITTLE = "insufficient-data"


def entrokit(case: Case) -> tuple[Answer, dict[str, frozenset[str]]]:
    """What `diagnose` says, and the kinds of its labels: these are read from verdict and cause, not from the word."""
    try:
        found = diagnose(case.path)
    except RunReadError as error:
        return Answer("entrokit", unread=str(error)[:200]), {}
    except Exception as error:
        return Answer("entrokit", crashed=f"{type(error).__name__}: {error}"[:200]), {}
    alarms = [f for f in found.findings if f.verdict not in (NO_ALARM, TOO_LITTLE)]
    known = ((f, OURS.get((f.verdict, f.cause), OURS.get((f.verdict, None)))) for f in alarms)
    kinds = {f"{f.verdict}: {f.cause}": frozenset(named) for f, named in known if named is not None}
    if not alarms and found.findings[-1].verdict == TOO_LITTLE and found.facts.reward is None:
        return Answer("entrokit", unread=f"{TOO_LITTLE}: {found.findings[-1].evidence[0]}"), {}
    return Answer("entrokit", tuple(f"{f.verdict}: {f.cause}" for f in alarms)), kinds


def peers(python: Path, cases: Sequence[Case]) -> Iterator[tuple[str, Answer]]:
    """Each peer's answer to each case, by the case's id; all in one process of the peers' Python."""
    command = [str(python), str(ROOT / "benchmarks" / "diagnosing" / "asked.py")]
    lines = "".join(case.as_line() for case in cases)
    for line in subprocess.run(command, input=lines, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines():
        said = json.loads(line)
        yield said["id"], Answer(said["tool"], tuple(said["labels"]), said["unread"], said["crashed"])


def outcomes_of(cases: Sequence[Case], python: Path | None) -> list[Outcome]:
    kinds_of_peers = {tool: {k: frozenset(v) for k, v in labels.items()} for tool, labels in PEERS.items()}
    judged = [outcome(case, *entrokit(case), OUTSIDE) for case in cases]
    if python is not None:
        by_id = {case.id: case for case in cases}
        judged += [
            outcome(by_id[name], said, kinds_of_peers[said.tool], OUTSIDE) for name, said in peers(python, cases)
        ]
    return judged


def versions(python: Path | None) -> dict[str, str]:
    found = {"entrokit": version("entrokit")}
    if python is not None:
        command = [str(python), str(ROOT / "benchmarks" / "diagnosing" / "asked.py"), "--versions"]
        found |= json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def seeds(text: str) -> list[int]:
    """`0-9`, or `1,3,5`."""
    first, dash, last = text.partition("-")
    return list(range(int(first), int(last) + 1)) if dash else [int(part) for part in text.split(",")]


def as_json(versions_: Mapping[str, str], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    rows = [
        {
            "case": o.case.id,
            "kind": o.case.kind,
            "right": sorted(o.case.right),
            "tool": o.answer.tool,
            "labels": list(o.answer.labels),
            "outcome": o.what,
            "first": o.first,
            "why": o.answer.unread or o.answer.crashed,
        }
        for o in outcomes
    ]
    return {"versions": dict(versions_), "outcomes": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="virtual environment that the peers are installed in")
    parser.add_argument("--seeds", type=seeds, default=seeds("0-9"), help="of the peers' simulators: 0-9, or 1,3,5")
    parser.add_argument("--steps", type=int, default=500, help="of rlprobe's simulated runs; 500 is its own default")
    parser.add_argument("--planted", type=Path, default=ROOT / "runs" / "planted")
    parser.add_argument("--field", type=Path, default=ROOT / "tests" / "field" / "cases")
    parser.add_argument("--json", type=Path, help="write every answer there")
    arguments = parser.parse_args()
    python = None if arguments.peers is None else arguments.peers / "bin" / "python"
    if python is not None and not python.exists():
        sys.exit(f"diagnosis: {python} is not there; make it with: python -m venv {arguments.peers}")
    with tempfile.TemporaryDirectory() as work:
        cases = list(planted(arguments.planted)) if arguments.planted.is_dir() else []
        if arguments.field.is_dir():
            cases += field(arguments.field, Path(work), python)
            if left := without_answer(arguments.field):
                print(f"diagnosis: not judged, since FIELD in cases.py has no answer: {', '.join(left)}\n")
        if python is not None:
            cases += simulated(python, Path(work), arguments.steps, arguments.seeds)
        if not cases:
            print("diagnosis: no planted runs, no field cases, and no peers to simulate any; see --help")
            return
        named = versions(python)
        outcomes = outcomes_of(cases, python)
    show(named, outcomes)
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(as_json(named, outcomes), indent=1) + "\n")


def show(named: Mapping[str, str], outcomes: Sequence[Outcome]) -> None:
    tools = list(named)
    print(", ".join(f"{tool} {number}" for tool, number in named.items()))
    print(f"\n{markdown(summary(outcomes, tools, OUTSIDE))}\n\nIn full:")
    print(f"\n{markdown(table(outcomes, tools))}\n\nRight, by kind:\n\n{markdown(by_kind(outcomes, tools))}")
    for tool in tools:
        wrong = confusions(outcomes, tool)
        if len(wrong) > 1:
            print(f"\nWhat {tool} said instead:\n\n{markdown(wrong)}")


if __name__ == "__main__":
    main()
