"""The tutorials, followed as they stand, and what they say of their results."""

import re

import pytest

pytest.importorskip("trl", reason="the tutorials train under TRL")

from .tutorial import FOLDER, follow


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_fix_a_collapsing_run_in_trl():
    defined, _, commands = follow("trl")
    before, after = ({n: defined["end_of"](f, n) for n in ("entropy", "reward")} for f in ("collapsing", "held"))
    assert before["entropy"] < 0.3
    assert after["entropy"] > 3 * before["entropy"]
    assert after["reward"] > 0.75
    # Which of its two ends a seed comes to, rounding may decide on another machine.
    if before["reward"] < 0.6:
        assert commands["entrokit diagnose collapsing"].startswith("collapse: entropy was spent")
    assert not commands["entrokit diagnose held"].startswith("collapse")


def test_write_your_own_intervention():
    defined, printed, _ = follow("intervention")
    text = (FOLDER / "intervention.md").read_text(encoding="utf-8")
    assert re.search(r"```text\n(.*?)```", text, re.S).group(1) in printed
    shares = [float(row["quiet-certainty/quiet_share"]) for row in defined["logged"]]
    assert len(shares) == 8
    assert shares[0] < 0.05 < shares[-1]


def test_the_log_of_the_verl_tutorial_is_a_collapse():
    """The tutorial itself is followed where verl is installed."""
    from entrokit.diagnose import diagnose

    assert diagnose(FOLDER / "verl-file-logger.jsonl").verdict == "collapse"
