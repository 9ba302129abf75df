"""docs/symptoms.md shows what `entrokit diagnose` says today, and has a place for every verdict."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from entrokit.diagnose import VERDICTS, diagnose

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "symptoms.md").read_text(encoding="utf-8")
# Told by `diagnose` and without a picture of its own.
IN_WORDS = {"premature-convergence", "repetition", "too-easy", "insufficient-data", "healthy"}


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        yield importlib.import_module("symptoms")
    finally:
        sys.path.remove(str(ROOT / "scripts"))


def test_its_blocks_are_what_is_said_today(script, tmp_path):
    assert script.filled(PAGE, script.blocks(tmp_path)) == PAGE, "run python scripts/symptoms.py"


def test_a_block_that_is_old_is_seen(script, tmp_path):
    old = PAGE.replace("4% of its start", "5% of its start")
    assert old != PAGE
    assert script.filled(old, script.blocks(tmp_path)) == PAGE


def test_every_symptom_is_on_the_page_with_its_run_its_remedies_and_its_picture(script):
    for slug in script.SYMPTOMS:
        for kind in ("run", "do"):
            assert PAGE.count(f"<!-- {kind}: {slug} -->") == 1, (kind, slug)
        assert PAGE.count(f"](img/symptom-{slug}.png)") == 1, slug
    drawn = {file.name for file in (ROOT / "docs" / "img").glob("symptom-*.png")}
    assert drawn == {f"symptom-{slug}.png" for slug in script.SYMPTOMS}


def test_every_verdict_is_found_there(script, tmp_path):
    shown = {diagnose(s.run.write(tmp_path / slug)).verdict for slug, s in script.SYMPTOMS.items()}
    assert shown == set(VERDICTS) - IN_WORDS
    assert set(VERDICTS) <= set(re.findall(r"`([a-z-]+)`", PAGE))


def test_what_is_drawn_is_in_the_log(script, tmp_path):
    from entrokit.runs.read_log import read_log

    for slug, symptom in script.SYMPTOMS.items():
        series = read_log(symptom.run.write(tmp_path / slug)).series
        for key in (key for panel in symptom.panels for key in panel.courses):
            assert key.endswith("*") or len(series[key]) > 1, (slug, key)
