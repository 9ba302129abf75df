"""Tables as people export and paste them."""

import math

import pytest

from entrokit.runs.shapes.cells import cell_value, uses_decimal_comma
from entrokit.runs.shapes.tables import table_rows
from entrokit.runs.shapes.trackers import is_wandb_summary, tensorboard_tag
from entrokit.runs.training_log import Notes


def read(tmp_path, text, name="run.csv", encoding="utf-8"):
    file = tmp_path / name
    file.write_bytes(text.encode(encoding))
    notes = Notes()
    return list(table_rows(file, notes)), notes.lines()


def fields(tmp_path, text, **how):
    return [dict(row.fields) for row in read(tmp_path, text, **how)[0]]


TWO = [{"step": 1, "reward": 0.25, "entropy": 0.5}, {"step": 2, "reward": 0.5, "entropy": 1.25}]


@pytest.mark.parametrize(
    "text",
    [
        "step,reward,entropy\n1,0.25,0.5\n2,0.5,1.25\n",
        "step;reward;entropy\n1;0,25;0,5\n2;0,5;1,25\n",
        "step\treward\tentropy\n1\t0,25\t0,5\n2\t0,5\t1,25\n",
        'step,reward,entropy\n1,"0,25","0,5"\n2,"0,5","1,25"\n',
        '"step","reward","entropy"\r\n"1","0.25","0.5"\r\n"2","0.5","1.25"\r\n',
        "# my run\n# of Monday\nstep, reward, entropy\n1, 0.25, 0.5\n2, 0.5, 1.25",
        "step | reward | entropy\n-- | -- | --\n1 | 0.25 | 0.5\n2 | 0.5 | 1.25\n",
        "| step | reward | entropy |\n|:-----|-------:|:-------:|\n| 1 | 0.25 | 0.5 |\n| 2 | 50% | 1.25 |\n",
        "+---+--+--+\n| step | reward | entropy |\n+===+==+==+\n| 1 | 0.25 | 0.5 |\n| 2 | 0.5 | 1.25 |\n+---+--+--+\n",
        "┏━━━┳━━┳━━┓\n┃ step ┃ reward ┃ entropy ┃\n┡━━━╇━━╇━━┩\n│ 1 │ 0.25 │ 0.5 │\n│ 2 │ 0.5 │ 1.25 │\n└──┴──┴──┘\n",
        "   step  reward  entropy\n0     1    0.25     0.50\n1     2    0.50     1.25\n",
        "step reward entropy\n1 0.25 0.5\n2 0.5 1.25\n",
        "[2/500 00:10 < 1:20:00]\n\nstep\treward\tentropy\n1\t0.25\t0.5\n2\t0.5\t1.25\n\nWhat is wrong?\n",
        "step,reward,entropy,\n1,0.25,0.5,\n2,0.5,1.25,\n",
    ],
)
def test_a_table_in_many_ways(tmp_path, text):
    assert fields(tmp_path, text) == TWO


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_any_usual_encoding(tmp_path, encoding):
    text = "step;größe;reward\n" + "".join(f"{i};0,{i};{i}\n" for i in range(1, 9))
    assert fields(tmp_path, text, encoding=encoding)[1] == {"step": 2, "größe": 0.2, "reward": 2}


@pytest.mark.parametrize(
    ("cell", "comma", "value"),
    [
        ("0.25", False, 0.25),
        ("0,25", True, 0.25),
        ("1.024,5", True, 1024.5),
        ("1,024", False, 1024),
        ("1,024,000.5", False, 1024000.5),
        ("1 024", False, 1024),
        ("1'024", False, 1024),
        ("12%", False, 0.12),
        ("12,5%", True, 0.125),
        ("−0.5", False, -0.5),
        ("inf", False, math.inf),
        ("", False, None),
        ("N/A", False, None),
        ("True", False, True),
        ("7/200", False, "7/200"),
        ("1,02", False, "1,02"),
        ("9" * 5000, False, math.inf),
    ],
)
def test_cells(cell, comma, value):
    assert cell_value(cell, comma) == value


@pytest.mark.parametrize(
    ("cells", "delimiter", "comma"),
    [
        (["0,3071"], "\t", True),
        (["1,024", "0.5"], ";", False),
        (["1,024"], ";", True),
        (["1,024"], "\t", False),
        (["1.024,5"], "\t", True),
        (["1,024.5"], ",", False),
        (["step"], ";", False),
    ],
)
def test_which_commas_are_decimal(cells, delimiter, comma):
    assert uses_decimal_comma(cells, delimiter) is comma


def test_nan_is_a_value_and_an_empty_cell_is_none(tmp_path):
    rows = fields(tmp_path, "step,kl,loss\n1,nan,\n2,,-inf\n")
    assert math.isnan(rows[0]["kl"])
    assert rows[1] == {"step": 2, "loss": -math.inf}


def test_a_cell_that_is_no_number_is_kept_as_text(tmp_path):
    rows = fields(tmp_path, "step,reward\n1,0.5\n2,0.5x\n3,0.5\n")
    assert rows[1] == {"step": 2, "reward": "0.5x"}


