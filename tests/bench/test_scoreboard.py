"""The scoreboard: who is on it, that it goes on where it was, and what its table and picture say."""

import importlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from entrokit.bench import scoreboard
from entrokit.bench.benches import finished
from entrokit.bench.contestants import BASELINE, Contestant, contestants, not_ranked
from entrokit.bench.scoreboard import Score, Scoreboard, pocket_scoreboard, recipes_of, tabular_scoreboard
from entrokit.bench.tabular import TabularSettings
from entrokit.report.scoreboard import markdown, not_shown, picture, standings, write_scoreboard
from entrokit.rlvr import INTERVENTIONS, PRESETS, recipe
from entrokit.rlvr.tasks.instructions import InstructionDemonstrations
from entrokit.testing.intervention_trial import expect_finite
from entrokit.training import models, session
from entrokit.training.pocket import PocketConfig
from entrokit.training.settings import TrainSettings

from ..rlvr.cases import batch, built, perturbed, step

SMALL = TabularSettings(states=8, actions=6, right=2, samples=4, steps=4)


@pytest.fixture
def few(monkeypatch):
    chosen = (Contestant(BASELINE, BASELINE), Contestant("steer", "grpo+steer", "grpo+steer(min_weight=0.1)"))
    for user in ("entrokit.bench.scoreboard", "entrokit.report.scoreboard"):
        monkeypatch.setattr(f"{user}.contestants", lambda: chosen)
    return chosen


def test_every_intervention_is_on_it_or_says_why_not():
    shown = {i.name for c in contestants() for i in recipe(c.default).interventions}
    assert shown | (set(not_ranked()) - set(PRESETS)) == set(INTERVENTIONS)
    assert not shown & set(not_ranked())
    for bench in ("tabular", "pocket"):
        assert len(set(recipes_of(bench))) == len(recipes_of(bench))
        assert len(not_shown(bench)) == sum(bench in c.impossible_on for c in contestants()) + len(not_ranked())
    assert recipes_of("pocket")[0] == BASELINE


@pytest.mark.parametrize("spec", recipes_of("tabular"))
def test_the_tabular_bench_can_show_what_it_is_said_to(spec):
    score = scoreboard.tabular_score(spec, 0, TabularSettings(states=8, actions=6, right=2, samples=4, steps=2))
    assert 0 < score.accuracy < 1
    assert 0 <= score.coverage_kept <= 1 or score.coverage_kept != score.coverage_kept


def test_what_it_cannot_show_is_refused_by_the_bench_itself():
    for contestant in contestants():
        if "tabular" in contestant.impossible_on and contestant.name != "aepo-reward":
            with pytest.raises(ValueError, match=r"tabular bench|log-probabilities|marker"):
                scoreboard.tabular_score(contestant.default, 0, SMALL)


def test_a_stopped_one_goes_on_and_measures_nothing_twice(few, tmp_path, monkeypatch):
    left = iter([False, False, True, True, True, True])
    first = tabular_scoreboard(range(2), tmp_path, lambda: next(left), SMALL)
    assert not first.complete
    assert len(first.scores) == 2
    trained = []
    original = scoreboard.tabular_score
    monkeypatch.setattr(scoreboard, "tabular_score", lambda *a: trained.append(a[:2]) or original(*a))
    second = tabular_scoreboard(range(2), tmp_path, lambda: False, SMALL)
    assert second.complete
    assert len(trained) == 4
    assert set(first.scores) < set(second.scores)
    assert Scoreboard.load(tmp_path / "tabular.json") == second
    with pytest.raises(ValueError, match="another protocol"):
        tabular_scoreboard(range(2), tmp_path, lambda: False, TabularSettings(steps=3))


