"""The pages of symptoms show what `entrokit diagnose` says today, and have a place for every verdict."""

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest

from entrokit.diagnose import VERDICTS, Thresholds, diagnose

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "symptoms"
PAGES = {
    page.relative_to(ROOT / "docs").as_posix(): page for page in [ROOT / "docs" / "symptoms.md", *FOLDER.glob("*.md")]
}
TEXTS = {name: page.read_text(encoding="utf-8") for name, page in PAGES.items()}
OWN = sorted(name for name in TEXTS if name != "symptoms.md")
EVERY = "\n".join(TEXTS.values())
# Told by `diagnose` and without a picture of its own.
IN_WORDS = {"premature-convergence", "repetition", "too-easy", "insufficient-data", "healthy"}


@pytest.fixture(scope="module")
def modules():
    pytest.importorskip("tinker", reason="what Tinker refuses is asked of its adapter")
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        yield importlib.import_module("symptoms"), importlib.import_module("symptom_words")
    finally:
        sys.path.remove(str(ROOT / "scripts"))


@pytest.fixture(scope="module")
def script(modules):
    return modules[0]


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_its_blocks_are_what_is_said_today(script, tmp_path, name):
    assert script.filled(TEXTS[name], tmp_path) == TEXTS[name], "run python scripts/symptoms.py"


def test_a_block_that_is_old_is_seen(script, tmp_path):
    page = TEXTS["symptoms/entropy-collapses.md"]
    old = page.replace("4% of its start", "5% of its start")
    assert old != page
    assert script.filled(old, tmp_path) == page


def test_a_block_that_there_is_none_of_is_named(script, tmp_path):
    with pytest.raises(ValueError, match=r"falls-apart: no run without the fault"):
        script.filled("<!-- fixed: falls-apart -->\n<!-- end -->\n", tmp_path)


def test_every_symptom_is_on_a_page_with_its_run_its_remedies_and_its_picture(script):
    for slug in script.SYMPTOMS:
        assert EVERY.count(f"<!-- run: {slug} -->") == 1, slug
        assert len(re.findall(rf"<!-- do(-all)?: {slug} -->", EVERY)) == (slug != "held-out-falls"), slug
        assert EVERY.count(f"img/symptom-{slug}.png)") == 1, slug
    drawn = {file.name for file in (ROOT / "docs" / "img").glob("symptom-*.png")}
    assert drawn == {f"symptom-{slug}.png" for slug in script.SYMPTOMS}


def test_every_verdict_is_found_there(script, tmp_path):
    shown = {diagnose(s.run.write(tmp_path / slug)).verdict for slug, s in script.SYMPTOMS.items()}
    assert shown == set(VERDICTS) - IN_WORDS
    assert set(VERDICTS) <= set(re.findall(r"`([a-z-]+)`", EVERY))


def test_what_is_drawn_is_in_the_log(script, tmp_path):
    from entrokit.runs.read_log import read_log

    for slug, symptom in script.SYMPTOMS.items():
        series = read_log(symptom.run.write(tmp_path / slug)).series
        for key in (key for panel in symptom.panels for key in panel.courses):
            assert key.endswith("*") or len(series[key]) > 1, (slug, key)


def test_a_run_that_was_fixed_is_healthy(script, tmp_path):
    fixed = {slug: s.fixed for slug, s in script.SYMPTOMS.items() if s.fixed is not None}
    assert {name for name in re.findall(r"<!-- fixed: ([\w-]+) -->", EVERY)} == set(fixed)
    for slug, run in fixed.items():
        assert diagnose(run.write(tmp_path / slug)).verdict == "healthy", slug


@pytest.mark.parametrize("name", OWN)
def test_a_page_of_its_own_leads_from_the_symptom_to_what_a_fixed_run_looks_like(name):
    page = TEXTS[name]
    assert re.findall(r"^## (.*)$", page, flags=re.MULTILINE) == [
        "Check it",
        "Causes, told apart",
        "What to do",
        "What a fixed run looks like",
    ]
    assert f"]({name})" in TEXTS["symptoms.md"]
    assert f"]({name})" in (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert "entrokit diagnose path/to/run" in page
    assert "```python" not in page, "nobody needs an API to get from a symptom to its remedy"


def causes():
    """What a rule may say, as patterns: each text of a finding, with anything where a number or a name is put in."""
    patterns = []
    for file in (ROOT / "src" / "entrokit" / "diagnose" / "rules").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [re.escape(v.value) if isinstance(v, ast.Constant) else ".+" for v in node.values]
                patterns.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                patterns.append(re.escape(node.value))
    return patterns


@pytest.mark.parametrize("name", OWN)
def test_what_it_quotes_is_what_rules_say(name):
    section = TEXTS[name].split("## Causes, told apart")[1].split("## What to do")[0]
    quoted = re.findall(r"^\| `([a-z-]+): ([^`]+)`", section, flags=re.MULTILINE)
    assert len(quoted) > 2
    known = causes()
    for verdict, cause in quoted:
        assert verdict in VERDICTS
        assert any(re.fullmatch(pattern, cause) for pattern in known if pattern != ".+"), cause


def test_the_bounds_that_pages_put_in_words_are_the_thresholds():
    t = Thresholds()
    for words, value, name in (
        ("entropy below a fifth of its start", t.collapse_ratio, 0.2),
        ("entropy below half, and the reward stands still", t.plateau_entropy, 0.5),
        ("16 distinct prompts or fewer", t.few_prompts, 16),
        ("falls to a tenth of its best", t.crash_share, 0.1),
        ("entropy half as high again", t.explosion_ratio, 1.5),
        ("within a hundredth of its floor", t.reward_floor, 0.01),
        ("98 % of the groups are flat", t.no_signal, 0.98),
        ("six groups of ten flat", t.flat_groups, 0.6),
    ):
        assert words in EVERY
        assert value == name, words


def test_what_is_to_be_written_in_a_program_of_ones_own_is_python(modules):
    script, words = modules
    for engine, levers in words.WRITTEN.items():
        for lever, told in levers.items():
            for code in re.findall(r"`([^`]+)`", told.replace("{value}", "1")):
                assert ast.parse(code), (engine, lever)
    shown = [slug for slug in script.SYMPTOMS if f"<!-- do-all: {slug} -->" in EVERY]
    assert len(shown) == 6
    for do in (do for slug in shown for do in script.SYMPTOMS[slug].do):
        assert all(words.told(do, engine) for engine in words.ALL)


def test_an_engine_that_cannot_carry_a_recipe_says_so(modules):
    from entrokit.diagnose.levers.reading import LEVERS

    script, words = modules
    steer = next(do for do in script.SYMPTOMS["entropy-collapses"].do if do.recipe == "grpo+steer")
    assert words.told(steer, "tinker").startswith("not carried: ")
    assert words.told(steer, "prime-rl").startswith("not carried: ")
    assert "policy_loss(" in words.told(steer, "loop")
    assert all(set(levers) <= set(LEVERS) for levers in words.WRITTEN.values())
