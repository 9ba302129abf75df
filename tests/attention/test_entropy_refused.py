"""Models that cannot be watched say which module is why; the trainer's callback."""

import pytest
import torch
from torch import nn

from entrokit.attention.entropy import attention_entropy_callback, temper_attention, watch_attention

from .attention_cases import gpt2, llama, state, tokens

transformers = pytest.importorskip("transformers")


class Wrapped(nn.Module):
    """A model beside attention of torch's own."""

    def __init__(self):
        super().__init__()
        self.inner = llama()
        self.other_attention = nn.MultiheadAttention(8, 2)

    def forward(self, ids):
        return self.inner(ids)


class TestRefused:
    @pytest.mark.parametrize("enter", [watch_attention, lambda m: temper_attention(m, 8)])
    def test_attention_that_computes_by_itself(self, enter):
        model = Wrapped()
        before = state(model)
        with (
            pytest.raises(ValueError, match=r"other_attention \(MultiheadAttention\) computes its attention by itself.*"
                          "include=, or give its queries and keys to attention_entropy_qk"),
            enter(model),
        ):  # fmt: skip
            pass
        assert state(model) == before
        with watch_attention(model, include=lambda name, module: "other" not in name) as watch:
            model(tokens())
        assert len(watch.entropies) == 2

    def test_a_model_without_attention(self):
        with (
            pytest.raises(
                ValueError, match="Sequential has no attention layer of transformers; give a model's queries"
            ),
            watch_attention(nn.Sequential(nn.Linear(2, 2))),
        ):
            pass

    def test_a_kernel_that_does_not_tell(self):
        model = llama()
        model.config._attn_implementation = "flex_attention"
        with (
            pytest.raises(ValueError, match=r"layers\.0\.self_attn runs the kernel 'flex_attention'.*'sdpa'\) gives"),
            watch_attention(model),
        ):
            pass
        model.config._attn_implementation = "sdpa"
        with watch_attention(model):
            model.config._attn_implementation = "flex_attention"
            with pytest.raises(ValueError, match="runs the kernel 'flex_attention'"):
                model.model.layers[0].self_attn(torch.zeros(1, 2, 16), (torch.ones(1, 2, 4), torch.zeros(1, 2, 4)))

    def test_attention_sinks(self):
        config = transformers.GptOssConfig(
            vocab_size=23, hidden_size=16, intermediate_size=8, num_hidden_layers=1, num_attention_heads=4,
            num_key_value_heads=2, head_dim=4, num_local_experts=2, num_experts_per_tok=1, attn_implementation="eager",
        )  # fmt: skip
        model = transformers.GptOssForCausalLM(config).eval()
        with watch_attention(model), pytest.raises(ValueError, match=r"layers\.0\.self_attn: has attention sinks"):
            model(tokens())

    def test_a_term_that_is_not_seen_is_found_out(self, monkeypatch):
        from transformers.models.llama import modeling_llama

        plain = modeling_llama.eager_attention_forward

        def biased(module, query, key, value, mask, **options):
            return plain(module, query, key, value, mask + 0.1 * torch.arange(key.shape[2]), **options)

        monkeypatch.setattr(modeling_llama, "eager_attention_forward", biased)
        model = llama("eager")
        with watch_attention(model), pytest.raises(ValueError, match=r"layers\.0\.self_attn: its kernel gives another"):
            model(tokens())

    def test_an_encoder_with_a_decoder_is_watched_one_at_a_time(self):
        torch.manual_seed(0)
        config = transformers.T5Config(
            vocab_size=23, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=4, decoder_start_token_id=0
        )
        model = transformers.T5ForConditionalGeneration(config).eval()
        with pytest.raises(ValueError, match=r"watch model.get_encoder\(\) or model.get_decoder\(\)"):
            watch_attention(model).__enter__()
        ids = tokens(2, 5)
        mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
        with torch.no_grad(), watch_attention(model.get_encoder()) as watch:
            model(ids, attention_mask=mask, decoder_input_ids=ids[:, :3])
        assert watch.entropies[0].shape == (2, 4, 5)
        assert torch.equal(watch.queries, mask.bool())
        with torch.no_grad(), watch_attention(model.get_decoder()) as watch:
            model(ids, attention_mask=mask, decoder_input_ids=ids[:, :3])
        assert [own.shape[1:] for own in watch.entropies] == [(4, 3), (4, 3)]

    def test_what_was_not_seen_is_named(self):
        model = llama()
        with watch_attention(model) as watch:
            with pytest.raises(RuntimeError, match=r"model\.layers\.0\.self_attn was not seen: run the watched model"):
                _ = watch.entropies
            with pytest.raises(RuntimeError, match="was not seen"):
                watch.head_entropy()
        model(tokens())
        with pytest.raises(RuntimeError, match="was not seen"):
            watch.summary()
        skipped = gpt2("eager", reorder_and_upcast_attn=True)
        with watch_attention(skipped) as watch:
            skipped(tokens())
            with pytest.raises(RuntimeError, match="reorder_and_upcast_attn of GPT-2"):
                _ = watch.visible

    def test_other_models_go_by_unseen(self):
        model, other = llama(), gpt2()
        with watch_attention(model) as watch:
            model(tokens())
            rows = watch.head_entropy()
            other(tokens())
            assert torch.equal(watch.head_entropy(), rows)

    def test_blocks_nest(self):
        model = llama()
        with torch.no_grad(), watch_attention(model) as outer:
            with watch_attention(model) as inner:
                model(tokens())
            rows = outer.head_entropy()
            assert torch.equal(inner.head_entropy(), rows)
            model(tokens())
            assert torch.allclose(outer.head_entropy(), rows)


