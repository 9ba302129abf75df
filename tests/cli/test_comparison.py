"""Runs side by side: curves on a terminal, lines elsewhere, and nothing before there is something to tell."""

import pytest
from rich.console import Console

from entrokit.cli.comparison import CompareProgress, curves, panel, spans_of


def row(step, entropy, reward):
    return {"step": step, "seconds": float(step), "entropy": entropy, "reward": reward}


FALLING = [row(4, 0.8, 0.1), row(40, 0.4, 0.2), row(80, 0.1, 0.3)]
HELD = [row(4, 0.8, 0.1), row(40, 0.5, 0.2)]


def console(terminal, **sizes):
    return Console(width=100, force_terminal=terminal, record=True, **sizes)


def test_lines_where_there_is_no_terminal():
    """At every tenth of a run, not at every look."""
    shown = console(terminal=False)
    with CompareProgress(shown, 80) as progress:
        progress.update({"grpo": [], "held": [{"step": 0, "eval_entropy": 1.0}]})
        progress.update({"grpo": FALLING[:1], "held": []})
        progress.update({"grpo": FALLING[:2], "held": HELD[:1]})
        progress.update({"grpo": FALLING[:2], "held": HELD})
        progress.update({"grpo": FALLING, "held": HELD})
    told = shown.export_text().splitlines()
    assert told[0] == "2 runs: loading, then held-out prompts are answered"
    assert [line.split(": entropy")[0] for line in told[1:]] == [
        "grpo: step 40 of 80", "held: step 40 of 80", "grpo: step 80 of 80",
    ]  # fmt: skip
    assert told[-1].endswith("0.80 → 0.10   reward ▁▅█                0.10 → 0.30")


def test_curves_on_a_terminal():
    shown = console(terminal=True)
    with CompareProgress(shown, 80) as progress:
        progress.update({"grpo": FALLING[:2], "held": HELD[:1]})
    text = shown.export_text()
    assert "step 40 of 80, 0:40 left" in text
    assert "0.80 → 0.40" in text
    assert "0 of 2 runs done" in text


def test_nothing_is_shown_before_there_is_something_to_tell():
    for terminal in (True, False):
        shown = console(terminal)
        with CompareProgress(shown, 80):
            pass
        assert shown.export_text() == ""


def test_the_warm_up_that_runs_wait_for_is_told():
    shown = console(terminal=False)
    with CompareProgress(shown, 80) as progress:
        for step in range(1, 31):
            progress.warming_up(step, 30, 2.0)
    told = shown.export_text().splitlines()
    assert told[0] == "warming up the pocket policy (once): step 1 of 30, loss 2.000"
    assert told[-1] == "warming up the pocket policy (once): step 30 of 30, loss 2.000"
    assert len(told) == 11


def test_one_scale_for_all_runs():
    spans = spans_of({"grpo": FALLING, "held": HELD, "none": []})
    assert spans == {"entropy": (0.1, 0.8), "reward": (0.1, 0.3)}
    assert curves(HELD, spans).startswith("entropy █▅ ")
    assert curves([row(4, float("nan"), 0.2), row(8, 0.1, 0.2)], spans).startswith("entropy ▁ ")


@pytest.mark.parametrize(("room", "names"), [(3, ["a", "b", "c"]), (2, ["b", "c"]), (0, ["b"])])
def test_where_runs_are_too_many_those_under_way_are_shown(room, names):
    shown = console(terminal=False)
    shown.print(panel({"a": FALLING, "b": HELD, "c": HELD, "d": []}, 80, room, 61.0))
    lines = shown.export_text().splitlines()
    assert [line.split()[0] for line in lines[:-1:2]] == names
    assert lines[-1] == "1 of 4 runs done (1:01)"
