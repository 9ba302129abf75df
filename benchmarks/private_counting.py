"""Frequency oracles against `pure-ldp` (``pip install pure-ldp statsmodels``), and how the prefix tree scales.

- 20 000 users, 64 items, ε = 2: randomising and counting (their local hashing fails with today's xxhash). Agreement:
  the root mean squared error of either estimate, over what the formula expects (1 is exact). Then times, in turns.
- `PrefixTreeHeavyHitters` on 10^4 to 10^6 users of 48 bits, with secure randomness: time and peak of Python's memory.

Prints tables and writes ``runs/bench/private_counting.json``. Takes about three minutes.
"""

from __future__ import annotations

import json
import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from entrokit.information.private import ORACLES, PrefixTreeHeavyHitters, SeededSource

USERS, ITEMS, EPSILON, ROUNDS = 20_000, 64, 2.0, 3
SIZES = (10_000, 100_000, 1_000_000)


def own(name: str, x: Any, seed: int) -> Any:
    oracle = ORACLES[name](ITEMS, EPSILON)
    return oracle.estimate(oracle.aggregate(oracle.randomize(x, SeededSource(seed))), len(x))


def peers() -> dict[str, Callable[[Any], Any]]:
    try:
        from pure_ldp.frequency_oracles.direct_encoding import DEClient, DEServer
        from pure_ldp.frequency_oracles.unary_encoding import UEClient, UEServer
    except ImportError:
        print("private_counting: the peer is not installed; pip install pure-ldp statsmodels")
        return {}

    def through(client: Any, server: Any, x: Any) -> Any:
        # Their items count from 1.
        for item in (x + 1).tolist():
            server.aggregate(client.privatise(item))
        return np.asarray(server.estimate_all(range(1, ITEMS + 1), suppress_warnings=True)) / len(x)

    return {
        "krr": lambda x: through(DEClient(EPSILON, ITEMS), DEServer(EPSILON, ITEMS), x),
        "oue": lambda x: through(UEClient(EPSILON, ITEMS, use_oue=True), UEServer(EPSILON, ITEMS, use_oue=True), x),
    }


def compare(name: str, peer: Callable[[Any], Any]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    p = np.arange(1, ITEMS + 1) ** -1.1
    x = rng.choice(ITEMS, USERS, p=p / p.sum())
    truth = np.bincount(x, minlength=ITEMS) / USERS
    expected = np.sqrt(ORACLES[name](ITEMS, EPSILON).variance(truth, USERS).mean())
    seconds: dict[str, list[float]] = {"own": [], "peer": []}
    errors: dict[str, list[float]] = {"own": [], "peer": []}
    for i in range(ROUNDS):
        for who in ("own", "peer")[:: 1 if i % 2 else -1]:
            begin = time.perf_counter()
            shares = own(name, x, i) if who == "own" else peer(x)
            seconds[who].append(time.perf_counter() - begin)
            errors[who].append(float(np.sqrt(((shares - truth) ** 2).mean()) / expected))
    ratios = sorted(a / b for a, b in zip(seconds["own"], seconds["peer"], strict=True))
    row = {
        "oracle": name,
        "seconds": statistics.median(seconds["own"]),
        "peer_seconds": statistics.median(seconds["peer"]),
        "ratio": statistics.median(ratios),
        "spread": [ratios[0], ratios[-1]],
        "relative_error": statistics.median(errors["own"]),
        "peer_relative_error": statistics.median(errors["peer"]),
    }
    print(row, flush=True)
    return row


def tree(n: int) -> dict[str, Any]:
    rng = np.random.default_rng(n)
    codes = rng.choice(2**48, 20_000, replace=False)
    p = np.arange(1, len(codes) + 1) ** -1.1
    parties = [codes[rng.choice(len(codes), size, p=p / p.sum())] for size in (n // 2, n // 4, n - n // 2 - n // 4)]
    begin = time.perf_counter()
    found = PrefixTreeHeavyHitters(10, 48, 24, 6, EPSILON).fit(parties)
    seconds = time.perf_counter() - begin
    tracemalloc.start()
    PrefixTreeHeavyHitters(10, 48, 24, 6, EPSILON).fit(parties)
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    right = len(set(found.items_.tolist()) & set(codes[:10].tolist()))
    row = {"users": n, "seconds": seconds, "peak_mb": peak, "of_top_ten": right}
    print(row, flush=True)
    return row


if __name__ == "__main__":
    rows = {"oracles": [compare(name, peer) for name, peer in peers().items()], "tree": [tree(n) for n in SIZES]}
    file = Path("runs/bench/private_counting.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(rows, indent=1) + "\n")
