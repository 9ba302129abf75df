"""Shapes that the public cases taught: side-by-side tables, lines that are printed twice, rows of evaluations."""

import json

import pytest

from entrokit.runs import read_log
from entrokit.runs.shapes.boxes import Boxes

GRID = (
    "╒═══╤═══╤═══╤═══╕\n"
    "│ ppo_actor/task_reward/avg │ {reward} │ ppo_actor/no_eos_ratios/avg │ 1.0000e-01 │\n"
    "├───┼───┼───┼───┤\n"
    "│ ppo_actor/update/entropy/avg │ 4.0000e-01 │ │ │\n"
    "╘═══╧═══╧═══╧═══╛\n"
)


def rewards(tmp_path, text):
    (tmp_path / "train.log").write_text(text, encoding="utf-8")
    series = read_log(tmp_path / "train.log").series["reward"]
    return list(zip(series.steps.tolist(), series.values.tolist(), strict=True))


def test_a_table_has_the_step_that_stands_above_it(tmp_path):
    text = "".join(
        f"Epoch 1/2 Step {i}/9 Train step {10 * i}/90 done.\n" + GRID.format(reward=f"{i}.0") for i in (1, 2)
    )
    assert rewards(tmp_path, text) == [(10, 1), (20, 2)]


def test_a_table_has_the_step_that_stands_below_it(tmp_path):
    text = "".join(GRID.format(reward=f"{i}.0") + f"Epoch 1/1 step {i}/9 (global step {i}) finishes.\n" for i in (3, 4))
    assert rewards(tmp_path, text) == [(3, 3), (4, 4)]


def test_tables_without_a_step_are_counted(tmp_path):
    assert rewards(tmp_path, "".join(GRID.format(reward=f"{i}.0") for i in (5, 6, 7))) == [(0, 5), (1, 6), (2, 7)]


def test_two_tables_of_one_step_are_one_row(tmp_path):
    other = GRID.replace("task_reward", "final_reward").replace("no_eos", "eos").format(reward="9.0")
    other = other.replace("update/entropy", "update/loss")
    text = "".join(GRID.format(reward=f"{i}.0") + other + f"(global step {i}) finishes.\n" for i in (1, 2, 3))
    assert rewards(tmp_path, text) == [(1, 1), (2, 2), (3, 3)]


def test_a_table_that_is_cut_off_says_nothing():
    boxes = Boxes()
    lines = GRID.format(reward="1.0").splitlines()[:-1]
    assert [boxes.row(line, n) for n, line in enumerate(lines)] == [None] * len(lines)
    assert boxes.rest() is None


def test_what_a_line_repeats_and_adds_to_counts_once_and_what_it_changes_counts_twice(tmp_path):
    short, whole = "{{'loss': {}, 'lr': 1e-05}}\n", "{{'loss': {}, 'grad_norm': 0.5, 'lr': 1.0003e-05}}\n"
    (tmp_path / "a.log").write_text("".join(short.format(i) + whole.format(i) for i in range(1, 6)))
    (tmp_path / "b.log").write_text("".join(short.format(i) + whole.format(i + 0.5) for i in range(1, 6)))
    assert [len(read_log(tmp_path / name).series["loss"]) for name in ("a.log", "b.log")] == [5, 10]


def test_an_evaluation_at_a_step_does_not_overwrite_that_step(tmp_path):
    rows = [{"step": i, "reward": 0.5, "completions/mean_length": 100.0} for i in range(1, 12)]
    rows.insert(5, {"step": 5, "eval_runtime": 6.0, "eval_reward": 0.25, "completions/mean_length": 7.0})
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    series = read_log(tmp_path / "log.jsonl").series
    assert set(series["length"].values.tolist()) == {100.0}
    assert series["validation"].values.tolist() == [0.25]


@pytest.mark.parametrize("run", [".", "verl"])
def test_tags_in_the_names_of_files_have_lost_their_slashes(tmp_path, run):
    for tag, value in (("actor_entropy", 0.4), ("critic_score_mean", 0.5)):
        rows = "".join(f"{1.7e9 + i},{i},{value}\n" for i in range(12))
        (tmp_path / f"run-{run}-tag-{tag}.csv").write_text("Wall time,Step,Value\n" + rows)
    assert {"entropy", "reward"} <= set(read_log(tmp_path).series)
