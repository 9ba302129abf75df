"""What lies together in a folder or a file: one run or several, and which of them is judged."""

import json
import os

import pytest

from entrokit.runs import RunReadError, found, read_log, read_logs
from entrokit.runs.shapes.sniff import rows_of

from .cases import jsonl, write

STEPS = range(1, 31)


def console(scale=1.0, steps=STEPS):
    """verl's console; numbers rounded to three digits."""
    return "".join(
        f"(TaskRunner pid=7) step:{s} - actor/entropy:{scale * (1.5 - s / 60):.3g} - critic/score/mean:{s / 97:.3g} - "
        f"actor/pg_loss:{s / 71:.3g} - actor/grad_norm:0.5\n"
        for s in steps
    )


def file_log(scale=1.0, steps=STEPS):
    """verl's file logger, numbers whole."""
    return [
        {
            "step": s,
            "data": {"actor/entropy": scale * (1.5 - s / 60), "critic/score/mean": s / 97, "actor/pg_loss": s / 71},
        }
        for s in steps
    ]


def csv(scale=1.0, steps=STEPS):
    return "step,reward,entropy\n" + "".join(f"{s},{s / 97},{scale * (1.5 - s / 60)}\n" for s in steps)


def sizes(logs):
    return [len(log.series["entropy"]) for log in logs]


def test_a_console_log_and_the_file_log_beside_it_are_one_run(tmp_path):
    write(tmp_path / "train.log", console())
    jsonl(tmp_path / "exp.jsonl", file_log())
    (log,) = read_logs(tmp_path)
    assert (log.source, log.engine, log.run) == ("verl, console log and JSON lines", "verl", None)
    assert log.notes.lines() == []
    assert sizes([log]) == [30]


@pytest.mark.parametrize(("scale", "sizes_then"), [(1.0, [32]), (1.0 + 1e-9, [32, 2])])
def test_a_run_that_was_resumed_for_two_steps_is_one_with_its_file_log(tmp_path, scale, sizes_then):
    """verl's console and file log print every digit; the file log of the first start was written over."""

    def line(s, of=1.0):
        return {"actor/entropy": of * (1.5 - s / 61), "critic/score/mean": s / 97, "actor/pg_loss": s / 71}

    def said(steps):
        rows = (" - ".join([f"step:{s}", *(f"{k}:{v!r}" for k, v in line(s).items())]) for s in steps)
        return "".join(f"(TaskRunner pid=7) {row}\n" for row in rows)

    write(tmp_path / "killed.log", said(range(1, 31)))
    write(tmp_path / "resumed.log", said([31, 32]))
    jsonl(tmp_path / "exp.jsonl", [{"step": s, "data": line(s, scale)} for s in (31, 32)])
    assert sizes(read_logs(tmp_path)) == sizes_then


def test_the_source_names_the_engine_where_it_is_known(tmp_path):
    assert read_log(write(tmp_path / "t.log", console())).source == "verl, console log"
    assert read_log(write(tmp_path / "t.csv", csv())).source == "table"
    state = {"log_history": [{"step": s, "entropy": 0.5, "completions/mean_length": 3.0, "reward": 0.1} for s in STEPS]}
    assert read_log(write(tmp_path / "trainer_state.json", json.dumps(state))).source == "TRL run"


def test_a_log_that_was_written_twice_is_one_run(tmp_path):
    for name, text in (("c.log", console() * 2), ("t.csv", csv() + csv())):
        (log,) = read_logs(write(tmp_path / name, text))
        assert sizes([log]) == [30]


def test_two_experiments_beside_each_other_are_two_runs(tmp_path):
    write(tmp_path / "a.csv", csv())
    write(tmp_path / "b.csv", csv(0.5, range(1, 21)))
    logs = read_logs(tmp_path)
    assert sizes(logs) == [30, 20]
    assert [log.run.partition(" ")[0] for log in logs] == ["a.csv", "b.csv"]


