"""The replay stage under TRL: updates of its own that equal plain PyTorch, and a memory that a checkpoint holds."""

import copy
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from entrokit.engines.trl import EntropyGRPOTrainer
from entrokit.rlvr import INTERVENTIONS, PolicyStats, Rollouts, Totals, recipe

from ..processes import TORCHRUN, run
from .conftest import length_reward
from .launch import SCRIPT
from .two_processes import STEPS, STEPS_PER_GENERATION

SPEC = "dr_grpo+self-imitation(size=8, trigger=0.5, warmup=4, tools_only=False, low=1e3, high=1e4)"


def trainer(checkpoint, config, task, spec=SPEC, **options):
    given = {"optim": "sgd", "learning_rate": 0.5, "lr_scheduler_type": "constant", "steps_per_generation": 2}
    given |= options
    return EntropyGRPOTrainer(
        AutoModelForCausalLM.from_pretrained(checkpoint),
        reward_funcs=length_reward,
        args=config(**given),
        train_dataset=task.train,
        processing_class=AutoTokenizer.from_pretrained(checkpoint, padding_side="left"),
        recipe=spec,
    )


def logits_of(model, rollouts):
    real = rollouts.prompt >= 0
    ids = torch.cat([rollouts.prompt.clamp(min=0), rollouts.tokens], 1)
    mask = torch.cat([real, rollouts.real], 1).long()
    return model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, rollouts.prompt.shape[1] - 1 : -1]


def test_a_replay_is_the_loss_by_hand_in_optimiser_steps_of_its_own(checkpoint, config, task):
    t = trainer(checkpoint, config, task, max_steps=8, per_device_train_batch_size=4)
    seen, original = [], t._replayer._train

    def watched(name, replay, context):
        before = copy.deepcopy(t.model).eval()
        original(name, replay, context)
        seen.append((replay, before, {n: p.detach().clone() for n, p in t.model.named_parameters()}))

    t._replayer._train = watched
    t.train()
    assert seen
    for replay, model, after in seen:
        chosen = t.recipe.of_replay(replay)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        for start in range(0, len(replay.rollouts), 4):
            rows = slice(start, start + 4)
            part = Rollouts.from_columns({k: v[rows] for k, v in replay.rollouts.columns().items()})
            logp = logits_of(model, part).log_softmax(-1).gather(-1, part.tokens[..., None])[..., 0]
            # No covariance reaches Clip-Cov's bounds here: its draw plays no part.
            loss = chosen.loss(
                PolicyStats(logp=logp),
                part,
                replay.advantages[rows],
                {"clip-cov/seed": torch.zeros(len(part), dtype=torch.long)},
                Totals(rows=len(part), length=8),
            ).loss
            optimizer.zero_grad()
            (replay.coef * loss).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), t.args.max_grad_norm)
            optimizer.step()
        for name, weight in model.named_parameters():
            torch.testing.assert_close(weight, after[name], atol=1e-5, rtol=1e-4)
    logged = {k: v for row in t.state.log_history for k, v in row.items()}
    assert logged["replay/self-imitation/rows"] == len(seen[-1][0].rollouts)
    assert logged["self-imitation/memory_bytes"] > 0
    assert t.state.global_step == 8


def test_what_a_run_remembers_survives_a_checkpoint_bit_for_bit(checkpoint, config, task, tmp_path):
    def options(out):
        return {"output_dir": str(out), "max_steps": 12, "save_strategy": "steps", "save_steps": 1}

    whole = trainer(checkpoint, config, task, **options(tmp_path / "whole"))
    whole.train()
    expected = dict(whole.model.named_parameters())
    for step in (3, 4, 7):  # inside a generation batch, and between two
        out = tmp_path / f"from{step}"
        out.mkdir()
        shutil.copytree(tmp_path / "whole" / f"checkpoint-{step}", out / f"checkpoint-{step}")
        again = trainer(checkpoint, config, task, **options(out))
        again.train(resume_from_checkpoint=True)
        assert all(torch.equal(p, expected[n]) for n, p in again.model.named_parameters())


def test_a_memory_of_another_vocabulary_is_refused_when_a_run_resumes(checkpoint, config, task):
    t = trainer(checkpoint, config, task, max_steps=4)
    t.train()
    state = t._resumable()
    memory = state["recipe"]["self-imitation"]["buffer"]
    assert len(memory["lengths"])
    memory["tokens"] = memory["tokens"] + 1000
    with pytest.raises(ValueError, match="entry 0, sampled at update .* does not fit this model"):
        trainer(checkpoint, config, task)._restore(state)


def test_two_processes_replay_together(checkpoint, tmp_path):
    out = tmp_path / "two.json"
    spec = "dr_grpo+self-imitation(size=4, trigger=0.5, warmup=2, tools_only=False)"
    results = run([*TORCHRUN, str(SCRIPT), checkpoint, str(tmp_path), str(out), spec], out)
    own = results[spec]
    assert own["processes"] == 2
    # The script's prompts leave both ranks with something to replay; what they replay moves the same weights.
    alone = run([str(SCRIPT), checkpoint, str(tmp_path), str(out), "dr_grpo"], out)["dr_grpo"]
    assert own["weights"] != alone["weights"]
    assert own["state"]["self-imitation"]["updates"] == STEPS // STEPS_PER_GENERATION
    assert own["ranks_apart"] == 0.0


def test_every_intervention_that_replays_is_among_these():
    assert {name for name, cls in INTERVENTIONS.items() if cls.replays} == {
        i.name for i in recipe(SPEC).interventions if i.replays
    }
