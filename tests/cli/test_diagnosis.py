"""`entrokit diagnose` as a user meets it: text, JSON, a page, and runs that try to do harm."""

import importlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import entrokit
from entrokit.cli.app import app, main
from entrokit.cli.reading import CODES
from entrokit.diagnose import VERDICTS, Finding, Remedy
from entrokit.diagnose import diagnose as judge
from entrokit.diagnose.exit_codes import EXIT_CODES, table_of_codes
from entrokit.runs import QUADRANTS, Broken, Column, Part, RunReadError, RunWriter, StepAccount, read_log
from entrokit.runs.layout import ACCOUNT
from tests.diagnose.cases import CASES, table
from tests.processes import ROOT
from tests.runs.cases import CHAT, columns, jsonl

# The module; the package has a function of this name.
READING = importlib.import_module("entrokit.runs.read_log")
HOSTILE = "\x1b]0;owned\x07\x1b[31m<script>alert(1)</script> & \u202e\x00"


def diagnose(*arguments):
    return CliRunner().invoke(app, ["diagnose", *map(str, arguments)], catch_exceptions=False)


def hostile_run(folder):
    """A run with two evaluations, families and accounts, every text of which is hostile."""
    w = RunWriter(folder, {"recipe": "grpo", "task": HOSTILE.replace("\x00", "")})
    part = {HOSTILE: Part(-0.01, 5.0), "x": Part(0.004, 3.0)}
    splits = {name: part for name in ("token", "prompt", "turn", "phase", "clipped")} | {
        "position": {"0-3": Part(-0.01, 4.0), "4-7": Part(0.002, 4.0)},
        "quadrant": {q: Part(-0.002, 3.0) for q in QUADRANTS},
    }
    lines = []
    for i in range(30):
        w.metrics(4 * i, {"entropy": 0.6 - 0.01 * i, "reward": 0.2 + 0.01 * i, "truncated": 0.02 * i})
        if i % 5 == 0:
            text = {"prompt": [HOSTILE] * 4, "completion": [HOSTILE] * 4, "family": [HOSTILE, "b"] * 2}
            w.rollouts(4 * i, columns(4) | text)
        lines.append(
            StepAccount(4 * i, 4, 64, 12, 0.5, -1e-3 * i, -1.1e-3 * i, -1e-3, 0.0, 1e-3, 0.0, -1e-3, 0.1, 0.5, splits)
        )
    for step in (0, 120):
        w.rollouts(step, columns(8) | {"prompt": [HOSTILE] * 8}, evaluation=True)
    (folder / ACCOUNT).write_text("".join(a.to_json() + "\n" for a in lines) + '{"step": 9', encoding="utf-8")


def test_columns_with_hostile_or_endless_names_drive_no_terminal(tmp_path):
    run = tmp_path / "run.jsonl"
    rows = (
        {"step": i, "entropy": 0.5, f"reward/{HOSTILE}": 0.1 * (i % 3), "reward/" + "x" * 10**5: 0.2} for i in range(20)
    )
    run.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    shown = diagnose(run, "--explain")
    assert shown.exit_code == 0
    assert "reward/·]0;owned" in shown.stdout.replace("\n", "")
    assert not {"\x1b", "\x07", "\u202e", "\x00"} & set(shown.stdout)
    assert len(shown.stdout) < 50_000


def test_text_names_the_verdict_the_evidence_and_the_remedies(tmp_path):
    shown = diagnose(table(tmp_path, **CASES["collapse"]))
    assert shown.exit_code == 0
    assert shown.stdout.startswith("collapse: entropy was spent")
    assert "entropy fell from" in shown.stdout
    assert "grpo+steer(" in shown.stdout
    assert "not there: no completions were written" in shown.stdout


@pytest.mark.parametrize("name", CASES)
def test_json_is_all_that_is_printed(name, tmp_path):
    shown = diagnose(table(tmp_path, **CASES[name]), "--json")
    data = json.loads(shown.stdout)
    assert data["verdict"] in VERDICTS
    assert shown.stdout.isascii()


