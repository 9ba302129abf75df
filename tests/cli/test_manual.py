"""Every command's help ends with an example that works, and its exit codes are those that the manual says."""

import shlex

import numpy as np
import pytest
import typer

from entrokit.cli.app import MANUALS, app
from entrokit.cli.manual import INTERRUPTED, OVERVIEW, VERDICTS
from entrokit.diagnose.exit_codes import EXIT_CODES
from entrokit.runs import RunWriter
from tests.diagnose.cases import CASES, table
from tests.runs.cases import columns

from .command import called

COMMANDS = typer.main.get_command(app).commands
# What the examples that cost little leave with, in a folder that has what they name.
CHEAP = {"diagnose": 11, "watch": 11, "explain": 0, "papers": 0, "doctor": 0, "report": 0, "school": 0}


def arguments(name):
    """The example's, without ``entrokit``."""
    program, *rest = shlex.split(MANUALS[name].example)
    assert program == "entrokit"
    return rest


@pytest.fixture
def folder(tmp_path):
    """Holds all that examples name."""
    (tmp_path / "path" / "to" / "run").mkdir(parents=True)
    table(tmp_path / "path" / "to" / "run", **CASES["collapse"])
    for seed in range(2):
        run = RunWriter(tmp_path / "runs" / "compare" / f"grpo-seed{seed}", {"recipe": "grpo", "seed": seed})
        for step in (0, 4):
            run.metrics(step, {"eval_entropy": 1.0 - 0.1 * step, "eval_pass@1": 0.1 * step})
            run.rollouts(step, columns(8), evaluation=True)
        for step in range(1, 5):
            run.metrics(step, {"entropy": 1.0 - 0.1 * step, "reward": 0.1 * step, "pass@1": 0.1 * step})
    start = 8 * np.random.default_rng(0).random((20, 3))
    rows = [(t, i, *(start[i] + 0.2 * t)) for t in range(4) for i in range(20)]
    np.savetxt(tmp_path / "tracks.csv", rows, delimiter=",", header="time,id,x,y,z", comments="")
    return tmp_path


def test_every_command_has_a_manual():
    assert list(COMMANDS) == list(MANUALS)


@pytest.mark.parametrize("name", MANUALS)
def test_help_ends_with_the_example(name):
    lines = [line.strip() for line in called(name, "--help").stdout.splitlines()]
    assert [line for line in lines if line][-1] == f"Example: {MANUALS[name].example}"


def test_help_of_the_whole_ends_with_exit_codes():
    assert " ".join(called("--help").stdout.split()).endswith(OVERVIEW)


@pytest.mark.parametrize("name", MANUALS)
def test_the_example_is_of_its_command_and_can_be_parsed(name):
    command, *rest = arguments(name)
    assert command == name
    COMMANDS[name].make_context(name, rest)


@pytest.mark.parametrize("name", CHEAP)
def test_the_example_runs(name, folder):
    done = called(*arguments(name), cwd=folder, check=False)
    assert (done.returncode, done.stderr) == (CHEAP[name], "")
    assert done.stdout.strip()


@pytest.mark.parametrize("name", MANUALS)
def test_a_wrong_command_leaves_with_2(name, folder):
    done = called(*arguments(name), "--no-such-option", cwd=folder, check=False)
    assert done.returncode == 2
    assert "No such option" in done.stderr


@pytest.mark.parametrize("name", MANUALS)
@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [(KeyboardInterrupt(), 130, ""), (ValueError("no good"), 1, "error: no good\n")],
    ids=["Ctrl-C", "an error"],
)
def test_ctrl_c_and_errors_have_one_number_in_all_commands(name, raised, code, said, folder, monkeypatch):
    def refuse(*arguments):
        raise raised

    monkeypatch.setattr("entrokit.cli.app.require", refuse)
    done = called(*arguments(name), cwd=folder, check=False)
    assert (done.returncode, done.stderr) == (code, said)
    assert str(code) in MANUALS[name].codes


def test_the_numbers_of_verdicts_are_those_that_are_given():
    assert f"{min(EXIT_CODES.values())}-{max(EXIT_CODES.values())}" == VERDICTS
    with_verdicts = {name for name, manual in MANUALS.items() if VERDICTS in manual.codes}
    assert with_verdicts == {name for name, c in COMMANDS.items() if any("--fail-on" in p.opts for p in c.params)}
    assert str(INTERRUPTED) in MANUALS["train"].codes


@pytest.mark.parametrize(
    "line",
    ["papers --search nobodyeverwrotethis", "diagnose nowhere.csv", "watch nowhere.csv --once", "report nowhere"],
)
def test_what_is_not_there_leaves_with_1(line, folder):
    assert called(*line.split(), cwd=folder, check=False).returncode == 1


@pytest.mark.parametrize("line", ["diagnose path/to/run", "watch path/to/run --once --fail-on explosion"])
def test_a_verdict_that_nobody_named_leaves_with_0(line, folder):
    assert called(*line.split(), cwd=folder, check=False).returncode == 0


def test_completion_is_on(monkeypatch):
    asked = {"_ENTROKIT_COMPLETE": "complete_bash", "COMP_WORDS": "entrokit re", "COMP_CWORD": "1"}
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    assert called().stdout.split() == ["resume", "report", "reproduce"]
