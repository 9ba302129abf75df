import subprocess
import sys
import textwrap

import pytest

from entrokit.runs import Run, RunReadError, RunWriteError, RunWriter, find_runs
from entrokit.runs.layout import METRICS, rollouts_file

from .cases import columns


def test_a_run_comes_back_as_it_was_written(tmp_path):
    w = RunWriter(tmp_path / "deep" / "run", {"recipe": "grpo", "seed": 3})
    w.metrics(4, {"entropy": 0.5, "reward": 0.25, "broken": float("nan")})
    w.metrics(8, {"entropy": 0.4})
    w.rollouts(4, columns() | {"reward": [1.0, None]})
    run = Run.load(tmp_path / "deep" / "run")
    assert run.config == {"recipe": "grpo", "seed": 3}
    assert run.series("entropy") == ([4, 8], [0.5, 0.4])
    assert run.series("reward") == ([4], [0.25])
    assert run.series("broken") == ([], [])
    assert run.rollout_steps() == [4]
    assert run.rollouts(4)[1]["reward"] is None
    assert run.rollouts(4)[0]["entropy"] == [0.1, 0.2, 0.3]
    assert [r.name for r in find_runs(tmp_path)] == ["grpo"]
    assert not list(tmp_path.rglob("*.partial"))


def test_a_run_is_never_overwritten(tmp_path):
    RunWriter(tmp_path, {"recipe": "grpo"})
    with pytest.raises(FileExistsError, match="already holds a run, which is never overwritten"):
        RunWriter(tmp_path, {"recipe": "dapo"})
    assert Run.load(tmp_path).name == "grpo"


def test_an_interrupted_line_is_left_out_and_a_damaged_one_is_named(tmp_path, caplog):
    w = RunWriter(tmp_path, {})
    w.metrics(1, {"entropy": 0.5})
    with (tmp_path / METRICS).open("a") as f:
        f.write('{"step": 2, "entr')
    assert len(Run.load(tmp_path).metrics) == 1
    assert "last line is incomplete" in caplog.text
    with (tmp_path / METRICS).open("a") as f:
        f.write("\n")
    with pytest.raises(RunReadError, match=r"metrics.jsonl, line 2"):
        Run.load(tmp_path)


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(RunReadError, match="holds no run: there is no config.yaml"):
        Run.load(tmp_path)
    with pytest.raises(RunReadError, match="holds no runs"):
        find_runs(tmp_path)
    run = Run.load(RunWriter(tmp_path, {}).folder)
    with pytest.raises(RunReadError, match=r"step-000009.parquet does not exist; steps written: \[\]"):
        run.rollouts(9)
    rollouts_file(tmp_path, 9).write_bytes(b"PAR1 not really")
    with pytest.raises(RunReadError, match="is damaged"):
        run.rollouts(9)


def test_wrong_columns_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected the columns"):
        RunWriter(tmp_path, {}).rollouts(0, {"prompt": ["a"]})


def test_a_full_disk_loses_nothing_that_was_written(tmp_path):
    """The kernel's own refusal: a limit on the size of files, in a process of its own."""
    script = f"""
        import resource
        from tests.runs.cases import columns
        from entrokit.runs import RunWriter, RunWriteError
        w = RunWriter({str(tmp_path / "run")!r}, {{"recipe": "grpo"}})
        w.rollouts(1, columns())
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
        failed = set()
        for step in range(2, 200):
            for name, act in (("metrics", lambda: w.metrics(step, {{"entropy": 0.5}})),
                              ("rollouts", lambda: w.rollouts(step, columns(2000)))):
                try:
                    act()
                except RunWriteError as error:
                    assert "everything written before is intact" in str(error), error
                    failed.add(name)
        assert failed == {{"metrics", "rollouts"}}, failed
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    run = Run.load(tmp_path / "run")
    assert len(run.metrics) > 10
    assert all(row["entropy"] == 0.5 for row in run.metrics)
    assert run.rollout_steps() == [1]
    assert len(run.rollouts(1)) == 2
    assert not list(tmp_path.rglob("*.partial"))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunWriteError, match=r"could not write .*file/run.*choose another folder"):
        RunWriter(tmp_path / "file" / "run", {})
