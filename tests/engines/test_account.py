"""The account of an optimiser step: its shares add up, it predicts what happens, and it disturbs nothing."""

import json
import math
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOTrainer, RLOOConfig, RLOOTrainer

from entrokit.diagnose import diagnose
from entrokit.engines.trl import EntropyAccountCallback, EntropyGRPOTrainer
from entrokit.engines.trl.listening import turns_of
from entrokit.runs import QUADRANTS, Part, StepAccount
from entrokit.runs.layout import ACCOUNT

from .conftest import length_reward


def make(kind, checkpoint, config, task, dtype=torch.float64, **options):
    spec, peft_config = options.pop("recipe", None), options.pop("peft_config", None)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype)
    with torch.no_grad():
        # This untrained policy samples the padding token, whose embedding is 0: normalisation is linear there, but over
        # steps far below these only.
        model.get_input_embeddings().weight[0] = 0.02 * torch.randn(model.config.hidden_size)
    arguments = config(**options)
    if kind is RLOOTrainer:
        known = {k: v for k, v in arguments.to_dict().items() if k in RLOOConfig.__dataclass_fields__}
        arguments = RLOOConfig(**{k: known[k] for k in ("output_dir", "per_device_train_batch_size", "num_generations",
            "max_completion_length", "learning_rate", "max_steps", "logging_steps", "report_to", "save_strategy",
            "use_cpu", "bf16", "gradient_checkpointing", "disable_tqdm", "seed", "gradient_accumulation_steps",
            "steps_per_generation")})  # fmt: skip
    more = ({"recipe": spec} if spec else {}) | ({"peft_config": peft_config} if peft_config else {})
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, padding_side="left")
    return kind(
        model, reward_funcs=length_reward, args=arguments, train_dataset=task.train, processing_class=tokenizer, **more
    )


def accounts(trainer):
    lines = Path(trainer.args.output_dir, ACCOUNT).read_text(encoding="utf-8").splitlines()
    return [StepAccount.from_dict(json.loads(line)) for line in lines]


CASES = {
    "grpo": (EntropyGRPOTrainer, {"recipe": "grpo"}),
    "dapo, accumulated": (EntropyGRPOTrainer, {"recipe": "dapo", "gradient_accumulation_steps": 2}),
    "not separable": (EntropyGRPOTrainer, {"recipe": "gspo(clip_low=0.2, clip_high=0.2)"}),
    "entropy in the loss": (EntropyGRPOTrainer, {"recipe": "dapo+tea"}),
    "clipped norm": (EntropyGRPOTrainer, {"recipe": "grpo", "max_grad_norm": 0.01}),
    "weight decay": (EntropyGRPOTrainer, {"recipe": "grpo", "weight_decay": 0.5}),
    "trl": (GRPOTrainer, {"gradient_accumulation_steps": 2}),
    "trl, entropy bonus": (GRPOTrainer, {"entropy_coef": 0.3}),
    "adapters": (
        EntropyGRPOTrainer,
        {
            "recipe": "grpo",
            "peft_config": LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False),
        },
    ),
    "trl, rloo": (RLOOTrainer, {"gradient_accumulation_steps": 2}),
}


