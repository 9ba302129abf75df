"""Scores are data, a file a method: what the tables show of them, and what is said where one is missing or broken."""

import json
import shutil

import pytest

from entrokit.bench.contestants import contestants
from entrokit.bench.measured import load_scores, not_measured, save_scores
from entrokit.report.scoreboard import markdown, not_shown

from ..plugin import ROOT

SCORES = ROOT / "results" / "scoreboard"
SEEDS = {"tabular": 8, "pocket": 3}


@pytest.mark.parametrize("bench", SEEDS)
def test_the_board_in_the_repository_can_be_read_and_has_enough_seeds(bench):
    board = load_scores(SCORES, bench)
    assert len(board.seeds) >= SEEDS[bench]
    assert {s.recipe for s in board.scores} <= {r for c in contestants() for r in c.recipes}
    table = markdown(board)
    assert table.count("\n") > 30
    assert all("|" not in line for line in not_shown(bench))


def test_a_method_without_a_file_is_not_measured_and_asks_for_no_run_of_another(tmp_path):
    shutil.copytree(SCORES, tmp_path / "scores")
    (tmp_path / "scores" / "steer.json").unlink()
    board = load_scores(tmp_path / "scores", "tabular")
    steer = next(c for c in contestants() if c.name == "steer")
    assert set(not_measured(board)) >= set(steer.recipes)
    assert "`grpo+steer`" not in markdown(board)
    assert not set(not_measured(load_scores(SCORES, "tabular"))) & set(steer.recipes)


def test_saving_one_bench_keeps_the_other_and_round_trips(tmp_path):
    boards = {bench: load_scores(SCORES, bench) for bench in SEEDS}
    for board in boards.values():
        save_scores(board, tmp_path)
    for bench, board in boards.items():
        again = load_scores(tmp_path, bench)
        assert set(again.scores) == set(board.scores)
        assert (again.protocol, again.seeds) == (board.protocol, board.seeds)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:100], r"steer\.json: cut off or no JSON"),
        (
            lambda text: text.replace('"format": 1', '"format": 7'),
            r"steer\.json: of format 7, and this",
        ),
        (lambda text: json.dumps([1]), r"steer\.json: of format None"),
        (lambda text: text.replace('"accuracy"', '"precision"'), r"steer\.json: no scores of the tabular bench"),
        (
            lambda text: text.replace('"steps": 20', '"steps": 30'),
            r"steer\.json: its protocol or seeds .* differ",
        ),
        (lambda text: text.replace('"seeds": [\n    0,', '"seeds": [\n    9,'), "its protocol or seeds .* differ"),
    ],
)
def test_a_broken_file_is_named(tmp_path, change, message):
    shutil.copytree(SCORES, tmp_path / "scores")
    file = tmp_path / "scores" / "steer.json"
    file.write_text(change(file.read_text()))
    with pytest.raises(ValueError, match=message):
        load_scores(tmp_path / "scores", "tabular")


def test_a_folder_without_scores_says_so(tmp_path):
    with pytest.raises(ValueError, match="holds no scores of the pocket bench"):
        load_scores(tmp_path, "pocket")
