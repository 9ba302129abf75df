"""A user's script: TRL with vLLM in its own process, nothing of either replaced.

python -m tests.live.trl_user_run POLICY OUT STEPS
"""

import sys

from trl import GRPOConfig

from entrokit.engines.trl import EntropyGRPOTrainer
from entrokit.rlvr.tasks.countdown import countdown

LENGTH = 8


def reward(completions, **kwargs):
    """What a random policy can learn: not to stop, until all its completions are cut off."""
    return [len(c) / LENGTH for c in completions]


def main(policy, out, steps):
    trainer = EntropyGRPOTrainer(
        policy,
        reward_funcs=reward,
        args=GRPOConfig(
            out,
            per_device_train_batch_size=16,
            num_generations=8,
            max_completion_length=LENGTH,
            learning_rate=3e-3,
            max_steps=steps,
            logging_steps=1,
            save_steps=10,
            log_completions=True,
            report_to=[],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            use_vllm=True,
            vllm_mode="colocate",
            vllm_max_model_length=64,
        ),
        train_dataset=countdown(train_size=256, eval_size=8).train,
        recipe="grpo+steer(min_weight=0.3)",
    )
    trainer.train()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
