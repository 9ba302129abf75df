"""TRL with vLLM in its own process: real rollouts, and a recipe's training on them.

Two engines of vLLM serve all trainers here, since starting one takes longer than a run: one in float32 with a head of
its own, which computes what the trainer computes; one as TRL makes it, in bfloat16 with a tied head, which does not
quite.
"""

import json
import shutil
from functools import cache

import pytest
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig
from trl.generation import vllm_generation
from vllm import LLM

from entrokit.diagnose import diagnose
from entrokit.engines.trl import EntropyAccountCallback, EntropyGRPOTrainer, EntropyGuard
from entrokit.rlvr.tasks.countdown import countdown
from entrokit.runs.layout import ACCOUNT

from ..engines.conftest import length_reward
from . import by_hand
from .policies import WITH_VLLM, policy

STEPS = 4
# What docs/engines.md allows between an engine and the recipe by hand: float32 in another order of sums.
TIGHT = 1e-5


@pytest.fixture(scope="module")
def tied(tmp_path_factory):
    return policy(tmp_path_factory.mktemp("tied"), tied=True)


@pytest.fixture(scope="module")
def task():
    return countdown(train_size=64, eval_size=8)


@pytest.fixture(scope="module", autouse=True)
def engines(plugged, untied):
    """One engine a policy; TRL has no option for the type of vLLM's numbers, and compiling takes a minute."""

    @cache
    def engine(model, **options):
        exact = {"dtype": "float32"} if model == untied else {}
        return LLM(model, enforce_eager=True, **exact, **options)

    def made(model, **options):
        return engine(model, **options)

    before, vllm_generation.LLM = vllm_generation.LLM, made
    yield
    vllm_generation.LLM = before


@pytest.fixture
def make(tmp_path, task):
    """An `EntropyGRPOTrainer` on a policy; options of `GRPOConfig` by keyword."""

    def made(checkpoint, spec, model=None, extra=None, **options):
        defaults = WITH_VLLM | {
            "output_dir": str(tmp_path / "out"),
            "per_device_train_batch_size": 8,
            "per_device_eval_batch_size": 8,
            "max_steps": STEPS,
            "vllm_mode": "colocate",
            "vllm_max_model_length": 64,
        }
        return EntropyGRPOTrainer(
            model if model is not None else AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32),
            reward_funcs=length_reward,
            args=GRPOConfig(**(defaults | options)),
            train_dataset=task.train,
            processing_class=AutoTokenizer.from_pretrained(checkpoint, padding_side="left"),
            recipe=spec,
            **(extra or {}),
        )

    return made


def logged(trainer, name):
    return [row[name] for row in trainer.state.log_history if name in row]


def encoder(trainer):
    return lambda text: trainer.processing_class.encode(text, add_special_tokens=False)


RECIPES = [
    "grpo",
    "grpo+steer(min_weight=0.3)",
    "dapo+kl-cov(ratio=0.1)+entropy-bonus(coef=0.01)",
    "grpo+forking-tokens(rho=0.28)",
    "dr_grpo+siren(coef=0.5, anchor=0.5)",
    "grpo+empg+epo(coef=0.1, alpha=5.0, kappa_low=0.99, kappa_high=1.01)+reference-kl(beta=0.1)",
    "gspo",
    "cispo",
]


@pytest.mark.parametrize("spec", RECIPES)
def test_weights_and_losses_are_the_recipes(spec, make, untied, record_property):
    """colocate, untied head, float32: losses and weights of four steps on vLLM's rollouts"""
    t, seen = make(untied, spec), by_hand.Seen()
    before = {n: p.detach().clone() for n, p in t.model.named_parameters()}
    seen.watch(t)
    t.train()
    assert len(seen.completions) == STEPS
    losses, weights = by_hand.trained(untied, spec, seen, t.args, encoder(t), mode=t.args.vllm_importance_sampling_mode)
    after = dict(t.model.named_parameters())
    moved = max(float((p - before[n]).abs().max()) for n, p in after.items())
    apart = max(float((p - weights[n]).abs().max()) for n, p in after.items())
    record_property("recipes", [spec])
    record_property("apart", max(apart, *(abs(a - b) for a, b in zip(logged(t, "loss"), losses, strict=True))))
    assert moved > 1e-3
    assert apart < TIGHT
    assert logged(t, "loss") == pytest.approx(losses, abs=TIGHT)
    # The policy that sampled is the one that trains, after every synchronisation.
    assert max(logged(t, "sampling/sampling_logp_difference/max")) < TIGHT