def test_a_hostile_run_drives_neither_terminal_nor_page(tmp_path):
    pytest.importorskip("plotly", reason="the page needs the extra 'report'")
    hostile_run(tmp_path / "run")
    page = tmp_path / "page.html"
    shown = diagnose(tmp_path / "run", "--out", page)
    assert shown.exit_code == 0
    assert "\x1b" not in shown.stdout
    assert "\x00" not in shown.stdout
    words = " ".join(shown.stdout.split())
    assert "(95 % interval 0.7" in words
    assert "held out: pass@8 1.00 [1.00, 1.00] to 1.00 [1.00, 1.00] (brackets: 95 % intervals over prompts)" in words
    html = page.read_text(encoding="utf-8")
    assert "<script>alert" not in html
    assert "owned" in html
    assert "Where the entropy went" in html
    assert "The boundary" in html
    assert html.count('class="plotly-graph-div"') >= 8
    assert "a line is not JSON" in html
    text = diagnose(tmp_path / "run", "--json").stdout
    data = json.loads(text)
    assert data["account"]["accounts"] == 30
    assert data["boundary"]["first"]["prompts"] == 1
    assert "\x1b" not in text


def test_bounds_stand_for_an_entropy_that_is_not_known(tmp_path):
    rows = [CHAT | {"step": i, "reward": i / 20} for i in range(20)]
    data = json.loads(diagnose(jsonl(tmp_path / "vllm.jsonl", rows), "--json").stdout)
    low, high = data["entropy_bounds_top_k"]
    assert 0 < low < high
    assert data["verdict"] == "truncation"  # all of them were cut at the limit
    assert data["also"][-1]["verdict"] == "insufficient-data"


def test_thresholds_from_a_file(tmp_path):
    file, settings = table(tmp_path, **CASES["collapse"]), tmp_path / "t.yaml"
    settings.write_text("collapse_ratio: 0.0\nplateau_entropy: 0.0\n")
    assert diagnose(file).stdout.startswith("collapse")
    assert not diagnose(file, "--thresholds", settings).stdout.startswith("collapse")


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(RunReadError, match="does not exist"):
        diagnose(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("case", "asked", "code"),
    [
        ("collapse", "collapse", 11),
        ("collapse", "any", 11),
        ("collapse", "mismatch,collapse", 11),
        ("collapse", "mismatch", 0),
        ("collapse", "premature-convergence", 12),  # told beside it
        ("mismatch", "any", 14),
        ("truncation", " truncation ", 15),
        ("healthy", "any", 0),
        ("insufficient-data", "any", 0),
        ("insufficient-data", "insufficient-data", 17),
    ],
)
@pytest.mark.parametrize("form", [[], ["--json"], ["--markdown"]])
def test_a_named_verdict_is_the_exit_code(case, asked, code, form, tmp_path):
    answer = diagnose(table(tmp_path, **CASES[case]), "--fail-on", asked, *form)
    assert answer.exit_code == code
    assert case in answer.stdout  # it is said all the same


def test_without_fail_on_every_verdict_leaves_with_zero(tmp_path):
    assert diagnose(table(tmp_path, **CASES["collapse"])).exit_code == 0


@pytest.mark.parametrize("asked", ["colapse", "", "healthy", "collapse,,", "10", "collapse;mismatch"])
def test_a_verdict_that_there_is_none_of_is_a_wrong_command(asked, tmp_path):
    answer = diagnose(table(tmp_path, **CASES["collapse"]), "--fail-on", asked)
    assert answer.exit_code == 2
    assert "premature-convergence" in answer.stderr  # the list


@pytest.mark.parametrize("path", ["", "  "])
def test_an_empty_path_is_said_and_not_taken_for_this_folder(path):
    answer = diagnose(path)
    assert answer.exit_code == 2
    assert "the path is empty" in answer.stderr


def test_help_names_every_number():
    assert table_of_codes() == CODES


