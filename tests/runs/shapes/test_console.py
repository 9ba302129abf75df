"""A console as a file: broken lines, overwritten lines, dicts and tables over several lines."""

import math
import random

import pytest

from entrokit.runs.shapes.console import console_rows
from entrokit.runs.training_log import Notes


def read(tmp_path, text, **how):
    file = tmp_path / "train.log"
    if isinstance(text, bytes):
        file.write_bytes(text)
    else:
        file.write_bytes(text.encode(**how))
    notes = Notes()
    return list(console_rows(file, notes)), notes.lines()


def verl(steps, seed=0):
    r = random.Random(seed)
    names = ["actor/entropy", "actor/pg_loss", "critic/score/mean", "critic/rewards/mean", "response_length/clip_ratio"]
    values = [{name: r.choice([r.random(), 0.5, 1e-06 * r.random(), math.nan]) for name in names} for _ in range(steps)]
    lines = [
        f"(TaskRunner pid=11) step:{i} - " + " - ".join(f"{n}:{v}" for n, v in row.items())
        for i, row in enumerate(values, 1)
    ]
    return values, lines


def broken(lines, width, strip=False):
    pieces = [line[i : i + width] for line in lines for i in range(0, len(line), width)]
    return "\n".join(p.rstrip() if strip else p for p in pieces) + "\n"


def same(rows, values):
    return [{k: str(v) for k, v in row.fields.items()} for row in rows] == [
        {k: str(float(v)) for k, v in row.items()} for row in values
    ]


@pytest.mark.parametrize("width", [60, 79, 80, 100, 120, 121, 132, 200])
@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_lines_that_a_terminal_broke_are_whole_again(tmp_path, width, strip, seed):
    values, lines = verl(40, seed)
    rows, notes = read(tmp_path, broken(lines, width, strip))
    assert [row.step for row in rows] == list(range(1, 41))
    assert same(rows, values)
    assert f"broken at {width}" in notes[0]


def test_dicts_that_a_terminal_broke_are_whole_again(tmp_path):
    lines = [
        repr({"loss": i / 7, "completions/mean_length": i / 3, "reward": i / 9, "epoch": i / 11}) for i in range(20)
    ]
    rows, _ = read(tmp_path, broken(lines, 50))
    assert [row.fields["reward"] for row in rows] == [i / 9 for i in range(20)]
    assert all(len(row.fields) == 4 for row in rows)


def test_foreign_lines_between_broken_ones_stay_foreign(tmp_path):
    values, lines = verl(30)
    lines = [piece for line in lines for piece in (line, "(WorkerDict pid=1) saved", "done", "")]
    rows, _ = read(tmp_path, broken(lines, 120))
    assert same(rows, values)


@pytest.mark.parametrize("between", [[], ["-----"], ["Done"], ["", ""], ["(WorkerDict pid=1) step took 3 s"]])
def test_a_log_of_equally_long_lines_is_not_broken(tmp_path, between):
    lines = [
        f"step:{i} - actor/entropy:0.{i}00 - critic/score/mean:0.{i}11 - length/mean:{i}.000" for i in range(10, 99)
    ]
    rows, notes = read(tmp_path, "\n".join(piece for line in lines for piece in (line, *between)) + "\n")
    assert [row.fields["length/mean"] for row in rows] == list(range(10, 99))
    assert not notes


def test_lines_cut_at_a_width_lose_their_last_field_only(tmp_path):
    values, lines = verl(40)
    rows, notes = read(tmp_path, "\n".join(line[:100] for line in lines) + "\n")
    assert [
        row.fields["actor/entropy"] for row in rows if row.fields["actor/entropy"] == row.fields["actor/entropy"]
    ] == [v["actor/entropy"] for v in values if not math.isnan(v["actor/entropy"])]
    for row, expected in zip(rows, values, strict=True):
        assert all(str(v) == str(expected[k]) for k, v in row.fields.items())
    assert "cut off at 100 characters" in notes[0]


@pytest.mark.parametrize(("cut", "fields"), [(0, 5), (1, 5), (22, 4)])
def test_a_file_that_ends_within_a_line(tmp_path, cut, fields):
    _, lines = verl(5)
    lines[-1] = lines[-1].rpartition(":")[0] + ":0.25"
    text = "\n".join(lines)
    rows, _ = read(tmp_path, text[: len(text) - cut])
    assert len(rows) == 5
    assert len(rows[-1].fields) == fields


def test_a_field_cut_off_where_the_file_ends_is_left_out_and_noted(tmp_path):
    rows, notes = read(tmp_path, "step:1 - a:1 - bb:2.5 - c:3\nstep:2 - a:1 - bb:2.5 - c:3\nstep:3 - a:1 - bb:2")
    assert rows[-1].fields == {"a": 1}
    assert "ends half-way" in notes[0]


def test_what_a_progress_bar_overwrote_is_read_piece_by_piece(tmp_path):
    bars = "\r".join(f"train: {i}%|x| {i}/9 [00:01<00:09, 1.0it/s, loss=0.{i}]" for i in range(1, 10))
    rows, _ = read(tmp_path, bars + "\r\n{'loss': 0.5, 'epoch': 1.0}\r\n")
    assert [row.step for row in rows] == [*range(1, 10), None]
    assert rows[-1].fields == {"loss": 0.5, "epoch": 1.0}
    assert {row.number for row in rows} == {1, 2}


