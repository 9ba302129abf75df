"""verl's real actor on a CPU: its Hydra config, its `ActorRolloutRefWorker`, its FSDP2 engine, a tiny Qwen2.

verl has no platform for CPUs, so the tests bring one; everything else is verl's own.
"""

import os
import socket

os.environ["VERL_ENGINE_DEVICE"] = "cuda"

import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from tensordict import TensorDict
from verl.plugin.platform import set_platform

from entrokit.distributions import token_statistics
from entrokit.rlvr import PolicyStats, recipe

from ..live.verl_cpu.platform import CPUPlatform

VOCABULARY, PROMPT, LENGTH, ROWS, GROUP = 24, 4, 7, 12, 3
EOS = 1
MINI, LEARNING_RATE = 6, 0.02
LOSS = "actor_rollout_ref.actor.policy_loss"


set_platform(CPUPlatform())

OVERRIDES = [
    "actor_rollout_ref.actor.strategy=fsdp2",
    "actor_rollout_ref.actor.fsdp_config.model_dtype=fp32",
    "actor_rollout_ref.actor.fsdp_config.use_torch_compile=False",
    "+actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype=fp32",
    "actor_rollout_ref.actor.use_dynamic_bsz=False",
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=3",
    "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=2",
    "actor_rollout_ref.actor.optim.optimizer=SGD",
    "actor_rollout_ref.actor.optim.optimizer_impl=torch.optim",
    "actor_rollout_ref.actor.optim.lr=0.5",
    "actor_rollout_ref.actor.optim.weight_decay=0.0",
    "actor_rollout_ref.actor.grad_clip=1000",
    "actor_rollout_ref.actor.optim.clip_grad=1000",
    "actor_rollout_ref.model.use_remove_padding=False",
    "+actor_rollout_ref.model.override_config.attn_implementation=eager",
    "actor_rollout_ref.rollout.name=vllm",
    "actor_rollout_ref.rollout.n=3",
]


def verl_config(*overrides):
    """verl's own PPO config with overrides."""
    GlobalHydra.instance().clear()
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=[*OVERRIDES, *overrides])


def tiny_model(folder, seed=0):
    """A Qwen2 with a tokenizer, sharp enough that its entropies differ from token to token."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        eos_token_id=EOS,
        bos_token_id=None,
        pad_token_id=0,
    )
    model = Qwen2ForCausalLM(config)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3.0)
    model.save_pretrained(folder)
    words = {"<pad>": 0, "<eos>": 1, **{chr(95 + i): i for i in range(2, VOCABULARY)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>").save_pretrained(folder)
    return model.eval()


def load(folder):
    """The tiny model from its folder, as plain PyTorch."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()


def single_process():
    """The process group of one that verl's workers expect to find."""
    if torch.distributed.is_initialized():
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": "0", "WORLD_SIZE": "1"}
    torch.distributed.init_process_group("gloo", rank=0, world_size=1)


def worker_of(folder, *overrides):
    """verl's `ActorRolloutRefWorker`, in the role of an actor, after `init_model`."""
    from verl.workers.engine_workers import ActorRolloutRefWorker

    single_process()
    config = verl_config(f"actor_rollout_ref.model.path={folder}", *overrides)
    OmegaConf.resolve(config)
    worker = ActorRolloutRefWorker(config=config.actor_rollout_ref, role="actor")
    worker.init_model()
    return worker


def parameters(worker):
    """The actor's weights, by name, as plain tensors."""
    return {
        n: (p.full_tensor() if hasattr(p, "full_tensor") else p).detach().clone()
        for n, p in worker.actor.engine.module.named_parameters()
    }


