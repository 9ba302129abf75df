"""What the pages of the wings show is run."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
WINGS = (
    "attention",
    "choice",
    "compression",
    "decoding",
    "dynamics",
    "generative",
    "losses",
    "optim",
    "physics",
    "search",
)
PAGES = sorted(page for wing in WINGS for page in (DOCS / wing).glob("*.md"))
BLOCKS = [
    pytest.param(code, id=f"{page.parent.name}/{page.stem}-{i}")
    for page in PAGES
    for i, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S))
]


@pytest.mark.parametrize("code", BLOCKS)
def test_a_block_runs_and_shows_something(code, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_a_first_example_and_a_picture(page):
    text = page.read_text(encoding="utf-8")
    assert "```python" in text
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert pictures
    assert all((page.parent / picture).exists() for picture in pictures)
