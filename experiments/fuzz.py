"""Hostile input by the hundred thousand: every surface of `tests/fuzz/surfaces.py`, seed by seed.

    python experiments/fuzz.py [--inputs 100000] [--first 0] [--surface NAME] [--out FILE]

Prints how many inputs each surface took, in what time, and the seeds that failed; ``--out`` keeps that as JSON. A seed
gives its input again: `tests.fuzz.surfaces.tried(surface, seed)`. Seeds that ever failed stand in
tests/fuzz/seeds.json, and the test suite tries them again.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--surface", action="append")
    parser.add_argument("--out", type=Path)
    wanted = parser.parse_args()

    import torch
    from tests.fuzz.surfaces import SURFACES, tried

    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    found = {}
    for surface in wanted.surface or SURFACES:
        start, failures = time.perf_counter(), {}
        for seed in range(wanted.first, wanted.first + wanted.inputs):
            problem = tried(surface, seed)
            if problem is not None:
                failures[seed] = problem[:300]
                if len(failures) <= 20:
                    print(f"{surface}, seed {seed}: {problem[:300]}", flush=True)
        seconds = time.perf_counter() - start
        found[surface] = {
            "inputs": wanted.inputs,
            "first": wanted.first,
            "failures": failures,
            "seconds": round(seconds),
        }
        print(f"{surface}: {wanted.inputs} inputs in {seconds:.0f} s, {len(failures)} failures", flush=True)
        if wanted.out:
            wanted.out.write_text(json.dumps(found, indent=1))
    return int(any(result["failures"] for result in found.values()))


if __name__ == "__main__":
    raise SystemExit(main())
