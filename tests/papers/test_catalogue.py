"""Every entry is found, points at code that exists, and judges what a bench gives it."""

import importlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from entrokit.papers import CATALOGUE, Budget, Evidence, Finding, paper, search, verdict_table
from entrokit.papers.page import render
from entrokit.papers.rlvr._one_step import OneStep
from entrokit.papers.rlvr.forking_tokens import ForkWorld
from entrokit.report import Chart, Series
from entrokit.rlvr import recipe

from .fake_bench import FakeBench, FakeBudget, FakePocket, course

ENTRIES = list(CATALOGUE.values())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.slug)
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


def test_finding_a_paper():
    assert [p.slug for p in search(["clip", "COVARIANCE"])] == ["entropy-mechanism"]
    assert [p.slug for p in search(["2602.00983"])] == ["dispo"]
    assert search(["nonsense"]) == []
    assert search(family="diagnosis") == [paper("invisible-leash"), paper("policy-cliff")]
    assert search(family="rlvr") == [p for p in search() if p.family.startswith("rlvr")]
    assert list(CATALOGUE) == sorted(CATALOGUE)
    with pytest.raises(
        ValueError,
        match="no family 'optim'; there are decoding, diagnosis, information, rlvr: agents, rlvr: reg.*rlvr: tokens",
    ):
        search(family="optim")
    with pytest.raises(
        ValueError,
        match="no paper 'ster' in the catalogue; it holds ares, canon, credit-scorecards, diffadapt, diffusion",
    ):
        paper("ster")


def test_a_budget_is_checked():
    with pytest.raises(ValueError, match="one seed shows nothing"):
        Budget(seeds=1)
    with pytest.raises(ValueError, match="must be one of"):
        Budget(bench="cluster")
    assert list(Budget(seeds=3).open(5).seeds) == [5, 6, 7]
    assert Budget("pocket", folder="x").open(0).settings.out == str(Path("x", "pocket"))
    paired = Budget("pocket", folder="x").pocket(0, "sums:1-4", steps=8, select="rare-pair")
    assert paired.settings.out == str(Path("x", "pocket-sums_1-4-rare-pair"))
    assert (paired.settings.task, paired.settings.steps, paired.settings.select) == ("sums:1-4", 8, "rare-pair")


@pytest.mark.parametrize("name", ["tabular", "pocket"])
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.slug)
def test_recipes_that_do_nothing_fail_their_claims(entry, name, monkeypatch):
    """On a bench where every recipe behaves alike, no claim of a difference holds, and every finding says why."""
    if name not in entry.benches:
        pytest.skip("it claims nothing on this bench")
    if name == "tabular" and entry.family != "rlvr: tokens":
        pytest.skip("its tabular claims are miniatures of its own, tested below")
    monkeypatch.setattr(ForkWorld, "train", lambda self, spec: np.full(101, 0.5))
    fake = FakeBench() if name == "tabular" else FakePocket()
    evidence = entry.reproduce(0, FakeBudget(name, seeds=3, fake=fake))
    assert (evidence.slug, evidence.bench, evidence.seeds) == (entry.slug, name, (0, 1, 2))
    # "No slower" and "as accurate" hold where nothing differs.
    differences = [
        f for f in evidence.findings if " minus " in f.criterion and not f.criterion.endswith(("<= 0", "-0.03"))
    ]
    assert differences or entry.slug == "hapo"
    assert not any(f.passed for f in differences)
    assert all(f.claim and f.criterion and f.measured for f in evidence.findings)


def test_the_law_is_judged_by_its_worst_seed():
    from entrokit.papers.rlvr.entropy_mechanism import reproduce

    def law(noise):
        h = np.linspace(2.0, 0.2, 21)
        r = 0.9 - 0.1 * np.exp(h) + noise * np.cos(40 * h)
        return replace(course(1.0), entropy=h, accuracy=r)

    for noise, passed in ((0.0, True), (0.5, False)):
        fake = FakeBench(given={"grpo": [law(0.0), law(0.0), law(noise)]})
        assert reproduce(0, FakeBudget(fake=fake)).findings[0].passed == passed


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


def test_the_verdicts_in_the_docs_name_every_paper_on_both_benches():
    text = (Path(__file__).parents[2] / "docs" / "verdicts.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\S+) \| (tabular|pocket), (\d+) \|", text, flags=re.M)
    assert {(slug, bench) for slug, bench, _ in rows} == {(s, b) for s, p in CATALOGUE.items() for b in p.benches}
    assert all(int(seeds) >= {"tabular": 8, "pocket": 3}[bench] for _, bench, seeds in rows)


def evidence(passed=True):
    finding = Finding("H <rises>", "H > 0 | mean", "+1", passed)
    chart = Chart("picture", "x", "y", (Series("a", [0.0], [1.0], marks=True, low=[0.5], high=[2.0]),), y_line=0.0)
    return Evidence("steer", "tabular", (0, 1), (finding,), (chart,))


def test_the_page_and_the_table_tell_the_verdict():
    pytest.importorskip("plotly", reason="reports need the extra 'report'")
    page = render([evidence(), evidence(False)])
    assert "1 of 2 claims hold" in page
    assert "H &lt;rises&gt;" in page
    assert '<b class="verdict failed">failed</b>' in page
    assert page.count('class="plotly-graph-div"') == 2
    table = verdict_table([evidence(), evidence(False)])
    assert "| steer | tabular, 2 | H <rises> | +1 | H > 0 \\| mean | holds |" in table
    assert "**failed**" in table
    assert not Evidence("steer", "tabular", (0, 1), (*evidence().findings, *evidence(False).findings)).passed
