"""Axioms, welfare and cost: against groups one by one, and the sheet's ratios by exhaustion."""

import math
from itertools import combinations

import pytest
import torch

from entrokit.choice.facility import (
    average,
    best_welfare_ratio,
    constrained_median,
    cost_ratio,
    fair_interval,
    fairness_report,
    grid_profiles,
    median,
    midpoint,
    phantom_median,
    total_cost,
    uniform_phantom,
    welfare,
    welfare_ratio,
    worst_cost_ratio,
)


def drawn(count, n, seed=0):
    even = torch.rand(count, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.where(torch.arange(count)[:, None] % 2 == 0, even, (even * n).round() / n)


def by_groups(x, y):
    """Slack of ifs, ufs and pf, over all groups of agents."""
    n = len(x)
    slack = {"ifs": math.inf, "ufs": math.inf, "pf": math.inf}
    for size in range(1, n + 1):
        for group in combinations(x, size):
            spread = max(group) - min(group)
            worst = 1 - size / n - max(abs(place - y) for place in group)
            if size == 1:
                slack["ifs"] = min(slack["ifs"], worst)
            if spread < 1e-9:
                slack["ufs"] = min(slack["ufs"], worst)
            slack["pf"] = min(slack["pf"], worst + spread)
    return slack


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7])
def test_two_n_bounds_are_all_groups(n):
    x = drawn(40, n, seed=n)
    y = torch.rand(40, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    found = fairness_report(x, y)
    for i in range(40):
        for axiom, slack in by_groups(x[i].tolist(), float(y[i])).items():
            assert found.slack[axiom][i].item() == pytest.approx(slack, abs=1e-12)
            assert getattr(found, axiom)[i].item() == (slack >= -1e-9)


@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_check_4_the_uniform_phantom_and_the_average_break_no_axiom(n):
    x = torch.cat([drawn(1000, n), grid_profiles([i / n for i in range(n + 1)], n)])
    for rule in (uniform_phantom, average):
        assert fairness_report(x, rule(x)).violation_rates() == dict.fromkeys(("ifs", "ufs", "pf", "proportional"), 0.0)
    low, high = fair_interval(x)
    for rule in (uniform_phantom, average):
        assert ((low <= rule(x) + 1e-12) & (rule(x) <= high + 1e-12)).all()


def test_check_4_the_median_and_the_midpoint_break_some():
    found = fairness_report([0, 0, 1], median([0, 0, 1]))
    assert not found.ifs
    assert found.slack["ifs"].item() == pytest.approx(-1 / 3)
    assert found.slack["proportional"].item() == pytest.approx(-1 / 3)
    x = grid_profiles([i / 4 for i in range(5)], 4)
    broken = fairness_report(x, midpoint(x)).violation_rates()
    assert broken["ifs"] == 0
    assert broken["ufs"] > 0


def test_check_5_individual_fair_share_asks_for_phantoms_within_1_over_n():
    x = grid_profiles([i / 4 for i in range(5)], 4)
    assert fairness_report(x, phantom_median(x, [0.1, 0.5, 0.9])).violation_rates()["ifs"] > 0
    assert fairness_report(x, phantom_median(x, [0.25, 0.5, 0.75])).violation_rates()["ifs"] == 0


def test_proportionality_says_nothing_of_reports_inside():
    found = fairness_report([[0.0, 0.5], [0.0, 1.0]], [0.0, 0.0])
    assert found.slack["proportional"].tolist() == [math.inf, -0.5]
    assert found.proportional.tolist() == [True, False]
    assert found.violation_rates()["proportional"] == 1.0


def test_ties_have_a_tolerance():
    third = 3 * (1 / 3) - 2e-16
    found = fairness_report([third, 1.0, 1.0, 0.0], 0.0)
    assert found.slack["ufs"].item() == pytest.approx(1 - 3 / 4 - 1.0)


def test_axioms_of_ragged_batches_and_of_other_intervals():
    rows = [drawn(2, n, seed=n)[0] for n in (1, 3, 5)]
    x, mask = torch.full((3, 5), math.nan, dtype=torch.float64), torch.zeros(3, 5, dtype=torch.bool)
    for i, row in enumerate(rows):
        x[i, 5 - len(row) :], mask[i, 5 - len(row) :] = row, True
    y = torch.tensor([0.3, 0.8, 0.05], dtype=torch.float64)
    found, shifted = fairness_report(x, y, mask=mask), fairness_report(10 * x - 5, 10 * y - 5, lo=-5, hi=5, mask=mask)
    for i, row in enumerate(rows):
        alone = fairness_report(row, y[i])
        for axiom, slack in alone.slack.items():
            torch.testing.assert_close(found.slack[axiom][i], slack)
            torch.testing.assert_close(shifted.slack[axiom][i], slack)
        torch.testing.assert_close(total_cost(x, y, mask=mask)[i], total_cost(row, y[i]))
        torch.testing.assert_close(welfare_ratio(x, y, mask=mask)[i], welfare_ratio(row, y[i]))


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_check_7_the_sheets_ratios_by_exhaustion(n):
    x = grid_profiles(sorted({i / n for i in range(n + 1)} | {0.5}), n)
    for rule, axiom in ((uniform_phantom, "ufs"), (constrained_median, "ifs")):
        worst = welfare_ratio(x, rule(x)).max().item()
        assert worst == pytest.approx(float(best_welfare_ratio(n, axiom)), abs=1e-9)
        assert cost_ratio(x, rule(x)).max().item() == pytest.approx(worst_cost_ratio(n), abs=1e-9)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_profiles_of_ends_alone_show_less_cost(n):
    ends = grid_profiles([0.0, 1.0], n)
    shown = cost_ratio(ends, uniform_phantom(ends)).max().item()
    assert shown == pytest.approx(2 - 2 / n, abs=1e-9)


def test_formulas_have_the_sheets_values():
    ufs, ifs = ({n: float(best_welfare_ratio(n, axiom)) for n in (3, 5, 7, 8, 10, 100)} for axiom in ("ufs", "ifs"))
    assert [round(ufs[n], 6) for n in (3, 5, 7, 8, 100)] == [1.2, 1.176471, 1.206897, 1.2, 1.207072]
    assert [round(ifs[n], 6) for n in ifs] == [1.2, 1.176471, 1.135135, 1.12, 1.097561, 1.009998]
    assert best_welfare_ratio(1, "ifs") == best_welfare_ratio(2, "ufs") == worst_cost_ratio(1) == 1
    assert max(float(best_welfare_ratio(n, "ufs")) for n in range(1, 200)) < (math.sqrt(2) + 1) / 2


def test_welfare_and_cost_are_best_at_a_median():
    x, y = drawn(200, 4), torch.rand(200, dtype=torch.float64)
    torch.testing.assert_close(welfare(x, y) + total_cost(x, y), torch.full((200,), 4.0, dtype=torch.float64))
    assert (welfare_ratio(x, y) >= 1 - 1e-12).all()
    assert (cost_ratio(x, y) >= 1 - 1e-12).all()
    assert cost_ratio([0.2, 0.2], 0.2).item() == 1
    assert cost_ratio([0.2, 0.2], 0.3).item() == math.inf
    assert welfare_ratio([0, 0], 1.0).item() == math.inf


def test_padding_has_no_say_in_proportionality_nor_in_a_gradient():
    x = torch.tensor([[0.0, math.nan, 1.0]], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0.25], dtype=torch.float64)
    assert fairness_report(x, y, mask=~x.isnan()).slack["proportional"].item() == -0.25
    (gradient,) = torch.autograd.grad(total_cost(x, y, mask=~x.isnan()).sum(), x)
    assert gradient.tolist() == [[-1.0, 0.0, 1.0]]


