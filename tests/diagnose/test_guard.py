"""A guard in a loop of one's own: when it looks, when it speaks, when it says stop."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest

from entrokit.diagnose import VERDICTS, guard, notify
from entrokit.diagnose.exit_codes import EXIT_CODES, exit_code, named
from entrokit.diagnose.finding import Finding
from entrokit.diagnose.guard import Guard, Verdict
from tests.hooks import listening

from .cases import falling

LOSING = falling(0.9, 0.01, n=60, speed=12.0)


def row(step):
    return {"actor/entropy": LOSING[min(step, 59)], "reward": 0.3 + 0.02 * (step % 3)}


def first_stop(g, steps=range(60), of=row):
    return next((step for step in steps if (v := g.add(step, of(step))) is not None and v.stop), None)


@pytest.fixture
def scripted(monkeypatch):
    """Rules that find what a test says, look for look; gives the list of steps that were looked at."""
    looks = []

    def script(verdicts):
        said = iter(verdicts)

        def judging(log, thresholds=None, reward_range=None):
            verdict = next(said)
            looks.append(float(log.series["entropy"].steps[-1]))
            names = verdict.split("+")
            return type("Judged", (), {"findings": tuple(Finding(n, f"cause of {n}", ("e",)) for n in names)})()

        monkeypatch.setattr(guard, "diagnose", judging)
        return looks

    return script


def run(g, n, every=1):
    return [v for s in range(0, n, every) if (v := g.add(s, {"entropy": 0.5})) is not None]


def test_a_collapse_is_told_and_then_stopped():
    g = Guard(stop_on="collapse", patience=3, every=1)
    said = [v for step in range(60) if (v := g.add(step, row(step))) is not None]
    first, stop = said[0], next(v for v in said if v.stop)
    assert (first.name, first.stop) == ("collapse", False)
    assert stop.step == first.step + 2
    assert str(stop).startswith(f"step {stop.step:g}: collapse: entropy was spent (entropy fell from")
    assert isinstance(stop, Verdict)
    assert stop.diagnosis.facts.log.source == "rows in memory"


def test_a_good_run_is_never_spoken_of():
    g = Guard(stop_on="any", patience=1, every=1)
    assert all(g.add(s, {"entropy": 0.6 - s / 500, "reward": 0.2 + s / 200}) is None for s in range(60))


@pytest.mark.parametrize(("patience", "stops"), [(1, 10), (2, 13), (3, None)])
def test_looks_must_find_it_in_a_row(scripted, patience, stops):
    scripted(["healthy"] * 9 + ["collapse", "healthy", "collapse", "collapse"] + ["healthy"] * 20)
    g = Guard(stop_on="collapse", patience=patience, every=1)
    assert next((v.step for v in run(g, 33) if v.stop), None) == stops


def test_what_is_beside_the_first_counts(scripted):
    scripted(["truncation+collapse"] * 5)
    stop = next(v for v in run(Guard(stop_on="collapse", patience=2, every=1), 5) if v.stop)
    assert stop.name == "collapse"
    assert stop.diagnosis.findings[0].verdict == "truncation"


def test_one_word_for_each_change(scripted):
    scripted(["insufficient-data", "healthy", "healthy", *["collapse"] * 3, "healthy", "mismatch", "insufficient-data"])
    said = run(Guard(stop_on=(), every=1), 10)
    assert [(v.before, v.name) for v in said] == [
        ("healthy", "collapse"),
        ("collapse", "healthy"),
        ("healthy", "mismatch"),
    ]


def test_only_what_was_asked_for_is_told(scripted):
    scripted(["collapse", "mismatch", "healthy", "collapse"])
    said = run(Guard(stop_on=(), warn_on="mismatch", every=1), 5)
    assert [v.name for v in said] == ["mismatch", "healthy"]


@pytest.mark.parametrize("every", [1, 10, 25])
def test_it_looks_every_so_many_steps(scripted, every):
    looks = scripted(["healthy"] * 100)
    run(Guard(every=every), 101)
    assert looks == list(range(every, 101, every))


def test_rows_that_come_seldom_are_each_looked_at(scripted):
    looks = scripted(["healthy"] * 100)
    run(Guard(every=10), 500, every=50)
    assert looks == list(range(50, 500, 50))


def test_looks_grow_rarer_so_that_their_cost_does_not_grow_with_the_square(scripted):
    looks = scripted(["healthy"] * 10_000)
    run(Guard(every=1), 20_000)
    assert looks[:90] == list(range(1, 91))
    assert len(looks) < 800  # 100 + 100 ln(200)
    assert max(b - a for a, b in pairwise(looks)) <= 201


def test_numbers_that_are_not_finite_are_looked_at_at_once_until_patience_is_over(scripted):
    looks = scripted(["healthy"] * 100)
    g = Guard(every=50, patience=3)
    for step in range(49):
        g.add(step, {"entropy": 0.5, "grad_norm": math.nan if step >= 10 else 1.0})
    assert looks == [10, 11, 12]


def test_numbers_that_are_not_finite_are_looked_at_as_long_as_they_are_what_to_stop_for(scripted):
    looks = scripted(["healthy", *["broken-numbers"] * 9])
    g = Guard(every=50, patience=3)
    stop = [v for s in range(49) if (v := g.add(s, {"entropy": 0.5, "grad_norm": 1.0 if s < 10 else math.inf}))]
    assert looks[:4] == [10, 11, 12, 13]
    assert [(v.step, v.stop) for v in stop][:2] == [(11, False), (13, True)]


def test_steps_that_begin_anew_are_looked_at(scripted):
    looks = scripted(["healthy"] * 100)
    g = Guard(every=10)
    for step in [*range(100, 130), *range(0, 30)]:
        g.add(step, {"entropy": 0.5})
    assert len(looks) == 4


def test_it_goes_on_from_a_checkpoint():
    whole = Guard(stop_on="collapse", patience=8, every=1)
    ends = first_stop(whole)
    before = Guard(stop_on="collapse", patience=8, every=1)
    assert first_stop(before, range(ends - 2)) is None
    state = json.loads(json.dumps(before.state_dict()))
    again = Guard(stop_on="collapse", patience=8, every=1)
    again.restart(state, [(s, row(s)) for s in range(ends - 2)])
    said = [v for s in range(ends - 2, 60) if (v := again.add(s, row(s))) is not None]
    assert said[0].stop  # the collapse itself was told before
    assert said[0].step == ends


def test_after_a_stop_only_what_comes_then_counts():
    g = Guard(stop_on="collapse", patience=1, every=1)
    ends = first_stop(g)
    later = Guard(stop_on="collapse", patience=1, every=1)
    later.restart(g.state_dict(), [(s, row(s)) for s in range(ends + 1)])
    for one in (g, later):
        assert first_stop(one, range(ends + 1, 60), lambda s: {"entropy": 0.02, "reward": 0.4 + 0.01 * (s % 3)}) is None


def test_it_takes_what_loops_hand_over():
    torch = pytest.importorskip("torch")
    g = Guard(every=1)
    for step in range(12):
        g.add(
            step, {"entropy": torch.tensor(0.5), "reward": np.float32(0.2), "text": "x", "none": None, "l": [1], 3: 4}
        )
    assert g.look() is None
    g.add(12, {})


@pytest.mark.parametrize("wrong", [{"patience": 0}, {"every": 0}, {"every": math.nan}, {"stop_on": "collaps"}])
def test_what_cannot_be_meant_is_refused(wrong):
    with pytest.raises(ValueError, match="patience|collaps"):
        Guard(**wrong)


def test_somebody_is_told(scripted):
    scripted(["healthy", "collapse", "collapse", "healthy"])
    with listening() as (url, got):
        run(Guard(stop_on="collapse", patience=2, every=1, notify=url, run="mine"), 5)
    sent = [notice for *_, notice in got]
    assert [(n["verdict"], n["stop"], n["before"]) for n in sent] == [
        ("collapse", False, "healthy"),
        ("collapse", True, "collapse"),
        ("healthy", False, "collapse"),
    ]
    assert sent[0]["run"] == "mine"


def test_nobody_who_listens_is_no_harm(scripted, monkeypatch):
    monkeypatch.setattr(notify, "TIMEOUT", 1.0)
    scripted(["collapse"] * 3)
    with listening() as (url, _):
        pass
    assert run(Guard(stop_on="collapse", patience=1, every=1, notify=url), 3)[0].stop


def test_names_of_verdicts():
    assert named("collapse, mismatch") == named(["mismatch", "collapse"]) == {"collapse", "mismatch"}
    assert named("any") == set(EXIT_CODES) - {"insufficient-data"}
    assert named("any,insufficient-data") == set(EXIT_CODES)
    assert named(()) == frozenset()
    assert "healthy" not in named("any")
    assert set(VERDICTS) - {"healthy"} <= set(EXIT_CODES)
    with pytest.raises(ValueError, match=r"no failure is called 'x'; there are broken-numbers, collapse"):
        named(["x"])


def test_the_code_is_that_of_the_most_important():
    findings = [Finding(n, "", ()) for n in ("truncation", "collapse", "mismatch")]
    assert exit_code(findings, named("mismatch,collapse")) == EXIT_CODES["collapse"]
    assert exit_code(findings, named("explosion")) == 0
    assert exit_code(findings, frozenset()) == 0


@pytest.mark.parametrize("step", ["1", None, [1], 10**400, math.nan, -math.inf])
def test_a_step_that_is_no_finite_number_is_refused(step):
    with pytest.raises(ValueError, match="step must be a finite number"):
        Guard().add(step, row(1))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"reward_range": (1.0, 0.0)}, "the lower first"),
        ({"reward_range": ("low", 2)}, "the lower first"),
        ({"reward_range": (0.0, 10**400)}, "the lower first"),
        ({"reward_range": 1.0}, "the lower first"),
        ({"thresholds": {"min_points": 3}}, "must be `Thresholds`, got dict"),
        ({"patience": "3"}, "patience must be"),
        ({"patience": True}, "patience must be"),
        ({"every": "10"}, "every above 0"),
        ({"every": math.nan}, "every above 0"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_training(wrong, said):
    with pytest.raises(ValueError, match=said):
        Guard(**wrong)


def test_a_row_of_the_step_of_the_stop_is_left_out_after_it():
    g = Guard(stop_on="collapse", every=1, patience=1)
    stopped = first_stop(g)
    assert stopped is not None
    g.restart(g.state_dict(), [(stopped, row(stopped)), (stopped + 1, row(stopped + 1))])
    assert [float(s) for s in guard.log_of(g._rows, "run", {}, None).series["entropy"].steps] == [stopped + 1]
