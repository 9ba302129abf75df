"""`EntropyGRPOTrainer` beyond parity: PEFT, evaluation, columns, restarts, and what it refuses."""

import math
from contextlib import nullcontext

import pytest
import torch
from transformers import AutoModelForCausalLM
from trl import GRPOConfig

from entrokit.decoding.adaptive_temperature import EntropyTemperature
from entrokit.engines.trl import OPTIONS, EntropyGRPOTrainer, RewardError
from entrokit.engines.trl.forward import policy_forward
from entrokit.engines.trl.logged import family_rewards
from entrokit.engines.trl.options import markdown, resolve
from entrokit.rlvr import recipe

from .conftest import length_reward
from .trainers import Counter, trainer, weights


def test_prompts_are_read_once_each_and_their_padding_not_at_all(checkpoint, config, task):
    seen = []
    t = trainer(checkpoint, config, task, "grpo+arm", on_generation=seen.append, options={"max_steps": 1})
    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    t.train()
    batch = seen[0]
    for prompt, logp, mask in zip(batch.prompts, batch.rollouts.prompt_logp, batch.rollouts.prompt_mask, strict=True):
        ids = torch.tensor([t.processing_class.encode(prompt)])
        with torch.no_grad():
            expected = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        torch.testing.assert_close(logp[mask], expected, atol=1e-4, rtol=1e-4)
        assert not logp[~mask].any()


def test_sirens_anchor_is_that_of_the_first_training_batch(checkpoint, config, task):
    seen = []
    t = trainer(
        checkpoint, config, task, "grpo+siren(coef=0.5)", on_generation=seen.append, eval_dataset=task.evaluation
    )
    t.evaluate()
    t.train()
    siren = t.recipe.interventions[0]
    first = next(b for b in seen if not b.evaluation)
    own = recipe("grpo+siren").prepare(first.rollouts, first.advantages)
    assert siren.found == pytest.approx(float(own["siren/mean"]), rel=1e-5)
    logged = [row["siren/anchor"] for row in t.state.log_history if "siren/anchor" in row]
    assert logged == pytest.approx([siren.found] * len(logged), rel=1e-5)


def test_an_evaluation_before_training_knows_the_length_of_the_run(checkpoint, config, task):
    t = trainer(checkpoint, config, task, "grpo+epo(coef=0.01)", eval_dataset=task.evaluation)
    assert t._context().total_steps == t.args.max_steps
    assert t.evaluate()
    t.train()
    assert t.recipe.interventions[0].seen[1] == t.args.max_steps


def test_evaluation_never_moves_a_controller_and_reports_its_own_metrics(checkpoint, config, task):
    t = trainer(checkpoint, config, task, recipe("grpo", Counter()), eval_dataset=task.evaluation)
    counter = t.recipe.interventions[0]
    before = weights(t)
    metrics = t.evaluate()
    assert counter.seen == 0
    assert all(torch.equal(p, before[n]) for n, p in weights(t).items())
    assert "eval_entropy" in t.state.log_history[-1]
    assert metrics is not None
    t.train()
    assert counter.seen == t.args.max_steps


def test_a_controllers_state_survives_a_restart(checkpoint, config, task, tmp_path):
    options = {"save_strategy": "steps", "save_steps": 2}
    trainer(checkpoint, config, task, recipe("grpo", Counter()), options=options).train()
    again = trainer(checkpoint, config, task, recipe("grpo", Counter()), options=options | {"max_steps": 6})
    again.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-4"))
    assert again.recipe.interventions[0].seen == 6


def test_peft_trains_the_adapter_and_nothing_else(checkpoint, config, task):
    from peft import LoraConfig

    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    t = trainer(checkpoint, config, task, "grpo+steer+reference-kl(beta=0.1)", peft_config=lora)
    before = weights(t)
    t.train()
    moved = {n for n, p in weights(t).items() if not torch.equal(p, before[n])}
    assert moved
    assert all("lora" in n for n in moved)
    assert t.state.log_history[0]["kl"] > 0  # the reference is the policy without its random adapter


