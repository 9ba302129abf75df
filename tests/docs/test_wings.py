"""A page of a wing begins with an example, which `test_blocks` runs, and has a picture."""

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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_a_first_example_and_a_picture(page):
    text = page.read_text(encoding="utf-8")
    assert "```python" in text
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert pictures
    assert all((page.parent / picture).exists() for picture in pictures)