def test_rows_of_other_lengths_are_noted(tmp_path):
    rows, notes = read(tmp_path, "step,reward\n1,0.5\n2\n3,0.5,9\n4,0.5\n")
    assert [row.number for row in rows] == [2, 3, 4, 5]
    assert len(notes) == 2


def test_two_columns_of_one_name_are_noted(tmp_path):
    _, notes = read(tmp_path, "step,reward,reward\n1,0.5,0.25\n")
    assert "two columns are called 'reward'" in notes[0]


def test_tables_below_each_other(tmp_path):
    rows = fields(tmp_path, "step,reward\n1,0.5\n2,0.5\n\nstep,entropy\n1,0.25\n")
    assert rows == [{"step": 1, "reward": 0.5}, {"step": 2, "reward": 0.5}, {"step": 1, "entropy": 0.25}]


def test_a_header_that_is_written_again_is_no_row(tmp_path):
    assert len(fields(tmp_path, "step,reward\n1,0.5\nstep,reward\n1,0.5\n")) == 2


def test_an_unnamed_first_column(tmp_path):
    assert fields(tmp_path, ",step,reward\n0,1,0.5\n")[0] == {"Unnamed: 0": 0, "step": 1, "reward": 0.5}


def test_a_panel_of_wandb_holds_several_runs(tmp_path):
    text = (
        '"Step","a - b - loss","a - b - loss__MIN","a - b - loss__MAX","Group: c - loss","Group: c - loss__MIN"\n'
        '"1","0.5","0.25","0.75","0.125","0"\n"2","NaN","","","",""\n'
    )
    rows, _ = read(tmp_path, text)
    assert [(row.run, row.step, row.number) for row in rows] == [("a - b", 1, 2), ("c", 1, 2), ("a - b", 2, 3)]
    assert rows[0].fields == {"Step": 1, "loss": 0.5}
    assert math.isnan(rows[2].fields["loss"])


def test_a_panel_over_time_has_no_step(tmp_path):
    rows, _ = read(tmp_path, '"Relative Time (Wall)","a - loss"\n"1.5","0.5"\n"3","0.5"\n')
    assert rows[0].step is None


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("run-.-tag-train_entropy.csv", (None, "train_entropy")),
        ("f28-run-.-tag-train_entropy.csv", (None, "train_entropy")),
        ("run-a-b-tag-reward (1).csv", ("a-b", "reward")),
        ("rerun-tags.csv", None),
    ],
)
def test_tensorboards_file_names(name, found):
    assert tensorboard_tag(name) == found


def test_tensorboards_csv_is_named_by_its_file(tmp_path):
    rows, _ = read(tmp_path, "Wall time,Step,Value\n1.7e9,1,0.5\n", name="run-x-tag-train_reward.csv")
    assert (rows[0].run, dict(rows[0].fields)) == ("x", {"Wall time": 1.7e9, "Step": 1, "train_reward": 0.5})


def test_a_long_table_is_pivoted(tmp_path):
    text = "step,metric,value,run\n1,reward,0.5,a\n1,entropy,0.25,a\n1,reward,1,b\n2,reward,0.75,a\n"
    rows, _ = read(tmp_path, text)
    assert [(row.run, row.step, dict(row.fields)) for row in rows] == [
        ("a", 1, {"step": 1, "reward": 0.5, "entropy": 0.25}),
        ("b", 1, {"step": 1, "reward": 1}),
        ("a", 2, {"step": 2, "reward": 0.75}),
    ]


def test_a_column_of_runs_and_a_column_of_seeds_that_are_none(tmp_path):
    runs = "seed,step,reward\n" + "".join(f"{s},{i},0.5\n" for s in (1, 2) for i in range(5))
    assert [row.run for row in read(tmp_path, runs)[0]] == ["1"] * 5 + ["2"] * 5
    each = "seed,step,reward\n" + "".join(f"{100 + i},{i},0.5\n" for i in range(9))
    assert {row.run for row in read(tmp_path, each)[0]} == {None}


@pytest.mark.parametrize(
    "text",
    ["", "\n\n", "one line", "1,2\n3,4\n", "a web, server's line\nanother, one\n", '"never closed\n' * 9, "\x00" * 9],
)
def test_no_table(tmp_path, text):
    rows, notes = read(tmp_path, text)
    assert rows == []
    assert "no table" in notes[0]


def test_a_hundred_thousand_columns(tmp_path):
    text = ",".join(f"n{i}" for i in range(100_000)) + "\n" + ",".join(map(str, range(100_000))) + "\n"
    assert len(read(tmp_path, text)[0][0].fields) == 100_000


def test_a_quote_that_is_never_closed_is_noted_or_read(tmp_path):
    rows, _ = read(tmp_path, 'step,reward\n1,0.5\n2,"0.5\n3,0.5\n')
    assert rows[0].fields == {"step": 1, "reward": 0.5}


def test_wandbs_summary_holds_no_course():
    text = "(main_task pid=8) wandb: Run history:\nwandb: actor/entropy ███▇▁\nwandb: Run summary:\nwandb: x 0.04\n"
    assert is_wandb_summary(text)
    assert not is_wandb_summary("step:1 - actor/entropy:0.5")
