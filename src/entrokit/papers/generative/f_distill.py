"""f-distill: whether the divergence that is named decides between covering a law and being faithful to it."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator, Mapping, Sequence

from entrokit.report import Chart, Series

from ..claims import judge_interval
from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding
from ._f_distill_laws import MOMENTS, START, distilled, followed
from ._f_distill_students import DIGITS_KEYS, CircleRun, DigitsRun, circle_runs, digits_runs

WORDS = {
    "rkl": "reverse KL", "sf": "softened reverse KL", "js": "Jensen-Shannon", "sh": "squared Hellinger",
    "kl": "forward KL", "jf": "Jeffreys", "neyman": "Neyman's χ²", "pearson": "Pearson's χ²",
}  # fmt: skip
SEEKING = ("rkl", "sf", "neyman")
Ends = Mapping[str, Sequence[tuple[float, float]]]
"""Mean and standard deviation of students, by divergence."""


def gaussians(budget: Budget) -> Iterator[Shown]:
    starts = [START if seed == 0 else _start(seed) for seed in budget.seeds]
    found = {key: followed(key, starts) for key in WORDS}
    rkl = found["rkl"]
    on_a_mode = [abs(abs(m) - 2) < 0.02 and s < 0.55 for m, s in rkl]
    reference = "independent check, from (0.5, 1): rkl (-2.000, 0.500), kl (-0.800, 1.900), js (-0.849, 1.857)"
    yield Finding(
        "A Gaussian fitted to two modes by reverse KL sits on one of them.",
        "mean within 0.02 of -2 or 2 and std below 0.55 from every start, and -2 from (0.5, 1)",
        _ends(rkl),
        all(on_a_mode) and (0 not in budget.seeds or abs(rkl[budget.seeds.index(0)][0] + 2) < 0.02),
        reference,
        _raw(found, "rkl"),
    )
    yield Finding(
        "By forward KL it has the moments of both.",
        "mean and std within 0.01 of -0.8 and 1.9 from every start",
        _ends(found["kl"]),
        all(abs(m - MOMENTS[0]) < 0.01 and abs(s - MOMENTS[1]) < 0.01 for m, s in found["kl"]),
        reference,
        _raw(found, "kl"),
    )
    yield Finding(
        "By Jensen-Shannon and squared Hellinger it covers both.",
        "std above 1.7 from every start",
        "; ".join(f"{key}: {_ends(found[key])}" for key in ("js", "sh")),
        all(s > 1.7 for key in ("js", "sh") for _, s in found[key]),
        f"{reference}, sh (-0.843, 1.822)",
        _raw(found, "js", "sh"),
    )
    noisy = followed("rkl", starts, sigma=1.0)
    yield Finding(
        "Under large noise reverse KL covers both modes too.",
        "σ = 1: std above 1.5 from every start",
        _ends(noisy),
        all(s > 1.5 for _, s in noisy),
        "independent check: with σ = 1 every divergence covers both",
        {"mean": [m for m, _ in noisy], "std": [s for _, s in noisy]},
    )
    yield _ends_chart("Gaussians fitted to two modes by quadrature", found)


def pipeline(budget: Budget) -> Iterator[Shown]:
    found = {key: [distilled(key, seed) for seed in budget.seeds] for key in WORDS}
    yield _seeks(found, "rkl", "3 seeds of the same miniature: (-2.00, 0.50) on each")
    yield _covers(found, "js", "the same miniature: (-0.80, 1.70)")
    yield _covers(found, "kl", "the same miniature: (-0.73, 1.79)")
    others = {key: found[key] for key in WORDS if key not in ("rkl", "js", "kl")}
    yield Finding(
        "Which of the other divergences seek modes is as their weights say.",
        "on every seed std below 0.6 by sf and neyman, and above 1.5 by sh, jf and pearson",
        "; ".join(f"{key}: {_ends(own)}" for key, own in others.items()),
        all(s < 0.6 if key in SEEKING else s > 1.5 for key, own in others.items() for _, s in own),
        "Table 1 of the paper: sf mode seeking, sh medium, jf not; it has neither χ²",
        _raw(found, *others),
    )
    hidden = {"rkl": [distilled("rkl", seed, "dmd") for seed in budget.seeds]}
    yield Finding(
        "Divided by the size of each sample's error, as in DMD, reverse KL does not seek a mode in one dimension.",
        'sample_norm="dmd": std above 1.5 on every seed',
        _ends(hidden["rkl"]),
        all(s > 1.5 for _, s in hidden["rkl"]),
        "the same miniature: (0.01, 1.97)",
        _raw(hidden, "rkl"),
    )
    yield _ends_chart("The same by samples and the loss itself", found)


def circle(budget: Budget) -> Iterator[Shown]:
    found = circle_runs(budget.seeds)
    js = found["js"]
    yield Finding(
        "A student learnt by Jensen-Shannon holds all eight modes.",
        "on every seed each mode has more than 2 % of the samples within 3 std, and all of them 50 %",
        f"least share of a mode {_range([min(run.shares) for run in js])}, of all {_range([run.inside for run in js])}",
        all(min(run.shares) > 0.02 and run.inside >= 0.5 for run in js),
        "one run of 12,000 iterations, batch 512, 128 wide: all eight, 66 %",
        {"least": [min(run.shares) for run in js], "inside": [run.inside for run in js]},
    )
    claim = "Forward KL spreads samples over the modes more evenly than reverse KL."
    yield _more(found, "spread", "kl", "rkl", claim, "entropy of the modes' shares", "nats")
    claim = "Reverse KL keeps more samples within three deviations of a mode than forward KL."
    yield _more(found, "inside", "rkl", "kl", claim, "share of samples within 3 std of a mode", "")
    yield _trade_off(
        "Eight modes on a circle: coverage against fidelity", found, "spread", "inside",
        "entropy of the modes' shares (nats, at most 2.079)", "share within 3 std of a mode",
    )  # fmt: skip


def digits(budget: Budget) -> Iterator[Shown]:
    found = digits_runs(budget.seeds)
    teacher, held = found["teacher, 32 steps"], found["training digits"]
    students = [run for key in DIGITS_KEYS for run in found[key]]
    yield Finding(
        "Students of one step make every digit.",
        "by every divergence and on every seed each class has at least 2 % of the samples, by a classifier",
        f"least share of a class {_range([run.least for run in students])}; teacher "
        f"{_range([run.least for run in teacher])}, training digits {_range([run.least for run in held])}",
        all(run.least >= 0.02 for run in students),
        "",
        {key: [run.least for run in runs] for key, runs in found.items()},
    )
    reference = "CIFAR-10, Table 2: rkl 0.60, sh 0.63, js 0.62, kl 0.62"
    for key in ("kl", "js", "sh"):
        claim = f"{WORDS[key][0].upper()}{WORDS[key][1:]} covers more of the digits than reverse KL."
        yield _more(found, "recall", key, "rkl", claim, "recall", "", reference)
    claim = "Forward KL spreads samples over the classes more evenly than reverse KL."
    yield _more(found, "spread", "kl", "rkl", claim, "entropy of the classes' shares", "nats")
    claim = "Reverse KL is more faithful than forward KL."
    yield _more(found, "precision", "rkl", "kl", claim, "precision", "")
    claim = "Reverse KL makes digits of which a classifier is surer than of those by forward KL."
    yield _more(found, "confidence", "rkl", "kl", claim, "mean confidence", "")
    yield _trade_off("8 × 8 digits: coverage against fidelity", found, "recall", "precision", "recall", "precision")
    yield _trade_off(
        "8 × 8 digits by a classifier", found, "spread", "confidence",
        "entropy of the classes' shares (nats, at most 2.303)", "mean confidence",
    )  # fmt: skip


def _start(seed: int) -> tuple[float, float]:
    """Between the modes, and wide enough to see both."""
    drawn = random.Random(seed)
    return drawn.uniform(-1.0, 1.0), drawn.uniform(0.8, 2.0)


def _seeks(found: Ends, key: str, reference: str) -> Finding:
    return Finding(
        f"Distilled by {WORDS[key]}, the student seeks a mode.",
        "std below 0.6 on every seed",
        _ends(found[key]),
        all(s < 0.6 for _, s in found[key]),
        reference,
        _raw(found, key),
    )


def _covers(found: Ends, key: str, reference: str) -> Finding:
    return Finding(
        f"Distilled by {WORDS[key]}, it covers both.",
        "std above 1.5 and mean within 1.2 of 0 on every seed",
        _ends(found[key]),
        all(s > 1.5 and abs(m) < 1.2 for m, s in found[key]),
        reference,
        _raw(found, key),
    )


def _more(
    found: Mapping[str, Sequence[CircleRun]] | Mapping[str, Sequence[DigitsRun]],
    what: str,
    key: str,
    against: str,
    claim: str,
    words: str,
    unit: str,
    reference: str = "",
) -> Finding:
    own, other = ([float(getattr(run, what)) for run in found[name]] for name in (key, against))
    raw = {key: own, against: other}
    return judge_interval(
        claim, f"{words}, {key} minus {against}", unit, own, other, raw, above=True, reference=reference
    )


def _raw(found: Ends, *keys: str) -> dict[str, list[float]]:
    return {f"{key}, {what}": [end[i] for end in found[key]] for key in keys for i, what in enumerate(("mean", "std"))}


def _ends(ends: Sequence[tuple[float, float]]) -> str:
    means, stds = zip(*ends, strict=True)
    return f"mean {_range(means)}, std {_range(stds)}"


def _range(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.3f} [{min(values):.3f}, {max(values):.3f}]"


def _ends_chart(title: str, found: Ends) -> Chart:
    series = [Series(key, [m for m, _ in own], [s for _, s in own], marks=True) for key, own in found.items()]
    series.append(Series("moments of the teacher", [MOMENTS[0]], [MOMENTS[1]], marks=True))
    return Chart(title, "mean of the student", "its standard deviation", tuple(series), y_line=0.5, height=380)


def _trade_off(
    title: str,
    found: Mapping[str, Sequence[CircleRun]] | Mapping[str, Sequence[DigitsRun]],
    x: str,
    y: str,
    x_label: str,
    y_label: str,
) -> Chart:
    series = [
        Series(key, [getattr(run, x) for run in runs], [getattr(run, y) for run in runs], marks=True)
        for key, runs in found.items()
    ]
    return Chart(title, x_label, y_label, tuple(series), height=380)


PAPER = Paper(
    slug="f-distill",
    title="One-step Diffusion Models with f-Divergence Distribution Matching",
    arxiv="2502.15681",
    year=2025,
    family="generative",
    claim="The f-divergence by which a diffusion model is distilled to one step decides between covering it and "
    "seeking its modes.",
    names=(
        "entrokit.generative.f_distill.f_distill_loss",
        "entrokit.generative.f_distill.f_weight",
        "entrokit.generative.f_distill.RatioNormalizer",
        "entrokit.generative.f_distill.f_divergence_gradient_weight",
    ),
    recipes=(),
    example=(
        "import torch\n"
        "from entrokit.generative.f_distill import f_weight\n"
        "ratio = torch.tensor([0.1, 1.0, 10.0])  # teacher over student: kl minds what is missed\n"
        'print({name: f_weight(ratio, name).tolist() for name in ("rkl", "js", "kl")})'
    ),
    experiments={
        "gaussians": Experiment(
            gaussians,
            seeds=5,
            minutes=0.5,
            criterion="a Gaussian fitted to two modes by quadrature sits on one of them by reverse KL, has the moments "
            "of both by forward KL, and a std above 1.7 by Jensen-Shannon and squared Hellinger, from every start",
        ),
        "pipeline": Experiment(
            pipeline,
            seeds=5,
            minutes=4.0,
            criterion="by samples, analytic denoisers and the loss itself the std is below 0.6 by reverse KL and above "
            "1.5 by Jensen-Shannon and forward KL on every seed, and the others go with their side",
        ),
        "circle": Experiment(
            circle,
            seeds=5,
            minutes=6.0,
            criterion="students learnt by Jensen-Shannon hold all eight modes of a circle with half of their samples "
            "within 3 std; forward KL spreads more evenly, reverse KL keeps more within, by 95 % Student intervals",
        ),
        "digits": Experiment(
            digits,
            seeds=5,
            minutes=25.0,
            criterion="students of 8 × 8 digits make every class; forward KL, Jensen-Shannon and squared Hellinger "
            "have more recall than reverse KL, and reverse KL more precision and confidence than forward KL, by 95 % "
            "Student intervals",
            needs=("information",),
        ),
    },
)
