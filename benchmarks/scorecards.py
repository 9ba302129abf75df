"""Weights of evidence against `optbinning` (which needs ``pip install optbinning``): agreement first, then time.

Both get the same 100 000 accounts and, for each of ten features, the same edges; ours is `WoEEncoder`, theirs one
`OptimalBinning` a feature with its table. In turns; prints medians with the least and the largest ratio, and writes
``runs/bench/scorecards.json``. Takes half a minute.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from entrokit.information.credit import WoEEncoder
from entrokit.information.credit.binning import quantile_edges

ROWS, FEATURES, ROUNDS = 100_000, 10, 7


def own(X: Any, y: Any, edges: list[Any]) -> tuple[Any, Any]:
    encoder = WoEEncoder(edges).fit(X, y)
    return encoder.transform(X), encoder.iv_


def peer(X: Any, y: Any, edges: list[Any]) -> tuple[Any, Any]:
    from optbinning import OptimalBinning

    columns, values = [], []
    for x, e in zip(X.T, edges, strict=True):
        binning = OptimalBinning(dtype="numerical", user_splits=list(e), user_splits_fixed=[True] * len(e)).fit(x, y)
        binning.binning_table.build()
        # Theirs is ln(good / bad).
        columns.append(-binning.transform(x, metric="woe"))
        values.append(binning.binning_table.iv)
    return np.column_stack(columns), np.array(values)


def main() -> None:
    try:
        import optbinning
    except ImportError:
        print("scorecards: the peer is not installed; pip install optbinning")
        return
    rng = np.random.default_rng(0)
    X = rng.normal(size=(ROWS, FEATURES))
    y = (rng.random(ROWS) < 1.0 / (1.0 + np.exp(2.0 - 0.5 * X.sum(1)))).astype(int)
    edges = [quantile_edges(x, 10) for x in X.T]
    seconds: dict[str, list[float]] = {"own": [], "peer": []}
    found: dict[str, Any] = {}
    for i in range(ROUNDS):
        for name, call in [("own", own), ("peer", peer)][:: 1 if i % 2 else -1]:
            begin = time.perf_counter()
            found[name] = call(X, y, edges)
            seconds[name].append(time.perf_counter() - begin)
    differences = [float(np.abs(a - b).max()) for a, b in zip(found["own"], found["peer"], strict=True)]
    ratios = sorted(a / b for a, b in zip(seconds["own"], seconds["peer"], strict=True))
    row = {
        "peer": f"optbinning {optbinning.__version__}",
        "woe_difference": differences[0],
        "iv_difference": differences[1],
        "seconds": statistics.median(seconds["own"]),
        "peer_seconds": statistics.median(seconds["peer"]),
        "ratio": statistics.median(ratios),
        "spread": [ratios[0], ratios[-1]],
    }
    print(json.dumps(row, indent=1))
    file = Path("runs/bench/scorecards.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(row, indent=1) + "\n")


if __name__ == "__main__":
    main()
