"""The LM head read directly gives what the model's own logits give, for the heads that transformers and PEFT build."""

from contextlib import nullcontext

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from entrokit.distributions import STATISTICS
from entrokit.engines.trl.forward import PolicyForward, policy_forward
from entrokit.engines.trl.head import UnknownHeadError, cap_and_scale, head_parameters
from entrokit.rlvr import Rollouts, recipe

peft = pytest.importorskip("peft")

SMALL = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
FAMILIES = {
    "untied": ("qwen3", {"tie_word_embeddings": False}),
    "tied": ("qwen3", {"tie_word_embeddings": True}),
    "softcap": ("gemma2", {"final_logit_softcapping": 0.8, "query_pre_attn_scalar": 8}),
    "softcap, another name": (
        "recurrent_gemma",
        {"logits_soft_cap": 0.8, "lru_width": 32, "block_types": ["recurrent", "attention"]},
    ),
    "logit scale": ("cohere", {"logit_scale": 3.0}),
    "logits scaling divides": ("granite", {"logits_scaling": 0.3}),
    "bias": ("phi", {}),
    "gpt2": ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
}
EVERYTHING = frozenset(STATISTICS)


def build(kind, options, seed=0):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(kind, **(SMALL | options)), attn_implementation="eager"
    )
    head = model.get_output_embeddings()
    with torch.no_grad():
        head.weight.mul_(20)  # far from uniform
        if head.bias is not None:
            head.bias.normal_()
    return model.eval()


def batch():
    ids = torch.randint(3, 50, (3, 12), generator=torch.Generator().manual_seed(1))
    attention = torch.ones_like(ids)
    attention[0, :2] = 0  # a prompt padded on the left
    attention[1, 9:] = 0  # a completion padded on the right
    return ids, attention


def both(model, temperature=0.7):
    direct = policy_forward(model, temperature=temperature, autocast=nullcontext)
    return direct, PolicyForward(temperature, nullcontext, head_unknown="asked for")


def gradients(model, stats):
    loss = sum((i + 1.0) * getattr(stats, name).sum() for i, name in enumerate(STATISTICS))
    leaves = [p for p in model.parameters() if p.requires_grad]
    return torch.autograd.grad(loss, leaves, allow_unused=True)


def assert_same_as_from_logits(model, tolerance=2e-4):
    direct, native = both(model)
    assert direct.head_unknown is None
    ids, attention = batch()
    ours, theirs = (f.stats(model, ids, attention, 6, EVERYTHING) for f in (direct, native))
    for name in STATISTICS:
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=1e-4, atol=1e-5, msg=name)
    assert (ours.entropy[1, 3:] == 0).all()
    for one, other in zip(gradients(model, ours), gradients(model, theirs), strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance * float(other.abs().max() + 1e-3))


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_of_transformers(family):
    assert_same_as_from_logits(build(*FAMILIES[family]))


def test_the_options_of_each_family_do_act():
    assert cap_and_scale(build(*FAMILIES["softcap"]).config) == (0.8, 1.0)
    assert cap_and_scale(build(*FAMILIES["softcap, another name"]).config)[0] == 0.8
    assert cap_and_scale(build(*FAMILIES["logit scale"]).config) == (None, 3.0)
    assert cap_and_scale(build(*FAMILIES["logits scaling divides"]).config)[1] == pytest.approx(1 / 0.3)
    assert build(*FAMILIES["bias"]).get_output_embeddings().bias is not None


def adapted(**options):
    model = build("qwen3", {"tie_word_embeddings": False})
    model = peft.get_peft_model(model, peft.LoraConfig(r=4, **options))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)  # as after some training: a new adapter's product is 0
    return model


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["q_proj", "v_proj"]},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    ],
)
def test_heads_of_peft(options):
    model = adapted(**options)
    assert_same_as_from_logits(model)
    direct, native = both(model)
    ids, attention = batch()
    with model.disable_adapter(), torch.no_grad():
        ours, theirs = (f.stats(model, ids, attention, 6, EVERYTHING) for f in (direct, native))
    torch.testing.assert_close(ours.logp, theirs.logp, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lora_dropout": 0.1}, "drops out hidden states"),
        ({"use_dora": True}, "not a plain product"),
    ],
)
def test_adapters_that_are_no_plain_product_fall_back_to_logits(options, message):
    model = adapted(target_modules=["lm_head"], **options)
    with pytest.raises(UnknownHeadError, match=message):
        head_parameters(model.get_output_embeddings())
    forward = policy_forward(model, temperature=1.0, autocast=nullcontext)
    assert message in forward.head_unknown


def test_a_head_that_is_no_linear_layer_falls_back_to_logits():
    model = build("qwen3", {"tie_word_embeddings": False})
    model.lm_head = torch.nn.Sequential(torch.nn.Linear(32, 50), torch.nn.Tanh())
    forward = policy_forward(model, temperature=1.0, autocast=nullcontext)
    assert "its output layer is a Sequential without a weight" in forward.head_unknown
    ids, attention = batch()
    stats = forward.stats(model, ids, attention, 6, EVERYTHING)
    assert stats.entropy.shape == (3, 6)
    assert stats.entropy[0].min() > 0


def test_bfloat16_under_autocast():
    model = build("qwen3", {"tie_word_embeddings": False})

    def autocast():
        return torch.autocast("cpu", dtype=torch.bfloat16)

    assert policy_forward(model, temperature=1.0, autocast=autocast).head_unknown is None


@pytest.mark.parametrize("spec", ["grpo", "dapo+steer(min_weight=0.3, form='exact')", "dr_grpo+kl-cov(ratio=0.3)"])
def test_a_separable_recipe_has_the_same_loss_and_gradient_in_three_products(spec):
    model, r = build("gemma2", FAMILIES["softcap"][1]), recipe(spec)
    assert r.separable
    direct, _ = both(model)
    ids, attention = batch()
    train = attention[:, -6:].bool()
    with torch.no_grad():
        behaviour = direct.stats(model, ids, attention, 6, EVERYTHING)
    rollouts = Rollouts(
        tokens=ids[:, -6:],
        real=train,
        trained=train,
        group=torch.zeros(3, dtype=torch.long),
        reward=torch.tensor([1.0, 0.0, 0.3]),
        behaviour=behaviour,
    )
    advantages = r.advantages(rollouts)
    prepared = r.prepare(rollouts, advantages)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)

    def loss(stats):
        return r.loss(stats, rollouts, advantages, prepared).loss

    value, stats = direct.loss(model, ids, attention, 6, r.needs, loss)
    expected = loss(direct.stats(model, ids, attention, 6, r.needs))
    torch.testing.assert_close(value, expected)
    assert not stats.logp.requires_grad
    leaves = list(model.parameters())
    ours, theirs = torch.autograd.grad(value, leaves), torch.autograd.grad(expected, leaves)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
