"""The README's picture in figures: three recipes on the pocket policy, three seeds.

python experiments/three_recipes.py [folder]  # trains what is not there; writes results/tables/three-recipes.json

Knobs were chosen on seed 100. The report with the picture lies in the folder.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

from entrokit.bench import PocketBench
from entrokit.papers.run import commit_of_checkout
from entrokit.report import summarise, write_page
from entrokit.training.settings import TrainSettings

RECIPES = ("grpo", "grpo+kl-cov(ratio=0.1)", "grpo+steer(min_weight=0.1, scale_quantile=0.9)")
SEEDS = range(3)
OUT = Path(__file__).parents[1] / "results" / "tables" / "three-recipes.json"


def main() -> None:
    folder = sys.argv[1] if len(sys.argv) > 1 else "runs/three-recipes"
    found = PocketBench(SEEDS, TrainSettings("grpo", folder)).runs(*RECIPES)
    runs = [run for recipe in RECIPES for run in found[recipe]]
    summaries = summarise(runs)
    # The highest that every run reaches, in hundredths.
    level = math.floor(100 * summaries[0].matched[0].accuracy) / 100
    summaries = summarise(runs, (level,))

    def values(spread):
        return [round(value, 6) for value in spread.values]

    rows = {
        s.recipe: {
            "entropy": [values(s.entropy_start), values(s.entropy_end)],
            "accuracy": [values(s.accuracy_start), values(s.accuracy_end)],
            f"pass@{s.k}": [values(s.pass_start), values(s.pass_end)],
            "matched": [values(s.matched[0].entropy)],
        }
        for s in summaries
    }
    content = {
        "format": 1,
        "command": "python experiments/three_recipes.py",
        "commit": commit_of_checkout(),
        "seeds": list(SEEDS),
        "level": level,
        "recipes": rows,
    }
    OUT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"{OUT}; report: {write_page(runs, folder, (level,))}")


if __name__ == "__main__":
    main()