def test_every_verdict_but_healthy_has_a_number_of_its_own():
    assert set(VERDICTS) - {"healthy"} <= set(EXIT_CODES)
    assert len(set(EXIT_CODES.values())) == len(EXIT_CODES)
    # 0 to 2 are taken, and a shell's own begin at 126.
    assert all(10 <= code < 126 for code in EXIT_CODES.values())


def test_numbers_are_never_given_to_another_verdict():
    first = {
        "broken-numbers": 10,
        "collapse": 11,
        "premature-convergence": 12,
        "explosion": 13,
        "mismatch": 14,
        "truncation": 15,
        "local-failure": 16,
        "insufficient-data": 17,
    }
    assert first.items() <= EXIT_CODES.items()


def test_columns_are_explained(tmp_path, monkeypatch):
    file = table(tmp_path, **CASES["collapse"])
    log = replace(
        read_log(file),
        engine="verl",
        kind="rl",
        columns=(
            Column("actor/entropy", "entropy", "a name of verl", 99, Broken(7.0, 3, "nan"), "table"),
            Column(HOSTILE, None, "no quantity has this name", 4),
        ),
    )
    monkeypatch.setattr(READING, "read_logs", lambda path, names: [log])
    shown = diagnose(file, "--explain").stdout
    words = " ".join(shown.split())
    assert "read as: table, rl" in words
    assert "actor/entropy" in words
    assert "3 not finite" in words
    assert "(nan) at step 7" in words
    assert "no quantity has" in words
    assert "\x1b" not in shown
    data = json.loads(diagnose(file, "--explain", "--json").stdout)
    assert [c["key"] for c in data["columns"]] == ["entropy", None]
    assert data["columns"][0]["broken"]["count"] == 3


def test_series_are_explained_where_a_reader_tells_no_columns(tmp_path):
    shown = diagnose(table(tmp_path, **CASES["collapse"]), "--explain").stdout
    assert "read as:" in shown
    assert "entropy" in shown.partition("read as:")[2]


def test_a_column_is_taken_for_a_quantity_by_hand(tmp_path):
    file = tmp_path / "run.csv"
    text = table(tmp_path, **CASES["collapse"]).read_text()
    file.write_text(text.replace("step,entropy,reward", "step,my/a=b,prize", 1))
    answer = diagnose(file, "--name", "entropy=my/a=b", "--name", "reward = prize", "--explain")
    assert answer.stdout.startswith("collapse: entropy was spent")
    assert "user's name of entropy" in " ".join(answer.stdout.split())


def test_a_quantity_that_there_is_none_of_is_said_with_the_list(tmp_path, monkeypatch, capsys):
    file = table(tmp_path, **CASES["collapse"])
    monkeypatch.setattr("sys.argv", ["entrokit", "diagnose", str(file), "--name", "entropie=entropy"])
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr().err
    assert left.value.code == 1
    assert "entropie" in said
    assert "sampler_surprise" in said
    assert "ValueError" not in said


def test_bounds_of_the_reward_reach_the_rules(tmp_path, monkeypatch):
    given = {}

    def judging(logs, thresholds=None, reward_range=None):
        given["reward_range"] = reward_range
        return judge(logs[0], thresholds)

    monkeypatch.setattr("entrokit.diagnose.diagnosis.diagnose_logs", judging)
    assert diagnose(table(tmp_path, **CASES["collapse"]), "--reward-range", "-1,2").exit_code == 0
    assert given == {"reward_range": (-1.0, 2.0)}


@pytest.mark.parametrize(
    "wrong",
    [
        ["--name", "entropy"],
        ["--name", "=x"],
        ["--name", "entropy="],
        ["--name", "entropy=a", "--name", "entropy=b"],
        ["--reward-range", "1"],
        ["--reward-range", "1,1"],
        ["--reward-range", "2,1"],
        ["--reward-range", "0,nan"],
        ["--reward-range", "0,inf"],
        ["--reward-range", "a,b"],
        ["--json", "--markdown"],
        ["--all", "--out", "page.html"],
        ["other.csv", "--all"],
        ["other.csv", "--markdown"],
        ["other.csv", "--explain"],
        ["   "],
    ],
)
def test_options_that_cannot_be_meant_are_a_wrong_command(wrong, tmp_path):
    assert diagnose(table(tmp_path, **CASES["collapse"]), *wrong).exit_code == 2