@pytest.mark.parametrize("kept", [0, 20])
def test_a_score_that_was_cut_off_spoils_none_after_it(kept, few, tmp_path):
    """A kill inside a line, or right after the file was made: the rest goes on, and can be read again."""
    whole = tabular_scoreboard(range(1), tmp_path, lambda: False, SMALL)
    file = tmp_path / "tabular.jsonl"
    file.write_bytes(file.read_bytes()[:-kept] if kept else b"")
    for _ in range(2):
        again = tabular_scoreboard(range(1), tmp_path, lambda: False, SMALL)
        assert [s.accuracy for s in again.scores] == [s.accuracy for s in whole.scores]
    assert len(file.read_text().splitlines()) == 1 + len(whole.scores)


def test_a_run_that_was_cut_off_before_its_config_is_not_finished(tmp_path):
    assert not finished(TrainSettings("grpo", str(tmp_path)))


def test_fewer_seeds_later_lose_nothing(few, tmp_path):
    whole = tabular_scoreboard(range(3), tmp_path, lambda: False, SMALL)
    assert len(tabular_scoreboard(range(2), tmp_path, lambda: False, SMALL).scores) == 6
    # Times are measured: equal ones are the old ones.
    assert tabular_scoreboard(range(3), tmp_path, lambda: False, SMALL) == whole


