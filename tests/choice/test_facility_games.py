"""Who gains by a misreport, and where agents end who all try."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from entrokit.choice.facility import (
    Manipulation,
    average,
    best_response_equilibrium,
    constrained_median,
    find_manipulation,
    manipulability,
    median,
    midpoint,
    order_statistic,
    per_profile,
    phantom_median,
    uniform_phantom,
)


def drawn(count, n, seed=0):
    even = torch.rand(count, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.where(torch.arange(count)[:, None] % 2 == 0, even, (even * n).round() / n)


def own_range(r):
    """The uniform phantom of reports that were normalised by their own least and largest."""
    low, high = r.amin(-1, keepdim=True), r.amax(-1, keepdim=True)
    width = (high - low).clamp(min=1e-9)
    return (low + width * uniform_phantom(((r - low) / width).clamp(0, 1))[..., None]).squeeze(-1)


HONEST = {
    "uniform": uniform_phantom,
    "median": median,
    "constrained": constrained_median,
    "second": lambda r: order_statistic(r, 2),
    "phantoms": lambda r: phantom_median(r, torch.linspace(0.1, 0.95, r.shape[-1] + 1, dtype=r.dtype)),
    "dictator": lambda r: r[..., 0],
    "constant": lambda r: torch.full_like(r[..., 0], 0.3),
}
GAMED = {
    "average": average,
    "midpoint": midpoint,
    "own-range": own_range,
    "trimmed": lambda r: r.sort(-1).values[..., 1:-1].mean(-1),
    "farthest": lambda r: 1 - r.median(-1).values,
    # Only agent 2 has a say, and its report is turned round within a thousandth of the interval.
    "needle": lambda r: torch.where((r[..., 2] - 0.4).abs() < 1e-3, 0.9, r[..., 2]),
}


@pytest.mark.parametrize("rule", HONEST.values(), ids=HONEST)
def test_check_3_no_gain_is_found_where_there_is_none(rule):
    assert find_manipulation(rule, 4, profiles=64, rounds=4) is None
    assert manipulability(rule, drawn(100, 5)).gain.max() <= 1e-12


@pytest.mark.parametrize("rule", GAMED.values(), ids=GAMED)
def test_rules_that_can_be_gamed_are_found_with_a_witness(rule):
    found = find_manipulation(rule, 5)
    assert isinstance(found, Manipulation)
    said = list(found.profile)
    said[found.agent] = found.report
    truthful, gamed = (rule(torch.tensor([r], dtype=torch.float64)).item() for r in (found.profile, said))
    place = found.profile[found.agent]
    assert found.gain == pytest.approx(abs(place - truthful) - abs(place - gamed), abs=1e-12)
    assert found.gain > 1e-9
    assert f"agent {found.agent} of" in str(found)


def test_check_3_the_sheets_witness_against_the_average():
    gains = manipulability(average, [0.1, 0.2, 0.9])
    assert gains.gain.item() >= 0.4 - 1.1 / 3 - 1e-12
    assert average([0.0, 0.2, 0.9]).item() == pytest.approx(0.366667, abs=1e-6)


def test_gains_under_the_average_are_those_of_the_best_reply():
    x = drawn(400, 4)
    before = (x - average(x)[:, None]).abs()
    reply = (4 * x - (x.sum(-1, keepdim=True) - x)).clamp(0, 1)
    after = (x - (x.sum(-1, keepdim=True) - x + reply) / 4).abs()
    expected = (before - after).max(-1).values
    found = manipulability(average, x)
    # The last grid is 1 / (16 * 4³) of the interval apart in a report, a quarter of that in the mean.
    assert (found.gain <= expected + 1e-12).all()
    assert (expected - found.gain).max() <= 1 / (16 * 4**3 * 4)


def test_the_middle_of_two_medians_can_be_gamed_and_the_left_one_cannot():
    middle = per_profile(np.median)
    assert find_manipulation(middle, 4, profiles=16, rounds=1) is not None
    assert find_manipulation(middle, 3, profiles=16, rounds=2) is None
    assert find_manipulation(median, 4, profiles=16, rounds=2) is None


def test_an_answer_can_be_had_again_and_on_any_interval():
    assert find_manipulation(average, 3) == find_manipulation(average, 3)
    found = find_manipulation(lambda r: average(r, 16, 28), 3, lo=16, hi=28)
    assert found is not None
    assert all(16 <= place <= 28 for place in (*found.profile, found.report))
    assert find_manipulation(lambda r: uniform_phantom(r, 16, 28), 3, lo=16, hi=28, profiles=64, rounds=3) is None


def test_leading_dimensions_are_kept():
    x = drawn(12, 3).reshape(3, 4, 3)
    gains = manipulability(average, x)
    assert gains.gain.shape == gains.agent.shape == gains.report.shape == (3, 4)
    torch.testing.assert_close(gains.gain[1, 2], manipulability(average, x[1, 2]).gain)
    assert best_response_equilibrium(x).reports.shape == (3, 4, 3)


@pytest.mark.parametrize(
    ("x", "reports", "outcome"),
    [
        ((0.05, 0.1, 0.15, 0.95), (0, 0, 0, 1), 0.25),
        ((0.9, 0.95, 1.0), (0.7, 1, 1), 0.9),
        ((0.2, 0.4, 0.6, 0.8), (0, 0, 1, 1), 0.5),
    ],
)
def test_check_6_replies_under_the_average_end_at_the_uniform_phantom(x, reports, outcome):
    for rule in (average, lambda r: r.mean(-1)):
        found = best_response_equilibrium(x, rule)
        torch.testing.assert_close(found.reports, torch.tensor(reports, dtype=torch.float64), rtol=0, atol=1e-12)
        assert found.outcome.item() == pytest.approx(outcome, abs=1e-12)
        assert found.settled
        assert found.sweeps <= 3


@pytest.mark.parametrize("n", [2, 3, 6])
def test_equilibria_of_rules_with_unanimous_fair_share(n):
    x = drawn(60, n, seed=n)
    mixed = best_response_equilibrium(x, lambda r: 0.5 * average(r) + 0.5 * uniform_phantom(r), max_sweeps=10)
    plain = best_response_equilibrium(x, max_sweeps=1000)
    for found in (mixed, plain):
        assert found.settled.float().mean() > 0.8
        wrong = (found.outcome - uniform_phantom(x)).abs()[found.settled]
        assert wrong.max() <= 1e-12
    # It is an equilibrium: nobody gains any more by another report.
    at = plain.reports[plain.settled][:10]
    place = x[plain.settled][:10]
    now = (place - average(at)[:, None]).abs()
    for agent in range(n):
        for report in torch.linspace(0, 1, 21):
            other = at.clone()
            other[:, agent] = report
            assert ((place - average(other)[:, None]).abs()[:, agent] >= now[:, agent] - 1e-12).all()


def test_near_agents_outbid_each_other_for_long():
    """The sheet's three sweeps are those of its examples."""
    near = best_response_equilibrium([0.4995, 0.5005], max_sweeps=10_000)
    assert near.sweeps > 200
    assert near.outcome.item() == pytest.approx(0.5, abs=1e-12)
    short = best_response_equilibrium([[0.4995, 0.5005], [0.1, 0.9]], max_sweeps=100)
    assert short.settled.tolist() == [False, True]


