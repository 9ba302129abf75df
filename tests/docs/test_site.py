"""The site is entered by symptom, then by engine, then by wing; every page can be reached."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
SYMPTOMS = ["entropy-collapses", "entropy-explodes", "nan", "reward-up-accuracy-down", "nothing-learns"]
FRONT = [*(f"symptoms/{name}.md" for name in SYMPTOMS), "which-method.md"]


def pages_of(entry):
    """The pages below an entry of the navigation, in order."""
    if isinstance(entry, str):
        return [entry]
    below = entry.values() if isinstance(entry, dict) else entry
    return [page for each in below for page in pages_of(each)]


def test_symptoms_come_first_then_engines_wings_papers_and_the_api():
    home, symptoms, *rest = CONFIG["nav"]
    assert pages_of(home) == ["index.md"]
    assert pages_of(symptoms)[:6] == FRONT
    titles = [title for entry in rest for title in entry]
    order = ["TRL", "verl", "Tinker", "prime-rl", "Your own loop", "Optimisers", "Generative models", "Papers", "API"]
    assert [title for title in titles if title in order] == order


def test_every_page_is_in_the_navigation():
    shown = pages_of(CONFIG["nav"])
    assert len(shown) == len(set(shown))
    # Pages of papers are reached from the tables of methods and verdicts.
    written = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md") if page.parent != DOCS / "papers"}
    assert set(shown) == written


def test_the_front_page_has_the_symptoms_the_picture_and_a_place_for_the_papers():
    front = (DOCS / "index.md").read_text(encoding="utf-8")
    places = [front.index(f"]({page})") for page in FRONT]
    assert places == sorted(places)
    assert front.index("](img/diagnose.svg)") < front.index("## What do you train with?") < front.index("## The papers")


def test_nothing_is_fetched_from_elsewhere():
    assert CONFIG["theme"]["font"] is False
    for sheet in CONFIG["extra_css"]:
        text = (DOCS / sheet).read_text(encoding="utf-8")
        assert "url(" not in text
        assert "@import" not in text