def two(tmp_path):
    files = []
    for name in ("healthy", "collapse"):
        (tmp_path / name).mkdir()
        files.append(table(tmp_path / name, **CASES[name]).rename(tmp_path / f"{name}.csv"))
    return files


def test_a_second_run_is_put_beside_the_first(tmp_path):
    good, bad = two(tmp_path)
    answer = diagnose(good, bad, "--fail-on", "collapse")
    assert answer.exit_code == 11  # of either
    assert answer.stdout.startswith("apart:")
    assert "healthy.csv: healthy" in answer.stdout
    assert "collapse.csv: collapse" in answer.stdout
    data = json.loads(diagnose(good, bad, "--json").stdout)
    assert data["verdict"] == "apart"


def test_the_page_of_two_runs(tmp_path):
    pytest.importorskip("plotly", reason="the page needs the extra 'report'")
    good, bad = two(tmp_path)
    assert diagnose(good, bad, "--out", tmp_path / "page.html").exit_code == 0
    assert "collapse.csv" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_all_runs_are_judged_where_several_are_found(tmp_path):
    good, bad = (f.read_text().splitlines() for f in two(tmp_path))
    both = tmp_path / "both.csv"
    rows = [f"seed {i},{row}" for i, part in enumerate((good, bad)) for row in part[1:]]
    both.write_text("\n".join(["run,step,entropy,reward", *rows]) + "\n")
    answer = diagnose(both, "--all", "--fail-on", "collapse")
    assert answer.exit_code == 11
    assert "seed 0" in answer.stdout
    assert "seed 1" in answer.stdout
    assert answer.stdout.count("\nhealthy") == 1
    assert answer.stdout.count("\ncollapse") == 1
    assert diagnose(both, "--all", "--markdown").stdout.count("### seed") == 2
    data = json.loads(diagnose(both, "--all", "--json").stdout)
    assert {r["run"]: r["verdict"] for r in data["runs"]} == {"seed 0": "healthy", "seed 1": "collapse"}


def test_what_is_to_be_pasted_is_not_wrapped(tmp_path, monkeypatch):
    write = "actor_rollout_ref.actor.optim.lr=1e-7 " + "x" * 100 + "\nsecond: line"
    finding = Finding("collapse", "c", ("e",), (Remedy("go slower", write=write),))
    found = replace(judge(table(tmp_path, **CASES["collapse"])), findings=(finding,))
    monkeypatch.setattr("entrokit.diagnose.diagnosis.diagnose_logs", lambda *a, **k: found)
    file = table(tmp_path, **CASES["collapse"])
    shown = [line.strip() for line in diagnose(file).stdout.splitlines()]
    assert all(line in shown for line in write.splitlines())
    page = diagnose(file, "--markdown").stdout
    assert all(f"  {line}\n" in page for line in ("```", *write.splitlines()))


def test_markdown_names_no_path_and_calls_nobody(tmp_path, monkeypatch):
    folder = tmp_path / "secret place"
    folder.mkdir()
    file = table(folder, **CASES["collapse"])
    evil = f"see {file} and {Path.home()}/x: @someone <img src=x> [a](http://x) `code` | {HOSTILE}"
    finding = Finding("collapse", evil, (evil,), (Remedy(evil, recipe="grpo+x(a='``')", write=f"{evil}\n```\nb"),))
    found = replace(judge(file), findings=(finding,), missing=(evil,))
    monkeypatch.setattr("entrokit.diagnose.diagnosis.diagnose_logs", lambda *a, **k: found)
    page = diagnose(file, "--markdown").stdout
    body = page.replace(finding.remedies[0].write.splitlines()[0], "")
    assert "**collapse**" in page
    assert "run.csv" in page
    assert f"entrokit {entrokit.__version__}" in page
    outside = re.sub(r"(?s)````.*?````", "", body)
    for harm in ("secret place", str(tmp_path), str(Path.home()), "@someone", "<img", "\x1b", "\x00"):
        assert harm not in outside
    assert not re.search(r"(?<!\\)[\[\]]", outside)
    assert "````" in page  # a fence that what is in it cannot close


