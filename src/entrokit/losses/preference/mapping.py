"""From utilities to probabilities by a map that keeps their order, calibrated on held-out data.

Utility-Probability Duality of Neural Networks (arXiv 2305.14859) turns learned utilities into a new probability
estimate by an equation that was not available to us. What is here is a reconstruction from its abstract.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from .rows import check_target, check_utilities, look_like_probabilities
from .slopes import Slopes, fit_slopes, pieces_of

Score = Callable[[Tensor, Tensor], float]
_GRID = 61


class UtilityToProbability:
    """Utility-to-probability map (reconstruction; the paper's own equation is unknown to us).

    ``kind="temperature"``: P(y) = softmax(u / τ), one parameter τ > 0, ``tau_``.

    ``kind="monotone"``: P(y) = softmax(g(u)) with g(u) = -Σ_j θ_j φ_j(max u - u), where φ_j is how much of the gap to
    the row's best lies in piece j. Parameters: one slope θ_j in [1/high, 1/low] for each of ``pieces`` pieces,
    ``slopes_``, which begin at ``breaks_``: quantiles of the gaps of observed outputs that are not best themselves. One
    piece is the temperature, from which the fit starts, so that on its own data it is never worse.

    Both are softmax of a strictly increasing function of a row's utilities, since every slope is above 0: no order of
    two candidates changes, ties stay ties, a constant that is added to a row changes nothing, and -inf stays at
    probability 0. In floating point a map may tie what differed by rounding; decide by `argmax_decision` of ``u``.

    Args:
        kind: see above. pieces: of a monotone map, at least 1; fewer where there are too few different gaps.
        criterion: ``"nll"``, the mean negative log-likelihood (nats), convex in the slopes; or, for a temperature, a
            function of probabilities ``[N, K]`` and targets ``[N]``, all rows that `fit` got, to one number, **the
            higher the better**: the mean over rows is yours to take, and the sign of a loss yours to turn. The best of
            61 temperatures is chosen, equal steps of their logarithm over the bracket (12 % apart by default), of
            equally good ones the nearest to 1. One that is the same at all of them, as the accuracy of the argmax,
            chooses none and is an error.
        bracket: (low, high), temperatures that a piece may have.

    Attributes:
        tau_: τ; None of a monotone map of several pieces. slopes_, breaks_: see above (1/τ and 0 of a temperature).
        nll_before_, nll_: mean NLL of the held-out data at τ = 1 and as fitted, nats.
        at_bound_: whether a slope lies at an end of the bracket, of which `fit` warns.

    A fitted map is these attributes: `state_dict` gives them, `load_state_dict` takes them into a map of the same kind.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        kind: Literal["temperature", "monotone"] = "temperature",
        *,
        criterion: Literal["nll"] | Score = "nll",
        pieces: int = 4,
        bracket: tuple[float, float] = (0.03, 30.0),
    ) -> None:
        if kind not in ("temperature", "monotone"):
            raise ValueError(f"UtilityToProbability: kind must be temperature or monotone, got {kind!r}")
        if criterion != "nll" and not callable(criterion):
            raise ValueError(
                f"UtilityToProbability: criterion must be 'nll' or a function of probabilities and target, "
                f"got {criterion!r}"
            )
        if criterion != "nll" and kind != "temperature":
            raise ValueError("UtilityToProbability: a criterion of your own is fitted for kind='temperature' alone")
        if isinstance(pieces, bool) or not isinstance(pieces, int) or pieces < 1:
            raise ValueError(f"UtilityToProbability: pieces must be a whole number of at least 1, got {pieces!r}")
        low, high = bracket
        if not (0.0 < low < high < math.inf):
            raise ValueError(f"UtilityToProbability: bracket must be 0 < low < high, finite, got {bracket}")
        self.kind, self.criterion, self.pieces, self.bracket = kind, criterion, pieces, (float(low), float(high))
        self.tau_: float | None = None
        self.breaks_: tuple[float, ...] = ()
        self.slopes_: tuple[float, ...] = ()
        self.nll_before_: float | None = None
        self.nll_: float | None = None
        self.at_bound_ = False

    def fit(self, u: Tensor, target: Tensor) -> UtilityToProbability:
        """Fits the map to held-out data, which the network was not trained on, and returns itself.

        Rows are taken in float64, a few at a time. On an error the map is what it was before.

        Args:
            u: utilities ``[..., K]``; -inf forbids a candidate, as in lists of different length. target: ``[...]``.

        Raises:
            TypeError: ``u`` holds no floats or ``target`` no integers; a criterion of your own gives no number.
            ValueError: NaN, +inf or a row of -inf; a target outside of the candidates, forbidden, or of another shape;
                no rows; utilities that are equal in every row; a criterion of your own that is not finite, or the same
                at every temperature.

        Warns:
            RuntimeWarning: the best slope of a piece lies beyond the bracket; no more rows than slopes, of those in
                which two allowed candidates differ; every row is one of probabilities, and not of utilities.
        """
        given, u = u, check_utilities("UtilityToProbability.fit", u).detach()
        index = check_target("UtilityToProbability.fit", u, target)
        u, index = u.reshape(-1, u.shape[-1]), index.reshape(-1, 1)
        if look_like_probabilities(given.detach()):
            warnings.warn(
                "UtilityToProbability: every row of u is at least 0 and sums to 1, as probabilities do, of which a "
                "softmax is nearly uniform; utilities are logits or log-probabilities, u.log()",
                RuntimeWarning,
                stacklevel=2,
            )
        top = u.amax(-1, keepdim=True)
        telling = int(((u < top) & (u > -torch.inf)).any(-1).sum())
        if not telling:
            raise ValueError(
                "UtilityToProbability.fit: in every row all allowed candidates have the same utility, and every map "
                "gives the same probabilities"
            )
        low, high = (1.0 / t for t in reversed(self.bracket))
        own = (top.double() - u.gather(-1, index).double()).squeeze(-1)
        before = fit_slopes(u, index, [0.0], 1.0, 1.0, 1.0).nll
        breaks = [0.0]
        if self.criterion != "nll":
            tau, at_bound = self._best_of_grid(u - top, index)
            fitted = fit_slopes(u, index, breaks, 1.0 / tau, 1.0 / tau, 1.0 / tau)
        else:
            fitted = fit_slopes(u, index, breaks, low, high)
            if self.kind == "monotone":
                breaks = _breaks(own, self.pieces)
                fitted = fit_slopes(u, index, breaks, low, high, fitted.values[0])
            at_bound = self._warn_of_bounds(fitted, first=float((own == 0).double().mean()))
        if telling <= len(breaks):
            warnings.warn(
                f"UtilityToProbability: rows in which candidates differ: {telling}, slopes fitted to them: "
                f"{len(breaks)}; what they say of other rows is chance, fit on more",
                RuntimeWarning,
                stacklevel=2,
            )
        self.breaks_, self.slopes_ = tuple(breaks), fitted.values
        self.tau_ = 1.0 / fitted.values[0] if len(breaks) == 1 else None
        self.nll_before_, self.nll_, self.at_bound_ = before, fitted.nll, at_bound
        return self

    def rescale(self, u: Tensor) -> Tensor:
        """The utilities after the map, ``[..., K]``, 0 for the best; differentiable. Probabilities are their softmax.

        Say for an entropy: ``entropy(map.rescale(u), from_logits=True)``.

        Raises:
            RuntimeError: the map was not fitted. TypeError, ValueError: see `check_utilities` of `fit`.
        """
        if not self.slopes_:
            raise RuntimeError("UtilityToProbability: fit(u, target) on held-out data comes before transform")
        u = check_utilities("UtilityToProbability", u)
        if self.tau_ is not None:
            # The row's best is subtracted before it is divided: so large utilities neither overflow nor are rounded.
            return (u - u.amax(-1, keepdim=True)) / self.tau_
        phi = pieces_of(u.amax(-1, keepdim=True) - u, self.breaks_)
        return -(phi * phi.new_tensor(self.slopes_)).sum(-1)

    def transform(self, u: Tensor) -> Tensor:
        """Probabilities ``[..., K]`` of utilities ``[..., K]``, float32 (float64 of float64); see `rescale`."""
        return torch.softmax(self.rescale(u), -1)

    def state_dict(self) -> dict[str, Any]:
        """What was fitted, as plain numbers and lists (JSON holds them); slopes are empty before `fit`.

        The criterion, pieces and bracket of another fit are not in it.
        """
        return {
            "kind": self.kind,
            "slopes": list(self.slopes_),
            "breaks": list(self.breaks_),
            "nll_before": self.nll_before_,
            "nll": self.nll_,
            "at_bound": self.at_bound_,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes what `state_dict` gave, of a map of the same kind.

        Raises:
            ValueError: keys that are missing or unknown, another kind, or slopes and breaks that make no map. The map
                then is as it was.
        """
        if set(state) != set(self.state_dict()):
            raise ValueError(
                f"UtilityToProbability: a state has the keys {sorted(self.state_dict())}, got {sorted(map(str, state))}"
            )
        if state["kind"] != self.kind:
            raise ValueError(f"UtilityToProbability: the state is of kind {state['kind']!r}, the map of {self.kind!r}")
        slopes, breaks = (tuple(float(v) for v in state[name]) for name in ("slopes", "breaks"))
        rising = all(a < b < math.inf for a, b in pairwise(breaks))
        if (
            len(slopes) != len(breaks)
            or not all(0.0 < slope < math.inf for slope in slopes)
            or (breaks and breaks[0] != 0.0)
            or not rising
            or (self.kind == "temperature" and len(slopes) > 1)
        ):
            raise ValueError(
                f"UtilityToProbability: slopes {list(slopes)} at breaks {list(breaks)} are no map: breaks rise from 0, "
                "a slope above 0 for each, one of a temperature"
            )
        self.slopes_, self.breaks_ = slopes, breaks
        self.tau_ = 1.0 / slopes[0] if len(slopes) == 1 else None
        self.nll_before_, self.nll_, self.at_bound_ = state["nll_before"], state["nll"], bool(state["at_bound"])

    def __repr__(self) -> str:
        if not self.slopes_:
            return f"UtilityToProbability({self.kind!r}, not fitted)"
        taus = ", ".join(f"{1.0 / slope:.4g}" for slope in self.slopes_)
        if len(self.slopes_) == 1:
            return f"UtilityToProbability({self.kind!r}, τ = {taus})"
        breaks = ", ".join(f"{b:.4g}" for b in self.breaks_)
        return f"UtilityToProbability({self.kind!r}, temperatures {taus} from gaps {breaks})"

    def _best_of_grid(self, gaps: Tensor, index: Tensor) -> tuple[float, bool]:
        """The best temperature, and whether it lies at an end; ``gaps``: utilities less the row's best."""
        assert callable(self.criterion)
        low, high = (math.log(t) for t in self.bracket)
        grid = [low + (high - low) * i / (_GRID - 1) for i in range(_GRID)]
        scores = []
        for log_tau in grid:
            found = self.criterion(torch.softmax(gaps / math.exp(log_tau), -1), index.squeeze(-1))
            try:
                score = float(found)
            except (TypeError, ValueError, RuntimeError) as error:
                kind = f"a tensor of shape {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
                raise TypeError(
                    f"UtilityToProbability.fit: the criterion must give one number for all rows, got {kind}"
                ) from error
            if not math.isfinite(score):
                raise ValueError(
                    f"UtilityToProbability.fit: the criterion is {score} at a temperature of {math.exp(log_tau):.4g}"
                )
            scores.append(score)
        if min(scores) == max(scores):
            raise ValueError(
                f"UtilityToProbability.fit: the criterion is {scores[0]:g} at every temperature and chooses none; it "
                "must read the probabilities, not the order of candidates alone"
            )
        at = max(range(_GRID), key=lambda i: (scores[i], -abs(grid[i])))
        if at in (0, _GRID - 1):
            warnings.warn(
                f"UtilityToProbability: the criterion is best at the end of the bracket, {self.bracket[at > 0]:g}",
                RuntimeWarning,
                stacklevel=3,
            )
        return math.exp(grid[at]), at in (0, _GRID - 1)

    def _warn_of_bounds(self, fitted: Slopes, first: float) -> bool:
        ends = []
        if any(fitted.at_high):
            why = (
                "the observed output is first in every row (separable), and the likelihood has no best temperature"
                if first == 1.0
                else f"the observed output is first in {first:.1%} of the rows; a piece is as steep as it may be"
            )
            ends.append(f"the lower end, {self.bracket[0]:g}: {why}")
        if any(fitted.at_low):
            why = (
                "observed outputs have on average no more utility than other candidates, and the best map is uniform "
                "(all wrong, or the wrong targets)"
                if len(fitted.values) == 1
                else f"in {sum(fitted.at_low)} of {len(fitted.values)} pieces more utility is not likelier to be right"
            )
            ends.append(f"the upper end, {self.bracket[1]:g}: {why}")
        if ends:
            warnings.warn(
                f"UtilityToProbability: a temperature stays at {'; and at '.join(ends)}", RuntimeWarning, stacklevel=3
            )
        return bool(ends)


def _breaks(own: Tensor, pieces: int) -> list[float]:
    """0, and quantiles of the gaps that are not 0."""
    gaps = own[own > 0]
    if not len(gaps) or pieces == 1:
        return [0.0]
    # Order statistics rather than interpolations, which scale with the utilities bit for bit.
    ordered = gaps.sort().values
    inner = {float(ordered[len(ordered) * j // pieces]) for j in range(1, pieces)}
    return [0.0, *sorted(inner - {0.0})]
