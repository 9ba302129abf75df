"""One run of TRL against a vLLM server, in one process or under ``torchrun``; writes what it saw and its weights.

python -m tests.live.trl_server_run SETTINGS.json OUT.pt
"""

import json
import os
import sys
from pathlib import Path

os.environ["ACCELERATE_USE_CPU"] = "true"

import torch
from accelerate.utils import gather_object
from requests.adapters import HTTPAdapter
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig
from trl.generation import vllm_generation

from entrokit.engines.trl import EntropyGRPOTrainer
from entrokit.rlvr.tasks.countdown import countdown

from ..engines.conftest import length_reward
from .by_hand import Seen
from .vllm_cpu.transfer import client_through


class Client:
    """TRL's client without its minute of patience for a server that is gone."""

    def __new__(cls, *args, **kwargs):
        client = client_through(Path(SETTINGS["transfer"]))(*args, **kwargs)
        client.session.mount("http://", HTTPAdapter(max_retries=0))
        return client


def main(settings, out):
    vllm_generation.VLLMClient = Client
    args = GRPOConfig(**settings["config"])
    t = EntropyGRPOTrainer(
        AutoModelForCausalLM.from_pretrained(settings["policy"], dtype=torch.float32),
        reward_funcs=length_reward,
        args=args,
        train_dataset=countdown(train_size=64, eval_size=8).train,
        processing_class=AutoTokenizer.from_pretrained(settings["policy"], padding_side="left"),
        recipe=settings["recipe"],
    )
    seen = Seen()
    seen.watch(t)
    t.train(resume_from_checkpoint=settings.get("resume"))
    everyones = gather_object([seen])
    if t.accelerator.is_main_process:
        torch.save(
            {
                "seen": everyones,
                "log": t.state.log_history,
                "weights": {n: p.detach() for n, p in t.accelerator.unwrap_model(t.model).named_parameters()},
                "processes": t.accelerator.num_processes,
            },
            out,
        )


if __name__ == "__main__":
    SETTINGS = json.loads(Path(sys.argv[1]).read_text())
    main(SETTINGS, sys.argv[2])
