"""OFQ: whether codes stand still under StatsQ, CGA and QKR, and whether a small vision transformer learns better so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from entrokit.report import Chart, Series

from ..claims import judge_interval
from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding
from ._annealed_regression import FROM, STEPS, Regression, regress
from ._digits_vit import LAST_EPOCHS, Trained, digits, float_model, learn

BITS = (2, 3, 4)
ARMS = ("ste", "lsq", "statsq", "statsq+cga", "qkr", "qkr+cga")
OURS = "qkr+cga"
NAMES = {
    "ste": "plain STE",
    "lsq": "LSQ",
    "statsq": "StatsQ",
    "statsq+cga": "StatsQ, CGA",
    "qkr": "StatsQ, QKR",
    "qkr+cga": "StatsQ, QKR, CGA",
}
_WINDOW = 25

Found = list[dict[tuple[int, str], Trained]]


def regression(budget: Budget) -> Iterator[Shown]:
    plain = [regress(seed, annealed=False) for seed in budget.seeds]
    annealed = [regress(seed, annealed=True) for seed in budget.seeds]
    still = [b.late_changes / a.late_changes for a, b in zip(plain, annealed, strict=True)]
    better = [b.late_error / a.late_error for a, b in zip(plain, annealed, strict=True)]
    yield Finding(
        "Annealing calms codes that oscillate.",
        "linear regression in 2 bits, last 300 of 1200 steps: with CGA from step 700 codes change less than 5 % as "
        "often as without, every seed",
        f"share of codes that change in a step: {_mean_range([r.late_changes for r in plain], '.4f')} without, "
        f"{_mean_range([r.late_changes for r in annealed], '.4f')} with",
        max(still) < 0.05,
        "independent check, 3 seeds: .153 to .155 without, 0 to .0015 with",
        {"without": [r.late_changes for r in plain], "with": [r.late_changes for r in annealed]},
    )
    yield Finding(
        "A model whose codes stand still errs less.",
        "the same runs: mean squared error below 0.8 of that without, every seed",
        f"ratio {_mean_range(better, '.3f')}",
        max(better) < 0.8,
        "independent check, 3 seeds: .495 to .555",
        {"without": [r.late_error for r in plain], "with": [r.late_error for r in annealed]},
    )
    yield Chart(
        "Codes of two bits that change in a step",
        f"step (means of {_WINDOW} and over seeds); annealed from the line on",
        "share of weights",
        (_course("without annealing", plain), _course("annealed", annealed)),
        x_line=float(FROM),
    )


def vision(budget: Budget) -> Iterator[Shown]:
    found, floats = [], []
    for seed in budget.seeds:
        data = digits(seed)
        teacher = float_model(data, seed)
        floats.append(data.accuracy(teacher))
        runs: dict[tuple[int, str], Trained] = {}
        for bits in BITS:
            for method in ("ste", "lsq", "statsq", "qkr"):
                runs |= {(bits, arm): own for arm, own in learn(teacher, data, seed, bits, method).items()}
        found.append(runs)
    for bits in BITS:
        for other in ("lsq", "ste"):
            yield _more_accurate(found, bits, OURS, other, _REFERENCE if (bits, other) == (2, "lsq") else "")
    for bits in BITS:
        yield _more_accurate(found, bits, "statsq", "lsq", _STATSQ[bits])
    yield _more_accurate(found, 2, "qkr", "statsq")
    yield _more_accurate(found, 2, "statsq+cga", "statsq")
    yield _lossless(found, floats)
    yield _fewer(found, "statsq", "lsq", "before", "A learnt scale makes weights oscillate more: StatsQ's do less.")
    yield _fewer(found, "qkr", "statsq", "before", "Queries and keys quantised as one oscillate less.")
    yield _fewer(found, "statsq+cga", "statsq", "after", "After annealing fewer weights oscillate.")
    yield _evenly(found)
    yield _accuracies(found, floats)
    yield _calming(found)


_REFERENCE = "paper, ImageNet: +9.8 (DeiT-T), +7.7 (DeiT-S), +4.64 (Swin-T) points over the best before"
_STATSQ = {
    2: "a summary of the paper, DeiT-S on ImageNet: +6.3 points",
    3: "a summary of the paper, DeiT-S on ImageNet: +0.8 points",
    4: "a summary of the paper, DeiT-S on ImageNet: +1.0 points",
}


def _of(found: Found, bits: int, arm: str, what: str) -> list[float]:
    return [getattr(runs[bits, arm], what) for runs in found]


def _more_accurate(found: Found, bits: int, arm: str, other: str, reference: str = "") -> Finding:
    own, against = (_of(found, bits, one, "accuracy") for one in (arm, other))
    return judge_interval(
        f"{NAMES[arm]} beats {NAMES[other]} at {bits} bits.",
        f"{bits} bits of weights and activations, accuracy on held-out digits, {NAMES[arm]} minus {NAMES[other]}",
        "",
        own,
        against,
        {NAMES[arm]: own, NAMES[other]: against},
        above=True,
        reference=reference,
    )


def _lossless(found: Found, floats: Sequence[float]) -> Finding:
    own = _of(found, 4, OURS, "accuracy")
    gap = [a - b for a, b in zip(own, floats, strict=True)]
    return Finding(
        "Four bits cost no accuracy.",
        f"accuracy on held-out digits, {NAMES[OURS]} at 4 bits minus the float model that it started from: mean over "
        "seeds >= 0",
        f"{_mean_range(gap, '+.4f')}; float {fmean(floats):.4f}",
        fmean(gap) >= 0.0,
        "paper, ImageNet: 75.46 for 72.02 (DeiT-T), 81.10 for 79.9 (DeiT-S), 81.88 for 81.2 (Swin-T)",
        {NAMES[OURS]: own, "float": list(floats)},
    )


def _fewer(found: Found, arm: str, other: str, when: str, claim: str) -> Finding:
    own, against = (_of(found, 2, one, when) for one in (arm, other))
    where = "the cosine" if when == "before" else f"{LAST_EPOCHS} more epochs at the last learning rate"
    return judge_interval(
        claim,
        f"2 bits, share of weights that oscillate (frequency above 0.005) at the end of {where}, {NAMES[arm]} minus "
        f"{NAMES[other]}",
        "",
        own,
        against,
        {f"{NAMES[one]}, {bits} bits": _of(found, bits, one, when) for one in (arm, other) for bits in BITS},
        above=False,
    )


def _evenly(found: Found) -> Finding:
    own, against = (_of(found, 2, arm, "entropy") for arm in ("statsq", "lsq"))
    return judge_interval(
        "StatsQ uses its levels more evenly than LSQ.",
        "2 bits, entropy of codes at the end, mean over weights, StatsQ minus LSQ",
        "bits",
        own,
        against,
        {f"{NAMES[arm]}, {bits} bits": _of(found, bits, arm, "entropy") for arm in ARMS for bits in BITS},
        above=True,
        reference="in theory 1.98 bits of Gaussian weights under StatsQ, 1.95 of Laplacian ones",
    )


def _accuracies(found: Found, floats: Sequence[float]) -> Chart:
    series = [Series("float", [str(b) for b in BITS], [fmean(floats)] * len(BITS))]
    for arm in ARMS:
        values = [_of(found, bits, arm, "accuracy") for bits in BITS]
        series.append(
            Series(
                NAMES[arm],
                [str(b) for b in BITS],
                [fmean(v) for v in values],
                True,
                [min(v) for v in values],
                [max(v) for v in values],
            )
        )
    return Chart(
        "A vision transformer on digits, in few bits",
        "bits of weights and activations (bars: range over seeds)",
        "accuracy on held-out digits",
        tuple(series),
    )


def _calming(found: Found) -> Chart:
    epochs = list(range(LAST_EPOCHS + 1))

    def mean(arm: str) -> list[float]:
        courses = [(runs[2, arm].before, *runs[2, arm].course) for runs in found]
        return [fmean(own) for own in zip(*courses, strict=True)]

    return Chart(
        "Weights of two bits that oscillate in the last phase",
        "epoch at the last learning rate",
        "share of weights",
        tuple(Series(NAMES[arm], epochs, mean(arm)) for arm in ARMS),
    )


def _course(name: str, runs: Sequence[Regression]) -> Series:
    ends = list(range(_WINDOW, STEPS + 1, _WINDOW))
    windows = [[fmean(r.changed[end - _WINDOW : end]) for r in runs] for end in ends]
    return Series(name, ends, [fmean(w) for w in windows])


def _mean_range(values: Sequence[float], digits: str) -> str:
    return f"{fmean(values):{digits}} (from {min(values):{digits}} to {max(values):{digits}})"


PAPER = Paper(
    slug="ofq",
    title="Oscillation-free Quantization for Low-bit Vision Transformers",
    arxiv="2302.02210",
    year=2023,
    family="compression",
    claim="Low-bit weights whose scale is a statistic, whose queries and keys are one, and of which only those near a "
    "threshold move at the end, stop oscillating and learn better.",
    names=(
        "entrokit.compression.ofq.quantize_model",
        "entrokit.compression.ofq.stats_quantize",
        "entrokit.compression.ofq.ConfidenceGuidedAnnealing",
        "entrokit.compression.ofq.QKReparamAttention",
        "entrokit.compression.ofq.OscillationMonitor",
        "entrokit.compression.ofq.code_entropy_bits",
        "entrokit.compression.ofq.packed_state_dict",
    ),
    recipes=(),
    experiments={
        "regression": Experiment(
            regression,
            seeds=8,
            minutes=0.5,
            criterion="linear regression in 2 bits: annealed, codes change less than 5 % as often and the error is "
            "below 0.8 of that without, every seed",
        ),
        "vision": Experiment(
            vision,
            seeds=5,
            minutes=12,
            criterion="a vision transformer on digits, from a float teacher: StatsQ with QKR and CGA beats LSQ and a "
            "plain STE at 2, 3 and 4 bits, StatsQ beats LSQ, QKR and CGA each add at 2 bits, each by a 95 % Student "
            "interval; 4 bits lose nothing against float; and weights oscillate less under StatsQ than LSQ, under QKR "
            "than without, after CGA than without",
            needs=("information",),
        ),
    },
)