def test_a_restart_inside_a_log_is_two_runs_and_the_later_is_judged(tmp_path):
    logs = read_logs(write(tmp_path / "t.log", console() + console(0.5, range(1, 16))))
    assert sizes(logs) == [15, 30]
    assert [log.run for log in logs] == ["t.log (run 2, steps 1 to 15)", "t.log (run 1, steps 1 to 30)"]


def test_one_metric_a_file_is_one_run(tmp_path):
    for metric, f in (("entropy", lambda s: 1.5 - s / 60), ("reward", lambda s: s / 97)):
        rows = "".join(f'"{s}","{f(s)}","{f(s)}","{f(s)}"\n' for s in STEPS)
        header = f'"Step","a - {metric}","a - {metric}__MIN","a - {metric}__MAX"\n'
        write(tmp_path / f"wandb_export_{metric}.csv", header + rows)
    (log,) = read_logs(tmp_path)
    assert len(log.series["entropy"]) == len(log.series["reward"]) == 30


def test_tensorboard_s_files_of_one_metric_are_one_run(tmp_path):
    for tag in ("entropy", "reward"):
        rows = "".join(f"17000000{s:02},{s},{s / 97}\n" for s in STEPS)
        write(tmp_path / f"run-exp1-tag-train_{tag}.csv", "Wall time,Step,Value\n" + rows)
    (log,) = read_logs(tmp_path)
    assert {"entropy", "reward"} <= set(log.series)


@pytest.mark.parametrize("column", ["run", "seed"])
def test_a_column_tells_the_runs_of_a_table(tmp_path, column):
    rows = "".join(f"{s},{r},{1.5 - s / 60 - r / 4},{s / 97}\n" for r in (1, 2, 3) for s in STEPS)
    logs = read_logs(write(tmp_path / "t.csv", f"step,{column},entropy,reward\n" + rows))
    assert sorted(log.run for log in logs) == ["1", "2", "3"]
    assert sizes(logs) == [30, 30, 30]


def test_folders_below_are_read_and_the_longest_is_first(tmp_path):
    for name, steps in (("a", range(12)), ("b", STEPS)):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "t.csv", csv(steps=steps))
    (tmp_path / "c").mkdir()
    write(tmp_path / "c" / "other.log", "nothing here\n")
    logs = read_logs(tmp_path)
    assert [log.run for log in logs] == ["b", "a"]
    assert any(
        "a folder below could not be read" in n and "(c)" in n for n in logs[1].notes.lines() + logs[0].notes.lines()
    )


def test_a_folder_of_a_thousand_runs_asks_for_one(tmp_path):
    for i in range(1000):
        (tmp_path / f"run-{i:04}").mkdir()
        write(tmp_path / f"run-{i:04}" / "t.csv", csv())
    with pytest.raises(
        RunReadError, match="1000 folders below it look like runs; name one of them: run-0000, .* 988 more"
    ):
        read_logs(tmp_path)


def rollouts(folder):
    folder.mkdir(exist_ok=True, parents=True)
    for step in (1, 2, 10):
        row = {"input": "1+1=", "output": "2", "gts": "2", "score": 1.0, "step": step}
        jsonl(folder / f"{step}.jsonl", [row] * 2)


def test_a_folder_of_rollouts_beside_the_log_is_the_same_run(tmp_path):
    write(tmp_path / "train.log", console())
    rollouts(tmp_path / "rollouts")
    (log,) = read_logs(tmp_path)
    assert log.source == "verl, console log and verl rollouts"
    assert [c.step for c in log.completions()] == [1, 1, 2, 2, 10, 10]
    assert log.notes.lines() == []


