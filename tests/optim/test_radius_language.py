"""The radius of language models: by position, through the head in chunks, and in a `transformers.Trainer`."""

import copy

import pytest

pytest.importorskip("transformers", reason="language models need transformers")

import torch
from datasets import Dataset
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from entrokit.optim.radius import RadiusClip, logit_spread, normalized_step, radius_callback, slope_spread
from entrokit.optim.radius.inputs import Call
from entrokit.optim.radius.language import _predicting, is_language_model

SHAPE = {
    "vocab_size": 37,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 32,
    "pad_token_id": None,
}
IDS = torch.arange(30).view(3, 10) * 7 % 37
MASK = (torch.arange(10) < torch.tensor([[10], [8], [6]])).long()


def llama(tied=True, **options):
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=tied, **options)).double()


def gemma():
    torch.manual_seed(0)
    return Gemma2ForCausalLM(Gemma2Config(**SHAPE, final_logit_softcapping=1.5, sliding_window=8)).double()


def direction_of(model):
    generator = torch.Generator().manual_seed(1)
    return {n: torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in model.named_parameters()}


def values_of(model):
    return {n: p.detach() for n, p in model.named_parameters()}


def of_whole_logits(model, v):
    """Δ by whole logits, a row at a time without its padding, from torch's own product; attention by its formula."""
    twin = copy.deepcopy(model).eval()
    twin.set_attn_implementation("eager")
    spreads = torch.zeros(IDS.shape, dtype=torch.float64)
    for i, keep in enumerate(MASK.bool()):
        inputs = {"input_ids": IDS[i : i + 1, keep], "use_cache": False}
        _, slopes = torch.func.jvp(
            lambda p, inputs=inputs: torch.func.functional_call(twin, p, (), inputs).logits, (values_of(model),), (v,)
        )
        spreads[i, keep] = slope_spread(slopes[0])
    return spreads


@pytest.mark.parametrize("make", [llama, lambda: llama(tied=False), gemma], ids=["tied", "untied", "softcap"])
@pytest.mark.parametrize("method", ["jvp", "difference"])
def test_the_head_in_chunks_gives_what_whole_logits_give(make, method, monkeypatch):
    monkeypatch.setattr("entrokit.optim.radius.language._TILE", 200)
    model = make()
    v = direction_of(model)
    found = logit_spread(model, values_of(model), {"input_ids": IDS, "attention_mask": MASK}, v, method=method)
    # Norms are computed in float32 whatever the model's dtype: roundings of 6e-8, or so much over a difference's step.
    tolerance = 1e-5 if method == "jvp" else 64 * 6e-8 / torch.finfo(torch.float64).eps ** (1 / 3)
    torch.testing.assert_close(found, of_whole_logits(model, v), rtol=tolerance, atol=0)


def test_positions_without_a_label_do_not_count():
    model, v = llama(), direction_of(llama())
    labels = torch.full_like(IDS, -100)
    labels[0, 3] = 5
    inputs = {"input_ids": IDS, "labels": labels}
    found = logit_spread(model, values_of(model), inputs, v)
    assert found.nonzero().tolist() == [[0, 2]]
    assert normalized_step(model, inputs, v) == pytest.approx(float(found[0, 2]) / torch.pi)


def test_whole_logits_are_never_held():
    model, v = llama(), direction_of(llama())
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.dim() == 3 and out.shape[-1] == SHAPE["vocab_size"]:
                sizes.append(out.shape)
            return out

    with Watch():
        model(input_ids=IDS)
    assert sizes
    sizes.clear()
    with Watch():
        logit_spread(model, values_of(model), {"input_ids": IDS}, v)
    assert not sizes


def test_a_model_that_scales_its_logits_is_refused():
    model = llama()
    model.config.logit_scale = 0.5
    with pytest.raises(ValueError, match="LlamaForCausalLM scales its logits"):
        logit_spread(model, values_of(model), {"input_ids": IDS}, direction_of(model))
    model.config.logit_scale = 1.0
    assert logit_spread(model, values_of(model), {"input_ids": IDS}, direction_of(model)).shape == IDS.shape


def test_only_a_plain_head_is_read_in_chunks():
    class Scaled(torch.nn.Linear):
        def forward(self, x):
            return 2.0 * super().forward(x)

    model = llama(tied=False)
    assert is_language_model(model)
    model.lm_head.__class__ = Scaled
    assert not is_language_model(model)


def test_a_mask_of_pairs_of_positions_leaves_none_out():
    call = Call((), {"attention_mask": torch.zeros(3, 1, 10, 10)})
    assert _predicting(call, torch.zeros(3, 10)).all()
    assert not _predicting(Call((), {"attention_mask": torch.zeros(3, 10)}), torch.zeros(3, 10)).any()


