"""`python -m verl.trainer.main_ppo` as a process of its own, on a policy and a task that are small enough."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import torch

from ..processes import checkout_path
from . import verl_cpu
from .ray_cluster import end, family

GROUP, PROMPTS, MINI, LENGTH, PROMPT = 4, 4, 2, 12, 16
LEARNING_RATE = 0.05
ACTOR, ROLLOUT, MODEL = (f"actor_rollout_ref.{part}" for part in ("actor", "rollout", "model"))
LOSS = f"{ACTOR}.policy_loss"

# vLLM reads these when it is imported: a small cache, one thread, no core of its own.
ENVIRONMENT = {
    **verl_cpu.ENVIRONMENT,
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "OMP_NUM_THREADS": "1",
}
REWARD = '''
def compute_score(data_source, solution_str, ground_truth, extra_info=None, **kwargs):
    """Right where the first byte is a character by itself, which a random policy hits about every other time."""
    return float(solution_str[:1].isascii())
'''
OVERRIDES = [
    f"data.train_batch_size={PROMPTS}",
    f"data.max_prompt_length={PROMPT}",
    f"data.max_response_length={LENGTH}",
    "data.dataloader_num_workers=0",
    "data.shuffle=False",
    f"{MODEL}.use_remove_padding=False",
    f"{MODEL}.enable_gradient_checkpointing=False",
    f"+{MODEL}.override_config.attn_implementation=eager",
    f"{ACTOR}.strategy=fsdp2",
    f"{ACTOR}.fsdp_config.model_dtype=fp32",
    f"{ACTOR}.fsdp_config.use_torch_compile=False",
    f"+{ACTOR}.fsdp_config.mixed_precision.param_dtype=fp32",
    f"{ACTOR}.use_dynamic_bsz=False",
    f"{ACTOR}.ppo_mini_batch_size={MINI}",
    f"{ACTOR}.ppo_micro_batch_size_per_gpu=4",
    f"{ACTOR}.optim.optimizer=SGD",
    f"{ACTOR}.optim.optimizer_impl=torch.optim",
    f"{ACTOR}.optim.lr={LEARNING_RATE}",
    f"{ACTOR}.optim.weight_decay=0.0",
    f"{ROLLOUT}.name=vllm",
    f"{ROLLOUT}.n={GROUP}",
    f"{ROLLOUT}.dtype=float32",
    f"{ROLLOUT}.tensor_model_parallel_size=1",
    f"{ROLLOUT}.enforce_eager=True",
    f"{ROLLOUT}.free_cache_engine=False",
    f"+{ROLLOUT}.enable_sleep_mode=False",
    f"{ROLLOUT}.max_model_len=64",
    f"{ROLLOUT}.max_num_seqs=16",
    f"{ROLLOUT}.max_num_batched_tokens=256",
    f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu=8",
    f"{ROLLOUT}.calculate_log_probs=True",
    f"{ROLLOUT}.agent.num_workers=1",
    f"{ROLLOUT}.checkpoint_engine.update_weights_bucket_megabytes=16",
    f"+{ROLLOUT}.engine_kwargs.vllm.worker_extension_cls={verl_cpu.EXTENSION}",
    "algorithm.adv_estimator=grpo",
    "reward.num_workers=1",
    "reward.custom_reward_function.name=compute_score",
    "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
    "trainer.device=cpu",
    "trainer.nnodes=1",
    "trainer.logger=[console,file]",
    "trainer.project_name=live",
    "ray_kwargs.ray_init.num_cpus=null",
]


def of_recipe(spec):
    """The overrides that a recipe with knobs needs."""
    return [
        f"{LOSS}._target_=entrokit.engines.verl.RecipePolicyLossConfig",
        f"{LOSS}.loss_mode=entrokit",
        f'+{LOSS}.recipe="{spec}"',
        f"{ACTOR}.loss_agg_mode=seq-mean-token-mean",
    ]


def made_in(folder):
    """Policy, tokenizer, task and reward in a folder."""
    import pandas

    policy(folder / "policy")
    rows = [
        {
            "data_source": "live",
            "prompt": [{"role": "user", "content": f"{i}+{j}"}],
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": str(i + j)},
            "extra_info": {"index": 8 * i + j, "split": "train"},
        }
        for i in range(8)
        for j in range(8)
    ]
    pandas.DataFrame(rows).to_parquet(folder / "train.parquet")
    pandas.DataFrame(rows[:4]).to_parquet(folder / "test.parquet")
    (folder / "reward.py").write_text(REWARD)
    return folder


def policy(folder):
    """A random Qwen2, sharp enough that its entropies differ from token to token.

    Its tokenizer is one of bytes without merges: transformers rebuilds tokenizers of this family in one way whatever
    ``tokenizer.json`` says, and verl looks for a token that is a line break.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    symbols = ["<pad>", "<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(symbols)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<|im_end|>", padding_side="left", model_max_length=64
    )
    wrapped.chat_template = (
        "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}={% endif %}"
    )
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(symbols),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    model = Qwen2ForCausalLM(config)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:
                p.mul_(6.0)
    model.save_pretrained(folder)
    wrapped.save_pretrained(folder)


