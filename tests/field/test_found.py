"""Public cases that were looked for after the rules were written (docs/field.md: sources, what was answered first)."""

from pathlib import Path

import pytest

from entrokit.diagnose import diagnose
from entrokit.runs import read_log
from tests.field.wanted import Wanted, check, inputs

FOUND = Path(__file__).parent / "found"
WANTED = (
    Wanted("g01-llamafactory-nan.log", "broken-numbers", said=("grad_norm is NaN from step 0 on, 25 points",)),
    Wanted("g03-slime-zero-reward.log", "no-signal", "slime", said=("the mean reward is 0 at all 30",), steps=(0, 29)),
    Wanted("g04-rllm-solves-none.log", "no-signal", "verl", said=("the mean reward is 0 at all 40",), steps=(1, 40)),
    Wanted("g05-torchtitan-rl.log", "insufficient-data", "torchtitan", also=("too-easy",), steps=(1, 10)),
    Wanted("g06-areal-tables.log", "truncation", "areal", said=("gconfig.max_new_tokens",), steps=(1, 30)),
    Wanted("g07-prime-rl-reward-falls.log", "collapse", "prime-rl", said=("did not come back",), steps=(0, 79)),
    Wanted("g08-mlx-lm-loss-rises.log", "loss-divergence", "mlx-lm", said=("from step 75 on",), steps=(25, 800)),
    Wanted("g09-tinker-sample-kl.jsonl", "mismatch", "tinker-cookbook", said=("0.100 nats late",), steps=(0, 49)),
    Wanted("g10-trl-ppo.log", "healthy", "trl", said=("0.687 to 1.454",), not_also=("impossible-entropy",)),
    Wanted("g11-swift-no-gradient.jsonl", "truncation", "ms-swift", said=("48% of the completions",), steps=(1, 40)),
    Wanted("g12-unsloth-flat.log", "no-signal", "unsloth", said=("100% of the groups",), steps=(0, 29)),
    Wanted(
        "g13-trl-accuracy-to-zero.log",
        "collapse",
        "trl",
        said=("-0.081, at step 52",),
        also=("kl-blow-up", "no-signal"),
    ),
    Wanted("g14-nemo-rl-prob-error.csv", "mismatch", "nemo-rl", said=("policy.generation.",), steps=(1, 60)),
    Wanted(
        "g15-verl-slow-crash.log",
        "broken-numbers",
        "verl",
        said=("turned NaN at step 119", "grad_norm was 5.48 at step 118, just before"),
    ),
    Wanted("g16-openrlhf-nan.log", "broken-numbers", "openrlhf", said=("loss is NaN from step 105",), steps=(1, 104)),
)
# What is wrong here no rule says yet; docs/field.md has them.
_MISSED = {"g02-slime-huge-gradient.log"}


@pytest.mark.parametrize("wanted", WANTED, ids=lambda w: w.file)
def test_a_case_that_was_found_is_told_as_it_is(wanted: Wanted) -> None:
    check(diagnose(FOUND / wanted.file), wanted)


def test_every_case_has_a_row() -> None:
    assert inputs(FOUND) == {w.file for w in WANTED} | _MISSED


def test_an_evaluation_between_the_steps_is_no_step_and_says_nothing_of_training() -> None:
    series = read_log(FOUND / "g12-unsloth-flat.log").series
    assert len(series["length"]) == len(series["reward"]) == 30
    assert len(series["validation"]) == 10


def test_a_line_that_is_printed_twice_counts_once() -> None:
    assert read_log(FOUND / "g01-llamafactory-nan.log").series["loss"].steps.tolist() == list(range(25))


def test_ppo_s_entropy_that_is_a_sum_is_passed_over_for_the_mean() -> None:
    assert read_log(FOUND / "g10-trl-ppo.log").series["entropy"].column == "policy/entropy_avg"
