"""Every entry is found, points at code that exists, and judges what a bench gives it."""

import importlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from entrokit.papers import CATALOGUE, Budget, Finding, paper, search
from entrokit.papers.rlvr import entropy_mechanism
from entrokit.papers.rlvr._fork_world import ForkWorld
from entrokit.papers.rlvr._one_step import OneStep
from entrokit.papers.run import lacking
from entrokit.report import Chart
from entrokit.rlvr import recipe

from .fake_bench import FakeBench, FakeBudget, FakePocket, course

ENTRIES = list(CATALOGUE.values())
EXPERIMENTS = [(entry, name) for entry in ENTRIES for name in entry.experiments]
# Of an experiment on a bench a fake can be judged; others are worlds of their own.
ON_A_BENCH = [(e, n) for e, n in EXPERIMENTS if n in ("tabular", "pocket")]
QUICK = [(e, n) for e, n in EXPERIMENTS if (e, n) not in ON_A_BENCH and e.experiments[n].minutes <= 0.1]


def named(value):
    return value if isinstance(value, str) else value.slug


@pytest.mark.parametrize("entry", ENTRIES, ids=named)
def test_an_entry_is_whole(entry):
    module = importlib.import_module(CATALOGUE.where(entry.slug))
    assert module.PAPER is entry
    assert module.__name__.endswith(f".{entry.slug.replace('-', '_')}")
    assert re.fullmatch(r"\d{4}\.\d{4,5}", entry.arxiv)
    assert entry.year == 2000 + int(entry.arxiv[:2])
    for name in entry.names:
        owner, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(owner), attribute), name
    for spec in entry.recipes:
        recipe(spec)


@pytest.mark.parametrize(("entry", "name"), EXPERIMENTS, ids=named)
def test_an_experiment_says_what_it_takes(entry, name):
    experiment = entry.experiments[name]
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name), "a name that a shell takes"
    assert experiment.run.__module__ == CATALOGUE.where(entry.slug)
    assert experiment.seeds >= 2
    assert experiment.minutes > 0
    assert len(experiment.criterion) > 20
    assert isinstance(experiment.needs, tuple)
    assert set(experiment.needs) <= {"trl", "information", "generative", "physics", "verl", "tasks", "report", "gpu"}


def test_no_user_is_sent_to_our_notes():
    """Of the entries' own texts: our sheets and our design are not in the package."""
    folder = Path(importlib.import_module("entrokit.papers").__file__).parent
    found = [f.name for f in folder.rglob("*.py") if re.search(r"\bsheets?\b|DESIGN", f.read_text(encoding="utf-8"))]
    assert not found


def test_finding_a_paper():
    assert [p.slug for p in search(["clip", "COVARIANCE"])] == ["entropy-mechanism"]
    assert [p.slug for p in search(["2602.00983"])] == ["dispo"]
    assert search(["nonsense"]) == []
    assert search(family="diagnosis") == [paper("invisible-leash"), paper("policy-cliff")]
    assert search(family="rlvr") == [p for p in search() if p.family.startswith("rlvr")]
    assert search(family="r") == search(family="rlvr"), "the start, and information has an r as well"
    with pytest.raises(ValueError, match="no family 'tokens'"):
        search(family="tokens")
    assert list(CATALOGUE) == sorted(CATALOGUE)
    families = ", ".join(sorted({p.family for p in search()}))
    with pytest.raises(ValueError, match=rf"no family 'nowhere'; there are {re.escape(families)}"):
        search(family="nowhere")
    with pytest.raises(
        ValueError,
        match=r"no paper 'ster' in the catalogue; did you mean 'steer'\? It holds .*ares, awm, canon, ",
    ):
        paper("ster")
    with pytest.raises(ValueError, match="no paper 'clip-cov' in the catalogue; did you mean 'entropy-mechanism'"):
        paper("clip-cov")
    with pytest.raises(ValueError, match="no paper 'zzz' in the catalogue; it holds .*ares"):
        paper("zzz")


def test_an_entry_without_a_name_gives_its_first_experiment():
    steer = paper("steer")
    assert steer.experiment() == ("tabular", steer.experiments["tabular"])
    assert steer.experiment("pocket") == ("pocket", steer.experiments["pocket"])
    with pytest.raises(ValueError, match="steer has no experiment 'cluster'; it has tabular, pocket"):
        steer.experiment("cluster")
    with pytest.raises(ValueError, match="steer: an entry has at least one experiment"):
        replace(steer, experiments={})


@pytest.mark.parametrize("slug", ["", "../x", "Steer", "-x", "a b", "a_b", "x\n", "é", None])
def test_a_slug_names_files(slug):
    with pytest.raises(ValueError, match=f"Paper.slug: small letters, digits and hyphens.*got {re.escape(repr(slug))}"):
        replace(paper("steer"), slug=slug)


