"""Folders as they lie about: logs that have nothing to do with one another, runs below, columns that are not there."""

import math

import pytest

from entrokit.runs import RunReadError, read_log, read_logs

from .cases import write

RL = "step,reward,entropy\n" + "".join(f"{i},{0.2 + i / 200:.4f},{0.6 - i / 400:.4f}\n" for i in range(40))
OTHER_RL = "step,reward,entropy\n" + "".join(f"{i},{0.5 - i / 200:.4f},{0.9 - i / 400:.4f}\n" for i in range(60))


def sft(nan_from=math.inf, n=50):
    lines = (
        f"Iter {i}: Train loss {'nan' if i >= nan_from else f'{2 - i / 50:.3f}'}, It/sec 0.5, Peak mem 5 GB\n"
        for i in range(1, n)
    )
    return "".join(lines)


def test_a_fine_tuning_and_a_reinforcement_run_are_two(tmp_path):
    write(tmp_path / "sft.log", "step: 1\n" + sft())
    write(tmp_path / "rl.csv", RL)
    logs = read_logs(tmp_path)
    assert sorted(log.kind for log in logs) == ["rl", "supervised"]
    assert all(("loss" in log.series) == (log.kind == "supervised") for log in logs)


def test_numbers_of_another_run_do_not_fill_what_broke(tmp_path):
    write(tmp_path / "run1.log", sft())
    write(tmp_path / "run2.log", sft(nan_from=30))
    broken = [log.series["loss"].broken for log in read_logs(tmp_path)]
    assert sorted(b is not None for b in broken) == [False, True]
    assert max(b.count for b in broken if b is not None) == 20


def test_a_log_and_runs_in_folders_below_are_all_read(tmp_path):
    write(tmp_path / "own.csv", RL)
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub" / "train.csv", OTHER_RL)
    own, sub = read_logs(tmp_path)
    assert (len(own.series["reward"]), len(sub.series["reward"])) == (40, 60)
    assert own.run == f"{tmp_path.name} itself"
    assert sub.run == "sub"


def test_what_trainers_save_below_is_no_other_run(tmp_path):
    write(tmp_path / "own.csv", RL)
    for name in ("checkpoint-10", "global_step_20", "rollouts", "wandb"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "train.csv", OTHER_RL)
    assert len(read_logs(tmp_path)) == 1


def test_more_folders_than_are_read_are_told(tmp_path):
    write(tmp_path / "own.csv", RL)
    for i in range(21):
        (tmp_path / f"run{i}").mkdir()
        write(tmp_path / f"run{i}" / "train.csv", OTHER_RL)
    (log,) = read_logs(tmp_path)
    assert any("21 folders below look like runs and were not read" in note for note in log.notes.lines())


def test_metrics_a_file_each_are_put_together_and_it_is_said(tmp_path):
    write(tmp_path / "a.csv", "step,entropy\n" + "".join(f"{i},0.5\n" for i in range(20)))
    write(tmp_path / "b.csv", "step,reward\n" + "".join(f"{i},0.5\n" for i in range(20)))
    log = read_log(tmp_path)
    assert {"entropy", "reward"} <= set(log.series)
    assert any("read together as one run: a.csv, b.csv" in note for note in log.notes.lines())


def test_a_column_that_is_not_there_is_refused(tmp_path):
    file = write(tmp_path / "rl.csv", RL)
    with pytest.raises(RunReadError, match=r"there is no column 'nope' to take for entropy"):
        read_log(file, {"entropy": "nope"})
    assert len(read_log(file, {"kl": "entropy"}).series["kl"]) == 40


def test_known_names_without_numbers_are_told_apart_from_unknown_ones(tmp_path):
    file = write(tmp_path / "t.csv", "step;entropy;mine\n" + "".join(f"{i};n.n.;{i}\n" for i in range(20)))
    with pytest.raises(RunReadError, match=r"entropy: nothing in it could be read as a number"):
        read_log(file)


def test_commas_for_decimals_and_points_for_thousands(tmp_path):
    rows = "".join(f"{1 + i // 1000}.{i % 1000:03d};0,{300 + i};1.000.{i:03d}\n" for i in range(20))
    log = read_log(write(tmp_path / "t.csv", "step;reward;tokens\n" + rows))
    assert log.series["reward"].steps[:2].tolist() == [1000.0, 1001.0]
    assert log.series["reward"].values[0] == pytest.approx(0.3)


def test_the_console_of_stable_baselines3(tmp_path):
    def table(i):
        return (
            "-" * 30 + f"\n| rollout/           |       |\n|    ep_rew_mean     | {20 + i} |\n"
            f"| time/              |       |\n|    total_timesteps | {2048 * i} |\n"
            f"| train/             |       |\n|    entropy_loss    | -{1.5 - i / 100:.2f} |\n" + "-" * 30 + "\n"
        )

    text = "Using cpu device\n" + "".join(table(i) for i in range(1, 30))
    log = read_log(write(tmp_path / "sb3.log", text))
    assert log.engine == "stable-baselines3"
    assert log.series["reward"].steps[:2].tolist() == [2048.0, 4096.0]
    assert log.series["entropy"].values[0] == pytest.approx(1.49)


def test_preference_training_is_judged_by_its_loss(tmp_path):
    rows = (
        f"{{'loss': {0.69 - i / 100:.3f}, 'rewards/chosen': -{i / 9:.2f}, 'rewards/margins': {i / 5:.2f}}}\n"
        for i in range(30)
    )
    log = read_log(write(tmp_path / "dpo.log", "".join(rows)))
    assert log.kind == "supervised"
    assert not any(key.startswith("reward") for key in log.series)


def test_a_loss_below_zero_is_none_of_fine_tuning(tmp_path):
    text = "".join(f"[step {i}] loss={(-1) ** i / 100} rew=0.3 H=0.5\n" for i in range(30))
    assert read_log(write(tmp_path / "own.log", text)).kind == "unknown"
