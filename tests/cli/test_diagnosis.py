"""`entrokit diagnose` as a user meets it: text, JSON, a page, and runs that try to do harm."""

import json

import pytest
from typer.testing import CliRunner

from entrokit.cli.app import app
from entrokit.diagnose import VERDICTS
from entrokit.runs import QUADRANTS, Part, RunWriter, StepAccount
from entrokit.runs.layout import ACCOUNT
from tests.diagnose.cases import CASES, table
from tests.runs.cases import CHAT, columns, jsonl

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
    assert diagnose(file, "--thresholds", settings).stdout.startswith("healthy")


def test_what_cannot_be_read_is_said(tmp_path):
    from entrokit.runs import RunReadError

    with pytest.raises(RunReadError, match="does not exist"):
        diagnose(tmp_path / "nothing")
