import math
import re

import pytest

from entrokit.diagnose import diagnose
from entrokit.report import Spread, render_diagnosis, summarise, write_page
from entrokit.report.completions import completion
from entrokit.report.page import render
from entrokit.runs import Part, Run, RunWriter, StepAccount
from entrokit.runs.layout import ACCOUNT, ROLLOUT_COLUMNS

pytest.importorskip("plotly", reason="reports need the extra 'report'")


def fake_run(folder, recipe, seed=0, slope=0.01, batches=40, text="1+2"):
    """A run whose entropy falls and whose accuracy rises along straight lines."""
    w = RunWriter(folder, {"recipe": recipe, "seed": seed, "task": "countdown", "model": "pocket"})
    row = {
        "group": 0,
        "prompt": "1 2=3:",
        "family": None,
        "completion": text,
        "reward": 1.0,
        "advantage": 0.0,
        "truncated": False,
        "tokens": [text, "<eos>"],
        "entropy": [0.7, 0.0],
        "logp": [-0.5, 0.0],
    }
    columns = {n: [row[n]] for n in ROLLOUT_COLUMNS}
    for step in (0, 4 * batches):
        e = 0.6 - slope * step / 4
        w.metrics(step, {"eval_entropy": e, "eval_pass@1": 0.1 + step / 800, "eval_pass@4": 0.5})
        w.rollouts(step, columns, evaluation=True)
    for i in range(1, batches + 1):
        accuracy = 0.1 + 0.2 * i / batches
        w.metrics(
            4 * i,
            {"entropy": 0.6 - slope * i, "reward": accuracy, "pass@1": accuracy, "pass@4": 0.5 + seed * 0.01},
        )
    return Run.load(folder)


def test_summary_numbers(tmp_path):
    runs = [
        fake_run(tmp_path / f"{name}{seed}", name, seed, slope)
        for name, slope in (("grpo", 0.010), ("grpo+steer", 0.005))
        for seed in (0, 1)
    ]
    plain, steer = summarise(runs)
    assert (plain.recipe, plain.seeds, plain.k) == ("grpo", 2, 4)
    assert plain.entropy_start.mean == pytest.approx(0.6)
    assert plain.entropy_end.mean == pytest.approx(0.2)
    assert steer.entropy_end.mean == pytest.approx(0.4)
    assert plain.accuracy_end.mean == pytest.approx(0.3)
    # Accuracies are equal, so all runs reach the last smoothed level (batches 26 to 40, middle 33) at the same place.
    assert plain.matched[0].accuracy == pytest.approx(0.1 + 0.2 * 33 / 40)
    assert plain.matched[0].entropy.mean == pytest.approx(0.6 - 0.010 * 33)
    assert steer.matched[0].entropy.mean == pytest.approx(0.6 - 0.005 * 33)


def test_entropy_at_levels_that_were_asked_for_is_paired_by_seed(tmp_path):
    """Seed 2 of steer is missing, and its seed 0 stops before accuracy 0.25."""
    runs = [fake_run(tmp_path / f"g{s}", "grpo", s, 0.010 + 0.001 * s) for s in range(3)]
    runs += [fake_run(tmp_path / "s1", "grpo+steer", 1, 0.005)]
    short = RunWriter(tmp_path / "s0", {"recipe": "grpo+steer", "seed": 0})
    for i in range(1, 21):
        short.metrics(4 * i, {"entropy": 0.6, "reward": 0.1, "pass@1": 0.1 + 0.2 * i / 40, "pass@4": 0.5})
    plain, steer = summarise([*runs, Run.load(tmp_path / "s0")], [0.15, 0.25])
    assert [m.accuracy for m in steer.matched] == [0.15, 0.25]
    assert plain.matched[1].entropy.mean == pytest.approx(0.6 - 30 * 0.011)
    early, late = (own.entropy.minus(base.entropy) for own, base in zip(steer.matched, plain.matched, strict=True))
    # Accuracy 0.15 is batch 10: grpo has 0.5 and 0.49 there.
    assert sorted(early.values) == pytest.approx([0.55 - 0.49, 0.6 - 0.5])
    assert late.values == pytest.approx([0.45 - (0.6 - 30 * 0.011)])
    assert Spread({(7, 0): 1.0}).minus(plain.entropy_end) is None
    with pytest.raises(ValueError, match=r"must lie in \(0, 1\], got \[0.0\]"):
        summarise(runs, [0.0])


def test_two_runs_of_one_seed_are_two_pairs(tmp_path):
    runs = [fake_run(tmp_path / str(i), "grpo", 0) for i in range(2)]
    assert summarise(runs)[0].entropy_end.by_seed.keys() == {(0, 0), (0, 1)}


def test_spread():
    assert f"{Spread({(0, 0): 1.0, (1, 0): 2.0})}" == "1.50 ± 0.71"
    assert f"{Spread({(0, 0): 1.0}):.1f}" == "1.0"
    assert f"{Spread({})}" == "none"
    assert math.isnan(Spread({}).mean)


