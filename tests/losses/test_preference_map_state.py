"""Maps from utilities to probabilities: criteria of one's own, too few rows, and what is saved."""

import io
import json
import math
import pickle
import warnings

import pytest
import torch
from torch.nn.functional import cross_entropy

from entrokit.losses.preference import UtilityToProbability

from .preference_cases import at, rows

GRID = [math.exp(math.log(0.03) + math.log(1000) * i / 60) for i in range(61)]


def likelihood(probs, own):
    return float(probs.gather(1, own[:, None]).log().mean())


class TestCriterion:
    def test_the_likelihood_is_one(self):
        u, target = rows(200, 5)
        by_score = UtilityToProbability(criterion=likelihood).fit(u, target)
        by_nll = UtilityToProbability().fit(u, target)
        # Neighbours of the grid are a factor 1000^(1/60) apart.
        assert abs(math.log(by_score.tau_ / by_nll.tau_)) <= math.log(1000) / 60
        assert by_score.nll_ == pytest.approx(float(cross_entropy(u / by_score.tau_, target)), abs=1e-12)
        assert not by_score.at_bound_

    def test_it_sees_all_rows_at_once_and_higher_is_better(self):
        u, target = rows(20, 5)
        seen = []

        def flatness(probs, own):
            seen.append((probs.shape, own.tolist()))
            return -abs(float(probs.amax(-1).mean()) - 0.5)

        fitted = UtilityToProbability(criterion=flatness).fit(u.view(4, 5, 5), target.view(4, 5))
        assert seen == [((20, 5), target.tolist())] * 61
        best = min(GRID, key=lambda tau: abs(float(torch.softmax(u / tau, -1).amax(-1).mean()) - 0.5))
        assert fitted.tau_ == pytest.approx(best, rel=1e-12)

    def test_of_equally_good_ones_the_nearest_to_1_is_taken(self):
        u = torch.tensor([[0.0, -1.0], [0.0, -1.0]], dtype=torch.float64)
        for least, expected in (
            (1.5, min(t for t in GRID if t >= 1.5)),
            (0.5, min(GRID, key=lambda t: abs(math.log(t)))),
        ):

            def at_least(probs, own, least=least):
                return float(probs[0, 0] <= torch.sigmoid(torch.tensor(1 / least, dtype=torch.float64)))

            fitted = UtilityToProbability(criterion=at_least).fit(u, torch.tensor([0, 1]))
            assert fitted.tau_ == pytest.approx(expected, rel=1e-12)

    def test_one_that_reads_the_order_alone_chooses_nothing(self):
        u, target = rows(50, 5)
        mapping = UtilityToProbability(criterion=lambda probs, own: (probs.argmax(1) == own).double().mean())
        with pytest.raises(
            ValueError, match="the criterion is 0.* at every temperature and chooses none; it must read"
        ):
            mapping.fit(u, target)
        assert mapping.tau_ is None

    @pytest.mark.parametrize(
        ("given", "error", "message"),
        [
            (math.nan, ValueError, "the criterion is nan at a temperature of 0.03"),
            (torch.zeros(20), TypeError, r"must give one number for all rows, got a tensor of shape \[20\]"),
            (None, TypeError, "must give one number for all rows, got NoneType"),
            ("high", TypeError, "must give one number for all rows, got str"),
        ],
    )
    def test_what_is_no_score_is_named(self, given, error, message):
        with pytest.raises(error, match=message):
            UtilityToProbability(criterion=lambda probs, own: given).fit(*rows(20, 5))

    @pytest.mark.parametrize(("sign", "end"), [(1.0, 0.03), (-1.0, 30.0)])
    def test_the_best_at_an_end_of_the_bracket_is_warned_of(self, sign, end):
        u, target = rows(20, 5)
        mapping = UtilityToProbability(criterion=lambda probs, own: sign * probs.square().sum())
        with pytest.warns(RuntimeWarning, match=f"criterion is best at the end of the bracket, {end:g}") as said:
            assert mapping.fit(u, target).tau_ == pytest.approx(end, rel=1e-12)
        assert mapping.at_bound_
        assert said[0].filename == __file__

    def test_large_utilities_of_single_precision_do_not_overflow(self):
        u = torch.tensor([[3e38, 1.0, -3e38], [1.0, 0.0, -1.0]])

        def near(probs, own):
            return probs[0, 0] - (probs[1, 0] - 0.6).abs()

        assert 0.03 < UtilityToProbability(criterion=near).fit(u, torch.tensor([0, 0])).tau_ < 30.0


