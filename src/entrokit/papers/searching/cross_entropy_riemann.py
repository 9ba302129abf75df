"""Cross-entropy search of zeta's zeros, and nucleus sampling over paths: a demonstration, and no evidence on RH."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Iterator, Sequence

import torch

from entrokit.decoding.path_nucleus import PathTopP
from entrokit.report import Chart, Series
from entrokit.search.cross_entropy import (
    Exponential,
    RareEvent,
    ShiftedGaussian,
    StallWarning,
    cross_entropy_probability,
    estimate_probability,
)
from entrokit.search.zeta import count_zeros, find_critical_zeros, search_zero, smooth_count

from ..claims import judge_interval
from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding
from . import _minima, _path_worlds, _real_paths, _zeta_errors
from ._mirrored import Mirrored

DRAWS, FINAL = 2000, 20_000
# P(X ≥ 20) of an exponential law of mean 1; P(X ≥ γ) of a standard normal one.
RARE = math.exp(-20.0)
TAILS = {gamma: 0.5 * math.erfc(gamma / math.sqrt(2.0)) for gamma in (3.0, 4.0, 5.0)}
HEIGHT, KNOWN_ZEROS = 1000.0, 649
ZERO_WINDOWS = {(10.0, 18.0): 14.134725141734695, (18.0, 23.0): 21.022039638771556, (23.0, 28.0): 25.010857580145689}
NO_ZERO, TWO_ZEROS = (3.0, 12.0), (20.0, 26.0)


def rare(budget: Budget) -> Iterator[Shown]:
    runs = [
        cross_entropy_probability(lambda x: x, Exponential(1.0), 20.0, generator=_generator(s), n=DRAWS, n_final=FINAL)
        for s in budget.seeds
    ]
    plain = [
        estimate_probability(
            lambda x: x, Exponential(1.0), 20.0, Exponential(1.0), n=FINAL + 5 * DRAWS, generator=_generator(1000 + s)
        ).probability
        for s in budget.seeds
    ]
    found, levels = [run.probability for run in runs], [len(run.history) for run in runs]
    yield Finding(
        "A probability of 2e-9 is estimated from 30,000 draws, where plain sampling sees nothing.",
        "P(X ≥ 20) of an exponential law, every seed: within 15 % of e^-20 in 3 to 5 levels; plain Monte Carlo gives 0",
        f"{_spread(found, '.3e')} against {RARE:.3e}, {min(levels)} to {max(levels)} levels; plain {max(plain):g}",
        all(abs(p / RARE - 1.0) <= 0.15 for p in found) and min(levels) >= 3 and max(levels) <= 5 and not any(plain),
        "theory: a relative error of 0.0367",
        {"estimate": found, "relative error": [run.relative_error for run in runs], "levels": levels, "plain": plain},
    )
    scores: dict[str, list[float]] = {}
    for gamma, exact in TAILS.items():
        tails = [_normal_tail(gamma, s) for s in budget.seeds]
        scores[f"γ = {gamma:g}"] = [(run.probability / exact - 1.0) / run.relative_error for run in tails]
    every = [abs(z) for own in scores.values() for z in own]
    yield Finding(
        "The relative error that it reports is right where the family fits the event.",
        "normal tails beyond 3, 4 and 5, every seed: the error is at most 3.5 of the reported standard errors",
        f"{max(every):.2f} at most, root mean square {math.sqrt(statistics.fmean(z * z for z in every)):.2f}",
        max(every) <= 3.5,
        raw=scores,
    )
    two_sided = 2.0 * TAILS[4.0]
    with warnings.catch_warnings():
        # Whether it stalls is what is looked at.
        warnings.simplefilter("ignore", StallWarning)
        one = [
            cross_entropy_probability(
                torch.abs, ShiftedGaussian(0.0), 4.0, generator=_generator(s), n=DRAWS, n_final=FINAL
            )
            for s in budget.seeds
        ]
    own = [
        cross_entropy_probability(torch.abs, Mirrored(), 4.0, generator=_generator(s), n=DRAWS, n_final=FINAL)
        for s in budget.seeds
    ]
    halves, wholes = ([run.probability / two_sided for run in runs] for runs in (one, own))
    said = [run.relative_error for run in one]
    yield Finding(
        "The relative error does not see a side of the event that the family cannot reach.",
        "P(|X| ≥ 4), every seed: one Gaussian gives 0.45 to 0.55 of it and reports an error below 5 %",
        f"{_spread(halves)} of it, reported error {_spread(said)}; {', '.join(sorted({run.status for run in one}))}",
        all(0.45 <= h <= 0.55 for h in halves) and max(said) < 0.05,
        "ours",
        {"of the truth": halves, "reported error": [e if math.isfinite(e) else None for e in said]},
    )
    yield Finding(
        "A family of one's own that has both sides mends it.",
        "P(|X| ≥ 4), every seed: two mirrored Gaussians give it within 10 %",
        f"{_spread(wholes)} of it",
        all(abs(w - 1.0) <= 0.1 for w in wholes),
        "ours",
        {"of the truth": wholes},
    )
    first = runs[0]
    steps = list(range(1, len(first.history) + 1))
    yield Chart(
        "P(X ≥ 20) of an exponential law: levels, one seed",
        "level",
        "level γ, and mean of the sampler",
        (
            Series("γ", steps, [level.gamma for level in first.history]),
            Series("mean", steps, [float(level.sampler.mean) for level in first.history]),
        ),
        y_line=20.0,
    )


def minimum(budget: Budget) -> Iterator[Shown]:
    rivals = _minima.contestants()
    found: dict[str, dict[str, list[float]]] = {}
    for seed in budget.seeds:
        for function, fn in _minima.objectives(seed).items():
            for name, minimise in rivals.items():
                found.setdefault(function, {}).setdefault(name, []).append(minimise(fn, seed))
    middle = {f: {name: statistics.median(own) for name, own in table.items()} for f, table in found.items()}
    sphere, rosenbrock = found["sphere"], found["Rosenbrock"]
    yield Finding(
        "On the sphere it gets to the minimum.",
        "10 dimensions, 10,000 evaluations, every seed: diagonal Gaussians end below 1e-8",
        _medians(sphere),
        max(sphere[_minima.DIAGONAL]) < 1e-8,
        raw=sphere,
    )
    yield Finding(
        "CMA-ES is far better along Rosenbrock's curved valley.",
        "every seed: CMA-ES ends lower than either sampler",
        _medians(rosenbrock),
        all(
            peer < min(a, b)
            for peer, a, b in zip(*(rosenbrock[n] for n in (_minima.CMA, _minima.DIAGONAL, _minima.FULL)), strict=True)
        ),
        raw=rosenbrock,
    )
    rastrigin = middle["Rastrigin"]
    yield Finding(
        "Among the many minima of Rastrigin's function it is as good as CMA-ES with restarts.",
        "median over seeds: diagonal Gaussians at or below CMA-ES, or both below 1e-8",
        _medians(found["Rastrigin"]),
        max(rastrigin[_minima.DIAGONAL], 1e-8) <= max(rastrigin[_minima.CMA], 1e-8),
        raw=found["Rastrigin"],
    )
    ahead = [
        f
        for f, own in middle.items()
        if max(min(own[_minima.DIAGONAL], own[_minima.FULL]), 1e-8)
        <= 10.0 * max(min(own[_minima.CMA], own[_minima.EVOLUTION]), 1e-8)
    ]
    yield Finding(
        "It is as good as the better of its peers on all three.",
        "every function, medians over seeds: the better sampler is below 1e-8 or within 10 times the better peer",
        f"on {len(ahead)} of {len(middle)}: {', '.join(ahead) or 'none'}",
        len(ahead) == len(middle),
        raw={f"{f}, {name}": own for f, table in found.items() for name, own in table.items()},
    )
    names = list(middle)
    yield Chart(
        "10,000 evaluations in ten dimensions",
        "",
        "best value, log10, median and range; not below -16",
        tuple(
            Series(
                name,
                names,
                [_log10(middle[f][name]) for f in names],
                marks=True,
                low=[_log10(min(found[f][name])) for f in names],
                high=[_log10(max(found[f][name])) for f in names],
            )
            for name in rivals
        ),
        height=400,
    )


def zeros(budget: Budget) -> Iterator[Shown]:
    measured = [_zeta_errors.errors(seed) for seed in budget.seeds]
    worst = {name: [max(run[name][i] for run in measured) for i in range(6)] for name in ("ζ", "Z", "θ")}
    heights = [float(height) for height in _zeta_errors.WINDOWS]
    inside = [e for height, e in zip(heights, worst["ζ"], strict=True) if height <= HEIGHT]
    yield Finding(
        "ζ in double precision agrees with mpmath where double precision can.",
        "20 points a window and seed, 0 ≤ σ ≤ 1, windows up to t = 1,000: within 1e-12 of max(1, |ζ|), all of them",
        "; ".join(f"up to {height:g}: {error:.1e}" for height, error in zip(heights, worst["ζ"], strict=True)),
        max(inside) <= 1e-12,
        "mpmath at 30 digits",
        {f"{name}, up to {h:g}": [run[name][i] for run in measured] for name in worst for i, h in enumerate(heights)},
    )
    found = find_critical_zeros(1.0, HEIGHT)
    exact = torch.tensor(_zeta_errors.zeros(100), dtype=torch.float64)
    off = float((found[:100] - exact).abs().max())
    yield Finding(
        "Changes of sign on the line are as many as the argument principle counts in the strip.",
        f"up to t = 1,000: {KNOWN_ZEROS} of each, and the first 100 within 1e-12 of mpmath's. A check of numbers up to "
        "there, and nothing beyond",
        f"{len(found)}, off by {off:.1e} at most; N - (θ/π + 1) = {len(found) - float(smooth_count(HEIGHT)):+.3f}",
        len(found) == KNOWN_ZEROS and off <= 1e-12,
        raw={"zeros": [len(found)], "largest error": [off]},
    )
    runs = {w: [search_zero(*w, generator=_generator(s)) for s in budget.seeds] for w in ZERO_WINDOWS}
    sigma = [abs(run.s.real - 0.5) for own in runs.values() for run in own]
    height_off = [abs(run.s.imag - ZERO_WINDOWS[w]) for w, own in runs.items() for run in own]
    yield Finding(
        "Sampling finds a zero in a window that has one, although it starts off the line.",
        "three windows, start σ = 0.7 ± 0.3, every seed: accepted, σ within 1e-8 of 0.5 and t within 1e-6 of the zero",
        f"σ off by {max(sigma):.1e}, t by {max(height_off):.1e} at most",
        all(run.accepted for own in runs.values() for run in own) and max(sigma) <= 1e-8 and max(height_off) <= 1e-6,
        "independent check: 31 iterations, these bounds",
        {"σ - 1/2": sigma, "t off": height_off, "iterations": [len(r.history) for own in runs.values() for r in own]},
    )
    control = [search_zero(*NO_ZERO, generator=_generator(s)) for s in budget.seeds]
    yield Finding(
        "Where there is no zero the search ends all the same, and is refused.",
        "window 3 to 12, every seed: ends with |ζ| above 0.1 and is not accepted",
        f"|ζ| {_spread([run.modulus for run in control], '.6f')} at {control[0].s.real:g} + {control[0].s.imag:g}i",
        all(run.modulus > 0.1 and not run.accepted for run in control),
        "independent check: 0.440794 in the corner 0 + 3i",
        {"|ζ|": [run.modulus for run in control]},
    )
    two = [search_zero(*TWO_ZEROS, generator=_generator(s)) for s in budget.seeds]
    counted = count_zeros((0.0, 1.0), TWO_ZEROS)
    yield Finding(
        "Of two zeros in a window a run finds one: not to have met a zero means nothing.",
        "window 20 to 26, every seed: the argument principle counts two, a run ends on one",
        f"{counted} counted; runs end at t = {', '.join(f'{run.s.imag:.3f}' for run in two)}",
        counted == 2 and all(run.accepted for run in two),
        "ours",
        {"t": [run.s.imag for run in two], "counted": [counted]},
    )
    yield Chart(
        "Largest distance from mpmath",
        "height t, log10",
        "error, log10",
        tuple(Series(name, [math.log10(h) for h in heights], [_log10(e) for e in own]) for name, own in worst.items()),
        y_line=-12.0,
    )
    yield Chart(
        "Cross-entropy search: best |ζ| so far, one seed",
        "iteration",
        "|ζ|, log10",
        tuple(
            Series(f"window {w[0]:g} to {w[1]:g}", list(range(len(run.history))), [_log10(h.best) for h in run.history])
            for w, run in [*((w, own[0]) for w, own in runs.items()), (NO_ZERO, control[0])]
        ),
        y_line=-8.0,
    )


def chains(budget: Budget) -> Iterator[Shown]:
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
    yield judge_interval(
        "At equal passes the sequence is likelier than the best of four nucleus samples.",
        "log-probability, paths minus samples",
        "nats",
        log_probs[joint],
        log_probs[samples],
        log_probs,
        above=True,
        reference="ours",
    )
    yield judge_interval(
        "Beam search's is likelier still.",
        "log-probability, beam search minus paths",
        "nats",
        log_probs[beam],
        log_probs[joint],
        log_probs,
        above=True,
        reference="ours",
    )
    late = {arm: [statistics.fmean(run.effective[-16:]) for run in own] for arm, own in found.items()}
    yield _one_hot("48 tokens, the last 16", joint, late)
    yield _one_hot("48 tokens, the last 16", samples, late)
    yield _one_stem("48 tokens", joint, {arm: [run.shared for run in own] for arm, own in found.items()})
    yield _effective_chart(
        "Markov chains of 20 tokens: effective paths of four", {arm: own[0].effective for arm, own in found.items()}
    )


def real_model(budget: Budget) -> Iterator[Shown]:
    model, tokenizer = _real_paths.load()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {
            arm: [_real_paths.answer(model, tokenizer, arm, seed) for seed in budget.seeds] for arm in _real_paths.ARMS
        }
    joint, samples, beam = _real_paths.JOINT, _real_paths.SAMPLES, _real_paths.BEAM
    right = {arm: [run.right for run in own] for arm, own in found.items()}
    right |= {f"{arm}, each of four": [run.right_each for run in own] for arm, own in found.items()}
    log_probs = {arm: [run.log_prob for run in own] for arm, own in found.items()}
    distinct = {arm: [run.distinct for run in own] for arm, own in found.items()}
    for other in (samples, beam):
        yield judge_interval(
            f"Its answers are right more often than {'those of ' if other == beam else ''}{other}.",
            f"share of right answers, {joint} minus {other}",
            "",
            right[joint],
            right[other],
            right,
            above=True,
            reference="the paper names the method enhanced; no figure of its own was found",
        )
    yield judge_interval(
        "Its answer is likelier than the best of four nucleus samples.",
        f"log-probability, {joint} minus {samples}",
        "nats",
        log_probs[joint],
        log_probs[samples],
        log_probs,
        above=True,
        reference="ours",
    )
    yield judge_interval(
        "Beam search's is likelier still.",
        f"log-probability, {beam} minus {joint}",
        "nats",
        log_probs[beam],
        log_probs[joint],
        log_probs,
        above=True,
        reference="ours",
    )
    yield judge_interval(
        "Its four paths are less different than four samples.",
        f"different texts of four, {joint} minus {samples}",
        "",
        distinct[joint],
        distinct[samples],
        distinct,
        above=False,
        reference="ours",
    )
    late = {a: [statistics.fmean(run.effective[16:]) for run in own] for a, own in found.items() if own[0].effective}
    yield _one_hot(f"{_real_paths.TOKENS} tokens, from the 17th on", joint, late)
    yield _one_stem(f"{_real_paths.TOKENS} tokens", joint, {a: [run.shared for run in own] for a, own in found.items()})
    tokens = {arm: [run.tokens for run in own] for arm, own in found.items()}
    yield Finding(
        "It costs no more passes than the others.",
        "tokens that the model reads a prompt, mean over seeds: at most those of four samples and of beam search",
        "; ".join(f"{arm} {statistics.fmean(own):.0f}" for arm, own in tokens.items()),
        statistics.fmean(tokens[joint]) <= min(statistics.fmean(tokens[other]) for other in (samples, beam)),
        "ours",
        tokens,
    )
    yield _effective_chart(
        "SmolLM2-135M-Instruct: effective paths of four",
        {arm: _mean_course([run.effective for run in own]) for arm, own in found.items() if own[0].effective},
    )


def _one_hot(when: str, arm: str, late: dict[str, list[float]]) -> Finding:
    return Finding(
        f"One path ends up with nearly all of the weight ({arm}).",
        f"four paths, {when}: exp(H(w)) at most 1.5 in the mean, every seed",
        "; ".join(f"{name} {_spread(own, '.2f')}" for name, own in late.items()),
        max(late[arm]) <= 1.5,
        "independent expectation: one-hot after a few tens of tokens",
        late,
    )


def _one_stem(when: str, arm: str, shared: dict[str, list[float]]) -> Finding:
    return Finding(
        f"Its paths are one path but for their last tokens ({arm}).",
        f"{when}, every seed: all paths have at least half of their tokens in common, from the first on",
        "; ".join(f"{name} {_spread(own, '.2f')}" for name, own in shared.items()),
        min(shared[arm]) >= 0.5,
        "ours",
        shared,
    )


def _effective_chart(title: str, courses: dict[str, Sequence[float]]) -> Chart:
    series = (Series(arm, list(range(1, len(own) + 1)), list(own)) for arm, own in courses.items())
    return Chart(title, "token", "exp(H(w))", tuple(series), y_line=1.0)


def _mean_course(courses: Sequence[Sequence[float]]) -> list[float]:
    length = min(len(own) for own in courses)
    return [statistics.fmean(own[t] for own in courses) for t in range(length)]


def _normal_tail(gamma: float, seed: int) -> RareEvent[ShiftedGaussian]:
    return cross_entropy_probability(
        lambda x: x, ShiftedGaussian(0.0), gamma, generator=_generator(seed), n=DRAWS, n_final=FINAL
    )


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _log10(value: float) -> float:
    return math.log10(max(value, 1e-16))


def _spread(values: Sequence[float], digits: str = ".3f") -> str:
    return f"{statistics.fmean(values):{digits}} ({min(values):{digits}} to {max(values):{digits}})"


def _medians(table: dict[str, list[float]]) -> str:
    return "; ".join(
        f"{name} {statistics.median(own):.1e} ({min(own):.1e} to {max(own):.1e})" for name, own in table.items()
    )


PAPER = Paper(
    slug="cross-entropy-riemann",
    title="Analysis on Riemann Hypothesis with Cross Entropy Optimization and Reasoning",
    arxiv="2409.19790",
    year=2024,
    family="search",
    claim="Zeros of the zeta function are searched by the cross-entropy method, and tokens chosen by the probability "
    "of k paths. A numerical demonstration, and no evidence for or against the Riemann Hypothesis.",
    names=(
        "entrokit.search.cross_entropy.cross_entropy_probability",
        "entrokit.search.cross_entropy.cross_entropy_minimize",
        "entrokit.search.cross_entropy.Sampler",
        "entrokit.search.zeta.zeta",
        "entrokit.search.zeta.hardy_z",
        "entrokit.search.zeta.find_critical_zeros",
        "entrokit.search.zeta.count_zeros",
        "entrokit.search.zeta.search_zero",
        "entrokit.decoding.path_nucleus.path_nucleus",
        "entrokit.decoding.path_nucleus.PathTopP",
    ),
    recipes=(),
    example=(
        "import torch\n"
        "from entrokit.search.zeta import find_critical_zeros, search_zero\n"
        "print(find_critical_zeros(10, 30))\n"
        "print(search_zero(10, 18, generator=torch.Generator().manual_seed(0)).s)"
    ),
    experiments={
        "rare": Experiment(
            rare,
            seeds=5,
            minutes=0.1,
            criterion="every seed: e^-20 within 15 % from 30,000 draws; normal tails within 3.5 of the standard errors "
            "that are reported; of a two-sided event one Gaussian sees half and reports below 5 %, a family with both "
            "sides gives it within 10 %",
        ),
        "minimum": Experiment(
            minimum,
            seeds=5,
            minutes=1,
            needs=("physics",),
            criterion="10,000 evaluations in 10 dimensions: the sphere to 1e-8; CMA-ES below both on Rosenbrock; at or "
            "below CMA-ES on Rastrigin in the median; as good as the better peer on all three",
        ),
        "zeros": Experiment(
            zeros,
            seeds=5,
            minutes=3,
            criterion="ζ within 1e-12 of mpmath up to t = 1,000; 649 changes of sign up to there, as many as the "
            "argument principle counts; the search by samples ends on the zero in three windows, is refused where "
            "there is none, and finds one of two",
        ),
        "chains": Experiment(
            chains,
            seeds=5,
            minutes=0.3,
            criterion="Markov chains, four paths: likelier than the best of four samples and less likely than beam "
            "search (95 % intervals); exp(H(w)) at most 1.5 at the end; half of the tokens common to all paths",
        ),
        "real-model": Experiment(
            real_model,
            seeds=5,
            minutes=3,
            criterion="SmolLM2-135M-Instruct, sentences and sums, four paths of 24 tokens at equal passes, each by a "
            "95 % interval over seeds: right more often than the best of four samples and than beam search, likelier "
            "than the samples, less likely than beam search, fewer different texts; exp(H(w)) at most 1.5 from the "
            "17th token on; half of the tokens common to all paths",
        ),
    },
)
