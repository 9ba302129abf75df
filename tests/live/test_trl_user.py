"""A user's script as it stands, its folder as TRL leaves it, and what entrokit's commands say of that folder."""

import json
import subprocess
import sys

import pytest

from ..processes import PATIENCE, TORCHRUN
from .policies import policy
from .servers import surroundings

STEPS = 30


@pytest.fixture(scope="module")
def folder(plugged, tmp_path_factory):
    checkpoint = policy(tmp_path_factory.mktemp("tied"), tied=True)
    out = tmp_path_factory.mktemp("run") / "out"
    done = python("-m", "tests.live.trl_user_run", checkpoint, str(out), str(STEPS), **plugged)
    assert done.returncode == 0, done.stderr[-4000:]
    return out


def python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=surroundings({"COLUMNS": "200"} | environment),
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.quick
def test_the_policy_learns_what_vllm_samples(folder):
    """a user's script, nothing replaced, vLLM compiled: thirty steps, and the reward rises"""
    state = json.loads((folder / f"checkpoint-{STEPS}" / "trainer_state.json").read_text())
    rewards = [row["reward"] for row in state["log_history"] if "reward" in row]
    assert len(rewards) == STEPS
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.05


@pytest.mark.quick
@pytest.mark.parametrize(
    ("command", "code"), [(["diagnose"], 0), (["watch", "--every", "0.2", "--fail-on", "truncation"], 15)]
)
def test_the_folder_is_read_as_trl_left_it(folder, command, code):
    """a user's folder as TRL leaves it: `entrokit diagnose`, `entrokit watch`"""
    done = python("-m", "entrokit", command[0], str(folder), *command[1:])
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert "truncation" in said
    assert "max_completion_length" in said
    assert "--max-completion-length" not in said
    assert "mismatch" not in said


def test_two_processes_sample_with_an_engine_each(plugged, tmp_path):
    """a user's script under torchrun: two processes, vLLM in each"""
    checkpoint = policy(tmp_path / "policy", tied=True)
    run = ("-m", "tests.live.trl_user_run", checkpoint, str(tmp_path / "out"), "10")
    done = python(*TORCHRUN, *run, **plugged, ACCELERATE_USE_CPU="true")
    assert done.returncode == 0, done.stderr[-4000:]
    state = json.loads((tmp_path / "out" / "checkpoint-10" / "trainer_state.json").read_text())
    rows = [row for row in state["log_history"] if "reward" in row]
    assert len(rows) == 10
    assert rows[-1]["num_tokens"] > 10 * 2 * 16  # of both
    assert rows[-1]["sampling/sampling_logp_difference/mean"] < 0.05