def test_a_budget_is_checked():
    for seeds in ((), (0,), (0, 0), (1, 2, 1)):
        with pytest.raises(ValueError, match="one seed shows nothing; at least two different ones, got"):
            Budget(seeds)
    assert Budget((5, 6, 7)).tabular().seeds == (5, 6, 7)
    assert Budget((0, 1), folder="x").pocket().settings.out == str(Path("x", "pocket"))
    paired = Budget((0, 1), folder="x").pocket("sums:1-4", steps=8, select="rare-pair")
    assert paired.settings.out == str(Path("x", "pocket-sums_1-4-rare-pair"))
    assert (paired.settings.task, paired.settings.steps, paired.settings.select) == ("sums:1-4", 8, "rare-pair")
    assert Budget((0, 1)).pocket("maze", level=0.5).level == 0.5


def allows_equals(criterion):
    """Whether a difference of 0 meets it, as it does "no slower" and "as accurate"."""
    side, bound = re.search(r"(<=|<|>|above|below) ([+-]?[\d.]+)(?: nats)?$", criterion).groups()
    return float(bound) < 0 if side in (">", "above") else float(bound) > 0 or side == "<="


@pytest.mark.parametrize(("entry", "name"), ON_A_BENCH, ids=named)
def test_recipes_that_do_nothing_fail_their_claims(entry, name, monkeypatch):
    """On a bench where every recipe behaves alike, no claim of a difference holds, and every finding says why."""
    monkeypatch.setattr(ForkWorld, "train", lambda self, spec: np.full(101, 0.5))
    budget = FakeBudget(fake=FakeBench() if name == "tabular" else FakePocket())
    findings = [shown for shown in entry.experiments[name].run(budget) if isinstance(shown, Finding)]
    assert budget.opened, "it is a bench that it opens"
    assert ("tabular" in budget.opened) == (name == "tabular")
    differences = [f for f in findings if " minus " in f.criterion and not allows_equals(f.criterion)]
    # HAPO claims nothing on the table, which only draws a picture: its findings there are worlds of its own.
    assert differences or not all(f.passed for f in findings) or (entry.slug, name) == ("hapo", "tabular")
    assert not any(f.passed for f in differences)
    whole(findings)
    assert all(len(numbers) == len(budget.seeds) for f in differences for numbers in f.raw.values())


class Forbidden(Budget):
    """No bench."""

    def tabular(self):
        raise AssertionError("an experiment that opens the tabular bench is named so")

    def pocket(self, task="countdown", **options):
        raise AssertionError("an experiment that trains needs trl")


@pytest.mark.parametrize(("entry", "name"), QUICK, ids=named)
def test_a_world_of_its_own_gives_verdicts_with_their_numbers(entry, name):
    experiment = entry.experiments[name]
    if lacking(experiment):
        pytest.skip(f"needs {', '.join(lacking(experiment))}")
    shown = list(experiment.run(Forbidden((3, 8))))
    assert all(isinstance(s, Finding | Chart) for s in shown)
    whole([s for s in shown if isinstance(s, Finding)])


def whole(findings):
    assert findings
    for f in findings:
        assert f.claim
        assert f.criterion
        assert f.measured
        assert type(f.passed) is bool
        assert f.raw
        assert all(len(numbers) > 0 for numbers in f.raw.values())
        json.dumps(dict(f.raw))


def test_the_law_is_judged_by_its_worst_seed():
    def law(noise):
        h = np.linspace(2.0, 0.2, 21)
        r = 0.9 - 0.1 * np.exp(h) + noise * np.cos(40 * h)
        return replace(course(1.0), entropy=h, accuracy=r)

    for noise, passed in ((0.0, True), (0.5, False)):
        fake = FakeBench(given={"grpo": [law(0.0), law(0.0), law(noise)]})
        finding = next(iter(entropy_mechanism.tabular(FakeBudget(fake=fake))))
        assert finding.passed == passed
        assert (min(finding.raw["R²"]) > 0.9) == passed


def test_true_changes_of_entropy_vanish_with_the_step_at_first_order():
    step = OneStep.sample(0, states=64, vocabulary=9)
    p = step.logits.softmax(-1)
    h = -(p * p.log()).sum(-1)
    own = p.gather(1, step.tokens[:, None])[:, 0]
    # dH/dz_k = -p_k (log p_k + H), and the sampled logit moves by alpha (1 - p_k).
    slope = -step.ratio * step.advantages * (1 - own) * own * (own.log() + h)
    small = replace(step, rate=1e-6)
    torch.testing.assert_close(small.change(sampled_logit_only=True) / 1e-6, slope, atol=1e-5, rtol=1e-4)
    assert small.change().abs().max() < 1e-5
    again, other = OneStep.sample(0, states=64, vocabulary=9), OneStep.sample(1, states=64, vocabulary=9)
    assert torch.equal(step.logits, again.logits)
    assert not torch.equal(step.logits, other.logits)


def test_followers_learn_nothing_in_the_world_of_forks():
    start, _, end = ForkWorld(0, steps=2).train("dapo+forking-tokens(rho=0.2, invert=True, scope='micro')")
    assert start == pytest.approx(end, abs=1e-6)
    start, *_, end = ForkWorld(0, steps=20).train("dapo+forking-tokens(rho=0.2, scope='micro')")
    assert end > start + 0.4