def test_the_reference_of_a_model_in_memory_is_that_very_model(checkpoint, config, task):
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    t = trainer(checkpoint, config, task, "grpo+reference-kl(beta=0.1)", model=model)
    t.train()
    assert t.state.log_history[0]["kl"] == pytest.approx(0.0, abs=1e-6)
    assert t.state.log_history[-2]["kl"] > 0
    assert not any(p.requires_grad for p in t.ref_model.parameters())


def test_logged_advantages_are_those_trained_on(checkpoint, config, task):
    t = trainer(checkpoint, config, task, "dr_grpo", options={"max_steps": 1})
    seen = []
    t._on_generation = seen.append
    t.train()
    expected = (seen[0].advantages * seen[0].rollouts.trained).sum(1) / seen[0].rollouts.trained.sum(1)
    torch.testing.assert_close(torch.tensor(list(t._logs["advantages"])), expected, atol=1e-6, rtol=1e-6)
    assert not seen[0].evaluation
    assert len(seen[0].completions) == len(seen[0].prompts) == len(seen[0].rollouts)


def test_equal_rewards_change_nothing(checkpoint, config, task):
    t = trainer(checkpoint, config, task, reward=lambda completions, **_: [0.5] * len(completions))
    before = weights(t)
    t.train()
    assert all(torch.equal(p, before[n]) for n, p in weights(t).items())
    assert t.state.log_history[0]["frac_reward_zero_std"] == 1.0


def test_completions_that_nobody_could_score_are_neutral(checkpoint, config, task):
    def sometimes(completions, **_):
        return [None if i % 4 == 0 else i / 8 for i in range(len(completions))]

    t = trainer(checkpoint, config, task, reward=sometimes, options={"max_steps": 1})
    seen = []
    t._on_generation = seen.append
    t.train()
    assert torch.isnan(seen[0].rollouts.reward[[0, 4]]).all()
    assert seen[0].advantages[[0, 4]].abs().max() == 0
    assert seen[0].advantages.abs().max() > 0


def breaks(completions, **_):
    return [1 / 0 for _ in completions]


def returns_nothing(completions, **_):
    pass


def returns_infinity(completions, **_):
    return [math.inf] * len(completions)


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (breaks, "reward function 'breaks' raised ZeroDivisionError: division by zero .*8 completions"),
        (returns_nothing, "reward function 'returns_nothing' returned NoneType; expected a list"),
        (returns_infinity, "reward function 'returns_infinity' returned inf for completion 0"),
    ],
)
def test_a_failing_reward_function_is_named(checkpoint, config, task, reward, message):
    with pytest.raises(RewardError, match=message):
        trainer(checkpoint, config, task, reward=reward).train()


def test_a_prompt_longer_than_the_context_is_named(checkpoint, config, task):
    from datasets import Dataset

    long = Dataset.from_dict({"prompt": ["1 2 3=6:" * 10] * 8})
    with pytest.raises(ValueError, match=r"prompt of 80 tokens .'1 2 3=6:.*exceed the model's context of 64 tokens"):
        trainer(checkpoint, config, type(task)("long", long, long, length_reward, 8)).train()


def test_nan_logits_are_named_while_sampling_and_while_learning(checkpoint, config, task):
    t = trainer(checkpoint, config, task)
    with torch.no_grad():
        t.model.lm_head.weight[3] = math.nan
    with pytest.raises(ValueError, match="step 0: the policy's logits are NaN or infinite while sampling"):
        t.train()
    ids = torch.ones(1, 4, dtype=torch.long)
    with pytest.raises(ValueError, match="logits: NaN"):
        t._forward.stats(t.model, ids, ids, 2, frozenset({"logp"}))


def test_a_group_of_one_is_refused_by_name(config):
    with pytest.raises(ValueError, match="at least 2 generations per prompt"):
        config(num_generations=1)


def test_a_model_whose_last_logits_differ_from_its_whole_output_is_refused(checkpoint):
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    model.config.logit_scale = 0.3  # a name that this architecture does not act on: its head is not what it seems
    assert "differs from its logits" in policy_forward(model, temperature=0.7, autocast=nullcontext).head_unknown
    original = model.forward

    def shifted(*args, logits_to_keep=0, **kwargs):
        out = original(*args, **kwargs)
        if logits_to_keep:
            out.logits = out.logits.roll(1, 1)[:, -logits_to_keep:]
        return out

    model.forward = shifted
    with pytest.raises(ValueError, match=r"Qwen3ForCausalLM: log-probabilities .* differ .* by .* nats"):
        policy_forward(model, temperature=1.0, autocast=nullcontext)


