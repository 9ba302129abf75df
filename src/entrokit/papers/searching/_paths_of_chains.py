"""Four paths at equal passes, of Markov chains whose every probability is known."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from entrokit.decoding.path_nucleus import PathTopP

from ..entry import Shown
from ..evidence import Budget, Finding
from . import _path_worlds
from ._paths import effective_chart, likelier, one_hot, one_stem


def shown(budget: Budget) -> Iterator[Shown]:
    garden = {
        "nucleus sampling of one path, p → 0": _path_worlds.probability(PathTopP(1, 1e-9), _path_worlds.garden_path, 2),
        "two paths, most probable pairs": _path_worlds.probability(
            PathTopP(2, 1.0, do_sample=False), _path_worlds.garden_path, 2
        ),
    }
    yield Finding(
        "A second path gets past a first token that is likelier and leads nowhere.",
        "two tokens: 0.1375 with one path, 0.4365 with two, to 1e-9",
        "; ".join(f"{name} {p:.4f}" for name, p in garden.items()),
        all(abs(p - q) < 1e-9 for p, q in zip(garden.values(), (0.1375, 0.4365), strict=True)),
        raw={name: [p] for name, p in garden.items()},
    )
    found = {arm: [_path_worlds.decode(arm, seed) for seed in budget.seeds] for arm in _path_worlds.ARMS}
    joint, samples, beam = _path_worlds.JOINT, _path_worlds.SAMPLES, _path_worlds.BEAM
    log_probs = {arm: [run.log_prob for run in own] for arm, own in found.items()}
    yield likelier(
        "At equal passes the sequence is likelier than the best of four nucleus samples.",
        "paths minus samples",
        joint,
        samples,
        log_probs,
    )
    yield likelier("Beam search's is likelier still.", "beam search minus paths", beam, joint, log_probs)
    late = {arm: [statistics.fmean(run.effective[-16:]) for run in own] for arm, own in found.items()}
    yield one_hot("48 tokens, the last 16", joint, late)
    yield one_hot("48 tokens, the last 16", samples, late)
    yield one_stem("48 tokens", joint, {arm: [run.shared for run in own] for arm, own in found.items()})
    yield effective_chart(
        "Markov chains of 20 tokens: effective paths of four", {arm: own[0].effective for arm, own in found.items()}
    )
