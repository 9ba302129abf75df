"""The server's policy once more, in PyTorch: the saved model, with the server's LoRA weights as leaves."""

import io
import tarfile
from pathlib import Path

import torch
from safetensors.torch import load
from torch.func import functional_call
from transformers import Qwen3ForCausalLM

PREFIX, SUFFIX = "base_model.model.", ".weight"
ALPHA = 32.0  # SkyRL's `api.py` sets it for every adapter
# SkyRL trains one A for what it has fused into one layer, and saves it under each name.
FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


def adapter_of(archive: Path) -> dict[str, torch.Tensor]:
    """LoRA weights in a checkpoint of the server, by name."""
    with tarfile.open(archive) as tar:
        member = next(m for m in tar.getmembers() if m.name.endswith("adapter_model.safetensors"))
        return load(io.BytesIO(tar.extractfile(member).read()).getvalue())


class Policy:
    def __init__(self, folder: Path, adapter: dict[str, torch.Tensor], rank: int) -> None:
        self.model = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        self.model.requires_grad_(False)
        self.rank = rank
        leaves = {_first(name): value.clone().requires_grad_() for name, value in adapter.items()}
        self.adapter = {name: leaves[_first(name)] for name in adapter}

    @property
    def leaves(self) -> list[torch.Tensor]:
        """Each trained tensor once."""
        return list({id(value): value for value in self.adapter.values()}.values())

    def logp(self, tokens: list[int]) -> torch.Tensor:
        """Of every token but the first, ``[N - 1]``."""
        weights = dict(self.model.named_parameters())
        for name, a in self.adapter.items():
            if ".lora_A" not in name:
                continue
            base = name.removeprefix(PREFIX).split(".lora_A")[0] + SUFFIX
            b = self.adapter[name.replace(".lora_A", ".lora_B")]
            assert weights[base].shape == (b.shape[0], a.shape[1]), name
            weights[base] = weights[base] + ALPHA / self.rank * b @ a
        ids = torch.tensor([tokens])
        logits = functional_call(self.model, weights, (ids,), {"use_cache": False}).logits
        return logits.log_softmax(-1)[0, :-1].gather(-1, ids[0, 1:, None])[:, 0]


def _first(name: str) -> str:
    """The name under which a trained tensor is known, of those that it is saved under."""
    for layers in FUSED:
        for layer in layers[1:]:
            if f".{layer}.lora_A" in name:
                return name.replace(layer, layers[0])
    return name
