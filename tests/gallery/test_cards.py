"""A card says what the entry and the results say, and what is missing."""

import json
import sys
from dataclasses import replace

import pytest

from entrokit.gallery import cards, chart_of, gathered
from entrokit.gallery.cards import COSTS, VERDICTS, errata
from entrokit.papers import CATALOGUE, Finding, PaperResults, Result, paper
from entrokit.papers.results import MEASURED, load, save
from entrokit.report import Chart, Series


def found(passed, claim="It falls."):
    return Finding(claim, "below 0", "-1", passed, raw={"x": [1.0]})


def result(*findings, charts=(), seeds=(0, 1)):
    return Result("entrokit reproduce", "", "2026-01-01", {}, seeds, 1.0, findings, charts)


def card_of(slug, measured=None, broken=None):
    own = {} if measured is None else {slug: measured}
    (card,) = cards(own, {} if broken is None else {slug: broken}, {slug: paper(slug)})
    return card


def test_every_paper_has_a_card_and_ours_are_measured_with_a_picture(ours):
    assert sorted(card.paper.slug for card in ours) == list(CATALOGUE)
    for card in ours:
        assert card.claims, card.paper.slug
        assert card.chart is not None, card.paper.slug
        assert card.source.endswith(f"/{card.module.replace('.', '/')}.py")
        assert card.verdict in VERDICTS
        assert card.cost in COSTS


def test_numbers_are_those_of_the_files(ours):
    for card in ours:
        experiments = load(MEASURED / f"{card.paper.slug}.json").experiments
        assert len(card.claims) == sum(len(r.findings) for r in experiments.values())
        assert card.held == sum(f.passed for r in experiments.values() for f in r.findings)
        first = next(name for name in card.paper.experiments if name in experiments)
        assert card.claims[0].finding == experiments[first].findings[0]
        assert card.claims[0].seeds == len(experiments[first].seeds)


def test_reinforcement_comes_first_then_diagnosis_then_the_wings(ours):
    wings = list(dict.fromkeys(card.wing for card in ours))
    assert wings[:2] == ["rlvr", "diagnosis"]
    assert wings[2:] == sorted(wings[2:])
    assert len(wings) == len({card.wing for card in ours}), "each wing stands together"


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [((), "not measured"), ((True,), "all hold"), ((True, False), "some failed"), ((False,), "none hold")],
)
def test_a_verdict(verdicts, expected):
    slug = "steer"
    name, _ = paper(slug).experiment()
    measured = PaperResults(slug, {name: result(*map(found, verdicts))} if verdicts else {})
    assert card_of(slug, measured).verdict == expected


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [(0.02, "under a minute"), (1.0, "under a minute"), (1.5, "1 to 10 minutes"), (60, "10 minutes to an hour"),
     (61, "over an hour")],
)  # fmt: skip
def test_a_cost(minutes, expected):
    assert replace(card_of("steer"), minutes=minutes).cost == expected


def test_engines_are_those_that_carry_a_recipe_of_the_paper():
    assert card_of("entropy-mechanism").engines[:2] == ("trl", "verl")
    assert card_of("mec-b").engines == ("your own loop",)


def test_a_plug_in_s_broken_recipe_costs_its_card_nothing_but_its_engines():
    entry = replace(paper("steer"), recipes=("grpo+no-such-method",))
    (card,) = cards({}, papers={"steer": entry})
    assert card.engines == ("your own loop",)
    assert card.missing[0] == "No engine carries its recipe 'grpo+no-such-method'."


def test_a_stranger_s_method_may_raise_anything(monkeypatch):
    def raises(spec):
        raise KeyError(spec)

    monkeypatch.setattr(sys.modules[cards.__module__], "recipe", raises)
    (card,) = cards({}, papers={"steer": replace(paper("steer"), recipes=("grpo+raises-anything",))})
    assert card.engines == ("your own loop",)


def test_what_is_missing_is_said():
    steer = paper("steer")
    first, *others = steer.experiments
    bare = card_of("steer")
    assert [s.split(".")[0] for s in bare.missing] == [f"Not measured: {name}" for name in steer.experiments]
    assert f"entrokit reproduce steer --experiment {first}" in bare.missing[0]
    some = card_of("steer", PaperResults("steer", {first: result(found(True)), "gone": result(found(True))}))
    assert [s for s in some.missing if s.startswith("Not measured")] == list(bare.missing[1:])
    assert "No picture was drawn." in some.missing
    assert some.missing[-1] == "Measured by another version, and no experiment of this one: gone."
    assert others


def test_a_chart_is_the_first_of_the_entry_s_order():
    steer = paper("steer")
    a, b = list(steer.experiments)[:2]
    one, two = (Chart(title, "x", "y", (Series("s", [1], [2]),)) for title in ("one", "two"))
    measured = PaperResults("steer", {b: result(found(True), charts=(two,)), a: result(found(True), charts=(one, two))})
    assert chart_of(steer, measured) == one
    assert chart_of(steer, None) is None


def test_a_result_of_another_version_is_said_on_its_card(tmp_path):
    (tmp_path / "steer.json").write_text(json.dumps({"format": 99, "slug": "steer"}))
    measured, broken = gathered(tmp_path)
    card = card_of("steer", measured.get("steer"), broken["steer"])
    assert card.verdict == "not measured"
    assert card.missing[0].startswith("Its results could not be read: ")
    assert "of format 99, and this version reads 1" in card.missing[0]


def test_of_one_experiment_the_last_folder_s_result_stands(tmp_path):
    old = PaperResults("steer", {"a": result(found(True)), "b": result(found(True))})
    new = PaperResults("steer", {"b": result(found(False))})
    save(old, tmp_path / "old")
    save(new, tmp_path / "new")
    measured, broken = gathered(tmp_path / "old", tmp_path / "new")
    assert broken == {}
    assert [r.passed for r in measured["steer"].experiments.values()] == [True, False]


def test_what_cannot_be_read_is_told_of_every_folder(tmp_path):
    for name in ("steer", "clip-low"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.json").write_text("{")
    assert list(gathered(tmp_path / "steer", tmp_path / "clip-low")[1]) == ["steer", "clip-low"]


def test_titles_are_in_order_whatever_their_case():
    titles = ["a", "B", "c", "D"]
    papers = {t.lower(): replace(paper("steer"), slug=t.lower(), title=t) for t in reversed(titles)}
    assert [card.paper.title for card in cards({}, papers=papers)] == titles


def test_minutes_are_those_of_the_first_experiment(ours):
    for card in ours:
        assert card.minutes == card.paper.experiment()[1].minutes


def test_errata_name_papers_of_the_catalogue():
    known = {entry.arxiv for entry in CATALOGUE.values()}
    assert set(errata()) <= known
    for sentences in errata().values():
        for sentence in sentences:
            assert sentence == sentence.strip()
            assert "**" not in sentence
            assert "](" not in sentence
