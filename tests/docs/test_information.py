"""What docs/information.md shows is run."""

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "information.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", TEXT, flags=re.S))
def test_a_block_runs_and_shows_something(code, capsys):
    exec(code, {})
    assert capsys.readouterr().out.strip()