def test_an_unknown_head_trains_from_whole_logits_and_says_so(checkpoint, config, task, monkeypatch):
    said = []
    monkeypatch.setattr(EntropyGRPOTrainer, "_say", lambda self, message: said.append(message))
    known = trainer(checkpoint, config, task, "grpo+steer")
    assert said == []
    known.train()
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    model.config.logit_scale = 0.3
    t = trainer(checkpoint, config, task, "grpo+steer", model=model)
    assert len(said) == 1
    assert "Qwen3ForCausalLM: its head, read directly, differs from its logits by" in said[0]
    assert "whole logits are held in memory" in said[0]
    t.train()
    for name, value in weights(t).items():
        torch.testing.assert_close(value, weights(known)[name], rtol=1e-4, atol=1e-5)


def test_lora_on_the_head_trains(checkpoint, config, task):
    from peft import LoraConfig

    t = trainer(checkpoint, config, task, "grpo+kl-cov(ratio=0.2)", peft_config=LoraConfig(target_modules=["lm_head"]))
    assert t._forward.head_unknown is None
    before = weights(t)
    t.train()
    moved = {n for n, p in weights(t).items() if (p - before[n]).abs().max() > 0}
    assert moved
    assert all("lora" in n for n in moved)


def test_what_cannot_act_is_said_at_the_start(checkpoint, config, task, monkeypatch):
    said = []
    monkeypatch.setattr(EntropyGRPOTrainer, "_say", lambda self, message: said.append(message))
    trainer(checkpoint, config, task, "grpo+kl-cov", options={"steps_per_generation": 2})
    assert said == []
    trainer(checkpoint, config, task, "grpo+kl-cov")
    assert len(said) == 1
    assert "kl-cov cannot act with one update per rollout" in said[0]
    assert said[0].endswith("num_iterations / gradient_accumulation_steps updates a rollout)")


@pytest.mark.parametrize(
    ("options", "spec", "message"),
    [
        ({"loss_type": "dr_grpo"}, "grpo", r"GRPOConfig\(loss_type='dr_grpo'\) conflicts with recipe 'grpo'.*'grpo'"),
        ({"epsilon": 0.1}, "grpo", r"epsilon=0.1\) conflicts .*means epsilon=0.2.*knob `clip_low`"),
        ({"epsilon_high": 0.5}, "dapo", r"epsilon_high=0.5.*means epsilon_high=0.28"),
        ({"delta": 4.0}, "grpo", "delta=4.0.*dual_clip"),
        ({"scale_rewards": "none"}, "grpo", "scale_rewards='none'"),
        ({"importance_sampling_level": "sequence"}, "grpo", "`sequence` is the base `gspo`"),
        ({"beta": 0.1}, "grpo+reference-kl(beta=0.2)", r"beta=0.1\) conflicts .*means beta=0.2"),
        ({"top_entropy_quantile": 0.2}, "grpo", r"forking-tokens\(rho="),
        ({"entropy_coef": 0.01}, "grpo", "entropy_coef=0.01.*entropy-bonus"),
        ({"off_policy_mask_threshold": 0.1}, "grpo", "off_policy_mask_threshold"),
        ({"multi_objective_aggregation": "normalize_then_sum"}, "grpo", "multi_objective_aggregation"),
    ],
)
def test_an_option_that_conflicts_with_the_recipe_names_both(config, options, spec, message):
    with pytest.raises(ValueError, match=message):
        resolve(config(**options), spec)


def test_options_that_agree_are_accepted_and_the_config_says_what_is_done(config):
    args, chosen = resolve(config(loss_type="grpo", epsilon=0.3, epsilon_high=0.3), "grpo(clip_low=0.3, clip_high=0.3)")
    assert (args.loss_type, args.epsilon, args.beta) == ("grpo", 0.3, 0.0)
    args, chosen = resolve(config(beta=0.1, use_bias_correction_kl=False), "dapo")
    assert str(chosen) == "dapo+reference-kl(beta=0.1, bias_correction=False)"
    assert (args.loss_type, args.epsilon_high) == ("dapo", 0.28)
    original = config()
    resolve(original, "dr_grpo")
    assert original.loss_type == "dapo"  # TRL's default: the user's config is left alone


