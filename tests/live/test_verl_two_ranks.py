"""verl's `main_ppo` on two ranks, with a recipe that has knobs, numbers of the whole batch and a memory.

Batches are what they are elsewhere: filled up by verl with rows that are not trained on, cut by the number of tokens,
shuffled, in two epochs, with a reference and with weights for the mismatch between vLLM and the trainer.
"""

import json
import os
import re
import signal
import time

import pytest
import torch
from transformers import AutoTokenizer

from entrokit.rlvr import recipe
from entrokit.runs import read_logs

from . import verl_by_hand as by_hand
from . import verl_run as v

SPEC = "grpo+kl-cov(ratio=0.1)+epo(coef=0.1, alpha=5.0, kappa_low=0.99, kappa_high=1.01)+reference-kl(beta=0.1)"
STEPS, KILLED_AFTER, SAVED = 5, 3, 2
# Of a generation batch: its three prompts are filled up to four, and trained on in two epochs.
UPDATES = 4
LOGGED = (
    "kl-cov/penalty",
    "reference-kl/penalty",
    *(f"epo/{n}" for n in ("entropy", "inside", "reference", "beta", "penalty")),
)


def on_two_ranks(verl_cluster, verl_made, verl_runs, seen):
    return v.Run(
        verl_cluster,
        verl_made,
        verl_runs / "both",
        *v.of_recipe(SPEC),
        "data.train_batch_size=3",
        f"{v.ACTOR}.ppo_epochs=2",
        f"{v.ACTOR}.shuffle=True",
        f"{v.ACTOR}.use_dynamic_bsz=True",
        f"{v.ACTOR}.ppo_max_token_len_per_gpu=200",
        f"{v.ACTOR}.use_kl_loss=True",
        f"{v.ACTOR}.kl_loss_coef=0.0",
        "algorithm.rollout_correction.rollout_is=token",
        "trainer.n_gpus_per_node=2",
        f"trainer.total_training_steps={STEPS}",
        "trainer.val_before_train=False",
        f"trainer.save_freq={SAVED}",
        record=verl_runs / seen,
    )


@pytest.fixture(scope="module")
def killed(verl_cluster, verl_made, verl_runs):
    """The worker of the second rank dies in the fourth step; the last checkpoint is that of the second."""
    idle = workers(verl_cluster)
    run = on_two_ranks(verl_cluster, verl_made, verl_runs, "killed-seen")
    run.until(lambda: KILLED_AFTER in run.steps())
    os.kill(v.recorded(verl_runs / "killed-seen", 2)[0][1]["pid"], signal.SIGKILL)
    run.code = run.wait()
    run.logged = run.steps()
    run.left = lambda: workers(verl_cluster) - idle
    return run


@pytest.fixture(scope="module")
def resumed(killed, verl_cluster, verl_made, verl_runs):
    """The same command once more."""
    return on_two_ranks(verl_cluster, verl_made, verl_runs, "resumed-seen").finished()


def workers(verl_cluster):
    """Processes of jobs, by what they do: a worker that has none is called idle."""
    names = set()
    for process in verl_cluster.processes():
        line = " ".join(process.cmdline()) if process.is_running() else ""
        if re.match(r"ray::(?!IDLE)|VLLM::", line):
            names.add(f"{process.pid} {line}")
    return names


def test_two_ranks_train_as_the_recipe_by_hand(killed, verl_made, verl_runs, record_property):
    """Ray, two ranks, knobs: losses, weights, memory and logged numbers until a worker is killed"""
    batches = v.recorded(verl_runs / "killed-seen", 2)
    assert len(batches) == KILLED_AFTER
    hands = by_hand.applied(batches, lambda batch: recipe(SPEC), verl_made, STEPS * UPDATES)
    for batch, hand in zip(batches, hands, strict=True):
        for rank in batch:
            assert rank["state_after"]["epo"]["seen"] == pytest.approx(hand.state["epo"]["seen"], rel=1e-6)
        assert sum(not mask.any() for rank in batch for mask in rank["rows"]["response_mask"]) == v.GROUP
    for step, hand in enumerate(hands, 1):
        means, row = by_hand.means_over_steps(hand), killed.logged[step]
        for name in LOGGED:
            assert row[f"actor/{name}"] == pytest.approx(means[name], abs=by_hand.TIGHT), (step, name)
    record_property("recipes", [SPEC])
    record_property("apart", by_hand.agree(killed.logged, 1, batches, hands, moved=1e-3))
    assert killed.logged[2]["actor/kl-cov/penalty"] > 1e-4
    assert 0 < killed.logged[2]["actor/epo/inside"] < 1


def test_a_killed_worker_ends_the_run_and_its_processes(killed, verl_runs):
    """the killed run ends with code 1, and its processes; steps after the checkpoint are lost"""
    assert killed.code == 1
    assert "ActorDiedError" in killed.said()
    assert (killed.folder / "checkpoints" / "latest_checkpointed_iteration.txt").read_text() == str(SAVED)
    deadline = time.monotonic() + 120
    while killed.left() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert killed.left() == set()


def test_the_same_command_goes_on_from_the_checkpoint(killed, resumed, verl_made, verl_runs, record_property):
    """resumed, two ranks: weights, memory, steps and prompts of the run that was killed"""
    before, after = (v.recorded(verl_runs / seen, 2) for seen in ("killed-seen", "resumed-seen"))
    for rank in range(2):
        loaded = torch.load(verl_runs / "resumed-seen" / f"loaded-rank{rank}.pt", weights_only=False)
        saved = before[SAVED - 1][rank]
        assert all(torch.equal(w, saved["after"][n]) for n, w in loaded["weights"].items())
        assert loaded["state"] == saved["state_after"] == after[0][rank]["state"]
        assert after[0][rank]["step"] == SAVED * UPDATES
    tokenizer = AutoTokenizer.from_pretrained(verl_made / "policy")

    def prompts(batch):
        return sorted(tokenizer.decode(row) for rank in batch for row in rank["rows"]["prompts"])

    assert prompts(after[0]) == prompts(before[SAVED])
    hands = by_hand.applied(after, lambda batch: recipe(SPEC), verl_made, STEPS * UPDATES)
    record_property("recipes", [SPEC])
    record_property("apart", by_hand.agree(resumed.steps(), SAVED + 1, after, hands, moved=1e-3))
    assert sorted(resumed.steps()) == [3, 4, 5]
    assert after[-1][0]["state_after"]["epo"]["seen"][1] == STEPS * UPDATES
    final = resumed.folder / "checkpoints" / f"global_step_{STEPS}" / "actor"
    assert {p.name for p in final.glob("entrokit_rank_*.pt")} == {"entrokit_rank_0.pt", "entrokit_rank_1.pt"}


def test_a_run_that_was_resumed_is_read_to_its_end(resumed):
    """`entrokit diagnose` on both together: one run"""
    (log,) = read_logs(resumed.folder)
    assert log.get("entropy").steps.tolist() == [1, 2, 3, 4, 5]
    rows = resumed.steps()
    assert log.get("entropy").values.tolist()[2:] == [rows[step]["actor/entropy"] for step in (3, 4, 5)]
    found = json.loads(v.entrokit("diagnose", "--json", str(resumed.folder)).stdout)
    assert (found["verdict"], found["others"]) == ("insufficient-data", [])