def test_an_equilibrium_on_another_interval():
    found = best_response_equilibrium([17.0, 18.0, 27.0], lo=16, hi=28)
    assert found.outcome.item() == pytest.approx(uniform_phantom([17.0, 18.0, 27.0], 16, 28).item(), abs=1e-11)


def test_many_agents_are_tried_a_part_at_a_time(monkeypatch):
    """n agents with n + 20 reports each would be n³ numbers at once."""
    x, most = drawn(3, 30), []

    def watched(r):
        most.append(r.numel())
        return midpoint(r)

    whole = manipulability(watched, x)
    monkeypatch.setattr("entrokit.choice.facility.deviations._CHUNK", 4 * 30 * 50)
    most.clear()
    parts = manipulability(watched, x)
    assert max(most) <= 4 * 30 * 50
    for own, other in zip(whole, parts, strict=True):
        assert torch.equal(own, other)


def gains_by_hand(rule, places, reports, steps=401):
    """What every agent of one profile gains at most by a report out of an even grid, ``[n]``."""
    before, gains = (places - rule(reports[None]).double()).abs(), []
    for agent, place in enumerate(places):
        said = reports.repeat(steps, 1)
        said[:, agent] = torch.linspace(0, 1, steps, dtype=torch.float64)
        gains.append(before[agent] - (rule(said).double() - place).abs().min())
    return torch.stack(gains)


JUMPS = {
    "rounded": lambda r: r.mean(-1).round(),
    "rounded-tenths": lambda r: (r.mean(-1) * 10).round() / 10,
    "upper": lambda r: r.amax(-1) > 0.5,
    "majority": lambda r: (r.median(-1).values >= 0.5).double(),
}


@pytest.mark.parametrize("rule", JUMPS.values(), ids=JUMPS)
def test_where_a_rule_jumps_nobody_gains_from_what_is_called_settled(rule):
    x = torch.cat([drawn(40, 3), torch.tensor([[0.1, 0.9, 0.9], [0.1, 0.8, 0.2]], dtype=torch.float64)])
    found = best_response_equilibrium(x, rule)
    assert found.settled.float().mean() > 0.5
    for places, reports in zip(x[found.settled], found.reports[found.settled], strict=True):
        assert gains_by_hand(rule, places, reports).max() <= 1e-9