def step(model, optimizer):
    optimizer.zero_grad()
    model(input_ids=IDS, labels=IDS).loss.backward()
    optimizer.step()


def test_radius_clip_on_a_language_model_with_tied_weights():
    model, before = llama().train(), llama()
    optimizer = RadiusClip(torch.optim.AdamW(model.parameters(), lr=0.5), model)
    step(model, optimizer)
    taken = {n: p.detach() - before.get_parameter(n) for n, p in model.named_parameters()}
    assert optimizer.last.r > 2.0
    assert optimizer.last.of == 3
    assert normalized_step(before, {"input_ids": IDS, "labels": IDS}, taken) == pytest.approx(1.0, rel=1e-6)


def test_adapters_are_the_step():
    peft = pytest.importorskip("peft")
    base = llama()
    config = peft.LoraConfig(
        r=2, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM", init_lora_weights=False
    )
    model = peft.get_peft_model(base, config).double().train()
    trained = [p for p in model.parameters() if p.requires_grad]
    before = copy.deepcopy(model.get_base_model())
    optimizer = RadiusClip(torch.optim.AdamW(trained, lr=2.0), model)
    step(model, optimizer)
    taken = {
        n: p.detach() - before.get_parameter(n) for n, p in model.get_base_model().named_parameters() if "lora" in n
    }
    assert len(taken) == len(trained)
    assert optimizer.last.r > 2.0
    assert normalized_step(before, {"input_ids": IDS, "labels": IDS}, taken) == pytest.approx(1.0, rel=1e-6)


def trained(tmp_path, callback, others=(), lr=0.5, **options):
    model = llama().float()
    data = Dataset.from_dict({"input_ids": IDS.tolist() * 4, "labels": IDS.tolist() * 4})
    quiet = {"report_to": [], "save_strategy": "no", "use_cpu": True, "disable_tqdm": True, "logging_steps": 2}
    arguments = TrainingArguments(
        str(tmp_path), max_steps=4, per_device_train_batch_size=3, learning_rate=lr, max_grad_norm=0, **quiet | options
    )
    trainer = Trainer(model, arguments, train_dataset=data)
    for own in (*others, callback):
        trainer.add_callback(own)
    trainer.train()
    return trainer


def test_a_trainer_logs_its_steps_and_stays_the_same(tmp_path):
    callback = radius_callback(max_samples=2)
    own = trained(tmp_path, callback, gradient_accumulation_steps=2)
    plain = trained(tmp_path, radius_callback(every=3), gradient_accumulation_steps=2)
    assert all(torch.equal(a, b) for a, b in zip(own.model.parameters(), plain.model.parameters(), strict=True))
    assert [s for s, _ in callback.history] == [0, 1, 2, 3]
    assert all(f.r > 0 and (f.rows, f.of, f.scale) == (2, 6, 1.0) for _, f in callback.history)
    logged = [log["radius/r"] for log in own.state.log_history if "radius/r" in log]
    r = [f.r for _, f in callback.history]
    assert logged == pytest.approx([(r[0] + r[1]) / 2, (r[2] + r[3]) / 2])
    assert own.state.log_history[0]["radius/r_max"] == max(r[:2])
    assert not own.model._forward_pre_hooks


def test_a_trainer_s_steps_are_clipped(tmp_path):
    callback = radius_callback(target_r=0.25)
    trainer = trained(tmp_path, callback)
    assert max(f.r for _, f in callback.history) > 1.0
    assert all(f.scale == pytest.approx(min(1.0, 0.25 / f.r)) for _, f in callback.history)
    free = trained(tmp_path, radius_callback())
    start = llama().float()

    def way(model):
        return sum((p - start.get_parameter(n)).square().sum().item() for n, p in model.named_parameters())

    assert way(trainer.model) < way(free.model)


class Broken(TrainerCallback):
    """Makes a gradient NaN once it was clipped."""

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        next(p for p in kwargs["model"].parameters() if p.grad is not None).grad.fill_(float("nan"))


def test_a_trainer_that_is_measured_alone_goes_on(tmp_path):
    callback = radius_callback()
    trainer = trained(tmp_path, callback, [Broken()])
    assert [(s, f.r, f.scale) for s, f in callback.history] == [(s, float("inf"), 1.0) for s in range(4)]
    assert [log["radius/r_max"] for log in trainer.state.log_history if "radius/r_max" in log] == [float("inf")] * 2
    callback = radius_callback(target_r=1.0)
    with pytest.raises(FloatingPointError, match="NaN or infinite; parameters were put back"):
        trained(tmp_path, callback, [Broken()])


def test_a_run_that_broke_off_leaves_no_second_hook(tmp_path):
    model, callback = llama().float(), radius_callback()
    for _ in range(2):
        callback.on_train_begin(None, None, None, model=model)
    assert len(model._forward_pre_hooks) == 1
