"""docs/scoreboard.md is what its data say."""

from pathlib import Path

import pytest

from entrokit.bench.scoreboard import Scoreboard
from entrokit.report.scoreboard import markdown, not_shown

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("bench", ["tabular", "pocket"])
def test_the_tables_are_those_of_the_data(bench):
    board, page = Scoreboard.load(DOCS / "scoreboard" / f"{bench}.json"), (DOCS / "scoreboard.md").read_text()
    assert board.complete
    assert len(board.seeds) >= {"tabular": 8, "pocket": 3}[bench]
    assert markdown(board) in page
    for line in not_shown(bench):
        assert line.split(":")[0] in page