def completions(seed=0, rows=ROWS, length=LENGTH):
    """Left-padded prompts and right-padded completions as verl's old trainer holds them, with rewards and uids."""
    g = torch.Generator().manual_seed(seed)
    prompt_lengths = torch.randint(2, PROMPT + 1, (rows // GROUP,), generator=g).repeat_interleave(GROUP)
    lengths = torch.randint(1, length + 1, (rows,), generator=g)
    prompts = torch.randint(2, VOCABULARY, (rows // GROUP, PROMPT), generator=g).repeat_interleave(GROUP, 0)
    prompt_mask = torch.arange(PROMPT - 1, -1, -1) < prompt_lengths[:, None]
    mask = torch.arange(length) < lengths[:, None]
    responses = torch.randint(2, VOCABULARY, (rows, length), generator=g) * mask
    responses[torch.arange(rows), lengths - 1] = torch.where(torch.arange(rows) % 4 > 0, EOS, 5)
    attention = torch.cat([prompt_mask, mask], 1).long()
    scores = torch.zeros(rows, length)
    scores[torch.arange(rows), lengths - 1] = torch.randint(0, 2, (rows,), generator=g).float()
    return {
        "prompts": prompts * prompt_mask,
        "responses": responses,
        "input_ids": torch.cat([prompts * prompt_mask, responses], 1),
        "attention_mask": attention,
        "position_ids": (attention.cumsum(1) - 1).clamp(min=0),
        "response_mask": mask.long(),
        "token_level_scores": scores,
        "token_level_rewards": scores,
        "uid": [f"prompt-{i // GROUP}" for i in range(rows)],
    }


def update_batch(columns, advantages, old_log_probs, *, mini_batch, epochs=1, **extra):
    """What verl's old trainer sends to `update_actor`: `RayPPOTrainer._update_actor` without the trainer."""
    from verl.utils import tensordict_utils as tu
    from verl.workers.utils.padding import left_right_2_no_padding

    tensors = {n: v.clone() for n, v in columns.items() if n != "uid"}
    tensors |= {"advantages": advantages, "old_log_probs": old_log_probs} | extra
    data = tu.get_tensordict(tensors, non_tensor_dict={})
    tu.assign_non_tensor_stack(data, "uid", columns["uid"])
    data = left_right_2_no_padding(data)
    tu.assign_non_tensor(
        data,
        calculate_entropy=False,
        global_batch_size=mini_batch,
        mini_batch_size=mini_batch,
        epochs=epochs,
        seed=42,
        dataloader_kwargs={"shuffle": False},
        compute_loss=True,
        temperature=1.0,
    )
    return data


def as_new_trainer(data):
    """The same batch in the layout of verl's new trainer: completions nested, without padding."""
    lengths = data["attention_mask"][:, PROMPT:].sum(1).tolist()
    prompts = data["attention_mask"][:, :PROMPT].sum(1).tolist()
    nested = {}
    for name, value in data.items():
        if name == "attention_mask" or not torch.is_tensor(value):
            continue
        if value.is_nested:
            nested[name] = value
        elif name == "prompts":
            rows = [row[PROMPT - n :] for row, n in zip(value, prompts, strict=True)]
            nested[name] = torch.nested.as_nested_tensor(rows, layout=torch.jagged)
        else:
            rows = [row[:n] for row, n in zip(value, lengths, strict=True)]
            nested[name] = torch.nested.as_nested_tensor(rows, layout=torch.jagged)
    out = TensorDict(nested, batch_size=data.batch_size)
    from verl.utils import tensordict_utils as tu

    tu.assign_non_tensor_stack(out, "uid", list(data["uid"]))
    names = ("calculate_entropy", "global_batch_size", "mini_batch_size", "epochs", "seed", "dataloader_kwargs")
    tu.assign_non_tensor(out, **{n: tu.get_non_tensor_data(data, n, None) for n in names})
    tu.assign_non_tensor(out, compute_loss=True, temperature=1.0)
    return out


def rows_of(columns, rows):
    """Some rows of every column."""
    return {n: x[rows] if torch.is_tensor(x) and x.dim() else x for n, x in columns.items()}


def whole_sequences(x, data):
    """Numbers of completions ``[B, T]`` as verl's engine gives them: nested, whole sequences, a step early."""
    rows = []
    for row, real in zip(x, data["attention_mask"], strict=True):
        prompt, length = int(real[:PROMPT].sum()), int(real[PROMPT:].sum())
        rows.append(torch.cat([row.new_zeros(prompt - 1), row[:length], row.new_zeros(1)]))
    offsets = torch.tensor([0, *(len(r) for r in rows)]).cumsum(0)
    return torch.nested.nested_tensor_from_jagged(torch.cat(rows), offsets)


def actor(folder, *overrides):
    """`worker_of`, with mini-batches of ``MINI`` completions."""
    return worker_of(
        folder,
        "actor_rollout_ref.actor.ppo_mini_batch_size=2",
        f"actor_rollout_ref.actor.optim.lr={LEARNING_RATE}",
        *overrides,
    )


def of_recipe(spec):
    """The overrides that a recipe needs."""
    aggregation = recipe(spec).base.aggregation
    reference = ["actor_rollout_ref.actor.use_kl_loss=True", "actor_rollout_ref.actor.kl_loss_coef=0.0"]
    return [
        f"{LOSS}._target_=entrokit.engines.verl.RecipePolicyLossConfig",
        f"{LOSS}.loss_mode=entrokit",
        f'+{LOSS}.recipe="{spec}"',
        f"actor_rollout_ref.actor.loss_agg_mode={aggregation}",
        f"actor_rollout_ref.actor.loss_scale_factor={LENGTH}",
        *(reference if "-kl(" in spec else []),
    ]


def statistics(model, columns, need):
    """Of the completions under plain PyTorch, ``[B, T]``."""
    logits = model(
        input_ids=columns["input_ids"],
        attention_mask=columns["attention_mask"],
        position_ids=columns["position_ids"],
    ).logits
    return PolicyStats.of(token_statistics(logits[:, PROMPT - 1 : -1], columns["responses"], need=need))


def old_log_probs(model, columns, noise=0.05):
    """Of a policy a little away: where log π is log π_old, rounding would decide the sign of KL-Cov's |log π/π_old|."""
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        own = statistics(model, columns, frozenset({"logp"})).logp
    return (own + noise * torch.randn(own.shape, generator=g)) * columns["response_mask"]
