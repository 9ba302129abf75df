"""The table of docs/engines.md: how far each engine's training is from the recipe applied by hand.

    python experiments/engine_deviations.py trl trl.json      # in an environment with entrokit[trl,dev]
    python experiments/engine_deviations.py verl verl.json    # in one with entrokit[verl,dev]
    python experiments/engine_deviations.py table trl.json verl.json

Each number is the largest difference of any step's loss or any weight, over the recipes in which an intervention (or a
base) stands: ten SGD steps under TRL, four under verl. The runs are those of the tests.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]


def largest(one, two):
    """The largest difference between two runs' losses and weights."""
    return max(abs(a - b) for name in ("losses", "weights") for a, b in zip(one[name], two[name], strict=True))


def trl():
    """One process against the recipe by hand; two, with DDP and with FSDP2, against one."""
    from tests.engines.by_hand import train_by_hand
    from tests.engines.conftest import tiny_policy
    from tests.engines.launch import FSDP2, SPECS, trained
    from tests.engines.two_processes import LEARNING_RATE
    from tests.processes import TORCHRUN

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = tiny_policy(folder / "policy")
        one = trained([], checkpoint, folder, "one")
        ddp = trained(TORCHRUN, checkpoint, folder, "ddp")
        fsdp = trained(TORCHRUN, checkpoint, folder, "fsdp2", **FSDP2)
        found = {}
        for spec in SPECS:
            hand = train_by_hand(checkpoint, spec, one[spec]["prompts"], LEARNING_RATE)
            hand["weights"] = hand["weights"].tolist()
            found[spec] = {
                "TRL, 1 process": largest(one[spec], hand),
                "TRL, 2 processes (DDP)": largest(two := ddp[spec], one[spec]),
                "TRL, 2 processes (FSDP2)": largest(fsdp[spec], one[spec]),
            }
            assert two["processes"] == 2
    return found


def verl():
    """verl's actor on one rank against the recipe by hand, in both layouts; two ranks against one."""
    from tests.parity import verl_actor as v
    from tests.parity.by_hand import deviation
    from tests.parity.specs import ALL, SPECS, trained
    from tests.processes import TORCHRUN

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = str(folder / "policy")
        model = v.tiny_model(checkpoint)
        found = {}
        for spec in SPECS.values():
            both = [deviation(spec, checkpoint, model, layout)[:2] for layout in ("old", "new")]
            found[spec] = {"verl, 1 rank (FSDP2)": max(x for pair in both for x in pair)}
        one = trained([], checkpoint, folder / "one.json")
        two = trained(TORCHRUN, checkpoint, folder / "two.json")
    for spec in ALL.values():
        found.setdefault(spec, {})["verl, 2 ranks (FSDP2)"] = largest(two[spec], one[spec])
    return found


def table(*files):
    """A Markdown table: one row for each intervention and base, one column for each engine."""
    from entrokit.rlvr import BASES, INTERVENTIONS, recipe

    runs = [json.loads(Path(file).read_text()) for file in files]
    columns = list(dict.fromkeys(c for run in runs for cells in run.values() for c in cells))
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name in [*INTERVENTIONS, *BASES]:
        cells = []
        for column in columns:
            found = [
                row[column]
                for run in runs
                for spec, row in run.items()
                if column in row
                and name in {recipe(spec).base_part.name, *(i.name for i in recipe(spec).interventions)}
            ]
            # TRL refuses none; what is absent there replays from memories that processes do not share.
            missing = "not compared" if column.startswith("TRL") else "refused"
            cells.append(f"{max(found):.1e}" if found else missing)
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    what, *files = sys.argv[1:]
    if what == "table":
        print(table(*files))
    else:
        os.environ["OMP_NUM_THREADS"] = "1"
        Path(files[0]).write_text(json.dumps({"trl": trl, "verl": verl}[what](), indent=1))


if __name__ == "__main__":
    main()
