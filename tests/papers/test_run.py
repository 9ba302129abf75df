"""Running an experiment: what it must give, what is kept of it, and what is said where it cannot run."""

import functools
import importlib
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch

import entrokit
from entrokit.papers import Budget, paper, run
from entrokit.papers.run import ExperimentError, command, commit_of_checkout, fingerprint, lacking, stands

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


def refusal(*gives):
    shown = []
    with pytest.raises(ExperimentError) as told:
        run(entry(lambda budget: gives), "own", SEEDS, shown.append)
    assert not shown, "refused before it is shown"
    return str(told.value).removeprefix("made-up, experiment own: ")


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        ({}, "has no raw numbers"),
        ([1.0], "has no raw numbers"),
        ({"H": []}, "has no finite raw numbers"),
        ({"H": [float("nan")], "S": [float("inf"), None]}, "has no finite raw numbers"),
        ({"H": [None, None]}, "has no finite raw numbers"),
        ({"H": "12"}, "raw numbers 'H': a sequence of numbers, got '12'"),
        ({"H": None}, "raw numbers 'H': a sequence of numbers, got None"),
        ({"H": {"a": 1}}, "raw numbers 'H': a sequence of numbers, got {'a': 1}"),
        ({"H": ["1"]}, "raw numbers 'H': numbers, or None where a seed has none; got '1'"),
        ({"H": [1j]}, "raw numbers 'H': numbers, or None where a seed has none; got 1j"),
        ({"H": torch.ones(2, 1)}, r"raw numbers 'H': numbers, or None where a seed has none; got [1.0]"),
    ],
)
def test_raw_numbers_are_numbers(raw, what):
    assert refusal(finding("bare", raw=raw)).removeprefix("the finding 'bare'").lstrip(": ") == what


def test_other_things_that_are_wrong_with_a_finding():
    assert refusal(finding(claim=None)) == "a finding's claim is text, got None"
    assert refusal(finding(measured=1.0)) == "a finding's measured is text, got 1.0"
    assert refusal(finding("\ud800")).startswith("a finding's claim cannot be written: ")
    assert refusal(finding(passed="yes")) == "the finding 'H rises': passed is True or False, got 'yes'"
    assert refusal(finding(passed=1)) == "the finding 'H rises': passed is True or False, got 1"


def test_what_numpy_and_torch_hold_becomes_numbers():
    raw = {
        "0-dim": torch.tensor(0.5, requires_grad=True),
        "1-dim": np.array([1.0, 2.0], dtype=np.float32),
        "mixed": (torch.tensor(1), np.float64(2.0), None, float("nan"), 3),
        "alone": 4.0,
    }
    shown = []
    run(entry(lambda budget: [finding(passed=np.bool_(True), raw=raw)]), "own", SEEDS, shown.append)
    assert shown[0].passed is True
    told = shown[0].raw
    assert (told["0-dim"], told["1-dim"], told["alone"]) == ([0.5], [1.0, 2.0], [4.0])
    assert told["mixed"][:3] + told["mixed"][4:] == [1, 2.0, None, 3]
    assert {type(n) for own in told.values() for n in own} == {float, int, type(None)}


def test_a_claim_may_fail_because_no_seed_has_a_number():
    nobody = finding(passed=False, raw={"steps": [None, None]})
    assert run(entry(lambda budget: [nobody]), "own", SEEDS).findings == (nobody,)


@pytest.mark.parametrize(
    ("experiment", "what"),
    [
        (lambda budget: None, "gave None, and not findings one after another"),
        (lambda budget: finding(), r"gave Finding\(.*, and not findings one after another"),
        (lambda budget: [3], "gave 3, which is neither a Finding nor a Chart"),
        (lambda budget: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda budget: sys.exit(3), "SystemExit: 3"),
    ],
    ids=["None", "one", "number", "raises", "exits"],
)
def test_an_experiment_that_breaks_down_is_named_with_the_reason(experiment, what):
    with pytest.raises(ExperimentError, match=rf"^made-up, experiment own: {what}"):
        run(entry(experiment), "own", SEEDS)


def test_whoever_stops_it_stops_it():
    def experiment(budget):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(entry(experiment), "own", SEEDS)


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


def test_the_commit_is_that_of_the_start(checkout):
    checkout("init", "-q")
    checkout("add", "-A")
    checkout("commit", "-qm", "first")
    head = checkout("rev-parse", "HEAD")

    def experiment(budget):
        Path(entrokit.__file__).write_text("changed = True")
        return [finding()]

    assert run(entry(experiment), "own", SEEDS).commit == head
    assert run(entry(experiment), "own", SEEDS).commit == head + "+changes"
    assert run(entry(experiment), "own", SEEDS, commit="loaded").commit == "loaded"


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """A package of somebody's, an entry of it, and a module that its names point to."""
    name = f"theirs_{tmp_path.name}"  # modules stay imported
    package, method = tmp_path / name, tmp_path / f"method_{name}.py"
    (package / "deep").mkdir(parents=True)
    for file in (package / "__init__.py", package / "_helper.py", package / "deep" / "__init__.py"):
        file.write_text("")
    (package / "deep" / "entry.py").write_text("def own(budget):\n    return []\n")
    method.write_text("def method():\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    function = importlib.import_module(f"{name}.deep.entry").own
    names = (f"{method.stem}.method", "no_such_module.thing", "bare", "math.pi")
    return replace(entry(function), names=names), package, method


def test_the_code_of_somebodys_experiment_is_told(theirs):
    own, package, method = theirs
    seen = [fingerprint(own, "own")]
    assert fingerprint(entry(functools.partial(own.experiments["own"].run)), "own") != "", "a function in a wrapper"
    for file in (package / "_helper.py", package / "deep" / "entry.py", package / "deep" / "__init__.py", method):
        file.write_text(file.read_text() + "# changed\n")
        seen.append(fingerprint(own, "own"))
    assert len(set(seen)) == len(seen)
    assert fingerprint(own, "own") == seen[-1]
    assert fingerprint(paper("steer"), "tabular") == "", "ours are told by the commit"


def test_a_result_stands_for_its_seeds_and_its_code_alone(theirs, monkeypatch):
    own, package, _ = theirs

    def kept(commit):
        result = run(entry(lambda budget: [finding()]), "own", SEEDS, commit=commit)
        return replace(result, code=fingerprint(own, "own"))

    def does(result, commit, seeds=(0, 1)):
        return stands(result, own, "own", seeds, commit)

    assert does(kept("abc"), "abc")
    assert not does(kept("abc"), "abc", (1, 2))
    assert not does(kept("abc"), "abd")
    assert not does(kept("abc"), "")
    assert not does(kept(""), "abc")
    assert not does(kept("abc+changes"), "abc+changes")
    released, checked_out = kept(""), kept("abc")
    assert does(released, "")
    monkeypatch.setattr(sys.modules["entrokit.papers.run"], "_versions", lambda: {"entrokit": "99"})
    assert not does(released, ""), "another version of the library"
    assert does(checked_out, "abc"), "in a checkout the commit tells"
    (package / "_helper.py").write_text("changed = True")
    assert not does(checked_out, "abc"), "other code of theirs"
