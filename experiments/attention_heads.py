"""Every head's attention entropy in SmolLM2-135M on a real text: Python's own reference, which Python ships.

    python experiments/attention_heads.py [--model FOLDER]     # writes results/tables/attention-heads.json

Windows of 512 tokens of English and code, one after the other, with SDPA under `watch_attention`. About a minute of
one core. `python scripts/attention_picture.py` draws it.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
from pathlib import Path
from pydoc_data.topics import topics

import torch
from smollm2 import smollm2
from transformers import AutoModelForCausalLM, AutoTokenizer

from entrokit.attention.entropy import head_entropy_histogram, watch_attention
from entrokit.papers.run import commit_of_checkout

OUT = Path(__file__).parents[1] / "results" / "tables" / "attention-heads.json"
WINDOWS, LENGTH = 8, 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="the converted model's folder; fetched by default")
    folder = parser.parse_args().model or smollm2()
    torch.set_num_threads(1)
    text = "\n".join(topics[name] for name in sorted(topics))
    ids = AutoTokenizer.from_pretrained(folder)(text[: 8 * WINDOWS * LENGTH], return_tensors="pt").input_ids
    pieces = ids[0, : WINDOWS * LENGTH].view(WINDOWS, 1, LENGTH)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa").eval()
    with torch.no_grad(), watch_attention(model) as watch:
        for piece in pieces:
            model(piece, use_cache=False, logits_to_keep=1)
    heads = watch.head_entropy()
    reachable = float(torch.arange(1, LENGTH + 1).double().log().mean())
    print(f"{len(watch.names)} layers, {heads.shape[1]} heads, {pieces.numel()} tokens in windows of {LENGTH}")
    for name, maximum in (("of the largest", None), ("of log T", math.log(LENGTH))):
        print(
            f"quarters {name}: " + ", ".join(f"{share:.3f}" for share in head_entropy_histogram(heads, maximum=maximum))
        )
    print(
        f"mean {heads.mean():.3f}, least {heads.min():.3f}, most {heads.max():.3f}; uniform heads have {reachable:.3f}"
    )
    content = {
        "format": 1,
        "command": "python experiments/attention_heads.py",
        "commit": commit_of_checkout(),
        "python": platform.python_version(),
        "windows": WINDOWS,
        "length": LENGTH,
        "reachable": round(reachable, 6),
        "summary": {name: round(value, 6) for name, value in watch.summary().items()},
        "heads": [[round(value, 4) for value in layer] for layer in heads.tolist()],
    }
    OUT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(OUT)


if __name__ == "__main__":
    main()
