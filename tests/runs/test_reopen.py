"""A run that goes on from a checkpoint keeps exactly what was known when that checkpoint was saved."""

import json

import pytest

from entrokit.runs import Run, RunWriter
from entrokit.runs.layout import ACCOUNT, METRICS

from .cases import columns

STEPS = (0, 2, 4, 6, 8)


@pytest.fixture
def run(tmp_path):
    """Logged after steps 0, 2, …, 8; accounts and completions are named by the step that they were made before."""
    writer = RunWriter(tmp_path, {"recipe": "grpo"})
    for step in STEPS:
        writer.metrics(step, {"entropy": 0.1 * step})
        writer.rollouts(step, columns())
        writer.rollouts(step, columns(), evaluation=True)
    (tmp_path / ACCOUNT).write_text("".join(json.dumps({"step": step}) + "\n" for step in STEPS))
    return tmp_path


def steps_of(file):
    return tuple(json.loads(line)["step"] for line in file.read_text().splitlines())


@pytest.mark.parametrize("step", [1, 3, 4, 5, 8, 9])
def test_what_came_after_a_checkpoint_is_taken_back(run, step):
    RunWriter.reopen(run, step)
    # What was logged after step 4 is part of the checkpoint of step 4; what is made before step 5 is made again.
    assert steps_of(run / METRICS) == tuple(s for s in STEPS if s <= step)
    before = tuple(s for s in STEPS if s < step)
    assert steps_of(run / ACCOUNT) == before
    assert tuple(Run.load(run).rollout_steps()) == before
    assert tuple(Run.load(run).rollout_steps(evaluation=True)) == before


def test_the_evaluation_before_the_first_step_is_not_made_again(run):
    RunWriter.reopen(run, 0)
    assert steps_of(run / METRICS) == (0,)
    assert steps_of(run / ACCOUNT) == ()
    assert Run.load(run).rollout_steps(evaluation=True) == [0]


def test_a_line_that_was_cut_off_is_taken_back(run):
    for name in (METRICS, ACCOUNT):
        with (run / name).open("a") as file:
            file.write('{"step": 1')
    RunWriter.reopen(run, 4).metrics(6, {"entropy": 0.5})
    assert [row["step"] for row in Run.load(run).metrics] == [0, 2, 4, 6]
    assert steps_of(run / ACCOUNT) == (0, 2)


def test_time_goes_on_where_it_was(run):
    lines = [{"step": 2, "seconds": 100.0}, {"step": 4, "seconds": 200.0}, {"step": 6, "seconds": 300.0}]
    (run / METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    RunWriter.reopen(run, 4).metrics(6, {})
    assert 200.0 <= Run.load(run).metrics[-1]["seconds"] < 300.0
