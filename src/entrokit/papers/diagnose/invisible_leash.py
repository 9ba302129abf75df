"""The Invisible Leash: pass@1 rises while right answers that were rare are lost."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from entrokit.diagnose import Boundary, SupportReport, boundary_of, support_dynamics
from entrokit.report import Chart, Series
from entrokit.runs import Notes, Run
from entrokit.runs.readers.entrokit_run import evaluations

from ..claims import judge_interval
from ..entry import Experiment, Paper, Shown
from ..evidence import Budget, Finding

_PROMPTS, _ANSWERS, _UPDATES, _SAMPLES = 60, 20, 300, 8
_EPS = 1e-3


def miniature(budget: Budget) -> Iterator[Shown]:
    found = [leash(s) for s in budget.seeds]
    yield _sharpened(found)
    yield _kept(budget.seeds, found)


def pocket(budget: Budget) -> Iterator[Shown]:
    runs = budget.pocket().runs("grpo")["grpo"]
    yield _moved(runs, "eval_pass@1", "Training finds right answers more often.", above=True, paper="54.5 → 65.4")
    yield _moved(runs, "eval_pass@16", "With many attempts, fewer prompts are solved than before.", above=False)
    yield from _boundaries([_boundary(run) for run in runs])


def leash(seed: int) -> tuple[float, float, float, SupportReport]:
    """On-policy REINFORCE on tables whose right answers are rare (the setting of an independent check).

    Returns:
        pass@1 before and after, the mass on answers that the base never gives, and the support of right answers.
    """
    generator = torch.Generator().manual_seed(seed)
    logits = 1.5 * torch.randn(_PROMPTS, _ANSWERS, generator=generator, dtype=torch.float64)
    logits[:, :4] -= 1.0
    logits[:, 3] = -torch.inf  # right, and never given
    right = torch.zeros(_PROMPTS, _ANSWERS, dtype=torch.float64)
    right[:, :4] = 1.0
    base = logits.softmax(1)
    for _ in range(_UPDATES):
        p = logits.softmax(1)
        taken = torch.multinomial(p, _SAMPLES, replacement=True, generator=generator)
        reward = right.gather(1, taken)
        std = reward.std(1, keepdim=True)
        advantage = torch.where(std > 0, (reward - reward.mean(1, keepdim=True)) / (std + 1e-6), 0.0)
        # The gradient of mean advantage-weighted log-probabilities in the logits.
        pushed = torch.zeros_like(p).scatter_add_(1, taken, advantage) - advantage.sum(1, keepdim=True) * p
        logits = logits + pushed / _SAMPLES
    end = logits.softmax(1)
    report = support_dynamics(*((x[:, :4] > _EPS).numpy() for x in (base, end)), unit="answer")
    return float((base * right).sum(1).mean()), float((end * right).sum(1).mean()), float(end[:, 3].max()), report


def _sharpened(found: list[tuple[float, float, float, SupportReport]]) -> Finding:
    gains = [end - start for start, end, _, _ in found]
    net, expanded = [s.net_change for *_, s in found], [s.expanded for *_, s in found]
    masked = max(m for _, _, m, _ in found)
    return Finding(
        "Rewards sharpen what the base can do: pass@1 rises, rare right answers are lost, and none is found that the "
        "base never gives.",
        "60 tables, every seed: pass@1 gains >= 0.5, NSCR <= -0.3, answers found <= 3, masked answers keep mass 0",
        f"gain {min(gains):.3f} to {max(gains):.3f}; NSCR {min(net):.3f} to {max(net):.3f}; found {min(expanded)} to "
        f"{max(expanded)}; masked mass {masked:g}",
        min(gains) >= 0.5 and max(net) <= -0.3 and max(expanded) <= 3 and masked == 0.0,
        "independent check, four seeds: pass@1 0.06 to 0.999, NSCR -0.59 to -0.63",
        {
            "pass@1 before": [start for start, *_ in found],
            "pass@1 after": [end for _, end, *_ in found],
            "NSCR": net,
            "answers found": expanded,
            "mass on masked answers": [m for _, _, m, _ in found],
        },
    )


def _kept(seeds: tuple[int, ...], found: list[tuple[float, float, float, SupportReport]]) -> Chart:
    names = {"kept": "preserved", "lost": "shrunk", "found": "expanded"}
    return Chart(
        "Right answers of probability above 0.001",
        "seed",
        "answers, of 180 that the base gives",
        tuple(
            Series(label, [str(s) for s in seeds], [float(getattr(r, name)) for *_, r in found], marks=True)
            for label, name in names.items()
        ),
    )


def _moved(runs: list[Run], metric: str, claim: str, *, above: bool, paper: str = "") -> Finding:
    values = [run.series(metric)[1] for run in runs]
    reference = f"paper, ProRL-1.5B, five maths sets: {paper}" if paper else ""
    what = f"{metric} of grpo at the end minus at the start"
    end, start = [v[-1] for v in values], [v[0] for v in values]
    raw = {"at the end": end, "at the start": start}
    return judge_interval(claim, what, "", end, start, raw, above=above, reference=reference)


def _boundaries(found: list[Boundary | None]) -> tuple[Finding, Finding]:
    net = [None if b is None else b.net_change.value for b in found]
    end, start = ([None if b is None else getattr(b, at).answer_entropy for b in found] for at in ("last", "first"))
    return (
        judge_interval(
            "More prompts leave the support than enter it.",
            "NSCR of grpo over 128 held-out prompts, 16 attempts, minus 0",
            "",
            net,
            [0.0 for _ in net],
            {"NSCR": net},
            above=False,
            reference="paper: -0.05 (ProRL-1.5B-v1)",
        ),
        judge_interval(
            "Answers become less varied.",
            "answer entropy of grpo at the end minus at the start",
            "nats",
            end,
            start,
            {"at the end": end, "at the start": start},
            above=False,
            reference="paper, ProRL-1.5B: 1.30 → 0.66",
        ),
    )


def _boundary(run: Run) -> Boundary | None:
    return boundary_of(evaluations(run.folder, Notes()))


PAPER = Paper(
    slug="invisible-leash",
    title="The Invisible Leash: Why RLVR May or May Not Escape Its Origin",
    arxiv="2507.14843",
    year=2025,
    family="diagnosis",
    claim="RLVR raises pass@1 but loses more right answers than it finds, and answers become less varied.",
    symptoms=("pass@k falls",),
    names=(
        "entrokit.diagnose.support_dynamics",
        "entrokit.diagnose.boundary_of",
        "entrokit.diagnose.answer_entropy",
        "entrokit.diagnose.reward_tilt",
        "entrokit.diagnose.detection_threshold",
    ),
    recipes=("grpo",),
    example=(
        "from entrokit.diagnose import answer_entropy, detection_threshold, support_dynamics\n"
        "print(support_dynamics([1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 1, 0]))  # solved before, after\n"
        'print(answer_entropy("ABCA"), answer_entropy("AAAB"), "nats")\n'
        'print("not seen in 256 draws: at most", detection_threshold(k=256))'
    ),
    experiments={
        "miniature": Experiment(
            miniature,
            seeds=8,
            minutes=0.01,
            criterion="in every seed pass@1 gains 0.5 while support shrinks by 0.3 on balance, at most 3 answers are "
            "found, and none that the base never gives",
        ),
        "pocket": Experiment(
            pocket,
            seeds=3,
            minutes=1.5,
            criterion="GRPO raises pass@1, and lowers pass@16, support and variety of answers on the same prompts, by "
            "95 % Student intervals over seeds",
            needs=("trl",),
        ),
    },
)