@pytest.mark.parametrize(("place", "jump", "outcome"), [(0.3, 0.2, 0.0), (0.7, 0.8, 1.0)], ids=["below", "above"])
def test_a_reply_takes_the_nearer_side_of_a_jump(place, jump, outcome):
    """By the truth the outcome is on the other side, 0.7 away."""
    found = best_response_equilibrium([place, 0.5], lambda r: r[..., 0] > jump)
    assert found.settled
    assert found.outcome == outcome
    assert found.deviation.gain == 0


def test_an_end_that_is_no_equilibrium_says_who_gains_and_how():
    """Halving sees a jump at 0.5; the outcome that the first agent wants is had beyond it."""

    # Also where the whole interval is shorter than a gain that would be rounding on [0, 1].
    for hi in (1.0, 2.0**-40):

        def hidden(r, hi=hi):
            first = r[..., 0] / hi
            return hi * torch.where((first > 0.7) & (first < 0.8), 0.2, (first >= 0.5).to(r.dtype))

        found = best_response_equilibrium([0.2 * hi, 0.9 * hi], hidden, hi=hi)
        assert not found.settled
        assert found.outcome.item() == 0.0
        assert found.deviation.agent.item() == 0
        assert found.deviation.gain.item() == pytest.approx(0.2 * hi, rel=1e-12)
        assert 0.7 * hi < found.deviation.report.item() < 0.8 * hi


def test_an_equilibrium_that_was_not_reached_says_what_is_left_to_gain():
    near = ([0.45, 0.54, 0.5], [0.52, 0.46, 0.6])
    found = best_response_equilibrium(near, max_sweeps=2)
    assert found.settled.tolist() == [False, False]
    assert (found.deviation.gain > 0.01).all()
    for i, x in enumerate(near):
        by_hand = gains_by_hand(average, torch.tensor(x, dtype=torch.float64), found.reports[i])
        assert found.deviation.gain[i] >= by_hand.max() - 1e-12
        assert int(by_hand.argmax()) == int(found.deviation.agent[i])
        searched = best_response_equilibrium(x, lambda r: r.mean(-1), max_sweeps=2)
        # The grid of reports ends 1 / (16 * 4³) apart, a third of that in the mean.
        assert abs(float(searched.deviation.gain - found.deviation.gain[i])) <= 1 / (16 * 4**3 * 3)
    over = best_response_equilibrium([0.1, 0.2, 0.9])
    assert over.settled
    assert over.deviation.gain == 0


@pytest.mark.parametrize("rule", HONEST.values(), ids=HONEST)
def test_under_a_rule_that_nobody_games_the_truth_is_kept(rule):
    x = drawn(30, 4)
    found = best_response_equilibrium(x, rule)
    assert found.settled.all()
    assert torch.equal(found.reports, x)
    assert not found.sweeps.any()


def test_a_report_that_hardly_changes_and_moves_the_outcome_is_a_move():
    found = best_response_equilibrium([0.6, 0.1], lambda r: r[..., 0] > 0.6)
    assert found.outcome == 1.0
    assert found.sweeps == 1
    assert found.settled


def test_replies_by_halving_are_as_exact_as_float64():
    found = best_response_equilibrium([1 / 3, 0.9], lambda r: r[..., 0] / 2)
    assert abs(found.reports[0].item() - 2 / 3) <= 2**-53


def test_a_fall_by_rounding_is_none():
    assert best_response_equilibrium([0.2, 0.7], lambda r: 0.3 - 1e-12 * r.mean(-1)).settled


@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_the_tolerance_of_a_move_is_a_share_of_the_interval(scale):
    """The first replies go 0.09 and 0.18 of the interval far."""
    x = [0.45 * scale, 0.54 * scale]
    assert best_response_equilibrium(x, hi=scale, tol=0.2).sweeps == 0
    assert best_response_equilibrium(x, hi=scale, tol=0.1).sweeps > 0


def test_who_gains_nothing_is_said_to_keep_its_report():
    found = best_response_equilibrium([0.9, 0.95, 1.0], lambda r: r.mean(-1))
    assert found.deviation.gain == 0
    assert found.deviation.report == found.reports[found.deviation.agent]


def test_a_gain_is_measured_in_shares_of_the_interval():
    found = find_manipulation(lambda r: average(r, 0.0, 1e-10), 3, hi=1e-10, profiles=8)
    assert found is not None
    assert found.gain <= 1e-10


def test_a_report_that_pays_only_where_another_is():
    found = manipulability(lambda r: torch.where(r[..., 0] == r[..., 1], r[..., 1], 0.0), [0.3, 0.31])
    assert found.agent == 1
    assert found.report.item() == 0.3
    assert found.gain.item() == pytest.approx(0.3, abs=1e-12)


def test_every_round_of_a_search_tries_other_profiles():
    seen = []

    def watched(r):
        if len(r) == 16:
            seen.append(r)
        return median(r)

    assert find_manipulation(watched, 3, profiles=16, rounds=3) is None
    assert len(seen) == 3
    assert not any(torch.equal(a, b) for a, b in pairwise(seen))
    for later in seen[1:]:
        assert not (later[:, None] == seen[0]).all(-1).any(-1).all()
