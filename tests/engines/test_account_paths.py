"""The account where backpropagation does not follow every path of a parameter: its shares still add up.

The policy is an OPT: it has padding rows by default and normalises in its own precision, so that in float64 nothing
but rounding is left between the two sides.
"""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import MixtralConfig, MixtralForCausalLM, OPTConfig, OPTForCausalLM
from trl import GRPOTrainer

from entrokit.engines.trl import EntropyGRPOTrainer
from entrokit.engines.trl.directional import token_derivatives
from entrokit.engines.trl.forward import policy_forward
from entrokit.training.pocket import character_tokenizer

from .accounted import PAD, RATE, trained

EPS = torch.finfo(torch.float64).eps


def tiny_opt(tied=True):
    torch.manual_seed(0)
    model = OPTForCausalLM(
        OPTConfig(
            vocab_size=len(character_tokenizer()),
            hidden_size=16,
            word_embed_proj_dim=16,
            ffn_dim=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=64,
            dropout=0.0,
            pad_token_id=PAD,
            eos_token_id=1,
            bos_token_id=1,
            tie_word_embeddings=tied,
            init_std=0.3,
        )
    )
    with torch.no_grad():
        model.get_input_embeddings().weight[PAD].normal_(0.0, 0.3)
    assert model.get_input_embeddings().padding_idx == PAD
    return model.double().eval()


def layers(model):
    return model.get_decoder().layers


def adapted(model):
    targets = ["q_proj", "fc2", "embed_tokens"]
    return get_peft_model(model, LoraConfig(r=4, target_modules=targets, init_lora_weights=False)).double()


def closed(model, forward):
    """The model with a layer that computes without gradient, in the way that ``forward`` wraps its own."""
    layers(model)[0].fc1.forward = forward(layers(model)[0].fc1.forward)
    return model


def beside_a_copy(inner):
    """Counts its output twice, once as a copy that is made in place and out of the backward pass's sight."""

    def forward(x):
        seen = inner(x)
        store = torch.zeros_like(seen)
        with torch.no_grad():
            store.copy_(seen)
        return seen + store

    return forward


def experts(implementation):
    torch.manual_seed(0)
    size = {
        "vocab_size": 16,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_local_experts": 4,
    }
    more = {"num_attention_heads": 2, "num_key_value_heads": 2, "pad_token_id": PAD, "initializer_range": 0.3}
    return MixtralForCausalLM(MixtralConfig(**size, **more, experts_implementation=implementation)).eval()


def frozen(model):
    layers(model)[0].requires_grad_(False)
    return model


def renormalised(model):
    model.get_input_embeddings().max_norm = 0.5
    return model


def negative(model):
    """The same row, by the index that PyTorch allows too."""
    model.get_input_embeddings().padding_idx = PAD - model.config.vocab_size
    return model