def test_markdown_stands_alone(tmp_path):
    page = diagnose(table(tmp_path, **CASES["collapse"]), "--markdown").stdout
    assert page.startswith("**collapse**: entropy was spent")
    assert "`grpo+steer(min_weight=0.1, scale_quantile=0.9)`: weighs down" in page
    assert str(tmp_path) not in page


def test_the_version():
    answer = CliRunner().invoke(app, ["--version"])
    assert answer.exit_code == 0
    assert answer.stdout == f"entrokit {entrokit.__version__}\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("a thing is wrong"), "error: a thing is wrong"),
        (RunReadError("nothing there"), "error: nothing there"),
        (FileNotFoundError(2, "No such file", "x"), "error: [Errno 2] No such file: 'x'"),
        (RuntimeError("it broke"), "error: RuntimeError: it broke"),
    ],
)
def test_errors_say_what_is_wrong_in_a_line(error, said, monkeypatch, capsys):
    def failing(**options):
        raise error

    monkeypatch.setattr("entrokit.cli.app.app", failing)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    assert capsys.readouterr().err.strip() == said


def test_the_page_on_live_runs_has_the_same_numbers():
    page = (ROOT / "docs" / "live.md").read_text(encoding="utf-8")
    table_of_page = {name: int(code) for code, name in re.findall(r"^\| (\d+) \| `([a-z-]+)` \|$", page, flags=re.M)}
    assert table_of_page == dict(EXIT_CODES)


@pytest.mark.parametrize("where", ["", "  ", "folder"])
def test_a_page_that_cannot_be_written_is_said_before_anything_is_read(tmp_path, where):
    out = tmp_path if where == "folder" else where
    answer = diagnose(tmp_path / "nothing.csv", "--out", out)
    assert answer.exit_code == 2
    assert "--out" in answer.output


def test_markdown_of_a_run_cannot_undo_the_escapes(tmp_path):
    name = "\\[x\\](mailto:harm) fixes #12 **loud**"
    n = 60
    rows = (
        {"step": i, "entropy": 0.5, "reward": 0.4 + i / 300, "reward/ok": 0.5, f"reward/{name}": 0.9 * (1 - i / n)}
        for i in range(n)
    )
    run = tmp_path / "run.jsonl"
    run.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    written = diagnose(run, "--markdown").stdout
    assert "local-failure" in written
    assert r"\\\\\[x" in written  # a `repr` has doubled the run's own
    # An even number of backslashes before a bracket leaves the bracket at work.
    assert not re.search(r"(?<!\\)(\\\\)*[\[\]]", written)
    assert "#12" not in written
    assert "**loud" not in written


def test_a_run_beside_the_judged_one_is_listed_and_decides_the_code(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    table(tmp_path / "a", **CASES["healthy"])
    table(tmp_path / "b", **CASES["collapse"])
    found = diagnose(tmp_path, "--fail-on", "collapse")
    assert found.exit_code == 11
    assert "2 runs lie here; judged is a" in found.stdout
    assert "b: collapse, entropy was spent" in found.stdout
    assert json.loads(diagnose(tmp_path, "--json").stdout)["others"][0]["verdict"] == "collapse"
    assert diagnose(tmp_path, "--fail-on", "explosion").exit_code == 0


def test_a_remedy_that_was_told_is_not_told_again(tmp_path):
    said = diagnose(table(tmp_path, **CASES["collapse"])).stdout
    assert said.count("grpo+steer(") == 1
    assert said.count("EntropyGRPOTrainer(recipe=") == 1