def test_the_mean_of_equal_reports_at_an_end_is_inside():
    assert average([0.1] * 3, hi=0.1).item() == 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("lo", "hi"), [(0.1, 0.7), (0.2, 1.5), (-0.3, 0.1)])
@pytest.mark.parametrize("n", [3, 5, 6, 7])
def test_a_welfare_of_nothing_is_exactly_nothing_on_any_interval(n, lo, hi, dtype):
    """By rounding the ratio would be ±1e15 for a half of these."""
    x, y = torch.full((n,), lo, dtype=dtype), torch.tensor(hi, dtype=dtype)
    assert welfare_ratio(x, y, lo=lo, hi=hi) == math.inf
    assert total_cost(x, y, lo=lo, hi=hi) == n


@pytest.mark.parametrize(
    ("x", "y", "tol", "slack"),
    [
        ([0.25, 0.5, 1.0], 1.0, 0.25, 1 - 2 / 3 - 0.75),
        ([0.0, 0.5, 0.75], 0.0, 0.25, 1 - 2 / 3 - 0.75),
        ([0.5, 0.5, 1.0], 1.0, 0.0, 1 - 2 / 3 - 0.5),
    ],
    ids=["upper", "lower", "none"],
)
def test_agents_that_are_as_far_apart_as_the_tolerance_are_at_one_place(x, y, tol, slack):
    assert fairness_report(x, y, tol).slack["ufs"].item() == pytest.approx(slack, abs=1e-12)


def test_an_axiom_that_is_missed_by_the_tolerance_is_kept():
    found = fairness_report([0.0, 1.0], 0.25, tol=0.25)
    assert found.slack["proportional"] == -0.25
    assert found.proportional
    assert not fairness_report([0.0, 1.0], 0.25, tol=0.2).proportional


def test_reports_nearly_at_an_end_are_at_it():
    found = fairness_report([1e-10, 1 - 1e-10, 1.0], 2 / 3)
    assert found.slack["proportional"].item() == pytest.approx(0.0, abs=1e-12)


def test_single_precision_has_a_tolerance_of_its_own():
    x = drawn(400, 6).float()
    x = torch.cat([x, (x > 0.5).float()])
    assert set(fairness_report(x, uniform_phantom(x)).violation_rates().values()) == {0.0}
    assert (fairness_report(x, uniform_phantom(x)).slack["pf"] < -1e-9).any(), "rounding that the tolerance is for"


def test_where_proportionality_says_nothing_it_is_not_broken():
    assert fairness_report([0.2, 0.5], 0.4).violation_rates()["proportional"] == 0.0
