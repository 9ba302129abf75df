"""The page and the table of what papers claim: verdicts, and nothing that breaks out of its cell."""

from dataclasses import dataclass

import pytest

from entrokit.report import Chart, Series
from entrokit.report.reproduction import Section, render_reproduction, verdict_table, write_reproduction


@dataclass
class Judged:
    passed: bool = True
    claim: str = "H <rises>"
    criterion: str = "H > 0 | mean"
    measured: str = "+1"
    reference: str = ""


def section(*verdicts):
    series = Series("a", [0.0], [1.0], marks=True, low=[0.5], high=[2.0])
    picture = Chart("picture", "x", "y", (series,), y_line=0.0)
    return Section("steer", "A <title>", "https://arxiv.org/abs/1", "tabular", 2, "2 seeds.", verdicts, (picture,))


def test_the_page_tells_the_verdicts(tmp_path):
    pytest.importorskip("plotly", reason="reports need the extra 'report'")
    sections = [section(Judged()), section(Judged(False, reference="paper: +2"))]
    page = render_reproduction(sections)
    assert "1 of 2 claims hold" in page
    assert "H &lt;rises&gt;" in page
    assert "A &lt;title&gt;" in page
    assert '<b class="verdict failed">failed</b>' in page
    assert page.count("<dt>compare</dt>") == 1
    assert page.count('class="plotly-graph-div"') == 2
    written = write_reproduction(sections, tmp_path / "new")
    assert written == tmp_path / "new" / "reproduce.html"
    assert "1 of 2 claims hold" in written.read_text(encoding="utf-8")


def test_the_table_tells_the_verdicts():
    table = verdict_table([section(Judged(), Judged(False))])
    assert "| steer | tabular, 2 | H <rises> | +1 | H > 0 \\| mean | holds |" in table
    assert table.count("**failed**") == 1
    linked = verdict_table([section(Judged())], papers={"steer": "papers/steer.md"})
    assert "| [steer](papers/steer.md) | tabular, 2 |" in linked