class TestCallback:
    def train(self, tmp_path, model, callback, **options):
        rows = [{"input_ids": row, "labels": row} for row in tokens(24, 6)]
        arguments = transformers.TrainingArguments(
            str(tmp_path), max_steps=6, logging_steps=2, save_strategy="no", report_to=[], use_cpu=True,
            per_device_train_batch_size=2, gradient_accumulation_steps=2, disable_tqdm=True, **options,
        )  # fmt: skip
        trainer = transformers.Trainer(
            model, arguments, train_dataset=rows, eval_dataset=rows[:4], callbacks=[callback]
        )
        trainer.train()
        return trainer

    def test_it_logs_heads_by_quarter(self, tmp_path):
        pytest.importorskip("accelerate")
        model, callback = llama(), attention_entropy_callback(every=2, context=6)
        before = state(model)
        trainer = self.train(tmp_path, model, callback, eval_strategy="steps", eval_steps=2)
        assert [row["step"] for row in callback.history] == [2.0, 4.0, 6.0]
        for row in callback.history:
            quarters = [row[f"attention/{name}"] for name in ("collapsed", "low", "high", "overloaded")]
            assert sum(quarters) == pytest.approx(1.0)
            assert row["attention/mean"] <= row["attention/largest"]
            assert row["attention/nan_rows"] == row["attention/hidden_rows"] == 0.0
        logged = [row for row in trainer.state.log_history if "loss" in row]
        assert [row["attention/mean"] for row in logged] == [row["attention/mean"] for row in callback.history]
        assert not any("attention/mean" in row for row in trainer.state.log_history if "eval_loss" in row)
        assert callback.watch is None
        # The trainer itself leaves attributes on the model; hooks and modules are as they were.
        assert {name: own for name, (_, own) in state(model).items()} == {
            name: own for name, (_, own) in before.items()
        }

    def test_a_line_has_the_rows_of_the_watched_steps_since_the_last(self):
        model, callback = llama(), attention_entropy_callback(every=2)
        now = transformers.TrainerState()
        batches = [tokens(1, 5, seed=i) for i in range(4)]
        callback.on_train_begin(None, now, None, model=model)
        for step, ids in enumerate(batches):
            now.global_step = step
            callback.on_step_begin(None, now, None)
            model(ids)
            callback.on_step_end(None, now, None)
            model(tokens(3, 7))
            callback.on_log(None, now, None, logs={})
        callback.on_train_end(None, now, None)
        assert [row["step"] for row in callback.history] == [0.0, 2.0]
        for row, ids in zip(callback.history, batches[::2], strict=True):
            with watch_attention(model) as watch:
                model(ids)
            assert watch.summary().items() <= row.items()

    def test_bad_options_are_named(self):
        for options, message in (
            ({"every": 0}, "every must be a whole number of at least 1, got 0"),
            ({"every": 1.5}, "every must be a whole number of at least 1, got 1.5"),
            ({"context": 1}, "context must be a whole number of at least 2, got 1"),
            ({"context": 64.0}, "context must be a whole number"),
        ):
            with pytest.raises(ValueError, match=message):
                attention_entropy_callback(**options)
        with pytest.raises(TypeError, match="include is a function .*got 'layers'"):
            attention_entropy_callback(include="layers")
