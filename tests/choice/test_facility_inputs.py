"""What is taken for a profile of reports, and what is refused by name."""

import math
import statistics

import numpy as np
import pytest
import torch

from entrokit.choice.facility import (
    ReportError,
    average,
    best_response_equilibrium,
    best_welfare_ratio,
    constrained_median,
    fairness_report,
    find_manipulation,
    grid_profiles,
    manipulability,
    median,
    midpoint,
    order_statistic,
    per_profile,
    phantom_median,
    total_cost,
    uniform_phantom,
    worst_cost_ratio,
)

RULES = [uniform_phantom, phantom_median, median, constrained_median, average, midpoint]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize(
    ("x", "message"),
    [
        pytest.param([[0.1, 0.2], [0.3, 1.2]], r"report \[1, 1\] is 1.2, outside of \[0, 1\]", id="above"),
        pytest.param([-0.1, 0.2], r"report \[0\] is -0.1, outside", id="below"),
        pytest.param([0.1, math.nan], r"report \[1\] is NaN", id="nan"),
        pytest.param([0.1, math.inf], r"report \[1\] is inf, outside", id="infinite"),
        pytest.param([], "at least one report", id="none"),
        pytest.param(0.3, "single number", id="scalar"),
        pytest.param([0.1, 1j], "real numbers", id="complex"),
        pytest.param(torch.tensor([1j]), "real numbers", id="complex-tensor"),
        pytest.param(["a"], "real numbers", id="text"),
        pytest.param([[0.1], [0.2, 0.3]], "mask", id="ragged"),
    ],
)
def test_reports_that_are_none_are_named(rule, x, message):
    with pytest.raises(ReportError, match=message):
        rule(x)


@pytest.mark.parametrize(("lo", "hi"), [(1.0, 0.0), (0.5, 0.5), (0.0, math.inf), (math.nan, 1.0)])
def test_an_interval_that_is_none_is_refused(lo, hi):
    with pytest.raises(ValueError, match="finite lo < hi"):
        uniform_phantom([0.5], lo, hi)
    with pytest.raises(ValueError, match="finite lo < hi"):
        find_manipulation(median, 3, lo=lo, hi=hi)


def test_masks_that_do_not_fit_are_refused():
    x = torch.rand(2, 3)
    with pytest.raises(ValueError, match="booleans"):
        uniform_phantom(x, mask=torch.ones(2, 3))
    with pytest.raises(ValueError, match="does not fit"):
        uniform_phantom(x, mask=torch.ones(2, 4, dtype=torch.bool))
    with pytest.raises(ReportError, match=r"profile \[1\] has no report"):
        uniform_phantom(x, mask=torch.tensor([[True, True, True], [False, False, False]]))


def test_phantoms_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="need 2 phantoms .or 4"):
        phantom_median([0.1, 0.2, 0.3], [0.5])
    with pytest.raises(ValueError, match="need 2 phantoms .or 4, .* got 3"):
        phantom_median([0.1, 0.2, 0.3], [0.2, 0.5, 0.7])
    with pytest.raises(ReportError, match=r"phantom \[1\] is 1.5"):
        phantom_median([0.1, 0.2, 0.3], [0.5, 1.5])
    with pytest.raises(ValueError, match="k is 1 to 2"):
        order_statistic([[0.1, 0.2, 0.3]], 3, mask=np.array([True, True, False]))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_shapes_dtypes_and_arrays(rule):
    assert rule(torch.rand(4, 2, 5)).shape == (4, 2)
    assert rule(torch.rand(5, 4, 2), dim=0).shape == (4, 2)
    assert rule(torch.rand(0, 5)).shape == (0,)
    assert rule(torch.rand(3, 1)).shape == (3,)
    assert rule(np.float32([0.1, 0.2])).dtype == torch.float32
    assert rule(np.array([[0.1, 0.2], [0.3, 0.4]]).T).dtype == torch.float64
    assert rule([0, 1, 1]).dtype == torch.float64
    assert rule(np.longdouble([0.1, 0.2])).dtype == torch.float64
    assert rule(np.array([0.1, 0.2, 0.4], dtype=">f8")[::-1]).item() == rule([0.1, 0.2, 0.4]).item()
    assert rule([False, True, True]).item() in (2 / 3, 1.0, 0.5)
    # In bfloat16 a count of 300 agents would be 300 rounded, and their shares with it.
    many = (torch.arange(300) % 2).to(torch.bfloat16)
    assert rule(many).dtype == torch.float32
    assert min(abs(rule(many).item() - place) for place in (0.0, 0.5, 1 - 1 / 300)) < 1e-6


