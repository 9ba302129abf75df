"""Maps from utilities to probabilities where data are extreme, precisions low, or input wrong."""

import math

import pytest
import torch

from entrokit.losses.preference import UtilityToProbability, expected_gain, gain_matrix

from .preference_cases import at, forbidding, rows


@pytest.mark.parametrize("kind", ["temperature", "monotone"])
def test_forbidden_candidates_stay_at_zero_for_every_map(kind):
    u, target = rows(40, 6)
    u = forbidding(u, target)
    fitted = UtilityToProbability(kind).fit(u, target)
    for one in (fitted, at(1e-3), at(1e6)):
        probs = one.transform(u)
        assert (probs[u == -torch.inf] == 0).all()
        assert float((probs.sum(-1) - 1).abs().max()) < 1e-12
    # The same as without them.
    single = u[0][u[0] > -torch.inf]
    torch.testing.assert_close(fitted.transform(u[0])[u[0] > -torch.inf], fitted.transform(single))
    free = u.clone().requires_grad_()
    fitted.transform(free)[:, 0].sum().backward()
    assert torch.isfinite(free.grad).all()


def test_separable_data_are_clamped_with_a_warning():
    u, _ = rows(30, 4)
    for kind in ("temperature", "monotone"):
        with pytest.warns(RuntimeWarning, match=r"stays at the lower end, 0.03: .*first in every row \(separable\)"):
            fitted = UtilityToProbability(kind).fit(u, u.argmax(-1))
        assert fitted.tau_ == pytest.approx(0.03, rel=1e-12)
        assert fitted.at_bound_
        assert torch.equal(fitted.transform(u).argmax(-1), u.argmax(-1))


def test_all_wrong_data_are_clamped_with_a_warning():
    u, _ = rows(30, 4)
    with pytest.warns(RuntimeWarning, match="stays at the upper end, 20: .*all wrong"):
        fitted = UtilityToProbability(bracket=(0.1, 20.0)).fit(u, u.argmin(-1))
    assert fitted.tau_ == pytest.approx(20.0, rel=1e-12)


def test_utilities_of_great_size():
    u, target = rows(100, 5)
    for c in (1e-3, 1e4):
        fitted = UtilityToProbability(bracket=(1e-6, 1e6)).fit(c * u, target)
        assert fitted.tau_ / c == pytest.approx(UtilityToProbability().fit(u, target).tau_, rel=1e-6)


@pytest.mark.filterwarnings("ignore:UtilityToProbability:RuntimeWarning")
def test_an_error_leaves_the_map_as_it_was():
    u, target = rows(50, 4)
    fitted = UtilityToProbability("monotone").fit(u, target)
    before = dict(vars(fitted))
    for bad_u, bad_target in ((u, target + 4), (u * torch.nan, target), (torch.ones_like(u), target)):
        with pytest.raises(ValueError):  # noqa: PT011 - each is named elsewhere
            fitted.fit(bad_u, bad_target)
        assert vars(fitted) == before


@pytest.mark.filterwarnings("ignore:UtilityToProbability:RuntimeWarning")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_lower_precisions(dtype):
    u, target = rows(60, 5, dtype=dtype)
    fitted = UtilityToProbability("monotone").fit(u, target)
    exact = UtilityToProbability("monotone").fit(u.double(), target)
    assert fitted.slopes_ == pytest.approx(exact.slopes_, rel=1e-9), "rows are taken in float64"
    assert fitted.transform(u).dtype == torch.float32