@pytest.mark.parametrize("mode", ["token_truncate", "token_mask", "sequence_truncate", "sequence_mask", None])
def test_every_correction_of_a_real_mismatch(mode, make, tied, record_property):
    """colocate, tied head, bfloat16 samples and float32 trains: four modes of correction, and none"""
    cap = 1.0005
    options = {"vllm_importance_sampling_correction": False}
    if mode is not None:
        options = {"vllm_importance_sampling_mode": mode, "vllm_importance_sampling_clip_max": cap}
    t, seen = make(tied, "grpo+steer(min_weight=0.3)", **options), by_hand.Seen()
    seen.watch(t)
    t.train()
    losses, weights = by_hand.trained(tied, str(t.recipe), seen, t.args, encoder(t), mode=mode, cap=cap)
    apart = [abs(a - b) for a, b in zip(logged(t, "loss"), losses, strict=True)]
    apart += [float((p - weights[n]).abs().max()) for n, p in t.model.named_parameters()]
    record_property("recipes", [str(t.recipe)])
    record_property("apart", max(apart))
    assert logged(t, "loss") == pytest.approx(losses, abs=TIGHT)
    assert max(float((p - weights[n]).abs().max()) for n, p in t.model.named_parameters()) < TIGHT
    if mode is not None:
        assert 1e-4 < logged(t, "sampling/sampling_logp_difference/mean")[-1] < 0.05
        plain, _ = by_hand.trained(tied, str(t.recipe), seen, t.args, encoder(t), mode=None)
        assert max(abs(a - b) for a, b in zip(plain, losses, strict=True)) > 10 * TIGHT


def test_adapters_are_synchronised(make, untied):
    """colocate, LoRA: after every update vLLM samples by the merged adapter"""
    model = AutoModelForCausalLM.from_pretrained(untied, dtype=torch.float32)
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    t = make(untied, "grpo+steer(min_weight=0.3)", model=model, extra={"peft_config": lora}, learning_rate=0.5)
    before = {n: p.detach().clone() for n, p in t.model.named_parameters() if p.requires_grad}
    t.train()
    after = dict(t.model.named_parameters())
    assert all("lora" in n for n in before)
    assert max(float((p - after[n]).abs().max()) for n, p in before.items()) > 1e-3
    # vLLM merges adapters, the trainer adds them: two roundings.
    assert max(logged(t, "sampling/sampling_logp_difference/max")) < 1e-4


def test_evaluation_changes_nothing_of_training(make, untied, task):
    """colocate, evaluations between the steps"""

    def run(**options):
        t = make(untied, "grpo+siren(coef=0.5, anchor=0.5)", extra={"eval_dataset": task.evaluation}, **options)
        t.train()
        return t

    t = run(eval_strategy="steps", eval_steps=2)
    assert len(logged(t, "eval_reward")) == 2
    assert all(0 < x < 5 for x in logged(t, "eval_sampled/entropy"))


def test_a_run_that_was_stopped_inside_a_generation_batch_goes_on(make, untied, tmp_path):
    """colocate, stopped inside a generation batch and resumed: losses, weights and memory bit for bit"""
    spec = "grpo+epo(coef=0.1, alpha=5.0, kappa_low=0.99, kappa_high=1.01)+reference-kl(beta=0.1)"
    options = {"steps_per_generation": 2, "save_strategy": "steps", "save_steps": 1, "max_steps": 6}
    whole = make(untied, spec, output_dir=str(tmp_path / "whole"), **options)
    whole.train()
    again = tmp_path / "again"
    again.mkdir()
    shutil.copytree(tmp_path / "whole" / "checkpoint-3", again / "checkpoint-3")
    t = make(untied, spec, output_dir=str(again), **options)
    torch.manual_seed(99)
    t.train(resume_from_checkpoint=True)
    for name in ("loss", "entropy", "reward", "sampled/entropy"):
        assert logged(t, name) == logged(whole, name), name
    ends = dict(t.model.named_parameters())
    assert all(torch.equal(p, ends[n]) for n, p in whole.model.named_parameters())
    assert t.recipe.state_dict() == whole.recipe.state_dict()