class TestFewRows:
    @pytest.mark.filterwarnings("ignore:UtilityToProbability. a temperature stays:RuntimeWarning")
    def test_one_row_is_no_held_out_data(self):
        u = torch.tensor([[1.0, 0.0, -1.0], [2.0, 2.0, 2.0], [0.0, -torch.inf, -torch.inf]])
        mapping = UtilityToProbability(bracket=(0.01, 100.0))
        # Rows of equal or single candidates tell nothing.
        with pytest.warns(
            RuntimeWarning, match="candidates differ: 1, slopes fitted to them: 1; .*fit on more"
        ) as said:
            mapping.fit(u, torch.tensor([1, 0, 0]))
        assert any(one.filename == __file__ for one in said)

    @pytest.mark.filterwarnings("ignore:UtilityToProbability. a temperature stays:RuntimeWarning")
    def test_fewer_rows_than_slopes(self):
        u, _ = rows(3, 6, seed=1)
        with pytest.warns(RuntimeWarning, match="candidates differ: 3, slopes fitted to them: 4"):
            UtilityToProbability("monotone", pieces=8).fit(u, u.argsort(-1, descending=True)[:, 1:4].diagonal())

    def test_enough_rows_are_no_news(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            UtilityToProbability().fit(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.5, 0.0]]), torch.tensor([0, 1, 0]))


class TestState:
    @pytest.mark.parametrize("kind", ["temperature", "monotone"])
    def test_a_map_is_saved_and_loaded(self, kind):
        u, target = rows(60, 5)
        fitted = UtilityToProbability(kind).fit(u, target)
        buffer = io.BytesIO()
        torch.save(fitted.state_dict(), buffer)
        buffer.seek(0)
        for state in (json.loads(json.dumps(fitted.state_dict())), torch.load(buffer, weights_only=True)):
            again = UtilityToProbability(kind)
            again.load_state_dict(state)
            assert vars(again) == vars(fitted)
            assert torch.equal(again.transform(u), fitted.transform(u))
        assert torch.equal(pickle.loads(pickle.dumps(fitted)).transform(u), fitted.transform(u))
        unfitted = UtilityToProbability(kind)
        fitted.load_state_dict(unfitted.state_dict())
        assert vars(fitted) == vars(unfitted)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"kind": "monotone"}, "the state is of kind 'monotone', the map of 'temperature'"),
            ({"tau": 1.0}, r"a state has the keys \['at_bound', .*got .*'tau'"),
            ({"slopes": [0.0]}, r"slopes \[0.0\] at breaks \[0.0\] are no map"),
            ({"slopes": [math.nan]}, "are no map"),
            ({"slopes": [math.inf]}, "are no map"),
            ({"slopes": [1.0, 1.0]}, "are no map"),
            ({"slopes": [1.0, 1.0], "breaks": [0.0, 1.0]}, "one of a temperature"),
            ({"breaks": [0.5]}, "breaks rise from 0"),
        ],
    )
    def test_what_is_no_state_changes_nothing(self, change, message):
        mapping = UtilityToProbability().fit(*rows(60, 5))
        before = dict(vars(mapping))
        with pytest.raises(ValueError, match=message):
            mapping.load_state_dict(at(2.0).state_dict() | change)
        assert vars(mapping) == before

    @pytest.mark.parametrize("breaks", [[0.0, 1.0, 1.0], [0.0, 2.0, 1.0], [0.0, 1.0, math.inf], [0.0, 1.0, math.nan]])
    def test_breaks_rise(self, breaks):
        mapping = UtilityToProbability("monotone")
        with pytest.raises(ValueError, match="breaks rise from 0"):
            mapping.load_state_dict(at(1.0, "monotone").state_dict() | {"slopes": [1.0] * 3, "breaks": breaks})
