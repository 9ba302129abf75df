"""Events in two places: a mixture finds both, and one Gaussian that lost one of them says so."""

import math
import warnings

import pytest
import torch

from entrokit.search.cross_entropy import (
    Bernoulli,
    DiagonalGaussian,
    EmptyEliteError,
    Exponential,
    Mixture,
    ShiftedGaussian,
    StallWarning,
    UncoveredWarning,
    cross_entropy_probability,
    estimate_probability,
)
from entrokit.search.cross_entropy.mixture import _groups

from .cross_entropy_cases import MIXTURE, TWO_PLACES, double, generator, normal_tail

ONE = ShiftedGaussian(0.0)
SEEDS = range(10)


def quiet(*args, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StallWarning)
        warnings.simplefilter("ignore", UncoveredWarning)
        return cross_entropy_probability(*args, **settings)


@pytest.mark.parametrize("name", sorted(TWO_PLACES))
def test_a_mixture_finds_both(name):
    """Told nothing but their number; in ten seeds the largest of ten normal errors is below 4.5 of them."""
    score, law, exact = TWO_PLACES[name]
    for seed in SEEDS:
        found = cross_entropy_probability(score, Mixture([law] * 2), 4.0, generator=generator(seed))
        assert found.status == "reached"
        assert abs(found.probability / exact - 1.0) < 4.5 * found.relative_error < 0.1
        assert found.sampler.shares.min() > 0.1


def test_more_components_than_places_do_no_harm():
    for count in (1, 3, 4):
        found = cross_entropy_probability(lambda x: x, Mixture([ONE] * count), 4.0, generator=generator())
        assert abs(found.probability / normal_tail(4.0) - 1.0) < 4.5 * found.relative_error


def test_one_gaussian_on_a_right_angle_says_that_it_lost_a_place():
    """With 4000 draws a level it gives half, and its own relative error is a few per cent: the status is what tells."""
    score, law, exact = TWO_PLACES["right-angle"]
    halves = 0
    for seed in SEEDS:
        found = quiet(score, law, 4.0, generator=generator(seed), n=4000)
        if abs(found.probability / exact - 1.0) > 0.3:
            assert found.status == "uncovered"
            assert max(level.foreseen for level in found.history) > 0.25
            halves += found.probability < 0.6 * exact and found.relative_error < 0.1
    assert halves >= 5


def test_one_gaussian_with_two_sides_never_says_reached():
    for seed in range(30):
        found = quiet(torch.abs, ONE, 4.0, generator=generator(seed))
        assert found.status in ("stalled", "uncovered")


def test_the_warning_says_at_which_level_and_what_helps():
    score, law, _ = TWO_PLACES["right-angle"]
    # A seed with which it falls on one place.
    with pytest.warns(
        UncoveredWarning, match=r"level \d of \d: its draws foresee a relative error .* 4000 .* Mixture\(\[law\] \* 2\)"
    ) as caught:
        found = cross_entropy_probability(score, law, 4.0, generator=generator(1), n=4000)
    assert caught[0].filename == __file__
    worst = max(range(len(found.history)), key=lambda t: found.history[t].foreseen)
    assert f"level {worst + 1} of {len(found.history)}" in str(caught[0].message)


def test_what_is_foreseen_is_what_draws_of_the_next_sampler_see():
    """With 100,000 draws both know the relative variance to a few per cent."""
    law, n = Exponential(1.0), 100_000
    found = cross_entropy_probability(lambda x: x, law, 20.0, generator=generator(), n=n)
    for level in found.history:
        again = estimate_probability(lambda x: x, law, level.gamma, level.sampler, n=n, generator=generator(1))
        assert level.foreseen == pytest.approx(again.relative_error, rel=0.1)
    assert found.history[-1].foreseen == pytest.approx(math.sqrt(26.878444 / n), rel=0.1)


def test_families_that_fit_their_event_are_not_suspected():
    for seed in SEEDS:
        for law, gamma in ((Exponential(1.0), 20.0), (ONE, 5.0)):
            assert cross_entropy_probability(lambda x: x, law, gamma, generator=generator(seed)).status == "reached"


class Narrowing(ShiftedGaussian):
    """Refitted to what is beyond 3.5 alone, where draws are below it too."""

    def fit(self, x, log_weights, smoothing=1.0):
        return Narrow()


class Narrow:
    def sample(self, n, generator):
        return 3.5 + torch.rand(n, generator=generator, dtype=torch.float64)

    def log_prob(self, x):
        return torch.where((x >= 3.5) & (x <= 4.5), 0.0, -torch.inf).double()

    def fit(self, x, log_weights, smoothing=1.0):
        return self


