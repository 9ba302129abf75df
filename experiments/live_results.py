"""What docs/engines.md says of live engines, out of the reports of `make test-live`.

    make test-live
    python experiments/live_results.py build/live/*.jsonl
    python scripts/pages.py

Writes results/tables/live.json: of every test function seconds and memory, and the largest deviation from the recipe by
hand where it measures one. A report in which something failed, or that ended before its tests did, is refused.
"""

import json
import sys
from pathlib import Path

OUT = Path(__file__).parents[1] / "results" / "tables" / "live.json"

# Of its environment. The SDK of the Tinker API is everywhere.
SIGNS = {"tinker": "skyrl", "verl": "verl", "trl": "trl"}


def read(file):
    """Versions, and the rows of a report, of one engine."""
    head, *rows = (json.loads(line) for line in Path(file).read_text().splitlines())
    exit_code = rows.pop()["exit"] if rows and "exit" in rows[-1] else None
    failed = [row["test"] for row in rows if row["outcome"] == "failed"]
    if failed or not rows:
        sys.exit(f"{file}: {', '.join(failed) or 'no test'} failed; what is written down is what passed")
    if exit_code != 0:
        sys.exit(f"{file}: pytest ended before its tests did (exit code {exit_code}): some are missing; run it again")
    return head["versions"], [row for row in rows if row["outcome"] == "passed"]


def by_function(rows):
    """One entry a test function: parameters are runs of one kind."""
    found = {}
    for row in rows:
        entry = found.setdefault(
            row["test"].partition("[")[0],
            {"what": row["what"], "runs": 0, "seconds": 0.0, "peak_mb": 0, "apart": None, "recipes": []},
        )
        entry["runs"] += 1
        entry["seconds"] = round(entry["seconds"] + row["seconds"], 1)
        entry["peak_mb"] = max(entry["peak_mb"], row["peak_mb"])
        if row.get("apart") is not None:
            entry["apart"] = max(entry["apart"] or 0.0, row["apart"])
        for spec in row.get("recipes", ()):
            if spec not in entry["recipes"]:
                entry["recipes"].append(spec)
    return list(found.values())


def main(files):
    measured = {}
    for file in files:
        versions, rows = read(file)
        engine = next(name for name, sign in SIGNS.items() if sign in versions)
        measured[engine] = {"versions": versions, "tests": by_function(rows)}
    OUT.write_text(json.dumps(measured, indent=2) + "\n")
    print(f"{OUT.name}: {sum(len(m['tests']) for m in measured.values())} rows")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1:])
