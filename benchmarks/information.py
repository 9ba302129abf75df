"""The information wing against its peers: agreement first, then the ratio of times, interleaved.

- Couplings: heaps against a scan of both marginals in every step (numpy's argmax; the way of the paper's own code; no
  package on PyPI has the method), equal cell by cell; and time and memory of ours up to 100 000 symbols.
- Mutual information of a joint law against `dit` (left out where it is not installed: ``pip install dit``).
- Maximum entropy: Newton on the dual against `scipy.optimize.minimize` (BFGS, with the same gradient).
- Effective features: the meter, fed in batches, against `scipy.stats.entropy` of all codes at once.

Prints a table and writes ``runs/bench/information.json``. Takes about two minutes.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.stats import entropy

from entrokit.information.coupling import information_bits, majorization_bound_bits, min_entropy_coupling
from entrokit.information.maxent import MaxEntModel
from entrokit.information.superposition import EffectiveFeatureMeter

ROUNDS = 7
SIZES = (100, 1_000, 10_000, 100_000)
MOST_SCANNED = 10_000  # beyond, seven rounds of the scan would take minutes
STATES = (100, 10_000, 200_000)
SYMBOLS = (20, 200)
CODES = (100_000, 1024)


def scanned(p: Any, q: Any) -> list[tuple[int, int, float]]:
    """Max-seeking greedy by two scans a step."""
    p, q, cells = p.copy(), q.copy(), []
    while p.max() > 1e-12 and q.max() > 1e-12:
        x, y = int(p.argmax()), int(q.argmax())
        mass = min(p[x], q[y])
        cells.append((x, y, float(mass)))
        p[x] -= mass
        q[y] -= mass
    return cells


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def interleaved(own: Callable[[], Any], peer: Callable[[], Any]) -> tuple[list[float], list[float], Any, Any]:
    """Seconds of both in rounds whose order alternates, and what they gave."""
    a, b, mine, theirs = [], [], None, None
    for i in range(ROUNDS):
        for which in (0, 1) if i % 2 else (1, 0):
            if which == 0:
                seconds, mine = timed(own)
                a.append(seconds)
            else:
                seconds, theirs = timed(peer)
                b.append(seconds)
    return a, b, mine, theirs


def row(name: str, size: int, a: list[float], b: list[float], agreement: float, memory: float | None) -> dict[str, Any]:
    ratios = sorted(x / y for x, y in zip(a, b, strict=True))
    low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
    out = {
        "what": name,
        "size": size,
        "seconds": statistics.median(a),
        "peer_seconds": statistics.median(b),
        "ratio": statistics.median(ratios),
        "quartiles": [low, high],
        "largest_difference": agreement,
        "peak_mb": memory,
    }
    print(
        f"{name:18s} {size:8d}  {out['seconds']:.5f} s  peer {out['peer_seconds']:.5f} s  ratio {out['ratio']:.4f} "
        f"[{low:.4f}, {high:.4f}]  difference {agreement:.1e}" + ("" if memory is None else f"  peak {memory:.1f} MB"),
        flush=True,
    )
    return out


def peak(call: Callable[[], Any]) -> float:
    tracemalloc.start()
    call()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most / 1e6


def coupling(n: int) -> dict[str, Any]:
    rng = np.random.default_rng(n)
    p, q = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n))
    memory = peak(lambda: min_entropy_coupling(p, q))
    if n > MOST_SCANNED:
        seconds = statistics.median(timed(lambda: min_entropy_coupling(p, q))[0] for _ in range(ROUNDS))
        gap = min_entropy_coupling(p, q).entropy_bits - majorization_bound_bits(p, q)
        print(f"coupling           {n:8d}  {seconds:.5f} s, {gap:.4f} bits above the bound, peak {memory:.1f} MB")
        return {"what": "coupling", "size": n, "seconds": seconds, "peak_mb": memory}
    a, b, own, cells = interleaved(lambda: min_entropy_coupling(p, q), lambda: scanned(p, q))
    same = [(int(x), int(y)) for x, y in zip(own.x, own.y, strict=True)] == [(x, y) for x, y, _ in cells]
    difference = float(np.abs(own.mass - [m for *_, m in cells]).max()) if same else float("inf")
    seconds, nearest = timed(lambda: min_entropy_coupling(p, q, "zero"))
    print(f"  zero-seeking {seconds:.3f} s, {nearest.entropy_bits - own.entropy_bits:+.4f} bits")
    return row("coupling", n, a, b, difference, memory)


def maximum_entropy(states: int) -> dict[str, Any]:
    rng = np.random.default_rng(states)
    features, reference = rng.normal(size=(states, 5)), rng.normal(size=states)
    model = MaxEntModel(features, reference)
    model.multipliers = 0.5 * rng.normal(size=5)
    targets = model.mean

    def dual(multipliers: Any) -> tuple[float, Any]:
        exponent = reference - features @ multipliers
        # As the model sums them: np.logaddexp would take several times as long.
        top = exponent.max()
        weights = np.exp(exponent - top)
        total = weights.sum()
        return top + np.log(total) + multipliers @ targets, targets - weights @ features / total

    def peer() -> Any:
        return minimize(dual, np.zeros(5), jac=True, method="BFGS", options={"gtol": 1e-10}).x

    a, b, own, theirs = interleaved(lambda: model.fit(targets).copy(), peer)
    difference = float(np.abs(own - theirs).max())
    return row("maximum entropy", states, a, b, difference, peak(lambda: model.fit(targets)))


def mutual_information(n: int) -> dict[str, Any]:
    import dit

    joint = np.random.default_rng(n).dirichlet(np.ones(n * n)).reshape(n, n)

    def peer() -> float:
        law = dit.Distribution([(x, y) for x in range(n) for y in range(n)], joint.ravel())
        return float(dit.shannon.mutual_information(law, [0], [1]))

    a, b, own, theirs = interleaved(lambda: information_bits(joint), peer)
    return row("mutual information", n, a, b, abs(own - theirs), peak(lambda: information_bits(joint)))


def effective(samples: int, features: int) -> dict[str, Any]:
    """Codes come in batches of 1000, as from a model; the peer needs them side by side."""
    seeds = range(samples // 1000)

    def batch(seed: int) -> torch.Tensor:
        return torch.relu(torch.randn(1000, features, generator=torch.Generator().manual_seed(seed)) - 1.0)

    def own() -> float:
        meter = EffectiveFeatureMeter(features // 4)
        for seed in seeds:
            meter.update(batch(seed))
        return meter.compute()["F"]

    def peer() -> float:
        return float(np.exp(entropy(torch.cat([batch(s) for s in seeds]).double().numpy().sum(0))))

    a, b, mine, theirs = interleaved(own, peer)
    codes = 8 * samples * features / 1e6
    print(f"  all codes at once are {codes:.0f} MB, one batch {codes * 1000 / samples:.0f} MB")
    return row("effective features", samples, a, b, abs(mine - theirs), None)


if __name__ == "__main__":
    found = [coupling(n) for n in SIZES] + [maximum_entropy(n) for n in STATES] + [effective(*CODES)]
    if importlib.util.find_spec("dit"):
        found += [mutual_information(n) for n in SYMBOLS]
    out = Path("runs/bench/information.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n")
