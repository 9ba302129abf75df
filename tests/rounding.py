"""What rounding alone may do to a result: where the tolerances of float32 comparisons come from.

In which order a sum is added, how wide its lanes are and whether products are fused is the processor's choice, so a
tolerance is a bound for any order: from how large the numbers are and how many are added, never from what one machine
happened to give. Where the dtype is not the point a test computes in float64, and 1e-9 is far from every rounding.
"""

import math

import torch

# With this many deviations the bound below fails for 3e-14 of all sums.
_DEVIATIONS = 8


def unit(dtype=torch.float32):
    """Relative error of one operation rounded to nearest."""
    return torch.finfo(dtype).eps / 2


def bound(size, terms=1, dtype=torch.float32):
    """Error of a sum of ``terms`` numbers, their absolute values ``size`` together, added in any order.

    n roundings are n units at worst, and as often up as down: λ √n units but for a share 2 exp(-λ² / 2) of all sums
    (Higham and Mary, SIAM J. Sci. Comput. 41, 2019, theorem 2.4). The smaller of the two. A number of the sum that is
    itself the result of k operations counts as k terms more.
    """
    return min(terms, _DEVIATIONS * math.sqrt(terms)) * unit(dtype) * size


def assert_within(found, exact, tolerance, name=""):
    """Elementwise ``|found - exact| <= tolerance``, a tensor or a number; infinities and NaN must be the same."""
    found, exact = found.detach().double(), exact.detach().double()
    same = (found == exact) | (found.isnan() & exact.isnan())
    error = torch.where(same, 0.0, (found - exact).abs())
    allowed = torch.as_tensor(tolerance, dtype=torch.float64).expand_as(error)
    wrong = ~(error <= allowed)
    if wrong.any():
        at = tuple(int(i) for i in wrong.nonzero()[0])
        raise AssertionError(
            f"{name}: {int(wrong.sum())} of {wrong.numel()} too far, first at {list(at)}: {found[at]:.9g} is not "
            f"{exact[at]:.9g} within {allowed[at]:.3g}"
        )