@pytest.mark.parametrize(("kind", "options"), CASES.values(), ids=CASES)
def test_shares_add_up_to_the_prediction_and_the_prediction_to_the_change(kind, options, checkpoint, config, task):
    options = {"learning_rate": 1e-5, "steps_per_generation": 4, "max_steps": 3} | options
    trainer = make(kind, checkpoint, config, task, **options)
    trainer.add_callback(EntropyAccountCallback(trainer, every=1, rows=None))
    trainer.train()
    found = accounts(trainer)
    assert [a.step for a in found] == [0, 1, 2]
    for a in found:
        # The model normalises in float32 whatever its own precision: that is the noise allowed here.
        assert a.tokens == pytest.approx(a.gradient, rel=2e-4, abs=1e-9)
        assert a.gradient + a.clipping + a.memory + a.decay == pytest.approx(a.predicted, rel=1e-9, abs=1e-12)
        for parts in a.splits.values():
            assert sum(p.share for p in parts.values()) == pytest.approx(a.tokens, rel=1e-9, abs=1e-15)
        assert a.measured == pytest.approx(a.predicted, rel=0.05, abs=5e-7)
        assert a.predicted != 0.0
    assert found[0].memory == 0.0
    assert found[1].memory != 0.0
    if "max_grad_norm" in options:
        assert abs(found[0].clipping) > 0.9 * abs(found[0].gradient)
    assert (found[0].decay != 0.0) == ("weight_decay" in options)
    assert set(found[0].splits["quadrant"]) <= set(QUADRANTS)
    logged = {name for row in trainer.state.log_history for name in row}
    assert {"account/predicted", "account/measured"} <= logged