def test_the_page_is_one_file_that_needs_no_network(tmp_path):
    runs = [fake_run(tmp_path / "a", "grpo"), fake_run(tmp_path / "b", "grpo+steer", slope=0.005)]
    page = write_page(runs, tmp_path).read_text(encoding="utf-8")
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.S)  # plotly's bundle mentions addresses that it never asks
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", own)
    assert page.count('class="plotly-graph-div"') == 5
    for text in ("Where the entropy went", "Entropy", "pass@4", "Reward against entropy", "ceiling", "One seed"):
        assert text in page
    assert not list(tmp_path.glob(".*partial"))


def test_several_seeds_lose_the_caution_and_gain_bands(tmp_path):
    page = render([fake_run(tmp_path / str(s), "grpo", s) for s in range(3)])
    assert "One seed" not in page
    assert "bands are one standard deviation over seeds" in page
    assert "3 seeds" in page
    assert "difference to" not in page


def test_differences_stand_beside_a_second_recipe(tmp_path):
    runs = [fake_run(tmp_path / f"{n}{s}", n, s, slope) for n, slope in (("a", 0.01), ("b", 0.005)) for s in (0, 1)]
    page = render(runs, [0.2, 0.25])
    assert "entropy at accuracy 0.25" in page
    assert "difference to a, paired by seed" in page
    assert page.count('<small class="difference">') == 5
    assert "+0.20 [+0.20, +0.20]" in page
    assert "in brackets its range of 2 seeds." in page


@pytest.mark.parametrize(
    ("seeds", "gap", "what"),
    [
        (1, None, None),
        (3, "+0.24 [+0.16, +0.32]", "range of 3 seeds"),
        # Differences 0.16, 0.24, 0.32, 0.40: 3.1824 standard errors of 0.0516.
        (4, "+0.28 [+0.12, +0.44]", "95 % Student interval"),
    ],
)
def test_what_stands_in_brackets_is_named(tmp_path, seeds, gap, what):
    runs = [fake_run(tmp_path / f"a{s}", "a", s) for s in range(seeds)]
    runs += [fake_run(tmp_path / f"b{s}", "b", s, 0.006 - 0.002 * s) for s in range(seeds)]
    page = render(runs)
    assert ("in brackets" in page) == (what is not None)
    if what:
        assert f'<small class="difference">{gap}</small>' in page
        assert f"paired by seed; in brackets its {what}." in page


@pytest.mark.parametrize(("prompts", "few"), [(63, True), (64, False)])
def test_the_intervals_of_few_prompts_come_with_a_warning(tmp_path, prompts, few):
    w = RunWriter(tmp_path, {"recipe": "grpo", "seed": 0})
    for step in (0, 4):
        w.metrics(step, {"entropy": 0.5, "reward": 0.5, "eval_entropy": 0.5, "eval_pass@1": 0.5})
        same = {n: [None] * prompts for n in ROLLOUT_COLUMNS}
        own = {"group": range(prompts), "prompt": [f"p{i}" for i in range(prompts)], "completion": ["1"] * prompts}
        columns = same | {n: list(v) for n, v in own.items()} | {"reward": [1.0] * prompts}
        w.rollouts(step, columns, evaluation=True)
    page = render_diagnosis(diagnose(tmp_path))
    assert f"{prompts} held-out prompts, 1 attempts each; 95 % bootstrap intervals over" in page
    assert ("for fewer than 64 prompts cover less often than that" in page) == few


def test_model_text_and_names_are_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    page = render([fake_run(tmp_path / "a", f"grpo{evil}", text=evil)])
    assert evil not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_tokens_are_shaded_by_entropy():
    row = {"tokens": ["a", "b"], "entropy": [0.0, 3.0], "reward": None}
    html = completion(row)
    assert '--h:0.00" title="0.00 nats">a' in html
    assert '--h:1.00" title="3.00 nats">b' in html


def test_a_run_that_has_only_begun_still_makes_a_page(tmp_path):
    RunWriter(tmp_path, {"recipe": "grpo"})
    page = render([Run.load(tmp_path)])
    assert "No table yet" in page
    with pytest.raises(ValueError, match="no runs"):
        render([])


def test_an_interrupted_run_makes_a_page(tmp_path):
    w = RunWriter(tmp_path, {"recipe": "grpo"})
    w.metrics(0, {"eval_entropy": 0.5, "eval_pass@1": 0.1, "eval_pass@4": 0.2})
    w.metrics(4, {"entropy": 0.5, "reward": 0.1, "pass@1": 0.1, "pass@4": 0.2})
    assert "0.50 → 0.50" in render([Run.load(tmp_path)])


def test_the_report_shows_the_account_of_each_recipe_that_kept_one(tmp_path):
    runs = [fake_run(tmp_path / name, name) for name in ("grpo", "dapo")]
    assert "seed 0</h3>" not in render(runs)
    part = {"likely, advantage > 0": Part(-0.001, 9.0)}
    lines = [
        StepAccount(
            4 * i, 10, 64, 12, 0.5, -1e-3, -1e-3, -1e-3, 0.0, 0.0, 0.0, -1e-3, 0.1, 0.5, {"quadrant": part}
        ).to_json()
        for i in range(5)
    ]
    (tmp_path / "dapo" / ACCOUNT).write_text("\n".join(lines) + "\n{half", encoding="utf-8")
    page = render(runs)
    assert "<h3>dapo, seed 0</h3>" in page
    assert "<h3>grpo, seed 0</h3>" not in page
    assert "-0.050" in page  # five accounts of -0.001, each standing for ten steps