def diagnosed(trainer, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": trainer.state.log_history}))
    return diagnose(folder)


@pytest.mark.parametrize("stale", [False, True])
def test_a_policy_that_is_stale_is_told_from_one_in_step(stale, make, untied, tmp_path):
    """colocate, weights that do not reach vLLM, and such that do: `entrokit diagnose` says which"""
    t = make(untied, "grpo", max_steps=24, learning_rate=0.3)
    if stale:
        sync, t.vllm_generation.sync_weights = t.vllm_generation.sync_weights, lambda: None
        sync()
    t.train()
    gap = [s - e for s, e in zip(logged(t, "sampled/surprise"), logged(t, "sampled/entropy"), strict=True)]
    found = diagnosed(t, tmp_path / "run")
    verdicts = {f.verdict for f in found.findings}
    if stale:
        assert sum(gap[-8:]) / 8 > 0.1
        assert "mismatch" in verdicts
    else:
        assert abs(sum(gap) / len(gap)) < 0.1
        assert "mismatch" not in verdicts


def test_a_recipe_that_acts_while_sampling_is_refused_before_an_engine_is_started(make, untied):
    """colocate, `adaptive-temperature`: refused at the start"""
    with pytest.raises(ValueError, match=r"use_vllm=True\) conflicts with recipe .* adaptive-temperature acts on the"):
        make(untied, "grpo+adaptive-temperature")


def test_a_memory_is_replayed_on_the_policy_that_vllm_then_samples(make, untied):
    """colocate, a memory: self-imitation's own updates reach vLLM too"""
    spec = "dr_grpo+self-imitation(size=8, trigger=0.5, warmup=4, tools_only=False, low=1e3, high=1e4)"
    t = make(untied, spec, max_steps=8, steps_per_generation=2, per_device_train_batch_size=4, learning_rate=0.5)
    taken, train = [], t._replayer._train
    t._replayer._train = lambda *args: (taken.append(t.state.global_step), train(*args))
    t.train()
    assert taken
    assert max(logged(t, "sampling/sampling_logp_difference/max")) < TIGHT


def test_the_account_adds_up_on_real_rollouts(make, untied, tmp_path):
    """colocate, `EntropyAccountCallback`: the change of entropy, predicted and measured"""
    t = make(untied, "grpo+steer(min_weight=0.3)", max_steps=8, learning_rate=0.01, output_dir=str(tmp_path / "run"))
    t.add_callback(EntropyAccountCallback(t, every=1, rows=None))
    t.train()
    accounts = [json.loads(line) for line in (tmp_path / "run" / ACCOUNT).read_text().splitlines()]
    assert len(accounts) == 8
    predicted, measured = ([a[name] for a in accounts] for name in ("predicted", "measured"))
    assert torch.corrcoef(torch.tensor([predicted, measured]))[0, 1] > 0.9


def test_a_guard_stops_a_run_whose_sampler_is_stale(make, untied):
    """colocate, `EntropyGuard`: weights stop reaching vLLM, and the run is stopped for it"""
    t = make(untied, "grpo", max_steps=60, learning_rate=0.3)
    guard = EntropyGuard(stop_on=("mismatch",), every=5, save_before_stop=False)
    t.add_callback(guard)
    sync, t.vllm_generation.sync_weights = t.vllm_generation.sync_weights, lambda: None
    sync()
    t.train()
    assert t.state.global_step < 60
    assert guard.stopped.name == "mismatch"