def test_a_sampler_that_cannot_draw_what_was_seen_foresees_an_infinite_error():
    found = quiet(lambda x: x, Narrowing(0.0), 3.0, generator=generator())
    assert found.history[0].foreseen == math.inf
    assert found.status == "uncovered"


def test_two_runs_make_one_sampler():
    """Runs that fell on different places, drawn from both at once."""
    score, law, exact = TWO_PLACES["right-angle"]
    both = Mixture([ShiftedGaussian([4.2, 0.0]), ShiftedGaussian([0.0, 4.2])])
    found = estimate_probability(score, law, 4.0, both, n=20_000, generator=generator())
    assert abs(found.probability / exact - 1.0) < 4.5 * found.relative_error < 0.1


def test_a_mixture_of_the_same_is_that_law():
    x = ONE.sample(50, generator())
    torch.testing.assert_close(Mixture([ONE] * 3).log_prob(x), ONE.log_prob(x), rtol=1e-14, atol=1e-14)


def test_its_density_is_that_of_torch():
    peer = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(double(0.3, 0.7)),
        torch.distributions.Independent(
            torch.distributions.Normal(torch.stack([c.mean for c in MIXTURE.components]), 1.0), 1
        ),
    )
    x = MIXTURE.sample(40_000, generator())
    torch.testing.assert_close(MIXTURE.log_prob(x), peer.log_prob(x), atol=1e-12, rtol=1e-12)
    # Six standard errors.
    assert (x.mean(0) - peer.mean).abs().max() < 6 * peer.stddev.max() / 200
    assert abs(float((x[:, 0] > 0).double().mean()) - (0.7 * (1 - normal_tail(3.0)) + 0.3 * normal_tail(3.0))) < 0.014


def test_draws_of_components_are_not_in_blocks():
    """Any part of a sample is one: the first half has as many of each as the second, within six standard errors."""
    right = MIXTURE.sample(10_000, generator())[:, 0] > 0
    assert abs(float(right[:5000].double().mean() - right[5000:].double().mean())) < 6 * math.sqrt(2 * 0.21 / 5000)
    assert len(Mixture([ONE, ShiftedGaussian(9.0)], [1.0, 0.0]).sample(3, generator())) == 3


def test_a_fit_is_a_step_upward_to_a_point_that_stays():
    """EM never lowers the weighted log-likelihood, and where it stands still a fit returns what it was given."""
    x = MIXTURE.sample(200, generator())
    logw = torch.randn(200, generator=generator(1), dtype=torch.float64)
    weights = logw.softmax(0)
    fitted = MIXTURE.fit(x, logw)
    assert float(weights @ fitted.log_prob(x)) > float(weights @ MIXTURE.log_prob(x))
    again = fitted.fit(x, logw)
    torch.testing.assert_close(again.log_prob(x), fitted.log_prob(x), atol=1e-6, rtol=0)
    assert [c.mean.tolist() for c in fitted.components] == [
        pytest.approx(c.mean.tolist(), abs=0.5) for c in MIXTURE.components
    ]
    left = x[:, 0] < 0
    assert float(fitted.shares[0]) == pytest.approx(float(weights[left].sum()), abs=0.01)


def test_smoothing_mixes_components_and_shares():
    x, zero = double(-3.0, 1.0, 3.0)[:, None], torch.zeros(3, dtype=torch.float64)
    start = Mixture([ShiftedGaussian([-2.0], 0.1), ShiftedGaussian([2.0], 0.1)])
    full, half = start.fit(x, zero), start.fit(x, zero, 0.5)
    assert full.components[0].mean.tolist() == pytest.approx([-3.0])
    assert full.components[1].mean.tolist() == pytest.approx([2.0])
    assert half.components[0].mean.tolist() == pytest.approx([-2.5])
    assert full.shares.tolist() == pytest.approx([1 / 3, 2 / 3])
    assert half.shares.tolist() == pytest.approx([5 / 12, 7 / 12])


def test_a_component_without_a_draw_stays_and_keeps_a_small_share():
    start = Mixture([ShiftedGaussian([0.0], 0.1), ShiftedGaussian([90.0], 0.1)])
    fitted = start.fit(double(-0.1, 0.1)[:, None], torch.zeros(2, dtype=torch.float64))
    assert fitted.components[1] is start.components[1]
    assert fitted.shares.tolist() == pytest.approx([1.0, 1e-3], abs=2e-3)
    assert float(fitted.shares[1]) == pytest.approx(1e-3, rel=2e-3)
    higher = Mixture(start.components, floor=0.01).fit(double(-0.1, 0.1)[:, None], torch.zeros(2, dtype=torch.float64))
    assert float(higher.shares[1]) == pytest.approx(0.01, rel=2e-2)