class Run:
    """A run that was started; its folder holds what verl writes, as verl leaves it."""

    def __init__(self, cluster, made, folder, *overrides, record=None):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        # What is given to a driver's process does not reach the workers of a running cluster; this does.
        of_job = {"VERL_FILE_LOGGER_PATH": str(folder / "metrics.jsonl")}
        if record is not None:
            of_job[verl_cpu.RECORD] = str(record)
        self._log = open(folder / "console.log", "a")  # noqa: SIM115, closed when the run is over
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "verl.trainer.main_ppo"),
                *OVERRIDES,
                f"data.train_files={made}/train.parquet",
                f"data.val_files={made}/test.parquet",
                f"{MODEL}.path={made}/policy",
                f"reward.custom_reward_function.path={made}/reward.py",
                f"trainer.rollout_data_dir={folder}/rollouts",
                f"trainer.default_local_dir={folder}/checkpoints",
                f"trainer.experiment_name={folder.name}",
                f"+ray_kwargs.ray_init.address={cluster.address}",
                *(f"+ray_kwargs.ray_init.runtime_env.env_vars.{name}={value}" for name, value in of_job.items()),
                f"hydra.run.dir={made}/hydra",
                *overrides,
            ],
            env={**os.environ, **ENVIRONMENT, **cluster.environment, "PYTHONPATH": checkout_path()},
            cwd=made,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait(self, patience=1200):
        """Until it is over, in whatever way; its exit code."""
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            end(family(self.process.pid))
            raise AssertionError(f"verl did not finish within {patience} s:\n{self.said()[-5000:]}") from None
        finally:
            self._log.close()

    def finished(self):
        """Until it is over; an AssertionError with its log where it failed."""
        code = self.wait()
        assert code == 0, f"verl ended with {code}:\n{self.said()[-8000:]}"
        return self

    def until(self, condition, patience=1200):
        """Until a condition holds, while the run goes on."""
        deadline = time.monotonic() + patience
        while not condition():
            assert self.process.poll() is None, f"verl ended before it should:\n{self.said()[-8000:]}"
            assert time.monotonic() < deadline, f"waited for more than {patience} s:\n{self.said()[-8000:]}"
            time.sleep(0.2)

    def said(self):
        return (self.folder / "console.log").read_text(errors="replace")

    def steps(self):
        """Rows of verl's file log by step; a resumed run's later row of a step counts."""
        return logged(self.folder)


def logged(folder):
    path = Path(folder) / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {row["step"]: row["data"] for row in rows}


def recorded(folder, ranks=1):
    """What `verl_cpu.recording` wrote, a list of batches, each a list of ranks."""
    numbers = sorted(int(re.search(r"\d+", p.name)[0]) for p in Path(folder).glob("batch*-rank0.pt"))
    return [
        [torch.load(Path(folder) / f"batch{n}-rank{r}.pt", weights_only=False) for r in range(ranks)] for n in numbers
    ]


def entrokit(*arguments, environment=None):
    """The command, as a user gives it."""
    return subprocess.run(
        [sys.executable, "-m", "entrokit", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {}), "PYTHONPATH": checkout_path()},
        check=False,
    )