def test_every_option_of_grpo_config_has_its_place_in_the_table():
    own = set(GRPOConfig.__annotations__) - {"_VALID_DICT_FIELDS"}
    assert {n for n in own if not n.startswith("_")} == set(OPTIONS) & own
    assert set(OPTIONS) - own <= {"logging_steps", "learning_rate"}


def test_the_document_is_the_table(request):
    document = (request.config.rootpath / "docs" / "trl-options.md").read_text(encoding="utf-8")
    assert markdown() in document


def test_a_threshold_of_scope_step_is_that_of_the_step_s_rows(checkpoint, config, task):
    shape = {"steps_per_generation": 4, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 4}
    t = trainer(checkpoint, config, task, "dapo+forking-tokens(rho=0.3, scope='step')", options=shape)
    t.model.train()
    t._prepare_inputs([task.train[i // 4] for i in range(16)])
    parts = t._buffered_inputs
    found = [float(p["entrokit_prepared/forking-tokens/threshold"]) for p in parts]
    assert found[0] == found[1] != found[2] == found[3]
    for step in (parts[:2], parts[2:]):
        trained = [p["entrokit_rollouts/behaviour_entropy"][p["entrokit_rollouts/trained"]] for p in step]
        expected = torch.cat(trained).quantile(0.7).item()
        assert float(step[0]["entrokit_prepared/forking-tokens/threshold"]) == pytest.approx(expected, abs=1e-6)


def test_adaptive_temperature_acts_on_training_batches_after_the_first_alone(checkpoint, config, task, monkeypatch):
    t = trainer(checkpoint, config, task, "grpo+adaptive-temperature(tau=0.5)", eval_dataset=task.evaluation)
    calls, original = [], EntropyTemperature.__call__

    def counted(self, ids, scores):
        calls.append(t.state.global_step if t.model.training else "evaluation")
        return original(self, ids, scores)

    monkeypatch.setattr(EntropyTemperature, "__call__", counted)
    t.train()
    assert set(calls) == {1, 2, 3}
    t.evaluate()
    assert set(calls) == {1, 2, 3}
    assert "generate" not in vars(t.model)
    pivot, above, below = t.recipe.interventions[0].last
    assert above > 0
    assert below > 0
    fresh = recipe("grpo+adaptive-temperature")
    fresh.load_state_dict(t.recipe.state_dict())
    assert fresh.interventions[0].last == (pivot, above, below)


@pytest.mark.parametrize("option", ["use_vllm", "use_transformers_continuous_batching"])
def test_a_sampler_that_cannot_be_reached_is_refused(config, option):
    args = config()
    setattr(args, option, True)
    with pytest.raises(ValueError, match="adaptive-temperature acts on the logits while sampling"):
        resolve(args, "grpo+adaptive-temperature")


def test_surprise_entropy_and_families_are_logged(checkpoint, config, task):
    t = trainer(checkpoint, config, task, options={"max_steps": 8, "top_p": 1.0, "per_device_train_batch_size": 16})
    t.train()
    rows = [row for row in t.state.log_history if "sampled/surprise" in row]
    gaps = [float(row["sampled/surprise"]) - float(row["sampled/entropy"]) for row in rows]
    error = torch.tensor(gaps).std() / len(gaps) ** 0.5
    assert abs(sum(gaps) / len(gaps)) < 5 * error
    families = {name for row in rows for name in row if name.startswith("reward/target")}
    assert families == {f"reward/{f}" for f in task.train["family"]}
    cold = trainer(checkpoint, config, task, options={"max_steps": 2, "top_p": 0.5})
    cold.train()
    row = next(row for row in cold.state.log_history if "sampled/surprise" in row)
    assert float(row["sampled/surprise"]) < 0.9 * float(row["sampled/entropy"])


def test_means_of_families_leave_out_what_could_not_be_scored():
    found = family_rewards(["b", "a", "b", "a"], [1.0, math.nan, 0.0, 0.5])
    assert found == {"reward/a": 0.5, "reward/b": 0.5}
