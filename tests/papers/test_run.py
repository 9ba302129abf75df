"""Running an experiment: what it must give, what is kept of it, and what is said where it cannot run."""

import subprocess
from datetime import date
from pathlib import Path

import pytest
import torch

import entrokit
from entrokit.papers import Budget, run
from entrokit.papers.run import command, commit_of_checkout, lacking

from .made_up import chart, entry, finding

SEEDS = Budget((0, 1))


def test_verdicts_are_told_as_they_come_and_kept_with_what_gave_them():
    told = []

    def experiment(budget):
        told.append(f"measuring with seeds {budget.seeds}")
        yield finding("first")
        told.append("measuring on")
        yield chart()
        yield finding("second", passed=False)

    result = run(entry(experiment), "own", SEEDS, lambda shown: told.append(shown.claim))
    assert told == ["measuring with seeds (0, 1)", "first", "measuring on", "second"]
    assert result.findings == (finding("first"), finding("second", passed=False))
    assert result.charts == (chart(),)
    assert result.command == "entrokit reproduce made-up --experiment own --seeds 2"
    assert (result.seeds, result.passed, result.note) == ((0, 1), False, "")
    assert date.fromisoformat(result.date) <= date.today()
    assert {"python", "torch", "numpy"} <= set(result.versions)
    assert 0 <= result.seconds < 60


def test_a_finding_without_its_numbers_is_refused():
    shown = []
    with pytest.raises(ValueError, match="made-up, experiment own: the finding 'bare' has no raw numbers"):
        run(entry(lambda budget: [finding("whole"), finding("bare", raw={})]), "own", SEEDS, shown.append)
    assert [f.claim for f in shown] == ["whole"]


@pytest.mark.parametrize("gives", [[], [chart()]])
def test_an_experiment_must_find_something(gives):
    with pytest.raises(ValueError, match="made-up, experiment own: found nothing"):
        run(entry(lambda budget: gives), "own", SEEDS)


def test_an_experiment_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="made-up has no experiment 'pocket'; it has own"):
        run(entry(print), "pocket", SEEDS)


def test_what_is_lacking_is_named_with_the_way_to_it(monkeypatch):
    absent = ("trl", "scipy", "verl")
    monkeypatch.setattr("entrokit.extras.find_spec", lambda module: module not in absent or None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    ran = []

    def missing(*needs):
        with pytest.raises(RuntimeError) as told:
            run(entry(ran.append, needs=needs), "own", SEEDS)
        return str(told.value)

    assert missing("trl") == "made-up, experiment own: needs trl; pip install 'entrokit[trl]'"
    assert missing("report", "information", "verl", "gpu").endswith(
        "needs information, verl, gpu; pip install 'entrokit[information,verl]'"
    )
    assert missing("gpu").endswith("needs gpu; run it on a machine with it")
    assert not ran
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert lacking(entry(print, needs=("report", "tasks", "gpu")).experiments["own"]) == []


def test_the_command_gives_the_same_seeds():
    assert command("steer", "tabular", (0, 1, 2)) == "entrokit reproduce steer --experiment tabular --seeds 3"
    assert command("steer", "pocket", (5, 6)) == "entrokit reproduce steer --experiment pocket --seeds 2 --seed 5"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of one file, that the package claims to run from; returns git in it."""

    def git(*words):
        own = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *own, *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    package = tmp_path / "src" / "entrokit" / "__init__.py"
    package.parent.mkdir(parents=True)
    package.write_text("")
    monkeypatch.setattr(entrokit, "__file__", str(package))
    return git


def test_a_result_tells_the_commit_and_whether_the_code_is_another(checkout, tmp_path):
    assert commit_of_checkout() == "", "not a checkout"
    checkout("init", "-q")
    assert commit_of_checkout() == "", "a checkout without a commit"
    checkout("add", "-A")
    checkout("commit", "-qm", "first")
    head = checkout("rev-parse", "HEAD")
    assert commit_of_checkout() == head
    (tmp_path / "notes.txt").write_text("beside the code")
    assert commit_of_checkout() == head
    Path(entrokit.__file__).write_text("changed = True")
    assert commit_of_checkout() == head + "+changes"
    checkout("commit", "-qam", "second")
    assert commit_of_checkout() == checkout("rev-parse", "HEAD") != head


def test_without_git_there_is_no_commit(checkout, monkeypatch):
    checkout("init", "-q")
    checkout("add", "-A")
    checkout("commit", "-qm", "first")
    assert commit_of_checkout()
    monkeypatch.setenv("PATH", "")
    assert commit_of_checkout() == ""
