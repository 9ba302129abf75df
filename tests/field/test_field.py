"""The public cases: what was wanted of each, from what its user saw (sources: docs/field.md)."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from entrokit.cli.app import app
from entrokit.diagnose import diagnose
from entrokit.runs import RunReadError, read_log
from entrokit.runs.read_log import read_logs
from tests.field.wanted import Wanted, check, inputs, words
from tests.processes import ROOT

CASES = Path(__file__).parent / "cases"
DOCS = ROOT / "docs" / "field.md"
_TRL_WORDS = ("max_completion_length", "num_generations", "epsilon_high")
_VERL_WORDS = ("actor_rollout_ref", "data.max_response_length")

WANTED = (
    Wanted(
        "f01-verl-console-negative.log",
        "truncation",
        "verl",
        said=("47% of the completions", "25% early", "data.max_response_length"),
        never=_TRL_WORDS,
        steps=(1, 40),
    ),
    Wanted("f02-verl-moe-collapse.log", "collapse", "verl", said=("half of that was lost by step",), steps=(1, 60)),
    Wanted("f04-verl-no-entropy.log", "insufficient-data", "verl", said=("no entropy", "actor.calculate_entropy=True")),
    Wanted("f05-verl-val-first.log", "healthy", "verl", steps=(1, 40)),
    Wanted("f06-trl-console.log", "collapse", "trl", said=("rows are counted",), never=_VERL_WORDS),
    Wanted("f07-trl-old-console.txt", "insufficient-data", "trl", said=("no entropy",), never=("no reward",)),
    Wanted("f08-trl-flat-groups", "no-signal", "trl", said=("100% of the groups have equal rewards",)),
    Wanted(
        "f09-swift-logging.jsonl",
        "truncation",
        "ms-swift",
        said=("stop token", "chat template", "4096", "the mean reward is 0"),
        never=("the length limit is too short",),
        steps=(5, 200),
    ),
    Wanted("f11-swift-megatron.log", "collapse", "ms-swift", said=("--epsilon_high",), steps=(1, 40)),
    Wanted("f14-prime-rl-history.csv", "healthy", "prime-rl", not_also=("local-failure",)),
    Wanted("f15-prime-rl-all.csv", "collapse", "prime-rl", not_also=("local-failure",)),
    Wanted("f16-slime-console.log", "truncation", "slime", said=("--rollout-max-response-len",), steps=(0, 39)),
    Wanted("f17-slime-two-entropies.csv", "healthy", "slime", said=("entropy went from 0.30",)),
    Wanted("f18-nemo-rl.csv", "collapse", "nemo-rl", said=("loss_fn.",), steps=(1, 60)),
    Wanted("f20-open-instruct.csv", "mismatch", "open-instruct", said=("ever more", "nats late"), steps=(10, 550)),
    Wanted("f22-openrlhf-columns.csv", "collapse", "openrlhf", steps=(1, 60)),
    Wanted("f23-skyrl.csv", "collapse", "skyrl", not_also=("local-failure",)),
    Wanted("f25-wandb-panel-entropy.csv", "collapse", "verl", said=("no reward was written",)),
    Wanted("f25-wandb-panel-score.csv", "insufficient-data", "verl", said=("no entropy",)),
    Wanted("f27-wandb-history.csv", "healthy", "trl", steps=(1, 60)),
    Wanted("f28-run-.-tag-train_entropy.csv", "healthy", said=("only entropy could be judged",), steps=(1, 40)),
    Wanted("f28-run-.-tag-train_reward.csv", "insufficient-data", said=("no entropy",), steps=(1, 40)),
    Wanted("f30-mlruns", "collapse", "verl"),
    Wanted("f32-notebook-table.txt", "insufficient-data", "unsloth", said=("no entropy",), never=("no reward",)),
    Wanted(
        "f35-verl-summed-entropy.log",
        "impossible-entropy",
        "verl",
        said=("318 nats", "summed over the tokens", "length of the completions"),
        also=("healthy",),
        not_also=("explosion",),
    ),
    Wanted(
        "f36-nan-half-way",
        "broken-numbers",
        "trl",
        said=("entropy is NaN from step 26 on, 35 points", "turned first"),
        not_also=("collapse", "healthy"),
    ),
    Wanted(
        "f37-nan-everything.jsonl",
        "broken-numbers",
        "trl",
        said=("reward is NaN from step 26 on, 35 points",),
        not_also=("healthy",),
    ),
    Wanted(
        "f71-verl-nan-late.log",
        "broken-numbers",
        "verl",
        said=("turned NaN at step 59", "grad_norm is NaN"),
        not_also=("truncation",),
    ),
    Wanted("f38-verl-solved-plus-minus-one.log", "healthy", "verl", said=("solved", "-1 to 1"), not_also=("collapse",)),
    Wanted(
        "f40-trl-two-rewards-solved", "healthy", "trl", said=("solved",), also=("too-easy",), not_also=("collapse",)
    ),
    Wanted(
        "f73-verl-file-no-signal.jsonl",
        "no-signal",
        "verl",
        said=("hardly ever leaves its floor",),
        never=("steps too large",),
        not_also=("collapse",),
    ),
    Wanted("f41-trl-entropy-4e-4", "collapse", "trl", said=("0.00053 nats (0.3%",), never=(" 0.00 nats",)),
    Wanted("f42-easyr1-experiment_log.jsonl", "collapse", "easyr1", steps=(1, 50)),
    Wanted("f44-one-level-up", "healthy", "trl", said=("outputs/qwen-grpo",), steps=(1, 40)),
    Wanted(
        "f45-trl-no-chat-template",
        "truncation",
        "trl",
        said=("stop token", "that end by themselves is 0"),
        never=("the length limit is too short",),
    ),
    Wanted("f66-trl-wandb-underscores.csv", "healthy", "trl", never=("rows are counted",), steps=(25, 1500)),
    Wanted("f49-verl-resumed.log", "healthy", "verl", never=("(run 2",), steps=(1, 60)),
    Wanted("f52-decimal-comma.csv", "healthy", said=("0.49", "0.311")),
    Wanted(
        "f54-rollouts-correct-flag.jsonl",
        "insufficient-data",
        said=("from 'correct'", "0.329 to 0.554"),
        never=("561",),
    ),
    Wanted("f56-two-runs-one-log.log", "healthy", "verl", said=("steps 1 to 60): collapse",), steps=(1, 25)),
    Wanted("f58-verl-moe-correlation.log", "healthy", "verl", said=("0.971, as at the start",), not_also=("mismatch",)),
    Wanted("f61-env-fails-alone.jsonl", "local-failure", said=("'search'", "0.595 to 0.072")),
    Wanted("f62-trl-format-hacking", "reward-hacking", "trl", said=("'accuracy_reward' fell", "format_reward")),
    Wanted("f65-verl-wrapped-lines.log", "healthy", "verl", said=("reward went from 0.311",), never=("0.000",)),
    Wanted(
        "f67-verl-entropy-zero.log",
        "impossible-entropy",
        "verl",
        said=("entropy is 0 at all 40 points", "calculate_entropy"),
        also=("healthy",),
        not_also=("collapse", "explosion"),
    ),
    Wanted("f68-log_history.json", "collapse", "trl", steps=(1, 50)),
    Wanted("f77-slime-rollout-entropy.csv", "healthy", "slime", never=("top_p",), not_also=("mismatch",)),
)
_OF_THEIR_OWN = {"f31-wandb-summary.log"}


@pytest.mark.parametrize("wanted", WANTED, ids=lambda w: w.file)
def test_a_public_case_is_told_as_it_is(wanted: Wanted) -> None:
    d = diagnose(CASES / wanted.file)
    check(d, wanted)
    text = words(d)
    assert not re.search(r"\binf\b|\bnan\b|--\d", text)
    if d.facts.log.engine == "verl":
        assert [w for w in _TRL_WORDS if w in text] == []
    if d.facts.log.engine == "trl":
        assert [w for w in _VERL_WORDS if w in text] == []


def test_every_case_has_a_row() -> None:
    assert inputs(CASES) == {w.file for w in WANTED} | _OF_THEIR_OWN


def test_every_case_is_in_the_docs_with_its_verdict() -> None:
    rows = {line.split("|")[1].strip(): line for line in DOCS.read_text().splitlines() if "|" in line}
    for wanted in WANTED:
        row = rows[wanted.file[:3]]
        assert f"`{wanted.verdict}`" in row, row


def test_a_summary_without_a_course_is_refused_with_what_to_export() -> None:
    with pytest.raises(RunReadError, match=r"W&B's summary.*no course.*wandb/run-.*history exported"):
        read_log(CASES / "f31-wandb-summary.log")


def test_the_law_is_printed_with_one_sign() -> None:
    for file in ("f01-verl-console-negative.log", "f44-one-level-up"):
        found = CliRunner().invoke(app, ["diagnose", str(CASES / file)], catch_exceptions=False)
        assert found.exit_code == 0
        assert not re.search(r"--\d|- -\d", found.stdout)


@pytest.mark.parametrize(("pattern", "verdict"), [("f25-*", "collapse"), ("f28-*", "healthy")])
def test_files_of_one_metric_each_are_one_run(pattern: str, verdict: str, tmp_path: Path) -> None:
    for file in CASES.glob(pattern):
        shutil.copy(file, tmp_path)
    (log,) = read_logs(tmp_path)
    assert {"entropy", "reward"} <= set(log.series)
    assert diagnose(log).verdict == verdict


def test_two_runs_in_a_log_are_two_with_a_verdict_each() -> None:
    logs = read_logs(CASES / "f56-two-runs-one-log.log")
    assert [(log.run.split(" (")[1], diagnose(log).verdict) for log in logs if log.run] == [
        ("run 2, steps 1 to 25)", "healthy"),
        ("run 1, steps 1 to 60)", "collapse"),
    ]


def test_experiments_side_by_side_are_judged_apart(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    subprocess.run([sys.executable, "-m", "tests.field.two_experiments", str(tmp_path)], check=True, cwd=ROOT)
    logs = read_logs(tmp_path)
    assert {log.run: diagnose(log).verdict for log in logs} == {"grpo-base": "collapse", "grpo-clip-higher": "healthy"}
    assert [(other.run, other.verdict) for other in diagnose(tmp_path).others] == [("grpo-clip-higher", "healthy")]


def test_what_was_passed_over_is_named() -> None:
    columns = {c.name: c for c in read_log(CASES / "f17-slime-two-entropies.csv").columns}
    assert columns["train/entropy_loss"].key == "entropy"
    assert columns["rollout/entropy"].why == "entropy was taken from train/entropy_loss"


@pytest.mark.parametrize(
    ("file", "families"),
    [
        ("f05-verl-val-first.log", {"validation/openai/gsm8k"}),
        ("f14-prime-rl-history.csv", set()),
        ("f15-prime-rl-all.csv", {"entropy/math", "entropy/code"}),
        ("f23-skyrl.csv", set()),
        ("f61-env-fails-alone.jsonl", {"reward/math", "reward/code", "reward/search"}),
    ],
)
def test_families_are_families_and_statistics_are_not(file: str, families: set[str]) -> None:
    found = {key for key in read_log(CASES / file).series if key.startswith(("reward/", "entropy/", "validation/"))}
    assert found == families