@pytest.mark.parametrize(("kind", "options"), [(EntropyGRPOTrainer, {"recipe": "grpo+siren"}), (GRPOTrainer, {})])
def test_training_stays_bit_for_bit_the_same(kind, options, checkpoint, config, task, tmp_path):
    ends = []
    for listening in (False, True):
        trainer = make(
            kind, checkpoint, config, task, torch.float32, output_dir=str(tmp_path / str(listening)), **options
        )
        if listening:
            trainer.add_callback(EntropyAccountCallback(trainer, every=2, rows=3))
        trainer.train()
        ends.append([p.detach().clone() for p in trainer.model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))
    assert [a.step // 2 for a in accounts(trainer)] == [0, 1]


def test_a_sample_of_rows_is_unbiased(checkpoint, config, task):
    """Over many draws of rows for the states and for the tokens, sums come to what all rows give."""
    trainer = make(EntropyGRPOTrainer, checkpoint, config, task, recipe="dapo", max_steps=1, learning_rate=1e-5)
    whole, found = EntropyAccountCallback(trainer, every=1, rows=None), []

    class Draws(EntropyAccountCallback):
        def _open_account(self, step, optimizer):
            for seed in range(300):
                known = super()._open_account(seed, optimizer).known
                found.append([known["tokens"], known["predicted"], *(p.share for p in fixed(known["splits"]))])
            return super()._open_account(step, optimizer)

    def fixed(splits):
        return [splits["quadrant"].get(q, Part(0.0, 0.0)) for q in QUADRANTS]

    trainer.add_callback(whole)
    trainer.add_callback(Draws(trainer, every=1, rows=3))
    trainer.train()
    exact, _ = accounts(trainer)
    expected = torch.tensor([exact.tokens, exact.predicted, *(p.share for p in fixed(exact.splits))])
    drawn = torch.tensor(found)
    error = drawn.std(0) / len(drawn) ** 0.5
    assert (drawn.std(0)[:2] > 0).all()
    assert ((drawn.mean(0) - expected).abs() <= 4 * error + 1e-9).all()


def test_a_sampled_account_measures_on_the_states_it_predicts(checkpoint, config, task):
    trainer = make(EntropyGRPOTrainer, checkpoint, config, task, recipe="grpo", max_steps=6, learning_rate=1e-5)
    trainer.add_callback(EntropyAccountCallback(trainer, every=3, rows=2, end_of_thinking="="))
    trainer.train()
    found = accounts(trainer)
    assert [(a.step // 3, a.every, a.rows, a.sampled) for a in found] == [(0, 3, 8, 2), (1, 3, 8, 2)]
    for a in found:
        assert a.measured == pytest.approx(a.predicted, rel=0.1, abs=1e-6)
        assert set(a.splits["phase"]) <= {"thinking", "answer"}
        assert all(len(key) <= 120 for key in a.splits["prompt"])


def test_it_says_what_it_cannot_do(checkpoint, config, task):
    trainer = make(EntropyGRPOTrainer, checkpoint, config, task, recipe="grpo", optim="adagrad")
    with pytest.raises(ValueError, match="every and rows must be at least 1, got 0 and 12"):
        EntropyAccountCallback(trainer, every=0)
    trainer.add_callback(EntropyAccountCallback(trainer))
    with pytest.raises(TypeError, match="knows torch.optim.Adam, AdamW and SGD .*, got Adagrad"):
        trainer.train()
    trainer = make(GRPOTrainer, checkpoint, config, task)
    trainer.args.use_liger_kernel = True
    with pytest.raises(ValueError, match="Liger loss hides"):
        EntropyAccountCallback(trainer)
    trainer.args.use_liger_kernel, trainer.args.fp16 = False, True
    with pytest.raises(ValueError, match="fp16 scales the loss"):
        EntropyAccountCallback(trainer)
    trainer.args.fp16, trainer.is_fsdp_enabled = False, True
    with pytest.raises(ValueError, match="hold parameters in pieces"):
        EntropyAccountCallback(trainer)
    trainer.is_fsdp_enabled, trainer.accelerator.state._shared_state["num_processes"] = False, 2
    try:
        with pytest.raises(ValueError, match="accounts for one process, this run has 2"):
            EntropyAccountCallback(trainer)
    finally:
        trainer.accelerator.state._shared_state["num_processes"] = 1


def test_a_line_reads_back(checkpoint):
    a = StepAccount(
        3, 10, 8, 2, 1.0, 0.1, 0.2, 0.3, 0.0, 0.1, 0.0, 0.4, 0.5, math.nan, {"token": {"<b>": Part(0.1, 2.0)}}
    )
    assert repr(StepAccount.from_dict(json.loads(a.to_json()))) == repr(a)
    with pytest.raises(ValueError, match="not a line of an entropy account: KeyError: 'every'"):
        StepAccount.from_dict({"step": 1})


def test_what_trl_writes_can_be_diagnosed(checkpoint, config, task):
    """TRL's own trainer, its state, its table of completions, and our account beside them."""
    trainer = make(GRPOTrainer, checkpoint, config, task, torch.float32, max_steps=12, log_completions=True)
    trainer.add_callback(EntropyAccountCallback(trainer, every=4, rows=4))
    trainer.train()
    trainer.save_state()
    d = diagnose(trainer.args.output_dir)
    assert d.facts.log.source == "TRL run and completions in parquet"
    assert len(d.facts.entropy) == 12
    assert len(d.facts.reward) == 12
    assert d.facts.truncated is not None
    assert d.facts.digest.rows > 0
    assert d.waterfall.accounts == 3
    assert d.waterfall.start + sum(b.change for b in d.waterfall.bars) == pytest.approx(d.waterfall.end)


def test_turns_are_stretches_of_trained_tokens():
    train = torch.tensor([[1, 1, 0, 0, 1, 1, 0, 1], [0, 1, 1, 0, 0, 0, 0, 0]]).bool()
    turns = turns_of(train)
    assert turns[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 2]
    assert turns[1, 1:3].tolist() == [0, 0]


def test_the_law_is_fitted_as_the_run_goes(checkpoint, config, task):
    trainer = make(GRPOTrainer, checkpoint, config, task)
    callback = EntropyAccountCallback(trainer)
    for i in range(60):
        h = 1.2 - i / 60
        callback.on_log(None, None, None, {"entropy": str(h), "reward": 0.6 - 0.25 * math.exp(h) + 0.001 * (i % 3)})
        callback.on_log(None, None, None, {"eval_entropy": 1.0})
    ceilings = trainer._metrics["train"]["law/ceiling"]
    assert ceilings[-1] == pytest.approx(0.351, abs=2e-3)
    assert 10 < len(ceilings) < 41
    assert trainer._metrics["train"]["law/ceiling_low"][-1] <= ceilings[-1]