def test_a_dict_over_several_lines(tmp_path):
    text = "start\nstep 4: {\n  'loss': 0.5,\n  'actor': {\n    'entropy': nan\n  }\n}\n"
    text += "{'a': 1.0,\n 'b': 2.0}\nend {\nof it\n"
    rows, _ = read(tmp_path, text)
    assert [(row.number, row.step) for row in rows] == [(2, 4), (8, None)]
    assert math.isnan(rows[0].fields["actor/entropy"])
    assert rows[1].fields == {"a": 1, "b": 2}


def test_lines_below_a_brace_that_is_never_closed_count_for_themselves(tmp_path):
    text = "configs = {\n'a': {'loss': 0.5, 'b': 1.0},\n"
    text += "'c': {'loss': 0.25, 'b': 1.0},\nfor x in configs:\n  {\n'd': {'e': 1.5},"
    rows, _ = read(tmp_path, text)
    assert [(row.number, dict(row.fields)) for row in rows] == [
        (2, {"loss": 0.5, "b": 1}),
        (3, {"loss": 0.25, "b": 1}),
        (6, {"e": 1.5}),
    ]


def test_a_list_in_a_dict_is_left_out_and_noted(tmp_path):
    rows, notes = read(tmp_path, "{'loss': 0.5, 'lengths': [1, 2], 'one': [3]}\n" * 2)
    assert rows[0].fields == {"loss": 0.5, "one": 3}
    assert "'lengths' holds a list" in notes[0]
    assert len(notes) == 1


def test_nemo_rl_prints_bullets_under_a_heading(tmp_path):
    text = (
        "========================= Step 3/100 =========================\n📊 Training Results:\n  • Loss: 0.5000\n"
        "  • Avg Reward: 0.2500\n  • Total step time: 12.50s\n\n📊 Validation Results:\n    • Accuracy: 0.7500\n"
    )
    rows, _ = read(tmp_path, text)
    assert {row.step for row in rows} == {3}
    assert {k: v for row in rows for k, v in row.fields.items()} == {
        "Loss": 0.5,
        "Avg Reward": 0.25,
        "Total step time": 12.5,
        "validation/Accuracy": 0.75,
    }


def test_open_instruct_prints_a_panel(tmp_path):
    panel = (
        "╭────────────────── Metrics ──────────────────╮\n"
        "│  objective  kl_avg: 0.25 |                  │\n"
        "│             scores: 5.50                    │\n"
        "│  other      training_step: 7 | lr: 1.00e-06 │\n"
        "╰─────────────────────────────────────────────╯\n"
    )
    rows, _ = read(tmp_path, panel)
    assert [dict(row.fields) for row in rows] == [
        {"objective/kl_avg": 0.25, "objective/scores": 5.5, "training_step": 7, "lr": 1e-06}
    ]


def test_tinker_prints_a_table_under_its_step(tmp_path):
    table = (
        "            Step 4\n┏━━━━━━┳━━━━━┓\n┃ Metric ┃ Value ┃\n┡━━━━╇━━━━━┩\n"
        "│ env/all/reward/total │ 0.500000 │\n└──────┴─────┘\n"
    )
    rows, _ = read(tmp_path, table)
    assert [(row.step, dict(row.fields)) for row in rows] == [(4, {"env/all/reward/total": 0.5})]


def test_prime_rl_prints_a_line_an_environment_below_the_step(tmp_path):
    text = "10:00 SUCCESS Step 3 | 12s | Reward 0.5 | Truncation 3.0%\n\t\t ╰─ math | Ratio 50.0% | Reward 0.25\n"
    rows, _ = read(tmp_path, text)
    assert rows[1].step == 3
    assert rows[1].fields == {"Ratio/math": 0.5, "Reward/math": 0.25}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_any_usual_encoding(tmp_path, encoding, end):
    text = end.join(["Schlüssel geprüft", *(f"step:{i} - reward:0.{i} - größe:{i}" for i in range(1, 9))]) + end
    rows, _ = read(tmp_path, text, encoding=encoding)
    assert [row.fields for row in rows] == [{"reward": i / 10, "größe": i} for i in range(1, 9)]


def test_nul_bytes_and_mixed_encodings(tmp_path):
    text = b"step:1 - a:1\n" + b"\x00" * 100 + b"step:2 - a:2\n\xff\xe9step:\n" + "größe\n".encode() + b"step:3 - a:3\n"
    rows, notes = read(tmp_path, text)
    assert [row.fields["a"] for row in rows] == [1, 2, 3]
    assert any("NUL" in note for note in notes)
    assert any("cp1252" in note for note in notes)


def test_a_line_over_the_limit_is_left_out_and_lines_are_counted_on(tmp_path, monkeypatch):
    monkeypatch.setattr("entrokit.runs.shapes.text.LONGEST_LINE", 1 << 20)
    rows, notes = read(tmp_path, b"step:1 - a:1\n" + b"x" * (5 << 20) + b"\nstep:2 - a:2\n")
    assert [(row.number, row.step) for row in rows] == [(1, 1), (3, 2)]
    assert "longer than" in notes[0]


def test_a_hundred_thousand_fields_in_a_line(tmp_path):
    rows, _ = read(tmp_path, "step:1 - " + " - ".join(f"n{i}:{i}" for i in range(100_000)) + "\n")
    assert len(rows[0].fields) == 100_000