MODELS = {
    "tied": lambda: tiny_opt(),
    "untied": lambda: tiny_opt(tied=False),
    "negative padding row": lambda: negative(tiny_opt()),
    "no_grad": lambda: closed(tiny_opt(), torch.no_grad()),
    "no_grad beside the graph": lambda: closed(tiny_opt(), beside_a_copy),
    "frozen layer": lambda: frozen(tiny_opt()),
    "adapters": lambda: adapted(tiny_opt()),
    "largest norm": lambda: renormalised(tiny_opt()),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("native", [False, True], ids=["head", "native logits"])
def test_derivatives_along_a_direction_are_the_transpose_of_the_backward_pass(model, native):
    """``⟨c, J v⟩ = ⟨Jᵀ c, v⟩``: the left side by forward mode, the right by backpropagation."""
    model, generator = model(), torch.Generator().manual_seed(1)
    forward = policy_forward(model, temperature=0.7, autocast=nullcontext)
    if native:
        forward = replace(forward, head_unknown="for a test")
    ids, attention = with_padding()
    stats = forward.stats(model, ids, attention, 4, frozenset({"logp", "entropy"}))
    c = {n: torch.randn(3, 4, generator=generator, dtype=torch.float64) for n in ("logp", "entropy")}
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    value = sum((c[n] * getattr(stats, n)).sum() for n in c)
    slopes = torch.autograd.grad(value, list(named.values()), materialize_grads=True)
    v = {n: torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in named.items()}
    terms = torch.cat([(v[n] * s).flatten() for n, s in zip(v, slopes, strict=True)])
    _, along = token_derivatives(model, v, ids, attention, 4, forward)
    # The rounding of a sum is at most its length times eps times its terms' sizes.
    found = sum((c[n] * along[n]).sum() for n in c)
    assert abs(found - terms.sum()) <= len(terms) * EPS * terms.abs().sum()


def with_padding():
    """Three prompts of six tokens with completions of four: the padding token is in each, and in a completion."""
    ids = torch.randint(2, 16, (3, 10), generator=torch.Generator().manual_seed(2))
    ids[:, 3] = ids[0, 8] = ids[1, :2] = PAD
    attention = torch.ones_like(ids)
    attention[1, :2] = 0
    return ids, attention


@pytest.mark.parametrize("part", [lambda model: model, lambda model: layers(model)[0]], ids=["model", "layer"])
def test_what_is_compiled_has_the_same_derivatives(part):
    model = tiny_opt()
    forward = policy_forward(model, temperature=1.0, autocast=nullcontext)
    v = {n: torch.ones_like(p) for n, p in model.named_parameters()}
    _, expected = token_derivatives(model, v, *with_padding(), 4, forward)
    part(model).compile(backend="eager")
    _, found = token_derivatives(model, v, *with_padding(), 4, forward)
    assert expected["logp"].any()
    assert torch.equal(found["logp"], expected["logp"])


def test_experts_in_a_grouped_product_have_the_derivatives_of_experts_one_by_one():
    found = {}
    for implementation in ("grouped_mm", "eager"):
        model = experts(implementation)
        forward = policy_forward(model, temperature=1.0, autocast=nullcontext)
        v = {n: torch.ones_like(p) for n, p in model.named_parameters()}
        _, found[implementation] = token_derivatives(model, v, *with_padding(), 4, forward)
        assert model.config._experts_implementation == implementation
    assert found["eager"]["logp"].any()
    assert torch.equal(found["grouped_mm"]["logp"], found["eager"]["logp"])


RUNS = {
    "tied": (tiny_opt, {}),
    "untied": (lambda: tiny_opt(tied=False), {}),
    "frozen layer": (lambda: frozen(tiny_opt()), {}),
    "adapters": (lambda: adapted(tiny_opt()), {}),
    "weight decay": (tiny_opt, {"weight_decay": 5.0}),
    "weight decay, untied": (lambda: tiny_opt(tied=False), {"weight_decay": 5.0}),
    "sgd": (tiny_opt, {"optim": "sgd", "optim_args": "momentum=0.9", "learning_rate": 10 * RATE}),
    "clipped norm": (tiny_opt, {"max_grad_norm": 1e-3}),
    "all": (tiny_opt, {"max_grad_norm": 1e-3, "weight_decay": 5.0, "gradient_accumulation_steps": 2}),
}


@pytest.mark.parametrize(("model", "options"), RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("kind", [EntropyGRPOTrainer, GRPOTrainer])
def test_with_the_padding_token_in_prompts_shares_add_up_and_the_prediction_comes_true(
    kind, model, options, config, task
):
    model = model()
    # TRL's own head computes in float32, in a sum over the step's tokens; ours in the policy's float64.
    tokens = 16 * 8
    rounding = tokens * torch.finfo(torch.float32).eps if kind is GRPOTrainer else model.num_parameters() * EPS
    found = trained(kind, model, config, task, **options)
    assert len(found) == 4
    for a, size in found:
        assert abs(a.tokens - a.gradient) <= rounding * size
        parts = [a.gradient + a.clipping, a.memory, a.decay]
        moved = sum(map(abs, parts))
        assert abs(sum(parts) - a.predicted) <= 8 * EPS * (moved + abs(a.gradient))
        assert abs(a.measured - a.predicted) <= 1e-3 * moved
        assert (a.decay != 0.0) == ("weight_decay" in options)
        assert (a.memory != 0.0) == (a.step > 0)
        assert (a.clipping != 0.0) == ("max_grad_norm" in options)


@pytest.mark.parametrize("option", ["scale_grad_by_freq", "sparse"])
def test_it_says_which_embeddings_it_cannot_follow(option, config, task):
    model = tiny_opt()
    setattr(model.get_input_embeddings(), option, True)
    with pytest.raises(ValueError, match=f"embed_tokens has {option}=True"):
        trained(EntropyGRPOTrainer, model, config, task)