@pytest.mark.parametrize("name", ["validation", "val_data", "eval", "test-dumps"])
def test_dumps_of_validation_are_no_run_and_none_of_what_was_trained_on(tmp_path, name):
    """verl's validation_data_dir, as main_ppo leaves it beside its log and its rollouts."""
    write(tmp_path / "train.log", console())
    rollouts(tmp_path / "rollouts")
    row = {"input": "2+2=", "output": "5", "gts": "4", "score": 0.0, "step": 0, "reward": 0.0, "acc": 0.0}
    (tmp_path / name).mkdir()
    for step in (0, 10):
        jsonl(tmp_path / name / f"{step}.jsonl", [row])
    (log,) = read_logs(tmp_path)
    assert {c.text for c in log.completions()} == {"2"}
    (alone,) = read_logs(tmp_path / name)
    assert [c.text for c in alone.completions()] == ["5", "5"]
    write(tmp_path / name / "other.log", console(0.5))
    assert len(read_logs(tmp_path)) == 2


def test_rollouts_and_nothing_else_are_a_run(tmp_path):
    rollouts(tmp_path / "OUT" / "rollouts")
    for where in (tmp_path / "OUT", tmp_path / "OUT" / "rollouts"):
        (log,) = read_logs(where)
        assert (log.source, len(list(log.completions()))) == ("verl rollouts", 6)


def test_completions_beside_several_runs_are_the_first_s_and_it_is_said(tmp_path):
    write(tmp_path / "train.log", console() + console(0.5))
    rollouts(tmp_path / "rollouts")
    first, second = read_logs(tmp_path)
    assert (len(list(first.completions())), len(list(second.completions()))) == (6, 0)
    assert any("completions lie beside several runs" in note for note in first.notes.lines())


def test_every_column_is_told_once(tmp_path):
    write(tmp_path / "train.log", console() + console(0.5, range(1, 12)))
    for log in read_logs(tmp_path):
        names = [column.name for column in log.columns]
        assert len(names) == len(set(names)) == 4


def test_links_in_a_circle_harm_nothing(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self.log").symlink_to(tmp_path / "self.log")
    (tmp_path / "gone.log").symlink_to(tmp_path / "nowhere.log")
    with pytest.raises(RunReadError, match="no run was found"):
        read_logs(tmp_path)
    with pytest.raises(RunReadError, match="does not exist"):
        read_logs(tmp_path / "self.log")
    write(tmp_path / "t.csv", csv())
    assert sizes(read_logs(tmp_path)) == [30]


@pytest.mark.parametrize("when", ["recognised", "read"])
def test_a_file_that_is_gone_hides_no_other(tmp_path, monkeypatch, when):
    """Another program moves a log while the folder is read."""
    write(tmp_path / "a.csv", csv())
    write(tmp_path / "b.csv", csv())

    def closing(file, notes):
        if file.name == "a.csv" and when == "recognised":
            raise PermissionError(13, "Permission denied", str(file))
        recording = rows_of(file, notes)
        if file.name == "a.csv":
            file.unlink()
        return recording

    monkeypatch.setattr(found, "rows_of", closing)
    (log,) = read_logs(tmp_path)
    assert sizes([log]) == [30]
    assert any("it cannot be read" in note and "(a.csv)" in note for note in log.notes.lines())


def test_a_named_file_that_is_closed_is_an_error(tmp_path, monkeypatch):
    def closed(file, notes):
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(found, "rows_of", closed)
    with pytest.raises(OSError, match="Permission denied"):
        read_logs(write(tmp_path / "a.csv", csv()))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RunReadError, match="a pipe or a device: write what it gives to a file"):
        read_logs(tmp_path / "pipe")
    with pytest.raises(RunReadError, match="a pipe or a device"):
        read_logs("/dev/null")


def test_what_could_not_be_read_is_counted_once(tmp_path):
    text = '{"unknown": 1.0}\n{"unknown": 2.0}\n{"unknown": 3.0}\n{broken\n'
    with pytest.raises(RunReadError) as refused:
        read_logs(write(tmp_path / "m.jsonl", text))
    assert "a line is not JSON (cut off while it was written?) and is left out (m.jsonl:4)." in str(refused.value)