def test_a_map_says_what_it_is():
    u, target = rows(60, 5)
    fitted = UtilityToProbability("monotone").fit(u, target)
    assert repr(fitted).startswith("UtilityToProbability('monotone', temperatures ")
    assert repr(at(0.5)) == "UtilityToProbability('temperature', τ = 0.5)"
    assert repr(UtilityToProbability()) == "UtilityToProbability('temperature', not fitted)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "vector"}, "kind must be temperature or monotone, got 'vector'"),
        ({"criterion": "score"}, "criterion must be 'nll' or a function"),
        ({"criterion": len, "kind": "monotone"}, "for kind='temperature' alone"),
        ({"pieces": 0}, "pieces must be a whole number of at least 1, got 0"),
        ({"bracket": (0.0, 1.0)}, "bracket must be 0 < low < high"),
        ({"bracket": (2.0, 1.0)}, "bracket"),
        ({"bracket": (1.0, math.inf)}, "bracket"),
        ({"bracket": (math.nan, 1.0)}, "bracket"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        UtilityToProbability(**options)


def test_bad_data_are_named():
    u, target = rows(5, 3)
    with pytest.raises(RuntimeError, match=r"fit\(u, target\) on held-out data comes before transform"):
        UtilityToProbability().transform(u)
    with pytest.raises(ValueError, match="in every row all allowed candidates have the same utility"):
        UtilityToProbability().fit(torch.tensor([[1.0, 1.0, -torch.inf]]), torch.tensor([0]))
    with pytest.raises(ValueError, match="the same utility"):
        UtilityToProbability().fit(u[:, :1], torch.zeros(5, dtype=torch.long))
    with pytest.raises(ValueError, match="nothing but -inf"):
        UtilityToProbability().fit(torch.full((1, 3), -torch.inf), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"target 3 of row \[0\] lies outside"):
        UtilityToProbability().fit(u, target * 0 + 3)
    with pytest.raises(ValueError, match="there are no rows"):
        UtilityToProbability().fit(u[:0], target[:0])
    with pytest.raises(ValueError, match="NaN"):
        at(1.0).transform(torch.tensor([0.0, torch.nan]))


@pytest.mark.parametrize("gap", [1.0, 10.0, 1000.0, 1e5])
@pytest.mark.parametrize("kind", ["temperature", "monotone"])
def test_separable_data_of_any_gap_are_clamped_with_a_warning(kind, gap):
    """The gradient vanishes long before the bracket's end, and once ended the search there without a word."""
    u = torch.tensor([[gap, 0.0], [1.5 * gap, 0.0]], dtype=torch.float64)
    with pytest.warns(RuntimeWarning, match="stays at the lower end, 0.03"):
        fitted = UtilityToProbability(kind).fit(u, torch.tensor([0, 0]))
    assert fitted.tau_ == pytest.approx(0.03, rel=1e-12)
    assert fitted.at_bound_


@pytest.mark.filterwarnings("ignore:UtilityToProbability:RuntimeWarning")
def test_many_pieces_are_fitted():
    """Steps that stopped at the first slope to meet a bound did not arrive in 200."""
    u, target = rows(100, 6)
    nll = [UtilityToProbability("monotone", pieces=n).fit(3 * u, target).nll_ for n in (1, 32)]
    assert nll[1] <= nll[0]


def test_the_fit_does_not_depend_on_the_scale():
    u, target = rows(50, 4)
    one, tiny = (UtilityToProbability(bracket=(1e-20, 1e20)).fit(c * u, target).tau_ for c in (1.0, 1e-12))
    assert tiny == pytest.approx(1e-12 * one, rel=1e-6)


def test_large_utilities_of_single_precision_neither_overflow_nor_are_rounded():
    assert at(0.5).transform(torch.tensor([3e38, 1.0, -3e38])).tolist() == [1.0, 0.0, 0.0]
    u = rows(20, 4, dtype=torch.float32)[0] + 1e4
    torch.testing.assert_close(at(0.7).transform(u).double(), at(0.7).transform(u.double()), rtol=0, atol=1e-6)


def test_autocast_and_whole_numbers_do_not_round_gains():
    probs, gain = torch.softmax(torch.tensor([0.1, 0.2, 0.3]), -1), torch.tensor([[0.111, 0.222, 0.333]])
    with torch.autocast("cpu", torch.bfloat16):
        # Of float32; bfloat16 would be off by 4e-3.
        torch.testing.assert_close(expected_gain(probs, gain), (probs * gain).sum(-1), rtol=1e-6, atol=0)
    assert float(gain_matrix(["a"], torch.tensor([[2**24 + 1]]))) == 2**24 + 1