def test_outcomes_that_do_not_fit_are_refused():
    x = [[0.1, 0.2], [0.3, 0.4]]
    with pytest.raises(
        ValueError, match=r"reports \[2, 2\] .agents last. need one outcome a profile, \[2\], got \[3\]"
    ):
        fairness_report(x, [0.1, 0.2, 0.3])
    with pytest.raises(ReportError, match=r"outcome \[1\] is 2, outside"):
        total_cost(x, [0.1, 2.0])
    with pytest.raises(ReportError, match=r"outcome \[0\] is NaN"):
        fairness_report(x, [math.nan, 0.5])
    for tol in (-1.0, 1.0, math.nan):
        with pytest.raises(ValueError, match=r"tol must lie in \[0, 1\)"):
            fairness_report([0.1], 0.1, tol=tol)
    assert total_cost([0.1, 0.2], 0.1).item() == pytest.approx(0.1)


def test_rules_that_give_no_outcome_are_named():
    with pytest.raises(TypeError, match="per_profile"):
        find_manipulation(lambda r: 0.5, 3)
    with pytest.raises(ValueError, match=r"need outcomes \[256\], got \[256, 1\]"):
        find_manipulation(lambda r: r[..., :1], 3)
    with pytest.raises(ValueError, match="its outcome is nan for the reports"):
        manipulability(lambda r: r.mean(-1) / 0 * 0, [0.1, 0.2])
    with pytest.raises(ValueError, match="its outcome is inf for the reports"):
        manipulability(lambda r: r.mean(-1) / 0, [0.1, 0.2])
    with pytest.raises(ValueError, match="need a monotone rule"):
        best_response_equilibrium([0.2, 0.7], lambda r: 1 - r.mean(-1))
    with pytest.raises(ValueError, match="max_sweeps"):
        best_response_equilibrium([0.2, 0.7], max_sweeps=0)
    with pytest.raises(ValueError, match="at least 1"):
        find_manipulation(median, 0)


@pytest.mark.parametrize("size", [1.0, 1e-5])
def test_a_rule_that_is_random_is_found_out(size):
    noise = torch.Generator().manual_seed(1)
    with pytest.raises(ValueError, match="random"):
        find_manipulation(lambda r: r.median(-1).values * (1 - size * torch.rand(len(r), generator=noise)), 3)


