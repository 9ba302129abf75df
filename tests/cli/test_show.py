"""The table of a comparison says what stands in its brackets; a paper can be pasted."""

import io

import pytest
from rich.console import Console

from entrokit.cli.show import TrainProgress, summary_table
from entrokit.cli.show import paper as shown_paper
from entrokit.papers import PaperResults, paper
from entrokit.papers.results import MEASURED, known
from entrokit.report import Matched, Spread, Summary


def spread(*values):
    return Spread({(seed, 0): value for seed, value in enumerate(values)})


def summary(recipe, *accuracy, matched):
    same = spread(*[0.5] * len(accuracy))
    return Summary(recipe, len(accuracy), 16, same, same, same, spread(*accuracy), same, same, (Matched(0.2, matched),))


def shown(*summaries):
    console = Console(width=80, record=True)
    console.print(summary_table(summaries))
    return " ".join(console.export_text().split())


@pytest.mark.parametrize(
    ("gaps", "difference", "what"),
    [
        ((0.1, 0.2, 0.3), "Δ +0.20 [+0.10, +0.30]", "range of 3 seeds"),
        # 3.1824 standard errors of 0.0408.
        ((0.1, 0.2, 0.3, 0.2), "Δ +0.20 [+0.07, +0.33]", "95 % Student interval"),
    ],
)
def test_brackets_are_named(gaps, difference, what):
    base = summary("grpo", *[0.3] * len(gaps), matched=spread(*[0.4] * len(gaps)))
    text = shown(base, summary("grpo+steer", *(0.3 + g for g in gaps), matched=base.matched[0].entropy))
    assert difference in text
    assert f"Δ: difference to grpo, paired by seed; in brackets its {what}." in text


def test_seeds_that_are_missing_change_what_brackets_hold():
    base = summary("grpo", *[0.3] * 4, matched=spread(0.4, 0.4, 0.4, 0.4))
    text = shown(base, summary("grpo+steer", *[0.3] * 4, matched=spread(0.4, 0.5)))
    assert "Δ +0.05 [+0.00, +0.10]" in text
    assert "in brackets its 95 % Student interval or range of 2 seeds." in text


def test_without_brackets_there_is_no_word_of_them():
    assert "in brackets" not in shown(summary("grpo", 0.3, 0.3, matched=spread(0.4)))
    one = summary("grpo", 0.3, matched=spread(0.4))
    assert "Δ" not in shown(one, summary("grpo+steer", 0.3, matched=spread(0.4)))


def test_a_run_without_held_out_prompts_says_so():
    empty, once = Spread({}), spread(0.3)
    alone = Summary("grpo", 1, 4, *[empty] * 6, (Matched(0.2, empty),))
    text = shown(alone)
    assert "not measured not measured not measured" in text
    assert "at 0.20: not reached" in text
    assert "nan" not in text
    stopped = Summary("grpo", 1, 4, once, empty, once, empty, once, empty, ())
    assert "0.30 → none 0.30 → none" in shown(stopped)


def told(terminal):
    """What a run that evaluates and takes one batch says."""
    console = Console(width=120, force_terminal=terminal, record=True)
    with TrainProgress(console, "grpo", 8) as progress:
        progress.evaluated(0, 64)
        progress.evaluated(64, 64)
        progress.update(4, {"entropy": 1.25, "reward": 0.5, "pass@1": 0.5, "pass@4": 0.75})
        progress.update(4, {"eval_entropy": 1.0})
    return console.export_text()


def test_progress_is_a_line_a_batch_where_there_is_no_terminal():
    """From the first second on: a bar would show once, at the end."""
    assert told(terminal=False).splitlines() == [
        "grpo: loading",
        "held-out: 0 of 64 completions",
        "held-out: 64 of 64 completions",
        "step 4 of 8: reward 0.50 H 1.25 pass@4 0.75",
    ]


def test_progress_is_a_bar_on_a_terminal():
    text = told(terminal=True)
    assert "reward 0.50 H 1.25 pass@4 0.75" in text
    assert "step 4 of 8" not in text


@pytest.mark.parametrize("slug", ["lion-k", "pear"])
def test_a_paper_shows_what_to_paste_below_its_claim_whatever_the_width(slug):
    entry = paper(slug)
    console = Console(width=60, record=True, file=io.StringIO())
    console.print(shown_paper(entry, PaperResults(slug)), crop=False)
    text = console.export_text()
    assert f"\n\n{entry.lines}\n\ncode: " in text
    assert max(map(len, entry.lines.split("\n"))) > 60
    assert text.index(entry.claim[:20]) < text.index(entry.lines)


def test_a_paper_shows_what_was_measured_of_it_or_that_nothing_was():
    entry, measured = paper("steer"), known("steer", MEASURED)
    console = Console(width=4000, record=True, file=io.StringIO())
    console.print(shown_paper(entry, measured))
    console.print(shown_paper(entry, PaperResults("steer")))
    first, second = console.export_text().split("measured: ")[1].split(entry.title)
    findings = [f for name in entry.experiments for f in measured.experiments[name].findings]
    lines = first.splitlines()
    assert lines[0] == f"{sum(f.passed for f in findings)} of {len(findings)} claims hold"
    assert [line.split()[0] for line in lines[1 : len(findings) + 1]] == [f.verdict for f in findings]
    for line, finding in zip(lines[1:], findings, strict=False):
        assert f"{finding.claim} {finding.measured} (" in line
        assert f"holds if {finding.criterion})" in line
    assert second.rstrip().endswith("not measured yet")
