"""ζ in double precision, against closed forms and mpmath, and where it is refused."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.search.zeta import series_length, zeta
from entrokit.search.zeta.function import _angle, _coefficients, _log_turns

MP = mpmath.mp.clone()
MP.dps = 30


def exact(s):
    value = MP.zeta(MP.mpc(complex(s)))
    return complex(value)


def test_check_4_known_values():
    assert complex(zeta(2.0)) == pytest.approx(math.pi**2 / 6, abs=1e-15)
    assert complex(zeta(4)) == pytest.approx(math.pi**4 / 90, abs=1e-15)
    assert complex(zeta(0.5)) == pytest.approx(-1.460354508809587, abs=1e-14)
    assert complex(zeta(0.0)) == pytest.approx(-0.5, abs=1e-14)


@given(sigma=st.floats(0.0, 3.0), t=st.floats(-100.0, 100.0))
def test_it_agrees_with_mpmath(sigma, t):
    s = complex(sigma, t)
    if abs(s - 1) < 1e-3:
        return
    assert abs(complex(zeta(s)) - exact(s)) <= 1e-12 * max(1.0, abs(exact(s)))


@pytest.mark.parametrize("height", [300.0, 1000.0])
def test_it_agrees_with_mpmath_up_to_a_thousand(height):
    g = torch.Generator().manual_seed(0)
    sigma, share = torch.rand(2, 10, generator=g, dtype=torch.float64)
    s = torch.complex(sigma, height * (0.8 + 0.2 * share))
    errors = [abs(a - exact(b)) / max(1.0, abs(exact(b))) for a, b in zip(zeta(s).tolist(), s.tolist(), strict=True)]
    assert max(errors) <= 1e-12


@given(sigma=st.floats(0.0, 2.0), t=st.floats(0.1, 200.0))
def test_conjugates_have_conjugate_values(sigma, t):
    s = torch.tensor(complex(sigma, t), dtype=torch.complex128)
    assert torch.equal(zeta(s.conj()), zeta(s).conj())


@pytest.mark.parametrize("k", [1, -1, 2, 5])
@pytest.mark.parametrize("beside", [0.0, 1e-13, 1e-9, 1e-3, 0.01])
def test_it_is_finite_where_the_series_divides_by_nothing(k, beside):
    """At 1 + 2πik/ln 2 the series is 0/0, and nearby it loses digits."""
    s = complex(1.0 + beside, 2 * math.pi * k / math.log(2.0))
    assert abs(complex(zeta(s)) - exact(s)) <= 1e-13 * max(1.0, abs(exact(s)))


@pytest.mark.parametrize("beside", [1e-12, 1e-6, 1e-3])
def test_it_is_right_next_to_the_pole(beside):
    s = 1.0 + beside
    assert complex(zeta(s)).real == pytest.approx(exact(s).real, rel=1e-12)


def test_shapes_and_kinds_of_numbers():
    grid = zeta(torch.full((2, 3), 2.0, dtype=torch.float64))
    assert grid.shape == (2, 3)
    assert grid.dtype == torch.complex128
    assert zeta([0.5 + 14j, 2.0]).shape == (2,)
    assert zeta(np.array([2.0])).tolist() == zeta([2.0]).tolist()
    assert zeta(torch.empty(0, dtype=torch.complex128)).shape == (0,)
    assert complex(zeta(0.5 + 14.1j)) == pytest.approx(exact(0.5 + 14.1j), abs=1e-14)


def test_chunks_do_not_show(monkeypatch):
    s = torch.complex(torch.full((50,), 0.5, dtype=torch.float64), torch.linspace(0, 40, 50, dtype=torch.float64))
    whole = zeta(s)
    monkeypatch.setattr("entrokit.search.zeta.function._POINTS_TIMES_TERMS", 100)
    torch.testing.assert_close(zeta(s), whole, rtol=1e-14, atol=1e-14)


def test_the_series_is_as_long_as_the_height_asks():
    """Sixty terms are enough at t = 14 and lose all digits at t = 100."""
    assert series_length(14.0) <= 60 < series_length(50.0)
    with pytest.raises(ValueError, match=r"\|Im s\| = 100 takes 120 terms at least, .* got 60: leave n out"):
        zeta(0.5 + 100j, n=60)
    assert abs(complex(zeta(0.5 + 14j, n=200)) - exact(0.5 + 14j)) < 1e-14
    assert complex(zeta(0.5 + 100j, n=120)) == complex(zeta(0.5 + 100j))
    with pytest.raises(ValueError, match="never more than 20000; got 1000000000"):
        zeta(2.0, n=10**9)
    with pytest.raises(ValueError, match=r"n must be a whole number of at least 1, got 60\.0"):
        zeta(2.0, n=60.0)


def test_angles_keep_their_last_digits_after_thousands_of_turns():
    """In plain doubles t ln k is off by 1e-11 here; the rounding of an angle below π is 4e-16."""
    t, n = 9876.54321, 8000
    high, low = (torch.tensor(part, dtype=torch.float64) for part in _log_turns(n))
    found = _angle(torch.tensor([t], dtype=torch.float64), high, low)[0]
    for k in (1, 2, 3, 97, 7919):
        turns = MP.mpf(t) * MP.log(k) / (2 * MP.pi)
        exact_angle = -2 * MP.pi * (turns - MP.nint(turns))
        assert abs(float(found[k - 1]) - float(exact_angle)) < 4e-15


def test_coefficients_alternate_and_fall_from_1_to_0():
    for n in (1, 2, 60, 400):
        found = _coefficients(n)
        sizes = [abs(c) for c in found]
        assert all((c > 0) == (k % 2 == 0) for k, c in enumerate(found))
        assert sizes == sorted(sizes, reverse=True)
        assert 0.0 < sizes[-1] <= sizes[0] <= 1.0
    # n = 2 by hand: d = (1, 9, 17), from terms 1, 8 and 8.
    assert _coefficients(2) == (16 / 17, -8 / 17)


@pytest.mark.parametrize(
    ("s", "said"),
    [
        (1.0, "pole s = 1"),
        (-0.5 + 3j, "Re s < 0: reflect it"),
        (0.5 + 10_001j, "above 10000: the Riemann-Siegel formula"),
        (complex(math.nan, 1.0), "NaN or infinite"),
        (complex(0.5, math.inf), "NaN or infinite"),
    ],
    ids=["pole", "left", "high", "nan", "infinite"],
)
def test_where_it_is_refused(s, said):
    with pytest.raises(ValueError, match=said):
        zeta([2.0, s])


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_single_precision_is_refused(dtype):
    with pytest.raises(TypeError, match="takes double precision"):
        zeta(torch.tensor([2.0], dtype=dtype))
    with pytest.raises(TypeError, match="takes double precision"):
        zeta(np.array([2.0], dtype=str(dtype).removeprefix("torch.")))


@pytest.mark.parametrize("given", ["2", None, [[1.0], [2.0, 3.0]]], ids=["text", "none", "ragged"])
def test_no_numbers_are_named(given):
    with pytest.raises(TypeError, match="zeta takes numbers, got"):
        zeta(given)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.complex32], ids=str)
def test_half_precision_is_refused(dtype):
    with pytest.raises(TypeError, match="takes double precision"):
        zeta(torch.ones(1).to(dtype))