def test_a_rule_that_sorts_in_place_changes_no_profile():
    def in_place(r):
        r.copy_(r.sort(-1).values)
        return r[..., (r.shape[-1] - 1) // 2]

    x = torch.rand(5, 3, dtype=torch.float64)
    before = x.clone()
    assert (manipulability(in_place, x).gain == 0).all()
    assert torch.equal(x, before)


def test_no_profiles_have_no_gains():
    gains = manipulability(median, torch.zeros(0, 3))
    assert [own.shape for own in gains] == [(0,)] * 3
    assert best_response_equilibrium(torch.zeros(0, 3)).outcome.shape == (0,)


def test_agents_and_axioms_that_are_none_are_refused():
    for refused in (lambda n: best_welfare_ratio(n, "ufs"), worst_cost_ratio, lambda n: grid_profiles([0.0], n)):
        with pytest.raises(ValueError, match="n must be at least 1, got 0"):
            refused(0)
        with pytest.raises(TypeError, match="n must be a whole number, got 2.0"):
            refused(2.0)
    with pytest.raises(ValueError, match="'ifs' or 'ufs'"):
        best_welfare_ratio(3, "pf")
    with pytest.raises(ValueError, match="no points"):
        grid_profiles([], 3)
    assert grid_profiles(np.array([1.0, 0.0]), np.int64(2)).tolist() == [[0, 0], [0, 1], [1, 1]]


def test_a_plain_function_of_one_profile_is_a_mechanism():
    least = per_profile(min)
    x = torch.tensor([[0.5, 0.25]], dtype=torch.float64)
    assert per_profile(lambda row: row.sort() or row[0])(x).tolist() == [0.25]
    assert x.tolist() == [[0.5, 0.25]], "a function that sorts in place"
    assert least(torch.tensor([[[0.25, 0.5], [0.75, 0.125]]])).tolist() == [[0.25, 0.125]]


@pytest.mark.parametrize("function", [np.mean, statistics.mean, statistics.median, max], ids=lambda f: f.__name__)
def test_a_function_of_one_profile_in_the_place_of_a_mechanism_is_told_of_per_profile(function):
    name = function.__name__
    with pytest.raises(TypeError, match=rf"{name} takes one profile .* wrap it: per_profile\({name}\)") as told:
        find_manipulation(function, 3, profiles=2)
    assert told.value.__cause__ is not None
    with pytest.raises((TypeError, ValueError), match="per_profile"):
        best_response_equilibrium([0.1, 0.2, 0.4], function)
    assert per_profile(function)(torch.tensor([[0.25, 0.5, 0.75]])).shape == (1,)


def test_what_a_mechanism_raises_of_its_own_is_not_taken_for_a_function_of_one_profile():
    with pytest.raises(ValueError, match="3 reports need 2 phantoms"):
        find_manipulation(lambda r: phantom_median(r, [0.5]), 3)
    with pytest.raises(ReportError, match="outside of"):
        find_manipulation(median, 3, lo=-1.0)
    with pytest.raises(KeyError):
        manipulability(lambda r: {}[r], [0.1, 0.2])


@pytest.mark.parametrize("wrong", ["average", None, 0.5], ids=str)
def test_what_cannot_be_called_is_no_mechanism(wrong):
    with pytest.raises(TypeError, match="expected a function of reports"):
        find_manipulation(wrong, 3)
    with pytest.raises(TypeError, match="expected a function of one profile"):
        per_profile(wrong)


@pytest.mark.parametrize("found", [None, np.array([0.1, 0.2]), "a"], ids=["none", "array", "text"])
def test_a_function_that_gives_no_number_is_named(found):
    with pytest.raises(TypeError, match=r"must give one number a profile, and gives .* for \[0.25, 0.5\]"):
        per_profile(lambda row: found)(torch.tensor([[0.25, 0.5]]))


def test_counts_are_whole_numbers():
    assert order_statistic([0.1, 0.2, 0.3], np.int64(2)).item() == 0.2
    for wrong in (2.0, True, "2"):
        with pytest.raises(TypeError, match="order_statistic: k must be a whole number"):
            order_statistic([0.1, 0.2, 0.3], wrong)
    with pytest.raises(TypeError, match=r"find_manipulation: rounds must be a whole number, got 1.5"):
        find_manipulation(median, 3, rounds=1.5)
    with pytest.raises(TypeError, match="max_sweeps must be a whole number"):
        best_response_equilibrium([0.1, 0.2], max_sweeps=2.5)


def test_settings_of_a_search_that_are_none_are_refused():
    with pytest.raises(TypeError, match=r"generator must be a torch.Generator, as .* got 0"):
        find_manipulation(median, 3, generator=0)
    with pytest.raises(ValueError, match="find_manipulation: tol must be at least 0, got nan"):
        find_manipulation(median, 3, tol=math.nan)
    for tol in (-1e-3, 1.0, math.nan):
        with pytest.raises(ValueError, match=r"best_response_equilibrium: tol must lie in \[0, 1\)"):
            best_response_equilibrium([0.1, 0.2], tol=tol)


def test_one_number_is_no_outcome_of_several_profiles():
    """It is as likely an average over profiles by mistake as one place for all of them."""
    x = torch.tensor([[0.1, 0.2], [0.3, 0.4]], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"one outcome a profile, \[2\], got a single number; torch.full\(\(2,\), y\)"):
        fairness_report(x, 0.5)
    found = fairness_report(x, torch.full((2,), 0.5))
    assert found.pf.shape == found.slack["pf"].shape == (2,)
    assert fairness_report(x[0], 0.5).pf.shape == ()
