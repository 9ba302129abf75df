"""The page and the table of what papers claim: verdicts, and nothing that breaks out of its cell."""

from dataclasses import dataclass, replace

import pytest

from entrokit.report import Chart, Series
from entrokit.report.chart import figure
from entrokit.report.reproduction import Section, code, one_line, render_reproduction, verdict_table, write_reproduction


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
    return Section(
        "steer", "A <title>", "https://arxiv.org/abs/1", "tabular", 2, "2 <b>seeds</b>.", verdicts, (picture,)
    )


def test_the_page_tells_the_verdicts(tmp_path):
    pytest.importorskip("plotly", reason="reports need the extra 'report'")
    sections = [section(Judged()), section(Judged(False, reference="paper: +2"))]
    page = render_reproduction(sections)
    assert "1 of 2 claims hold" in page
    assert "H &lt;rises&gt;" in page
    assert "A &lt;title&gt;" in page
    assert "2 &lt;b&gt;seeds&lt;/b&gt;." in page
    assert '<b class="verdict failed">failed</b>' in page
    assert page.count("<dt>compare</dt>") == 1
    assert page.count('class="plotly-graph-div"') == 2
    written = write_reproduction(sections, tmp_path / "new")
    assert written == tmp_path / "new" / "reproduce.html"
    assert "1 of 2 claims hold" in written.read_text(encoding="utf-8")


def test_a_paper_without_an_address_is_no_link():
    pytest.importorskip("plotly", reason="reports need the extra 'report'")
    page = render_reproduction([replace(section(Judged()), url="")])
    assert 'href=""' not in page
    assert "A &lt;title&gt;." in page


def test_long_labels_of_the_last_category_get_room():
    pytest.importorskip("plotly", reason="reports need the extra 'report'")
    names = [f"a data set of {share} %" for share in range(12)]
    drawn = figure(Chart("F1", "", "AnyLoss minus the other", (Series("minus BCE", names, range(12), marks=True),)))
    assert drawn.layout.xaxis.type == "category"
    assert drawn.layout.xaxis.automargin is True


def test_the_table_tells_the_verdicts():
    table = verdict_table([section(Judged(), Judged(False))])
    assert "| steer | tabular, 2 | H <rises> | +1 | H > 0 \\| mean | holds |" in table
    assert table.count("**failed**") == 1
    linked = verdict_table([section(Judged())], papers={"steer": "papers/steer.md"})
    assert "| [steer](papers/steer.md) | tabular, 2 |" in linked


def test_nothing_breaks_out_of_its_cell():
    row = verdict_table([section(Judged(claim="a|b\nc `d", measured="`x|y`", criterion="1\r\n\n2"))]).splitlines()
    assert row[2:] == ["| steer | tabular, 2 | a\\|b c \\`d | `x\\|y` | 1 2 | holds |"]


def test_a_line_of_markdown_stays_one():
    assert one_line("# a\n\n## b\t c") == "# a ## b c"
    assert one_line("`a` b") == "`a` b"
    assert one_line("`a` `b") == "\\`a\\` \\`b"
    assert code("grpo+steer") == "`grpo+steer`"
    assert code("a ``b`\nc") == "``` a ``b` c ```"
