"""A save that is killed at any moment loses neither what was there before nor what is saved next."""

import json
import os
import sys

import pytest

from entrokit.runs import RunWriteError, RunWriter
from entrokit.runs.layout import CHECKPOINT, CONFIG

from ..plugin import python

FILES = ("model", "tokenizer")


def save(text):
    """What ``RunWriter.checkpoint`` is given: two files, so that half of a checkpoint can be told from a whole one."""

    def write(folder):
        for name in FILES:
            (folder / name).write_text(text)

    return write


def lie(folder, text, files=FILES):
    folder.mkdir()
    for name in files:
        (folder / name).write_text(text)


def content(folder):
    """The text of a whole checkpoint; fails on half of one."""
    assert sorted(f.name for f in folder.iterdir()) == sorted(FILES)
    (text,) = {(folder / name).read_text() for name in FILES}
    return text


def left_over(folder):
    return [str(f.relative_to(folder)) for f in folder.rglob(".*")]


HALF = FILES[:1]


@pytest.mark.parametrize("final", [None, FILES])
@pytest.mark.parametrize("before", [None, HALF, FILES])
@pytest.mark.parametrize("partial", [None, (), HALF, FILES])
def test_whatever_a_kill_left_the_next_save_is_whole(tmp_path, final, before, partial):
    RunWriter(tmp_path, {})
    for name, files in ((CHECKPOINT, final), (f".{CHECKPOINT}.before", before), (f".{CHECKPOINT}.partial", partial)):
        if files is not None:
            lie(tmp_path / name, "left over", files)
    RunWriter.reopen(tmp_path, 0).checkpoint(save("new"))
    assert content(tmp_path / CHECKPOINT) == "new"
    assert not left_over(tmp_path)


def test_the_old_checkpoint_is_back_before_the_new_one_comes(tmp_path):
    """A kill between the two renames: the old one lies aside, and nothing in its place."""
    RunWriter(tmp_path, {}).checkpoint(save("old"))
    (tmp_path / CHECKPOINT).rename(tmp_path / f".{CHECKPOINT}.before")
    writer = RunWriter.reopen(tmp_path, 0)
    assert content(tmp_path / CHECKPOINT) == "old"

    def killed(folder):
        assert content(tmp_path / CHECKPOINT) == "old"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writer.checkpoint(killed)
    assert content(tmp_path / CHECKPOINT) == "old"
    assert not left_over(tmp_path)


# What changes a folder, by the names of Python's audit events; files are opened for writing only in `save`.
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "open"}


def killed_at(change, act):
    """Does ``act`` in a process that ends, without a word, before its given change of a folder; whether it did end."""
    child = os.fork()
    if child == 0:
        left = change

        def count(event, arguments):
            nonlocal left
            if event in CHANGES:
                if left == 0:
                    os._exit(9)
                left -= 1

        sys.addaudithook(count)
        try:
            act()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


def every_kill(folder):
    """Every change of the folder that a save makes, and every one that the resumed run makes after it."""

    def resumed(run, text):
        RunWriter.reopen(run, 0).checkpoint(save(text))

    found, first, killed = set(), 0, True
    while killed:
        second, again = 0, True
        while again:
            run = folder / f"{first}-{second}"
            RunWriter(run, {}).checkpoint(save("old"))
            killed = killed_at(first, lambda run=run: resumed(run, "new"))
            again = killed_at(second, lambda run=run: resumed(run, "newer"))
            RunWriter.reopen(run, 0)
            found.add(there := content(run / CHECKPOINT))
            assert there == "newer" or again, (first, second, there)
            assert not left_over(run), (first, second)
            resumed(run, "last")
            assert content(run / CHECKPOINT) == "last", (first, second)
            assert not left_over(run), (first, second)
            second += 1
        first += 1
    print(json.dumps({"kills": first, "found": sorted(found)}))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills itself in a forked process")
