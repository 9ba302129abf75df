"""Every entry of docs/errata.md names a test that exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENT = (ROOT / "docs" / "errata.md").read_text(encoding="utf-8")


def test_every_entry_names_tests_that_exist():
    entries = re.findall(r"^\*\*.+?(?=\n\n|\Z)", DOCUMENT, flags=re.M | re.S)
    assert len(entries) > 10
    for entry in entries:
        named = re.findall(r"`(tests/\S+?)::(\w+)`", entry)
        assert named, entry
        for file, test in named:
            assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), (file, test)
