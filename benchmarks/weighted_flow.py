"""What a training step of weighted flow matching costs by batch, beside torchcfm's I-CFM and OT-CFM.

    python benchmarks/weighted_flow.py            # some three minutes, nearly all of them OT-CFM's at 4,096

- ``steps``: pairs to matched points, loss, gradient, Adam; a network of 3 x 64 in the plane; W-CFM also with potentials
  on 512 reference points a side. Plans of OT-CFM are ``ot.emd``'s, which torchcfm stops after 100,000 pivots: at 4,096
  that is before the optimum, so its time there is too short.
- ``images``: the matcher alone, without a network, on 3 x 32 x 32: what is added to a step of any model.

Contestants take turns, in alternating order; CPU seconds of one thread, medians with the least and the largest, ratios
of the same round to I-CFM. Prints tables and writes ``runs/bench/weighted_flow.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from pathlib import Path

import torch

from entrokit.generative.weighted_flow import WeightedConditionalFlowMatcher
from entrokit.papers.generative._weighted_flow_steps import BATCHES, PLAIN, WEIGHTED, step_seconds
from entrokit.papers.generative._weighted_flows import peer

Spent = dict[str, list[float]]


def image_seconds(batch: int, rounds: int, repeats: int) -> Spent:
    g = torch.Generator().manual_seed(0)
    x0, x1 = torch.randn(batch, 3, 32, 32, generator=g), torch.randn(batch, 3, 32, 32, generator=g)
    calls = {PLAIN: peer("ConditionalFlowMatcher"), WEIGHTED: WeightedConditionalFlowMatcher(5.0).sample}
    spent: Spent = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name in list(calls)[:: 1 if turn % 2 else -1]:
            begin = time.process_time()
            for _ in range(repeats):
                calls[name](x0, x1)
            if turn:
                spent[name].append((time.process_time() - begin) / repeats)
    return spent


def show(title: str, spent: Spent) -> None:
    print(title)
    for name, seconds in spent.items():
        ratios = sorted(a / b for a, b in zip(seconds, spent[PLAIN], strict=True))
        print(
            f"  {name:22} {1000 * statistics.median(seconds):10.2f} ms "
            f"[{1000 * min(seconds):.2f}, {1000 * max(seconds):.2f}]"
            f"   ratio {statistics.median(ratios):7.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="without the batch of 4,096")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    written: dict[str, Spent] = {}
    for batch in BATCHES[:-1] if arguments.quick else BATCHES:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            spent = written[f"step, batch {batch}"] = step_seconds(batch, arguments.rounds, max(1, 8192 // batch))
        early = any("numItermax" in str(warning.message) for warning in caught)
        show(f"step, batch {batch}" + (" (OT-CFM's solver stopped before the optimum)" if early else ""), spent)
    for batch in (128, 1024):
        spent = written[f"images, batch {batch}"] = image_seconds(batch, arguments.rounds, max(1, 2048 // batch))
        show(f"images, batch {batch}", spent)
    file = Path("runs/bench/weighted_flow.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