def test_a_kill_at_any_moment_and_another_while_that_is_settled(tmp_path):
    # In a process of its own, which is small: one that has imported torch takes far longer to fork, a thousand times.
    done = python(
        tmp_path,
        f"from pathlib import Path; from {__name__} import every_kill; every_kill(Path({str(tmp_path / 'runs')!r}))",
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["kills"] > 8
    assert told["found"] == ["new", "newer", "old"]


def test_a_folder_that_cannot_be_exchanged_keeps_both(tmp_path, monkeypatch):
    writer = RunWriter(tmp_path, {})
    writer.checkpoint(save("old"))
    rename = os.replace

    def refuse(source, target):
        if str(source).endswith(".partial"):
            raise OSError(16, "Device or resource busy")
        rename(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(RunWriteError, match=r"busy; the new one is whole and lies in .*\.checkpoint\.partial"):
        writer.checkpoint(save("new"))
    assert content(tmp_path / CHECKPOINT) == "old"
    assert content(tmp_path / f".{CHECKPOINT}.partial") == "new"


def test_a_save_that_fails_leaves_the_old_one_alone(tmp_path):
    writer = RunWriter(tmp_path, {})
    writer.checkpoint(save("old"))

    def full(folder):
        (folder / FILES[0]).write_text("new")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunWriteError, match=r"No space left on device; everything written before is intact"):
        writer.checkpoint(full)
    assert content(tmp_path / CHECKPOINT) == "old"
    assert not left_over(tmp_path)


def test_half_a_file_is_cleared_away(tmp_path):
    RunWriter(tmp_path, {})
    for place in (".", "rollouts", "evaluations"):
        (tmp_path / place / ".step-000004.parquet.partial").write_text("half")
    (tmp_path / f".{CONFIG}.partial").write_text("half")
    RunWriter.reopen(tmp_path, 8)
    assert not left_over(tmp_path)


def test_half_a_manifest_does_not_condemn_the_next_save_into_its_folder(tmp_path):
    """A killed run goes on from an earlier checkpoint, and saves into the folder of the one that it did not finish."""
    pytest.importorskip("trl", reason="checkpoints of the TRL engine")
    from entrokit.engines.trl.checkpoints import MANIFEST, save_rank, what_is_damaged, write_manifest

    for name in (MANIFEST, "entrokit_rank0.pt", "entrokit_rank1.pt"):
        (tmp_path / f".{name}.partial").write_text("half")
    (tmp_path / "model").write_text("new")
    save_rank(tmp_path, 0, {"a": 1})  # one rank now, two before
    write_manifest(tmp_path)
    assert what_is_damaged(tmp_path) is None
    assert sorted(json.loads((tmp_path / MANIFEST).read_text())) == ["entrokit_rank0.pt", "model"]
    assert not left_over(tmp_path)


def test_a_manifest_says_nothing_of_the_save_after_it(character_checkpoint, tmp_path, monkeypatch):
    """Large files are held to their length alone: an old manifest would call half of a second save whole."""
    trl = pytest.importorskip("trl", reason="checkpoints of the TRL engine")
    from entrokit.engines.trl import EntropyGRPOTrainer
    from entrokit.engines.trl.checkpoints import UNFINISHED, what_is_damaged
    from entrokit.rlvr.tasks import countdown

    def trainer():
        args = trl.GRPOConfig(
            str(tmp_path), max_steps=2, save_strategy="steps", save_steps=1, per_device_train_batch_size=4,
            num_generations=4, max_completion_length=4, report_to=[], use_cpu=True, bf16=False,
            gradient_checkpointing=False, disable_tqdm=True,
        )  # fmt: skip
        task = countdown(train_size=8, eval_size=4)
        return EntropyGRPOTrainer(
            character_checkpoint, reward_funcs=task.reward, args=args, train_dataset=task.train, recipe="grpo"
        )

    trainer().train()
    second = tmp_path / "checkpoint-2"
    assert what_is_damaged(second) is None
    again = trainer()

    def killed(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(trl.GRPOTrainer, "_save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert what_is_damaged(second) == UNFINISHED
