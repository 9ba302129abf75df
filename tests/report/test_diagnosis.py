from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from entrokit.diagnose import Remedy, beside, diagnose
from entrokit.diagnose.diagnosis import OtherRun
from entrokit.report import render_comparison, render_diagnosis, write_comparison
from entrokit.runs import Series, TrainingLog

pytest.importorskip("plotly", reason="reports need the extra 'report'")

STEPS = np.arange(1.0, 101.0)
EVIL = "<script>alert(1)</script>"


def log(folder, seed=0, name="run", **values):
    rng = np.random.default_rng(seed)
    plain = {"entropy": 0.6 - STEPS / 500, "reward": 0.2 + STEPS / 300}
    made = {k: Series.of(zip(STEPS, v + 0.01 * rng.normal(size=100), strict=True)) for k, v in (plain | values).items()}
    return TrainingLog(folder / name, "table", made, config={"seed": seed})


def body(page):
    """What follows plotly's own source."""
    return page[page.index("<body>") :]


@pytest.mark.parametrize(
    ("key", "title"),
    [
        ("length", "Length of completions"),
        ("truncated", "Truncated"),
        ("kl", "KL to the reference"),
        ("grad_norm", "Gradient norm"),
        ("clip_share", "Clipped"),
        ("zero_variance", "Groups without signal"),
        ("sampler_logp_gap", "Sampler against trainer"),
        ("reward.part/format", "Parts of the reward"),
        ("validation", "Validation beside training"),
    ],
)
def test_a_curve_is_drawn_where_it_was_written(tmp_path, key, title):
    assert f'"text":"{title}"' in body(render_diagnosis(diagnose(log(tmp_path, **{key: STEPS / 200}))))
    assert f'"text":"{title}"' not in body(render_diagnosis(diagnose(log(tmp_path))))


def test_where_a_curve_was_no_number_is_marked(tmp_path):
    values = STEPS / 100
    values[58:] = np.nan
    assert "NaN from 59" in body(render_diagnosis(diagnose(log(tmp_path, kl=values))))
    values[58] = np.inf
    assert "infinite from 59" in body(render_diagnosis(diagnose(log(tmp_path, kl=values))))
    parts = {"reward.part/good": STEPS / 100, "reward.part/bad": np.full(100, np.inf)}
    assert "infinite from 1" in body(render_diagnosis(diagnose(log(tmp_path, **parts))))


def test_what_to_paste_keeps_its_lines_and_is_escaped(tmp_path):
    d = diagnose(log(tmp_path))
    remedy = Remedy("clip harder", write=f"a=1\n{EVIL}")
    page = body(render_diagnosis(replace(d, findings=(replace(d.findings[0], remedies=(remedy,)),))))
    assert '<code class="write">a=1\n&lt;script&gt;' in page
    assert EVIL not in page


@pytest.mark.parametrize("onset", [None, 55.0])
def test_the_onset_of_the_first_finding_is_a_line(tmp_path, onset):
    d = diagnose(log(tmp_path))
    page = body(render_diagnosis(replace(d, findings=(replace(d.findings[0], onset=onset),))))
    assert ("healthy from 55" in page) == (onset is not None)


def test_a_comparison_s_page(tmp_path):
    late = np.where(STEPS > 40, 5.0, 0.5)
    a = log(tmp_path, 1, "a", grad_norm=np.full(100, 0.5), kl=STEPS / 100)
    b = log(tmp_path, 2, f"b{EVIL}", grad_norm=late, kl=np.where(STEPS > 70, np.nan, STEPS / 100))
    b.config[EVIL] = EVIL
    c = beside(a, b)
    page = body(write_comparison(c, tmp_path / "page.html").read_text())
    assert '<h1 class="diagnosis">apart</h1>' in page
    assert "apart from 41" in page
    assert "NaN from 71" in page
    assert "<td>grad_norm</td>" in page
    assert page.index('"text":"Gradient norm"') < page.index('"text":"Entropy"')
    assert EVIL not in page
    assert "&lt;script&gt;" in page


def test_pages_of_comparisons_that_show_nothing(tmp_path):
    same = beside(log(tmp_path, 1, "a"), log(tmp_path, 1, "b"))
    assert '<h1 class="diagnosis good">identical</h1>' in render_comparison(same)
    empty = TrainingLog(tmp_path / "none", "table")
    assert "nothing to compare" in render_comparison(beside(empty, log(tmp_path)))
    assert "nothing to compare" in render_comparison(beside(empty, empty))


def test_runs_beside_the_judged_one_are_listed_and_escaped():
    d = diagnose(TrainingLog(Path("run"), "made up", {"entropy": Series.of((i, 0.5) for i in range(20))}))
    page = render_diagnosis(replace(d, others=(OtherRun("<b>", "collapse", "entropy was spent"),)))
    assert "&lt;b&gt;: <b>collapse</b>, entropy was spent" in page
    assert "Runs beside" not in render_diagnosis(d)