@pytest.fixture
def small_pocket(monkeypatch, tmp_path):
    """A pocket policy of seconds that solves some prompts, few of them to evaluate, and no new process for a pool.

    Gives the names of the runs that are trained, in order. That a pool's processes train is tested in
    test_pocket_bench.py.
    """
    # `entrokit.bench.compare` is also a function, which hides the module.
    pool = importlib.import_module("entrokit.bench.compare")
    sure = InstructionDemonstrations(right=1.0)
    tiny, trained = PocketConfig(width=32, layers=1, heads=2, demonstrations=sure, steps=150), []
    monkeypatch.setenv("ENTROKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(models, "pocket_config", lambda task: tiny)
    monkeypatch.setattr(pool, "ProcessPoolExecutor", lambda workers, **_: ThreadPoolExecutor(workers))

    def listed(settings):
        trained.append(Path(settings.out).name)
        return session.train(settings)

    monkeypatch.setattr(pool, "train", listed)
    return trained


def test_pocket_runs_are_kept_and_a_run_that_was_cut_off_is_trained_anew(
    few, small_pocket, tmp_path, monkeypatch, caplog
):
    settings = TrainSettings("grpo", "", task="instructions", steps=4, prompts=4, completions=16, evaluation_prompts=8)
    monkeypatch.setattr(scoreboard, "LEVELS", {"pocket": 0.0})
    board = pocket_scoreboard([0], tmp_path, lambda: False, settings, jobs=1)
    assert board.complete
    score = board.of(BASELINE)[0]
    assert 0 <= score.coverage_kept <= 1
    assert score.entropy_start > 0
    assert score.tokens > 1
    assert score.seconds > 0
    kept, cut = tmp_path / "pocket" / "grpo-seed0", tmp_path / "pocket" / "grpo+steer-seed0"
    assert small_pocket == [kept.name, cut.name, "grpo+steer_min_weight=0.1-seed0"]
    before, whole = (kept / "metrics.jsonl").read_bytes(), (cut / "metrics.jsonl").read_text().splitlines()
    (cut / "metrics.jsonl").write_text("\n".join(whole[:-1]) + "\n")
    shutil.rmtree(cut / "checkpoint")
    small_pocket.clear()
    again = pocket_scoreboard([0], tmp_path, lambda: False, settings, jobs=1)
    assert "grpo+steer-seed0 was cut off and is trained anew" in caplog.text
    assert small_pocket == [cut.name]
    assert again.complete
    assert (kept / "metrics.jsonl").read_bytes() == before
    assert len((cut / "metrics.jsonl").read_text().splitlines()) == len(whole)
    assert (cut / "checkpoint").exists()
    with pytest.raises(ValueError, match="choose another folder"):
        pocket_scoreboard([0], tmp_path, lambda: False, replace(settings, steps=8), jobs=1)
    assert small_pocket == [cut.name]


@pytest.mark.parametrize("spec", recipes_of("pocket"))
def test_every_contestant_of_the_pocket_bench_has_a_step_to_take(spec):
    """At its own knobs; that every method takes steps at the examples of its card, also under TRL: tests/testing."""
    rollouts = batch()
    taken = step(built(spec), rollouts, perturbed(rollouts))
    expect_finite(taken)
    assert any(gradient.any() for gradient in taken.gradient.values())


def score(spec, seed, accuracy, entropy_end, matched=1.0, **other):
    fields = {"pass_at_k": 0.9, "entropy_start": 2.0, "coverage_kept": 1.0, "seconds": 1.0, "tokens": 1.0}
    return Score(
        recipe=spec, seed=seed, accuracy=accuracy, entropy_end=entropy_end, entropy_matched=matched, **fields | other
    )


def board_of(*rows, seeds=(0, 1)):
    return Scoreboard("tabular", {}, seeds, tuple(score(*row) for row in rows))


def test_standings_compare_in_pairs_and_mark_the_front(few, tmp_path):
    board = board_of(
        (BASELINE, 0, 0.5, 1.0),
        (BASELINE, 1, 0.6, 1.0),
        ("grpo+steer", 0, 0.4, 0.9),
        ("grpo+steer", 1, 0.5, 0.9, None),
        ("grpo+steer(min_weight=0.1)", 0, 0.52, 1.2),
        ("grpo+steer(min_weight=0.1)", 1, 0.62, 1.2),
    )
    base, worse, better = standings(board)
    assert (base.front, worse.front, better.front) == (False, False, True)
    assert better.accuracy_gap.mean == pytest.approx(0.02)
    assert better.accuracy_gap.low == pytest.approx(0.02)
    assert better.entropy_kept == pytest.approx(0.6)
    assert worse.matched_gap is None
    assert base.accuracy_gap is None
    assert better.tuned
    assert not worse.tuned
    table = markdown(board).splitlines()
    assert table[2].startswith("| `grpo+steer(min_weight=0.1)` ◆ | 0.570 | **+0.020")
    assert "not reached" in table[4]
    chart = picture(board)
    assert [len(s.x) for s in chart.series] == [1, 1, 1, 1]
    page = write_scoreboard([board], tmp_path).read_text()
    assert "Pareto front" in page
    assert (tmp_path / "tabular.md").read_text() == markdown(board)


def test_bold_rests_on_student_s_interval_and_brackets_say_what_they_hold(few):
    def board(*gaps):
        base = [(BASELINE, seed, 0.5, 1.0) for seed in range(len(gaps))]
        own = [("grpo+steer", seed, 0.5 + gap, 1.0) for seed, gap in enumerate(gaps)]
        return board_of(*base, *own, seeds=range(len(gaps)))

    head, _, *rows = markdown(board(0.01, 0.02, 0.03)).splitlines()
    assert head.count("minus grpo [range of 3 seeds]") == 3
    assert "| 0.520 | +0.020 [+0.010, +0.030] |" in rows[0]
    assert "| **+0.020 [+0.018, +0.022]** |" in markdown(board(0.018, 0.02, 0.022))
    table = markdown(board(0.01, 0.02, 0.03, 0.02))
    assert table.count("minus grpo [95 % Student interval]") == 3
    assert "| **+0.020 [+0.007, +0.033]** |" in table
    assert "| minus grpo | pass@16 | minus grpo |" in markdown(board(0.01))


def test_an_incomplete_recipe_is_left_out_and_the_baseline_must_be_there(few):
    partial = board_of((BASELINE, 0, 0.5, 1.0), (BASELINE, 1, 0.6, 1.0), ("grpo+steer", 0, 0.4, 0.9))
    assert [s.recipe for s in standings(partial)] == [BASELINE]
    with pytest.raises(ValueError, match="has 1 of 2 runs"):
        standings(board_of((BASELINE, 0, 0.5, 1.0)))


def test_other_files_are_refused_by_name(tmp_path):
    for text in ("{", json.dumps({"bench": "tabular"}), json.dumps([1])):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(ValueError, match=r"x\.json is no scoreboard"):
            Scoreboard.load(tmp_path / "x.json")
