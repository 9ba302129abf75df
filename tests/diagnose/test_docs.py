"""docs/diagnose.md names every verdict, every threshold with its default, and files that exist."""

import re
from dataclasses import fields
from pathlib import Path

from entrokit.diagnose import VERDICTS, Thresholds

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "diagnose.md").read_text(encoding="utf-8")


def test_every_verdict_and_threshold_is_documented():
    assert set(re.findall(r"^\| `([a-z-]+)` \| (?![0-9])", DOCUMENT, flags=re.M)) == set(VERDICTS)
    table = dict(re.findall(r"^\| `([a-z_]+)` \| ([0-9.]+) \|", DOCUMENT, flags=re.M))
    assert {name: float(value) for name, value in table.items()} == {f.name: f.default for f in fields(Thresholds)}


def test_its_pictures_exist():
    for picture in re.findall(r"\]\((img/[^)]+)\)", DOCUMENT):
        assert (ROOT / "docs" / picture).exists(), picture