def test_groups_of_any_events():
    """Bits as well; and fewer different draws than components."""
    bits = torch.tensor([[1.0, 1, 0, 0]] * 6 + [[0.0, 0, 1, 1]] * 2, dtype=torch.float64)
    fitted = Mixture([Bernoulli([0.5] * 4)] * 2).fit(bits, torch.zeros(8, dtype=torch.float64))
    assert sorted(fitted.shares.tolist()) == pytest.approx([0.25, 0.75], abs=1e-3)
    assert sorted(c.probs.round().tolist() for c in fitted.components) == [[0, 0, 1, 1], [1, 1, 0, 0]]
    alike = Mixture([ShiftedGaussian([0.0])] * 3).fit(torch.ones(4, 1).double(), torch.zeros(4, dtype=torch.float64))
    assert alike.log_prob(torch.ones(1, 1).double()).isfinite().all()


def test_the_scale_of_a_coordinate_does_not_decide_on_groups():
    """Two values of one coordinate, any of another that is a million times wider."""
    side, wide = torch.meshgrid(double(-1.0, 1.0), torch.linspace(0.0, 1e6, 9, dtype=torch.float64), indexing="ij")
    x = torch.stack([side.flatten(), wide.flatten()], 1)
    groups = _groups(x, torch.full((18,), 1 / 18, dtype=torch.float64), 2)
    assert groups.sum(0).tolist() == [9.0, 9.0]
    assert (groups[:9] == groups[0]).all()


def test_a_draw_of_next_to_no_weight_makes_no_group():
    """Eight places, and in each of thirty sets ten draws far away that weigh nothing."""
    centres = 12.0 * torch.cartesian_prod(*[torch.arange(3, dtype=torch.float64)] * 2)[:8]
    which = torch.arange(80) % 8
    weights = torch.cat([torch.full((80,), 1 / 80), torch.full((10,), 1e-9)]).double()
    for seed in range(30):
        noise = torch.randn(90, 2, generator=generator(seed), dtype=torch.float64)
        groups = _groups(torch.cat([centres[which], 90.0 * torch.ones(10, 2)]) + noise, weights, 8)[:80]
        assert groups.sum(0).tolist() == [10.0] * 8
        assert all(bool((groups[which == j] == groups[j]).all()) for j in range(8))


def test_a_draw_belongs_to_the_group_whose_mean_is_nearest():
    x = torch.rand(60, 2, generator=generator(), dtype=torch.float64)
    x = (x - x.mean(0)) / x.std(0, correction=0)
    weights = torch.full((60,), 1 / 60, dtype=torch.float64)
    groups = _groups(x, weights, 3)
    means = (groups.T @ x) / groups.sum(0)[:, None]
    assert torch.equal(torch.cdist(x, means).argmin(1), groups.argmax(1))


def test_no_weight_at_all_is_an_empty_elite():
    with pytest.raises(EmptyEliteError, match="every log_weight is -inf"):
        MIXTURE.fit(MIXTURE.sample(3, generator()), torch.full((3,), -torch.inf, dtype=torch.float64))


def test_float32_stays():
    single = Mixture([DiagonalGaussian(torch.zeros(2), torch.ones(2))] * 2)
    x = single.sample(40, generator())
    fitted = single.fit(x, torch.zeros(40, dtype=torch.float64), 0.5)
    assert x.dtype == fitted.components[0].mean.dtype == fitted.log_prob(x).dtype == torch.float32


def test_a_fit_moves_no_generator():
    before = torch.get_rng_state()
    x, zero = ONE.sample(30, generator()), torch.zeros(30, dtype=torch.float64)
    a, b = (Mixture([ONE] * 2).fit(x, zero) for _ in range(2))
    assert torch.equal(a.log_prob(x), b.log_prob(x))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: Mixture([]), ValueError, "one sampler at least"),
        (lambda: Mixture([ONE, 3.0]), TypeError, r"Mixture\.components\[1\] must be a sampler, .* 3\.0 has no sample"),
        (lambda: Mixture([ONE, ONE], [1.0]), ValueError, r"shares must be 2 numbers, .* got \[1\.0\]"),
        (lambda: Mixture([ONE, ONE], [1.0, -1.0]), ValueError, "at least 0 each"),
        (lambda: Mixture([ONE, ONE], [0.0, 0.0]), ValueError, "above 0 in sum"),
        (lambda: Mixture([ONE, ONE], ["a", "b"]), TypeError, r"Mixture\.shares must be numbers"),
        (lambda: Mixture([ONE, ONE], floor=0.5), ValueError, "floor must lie between 0 and 1 / 2"),
        (lambda: Mixture([ONE], floor=0.0), ValueError, "floor"),
    ],
    ids=["none", "no-sampler", "few", "below-0", "zero", "text", "floor-high", "floor-0"],
)
def test_what_is_no_mixture(make, error, said):
    with pytest.raises(error, match=said):
        make()
