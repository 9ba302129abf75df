"""A user's script as it stands, its folder as TRL leaves it, and what entrokit's commands say of that folder."""

import json
import subprocess
import sys

import pytest

from ..processes import PATIENCE
from .policies import policy
from .servers import surroundings

STEPS = 30
pytestmark = pytest.mark.quick


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


def test_the_policy_learns_what_vllm_samples(folder):
    """A reward that a random policy can find: it rises, and so the weights reach vLLM."""
    state = json.loads((folder / f"checkpoint-{STEPS}" / "trainer_state.json").read_text())
    rewards = [row["reward"] for row in state["log_history"] if "reward" in row]
    assert len(rewards) == STEPS
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.05


@pytest.mark.parametrize(
    ("command", "code"), [(["diagnose"], 0), (["watch", "--every", "0.2", "--fail-on", "truncation"], 15)]
)
def test_the_folder_is_read_as_trl_left_it(folder, command, code):
    """`entrokit diagnose` and `entrokit watch` on TRL's folder: checkpoints and tables of completions."""
    done = python("-m", "entrokit", command[0], str(folder), *command[1:])
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert "truncation" in said
    assert "max_completion_length" in said
    assert "--max-completion-length" not in said
    assert "mismatch" not in said
