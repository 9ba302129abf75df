"""verl's `main_ppo` on a Ray cluster of its own, with vLLM's server, FSDP2, the agent loop and TransferQueue.

Starting takes most of a run's time, so that three runs carry all tests: verl's own loss; `entrokit-steer`; and a recipe
with knobs, numbers of the whole batch and a memory on two ranks, one of which is killed.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from entrokit.diagnose import diagnose
from entrokit.rlvr import recipe
from entrokit.runs import read_log, read_logs

from ..processes import checkout_path
from . import verl_by_hand as by_hand
from . import verl_run as v
from .ray_cluster import cluster

# float32 of another order of sums, over one generation batch; measured 6e-8 for weights, 5e-7 for losses.
TIGHT = 1e-5
STEER, BOTH = "grpo+steer", "grpo+kl-cov(ratio=0.1)+epo(coef=0.1, alpha=5.0, kappa_low=0.99, kappa_high=1.01)"
# As few as a verdict needs.
STEERED = 10
STEPS, KILLED_AFTER, SAVED = 5, 3, 2
UPDATES = v.PROMPTS // v.MINI


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Where the runs lie: ``ENTROKIT_LIVE_OUT``, to be looked at afterwards, or a folder that goes."""
    kept = os.environ.get("ENTROKIT_LIVE_OUT")
    return Path(kept) if kept else tmp_path_factory.mktemp("verl")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return v.made_in(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def ray():
    with cluster({**v.ENVIRONMENT, "PYTHONPATH": checkout_path()}) as started:
        yield started


@pytest.fixture(scope="module")
def plain(ray, made, base):
    """verl as it is: three steps, validation before and after them, a checkpoint at the end."""
    return v.Run(
        ray,
        made,
        base / "plain",
        "trainer.n_gpus_per_node=1",
        "trainer.total_training_steps=3",
        "trainer.val_before_train=True",
        "trainer.test_freq=3",
        "trainer.save_freq=3",
        f"trainer.validation_data_dir={base}/plain/validation",
        record=base / "plain-seen",
    ).finished()


@pytest.fixture(scope="module")
def steered(ray, made, base):
    """One method by name, for as long as a diagnosis needs; what `watch` says of it half-way."""
    run = v.Run(
        ray,
        made,
        base / "steered",
        f"{v.LOSS}.loss_mode=entrokit-steer",
        "trainer.n_gpus_per_node=1",
        f"trainer.total_training_steps={STEERED}",
        "trainer.val_before_train=False",
        record=base / "steered-seen",
    )
    run.until(lambda: 4 in run.steps())
    run.watched = entrokit("watch", "--once", str(run.folder))
    return run.finished()


def on_two_ranks(ray, made, base, seen):
    return v.Run(
        ray,
        made,
        base / "both",
        *v.of_recipe(BOTH),
        "trainer.n_gpus_per_node=2",
        f"trainer.total_training_steps={STEPS}",
        "trainer.val_before_train=False",
        f"trainer.save_freq={SAVED}",
        record=base / seen,
    )


@pytest.fixture(scope="module")
def killed(ray, made, base):
    """The worker of the second rank dies in the fourth step; the last checkpoint is that of the second."""
    idle = workers(ray)
    run = on_two_ranks(ray, made, base, "killed-seen")
    run.until(lambda: KILLED_AFTER in run.steps())
    os.kill(v.recorded(base / "killed-seen", 2)[0][1]["pid"], signal.SIGKILL)
    run.code = run.wait()
    run.logged = run.steps()
    run.left = lambda: workers(ray) - idle
    return run


@pytest.fixture(scope="module")
def resumed(killed, ray, made, base):
    """The same command once more."""
    return on_two_ranks(ray, made, base, "resumed-seen").finished()


def workers(ray):
    """Processes of jobs, by what they do: a worker that has none is called idle."""
    names = set()
    for process in ray.processes():
        line = " ".join(process.cmdline()) if process.is_running() else ""
        if re.match(r"ray::(?!IDLE)|VLLM::", line):
            names.add(f"{process.pid} {line}")
    return names


def entrokit(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "entrokit", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": checkout_path()},
        check=False,
    )


def applied(batches, chosen_for, made, steps):
    return [
        by_hand.trained(
            batch,
            chosen_for(batch),
            made,
            total_steps=steps * UPDATES,
            learning_rate=v.LEARNING_RATE,
            length=v.LENGTH,
        )
        for batch in batches
    ]


def agree(run, first, batches, hands, moved=1e-4):
    """Weights after, and losses in verl's log, are those by hand; whoever sampled is who trains."""
    rows = run.steps()
    for step, (batch, hand) in enumerate(zip(batches, hands, strict=True), first):
        for rank in batch:
            assert by_hand.apart(rank["after"], hand.weights) < TIGHT
            assert all(torch.equal(w, batch[0]["after"][n]) for n, w in rank["after"].items())
        assert hand.drift < TIGHT
        if step in rows:
            assert rows[step]["actor/loss"] == pytest.approx(sum(hand.losses) / len(hand.losses), abs=TIGHT)
            assert rows[step]["training/rollout_probs_diff_max"] < TIGHT
    ends = by_hand.apart(batches[-1][0]["after"], batches[0][0]["before"])
    assert ends > moved, "nothing was trained"


def means_over_steps(hand):
    return {name: sum(m[name] for m in hand.means) / len(hand.means) for name in hand.means[0]}


@pytest.mark.quick
def test_verls_own_loss_is_left_alone(plain, made, base):
    """It runs through our worker, and gives what plain PyTorch gives for verl's clip upon verl's advantages."""
    batches = v.recorded(base / "plain-seen")
    assert len(batches) == 3
    assert all(batch[0]["state"] is None for batch in batches)
    agree(plain, 1, batches, applied(batches, lambda batch: by_hand.upon_verls("grpo", batch), made, steps=3))
    saved = plain.folder / "checkpoints" / "global_step_3" / "actor"
    assert (saved / "model_world_size_1_rank_0.pt").exists()
    assert not list(saved.glob("entrokit*"))


@pytest.mark.quick
def test_validation_stands_in_the_log(plain):
    rows = plain.steps()
    assert sorted(rows) == [0, 1, 2, 3]
    assert [step for step, row in rows.items() if "val-core/live/acc/mean@1" in row] == [0, 3]
    assert sorted(p.name for p in (plain.folder / "validation").iterdir()) == ["0.jsonl", "3.jsonl"]


@pytest.mark.quick
def test_three_steps_are_too_few_for_a_verdict(plain):
    found = diagnose(plain.folder)
    assert (found.verdict, found.others) == ("insufficient-data", ())
    assert "3 points of entropy" in found.findings[0].evidence[0]


def test_a_method_by_name_is_the_method_by_hand(steered, made, base):
    batches = v.recorded(base / "steered-seen")
    assert len(batches) == STEERED
    hands = applied(batches, lambda batch: by_hand.upon_verls(STEER, batch), made, steps=STEERED)
    agree(steered, 1, batches, hands)
    rows = steered.steps()
    for step, hand in enumerate(hands, 1):
        means = means_over_steps(hand)
        for name in ("steer/weight_mean", "steer/entropy_change"):
            assert rows[step][f"actor/{name}"] == pytest.approx(means[name], abs=TIGHT), (step, name)
    assert min(row["actor/steer/weight_mean"] for row in rows.values()) < 0.99


def test_what_verl_leaves_is_one_run_and_is_judged(steered):
    """Both of its logs, and its rollouts in a folder beside them; a random policy hardly ever ends its completions."""
    log = read_log(steered.folder)
    rows = steered.steps()
    assert log.get("entropy").values.tolist() == [rows[step]["actor/entropy"] for step in range(1, STEERED + 1)]
    completions = list(log.completions())
    assert len(completions) == STEERED * v.PROMPTS * v.GROUP
    assert {c.step for c in completions} == set(range(1, STEERED + 1))
    found = entrokit("diagnose", "--json", str(steered.folder))
    judged = json.loads(found.stdout)
    assert (judged["verdict"], judged["others"]) == ("truncation", [])
    assert "several" not in found.stdout + found.stderr
    assert "data.max_response_length" in json.dumps(judged["remedies"])


def test_watch_follows_a_run_that_is_being_written(steered):
    assert steered.watched.returncode == 0, steered.watched.stderr
    assert "insufficient-data" in steered.watched.stdout
    assert "truncation" in entrokit("watch", "--once", str(steered.folder)).stdout


def test_two_ranks_train_as_the_recipe_by_hand(killed, made, base):
    """KL-Cov ranks the tokens of the whole batch, EPO remembers the entropies of all steps."""
    batches = v.recorded(base / "killed-seen", 2)
    assert len(batches) == KILLED_AFTER
    hands = applied(batches, lambda batch: recipe(BOTH), made, STEPS)
    for batch, hand in zip(batches, hands, strict=True):
        for rank in batch:
            assert rank["state_after"]["epo"]["seen"] == pytest.approx(hand.state["epo"]["seen"], rel=1e-6)
        assert {row for rank in batch for row in rank["uid"]} == set(batch[0]["uid"]) | set(batch[1]["uid"])
    for step, hand in enumerate(hands, 1):
        means, row = means_over_steps(hand), killed.logged[step]
        for name in ("kl-cov/penalty", "epo/entropy", "epo/inside", "epo/reference", "epo/beta", "epo/penalty"):
            assert row[f"actor/{name}"] == pytest.approx(means[name], abs=TIGHT), (step, name)
        assert row["actor/loss"] == pytest.approx(sum(hand.losses) / len(hand.losses), abs=TIGHT)
    agree(killed, 1, batches, hands, moved=1e-3)
    assert killed.logged[2]["actor/kl-cov/penalty"] > 1e-4
    assert 0 < killed.logged[2]["actor/epo/inside"] < 1


def test_a_killed_worker_ends_the_run_and_its_processes(killed, base):
    """verl does not go on without it: what came after the last checkpoint is lost."""
    assert killed.code == 1
    assert "ActorDiedError" in killed.said()
    assert (killed.folder / "checkpoints" / "latest_checkpointed_iteration.txt").read_text() == str(SAVED)
    deadline = time.monotonic() + 120
    while killed.left() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert killed.left() == set()


def test_the_same_command_goes_on_from_the_checkpoint(killed, resumed, made, base):
    """Weights, memory, steps and prompts are those of the run that was killed; what vLLM draws is not."""
    before, after = (v.recorded(base / seen, 2) for seen in ("killed-seen", "resumed-seen"))
    for rank in range(2):
        loaded = torch.load(base / "resumed-seen" / f"loaded-rank{rank}.pt", weights_only=False)
        saved = before[SAVED - 1][rank]
        assert all(torch.equal(w, saved["after"][n]) for n, w in loaded["weights"].items())
        assert loaded["state"] == saved["state_after"] == after[0][rank]["state"]
        assert after[0][rank]["step"] == SAVED * UPDATES
    tokenizer = AutoTokenizer.from_pretrained(made / "policy")

    def prompts(batch):
        return sorted(tokenizer.decode(row) for rank in batch for row in rank["rows"]["prompts"])

    assert prompts(after[0]) == prompts(before[SAVED])
    hands = applied(after, lambda batch: recipe(BOTH), made, STEPS)
    agree(resumed, SAVED + 1, after, hands, moved=1e-3)
    assert sorted(resumed.steps()) == [3, 4, 5]
    assert after[-1][0]["state_after"]["epo"]["seen"][1] == STEPS * UPDATES
    final = resumed.folder / "checkpoints" / f"global_step_{STEPS}" / "actor"
    assert {p.name for p in final.glob("entrokit_rank_*.pt")} == {"entrokit_rank_0.pt", "entrokit_rank_1.pt"}


def test_a_run_that_was_resumed_is_read_to_its_end(resumed):
    """verl begins its file log anew, the console goes on: all steps are read, and what was taken twice counts once."""
    (log,) = read_logs(resumed.folder)
    assert log.get("entropy").steps.tolist() == [1, 2, 3, 4, 5]
    rows = resumed.steps()
    assert log.get("entropy").values.tolist()[2:] == [rows[step]["actor/entropy"] for step in (3, 4, 5)]
    found = json.loads(entrokit("diagnose", "--json", str(resumed.folder)).stdout)
    assert (found["verdict"], found["others"]) == ("insufficient-data", [])


def test_a_port_that_is_taken_is_named_and_whoever_has_it_is_left_alone(ray):
    port = int(ray.address.rpartition(":")[2])
    with (
        pytest.raises(RuntimeError, match=rf"port {port} of 127.0.0.1 is taken.*give another port"),
        cluster({}, port=port),
    ):
        pass
    assert ray.head.poll() is None
