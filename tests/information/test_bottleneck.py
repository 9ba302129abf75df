"""The bottleneck: Algorithm 1, Theorem 3's encoders, compositions, and their guarantees."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrokit.information.coupling import (
    bottleneck_coupling,
    ebim_refine,
    entropy_bits,
    greedy_ebim,
    information_bits,
    joint_of,
    merge_loss_bits,
    quantize,
)

P3, P5, Q4 = np.array([0.7, 0.2, 0.1]), np.array([0.35, 0.25, 0.2, 0.12, 0.08]), [0.4, 0.3, 0.2, 0.1]


def code_entropy(p, labels):
    return entropy_bits(joint_of(p, labels).sum(0))


def by_the_letter(p, rate):
    """Algorithm 1, step by step, quadratic: the entropy of its code."""
    columns = [x for x in p if x > 0]
    while rate + 1e-12 < entropy_bits(columns) and len(columns) > 1:
        columns.sort()
        small = [columns[0] + columns[1], *columns[2:]]
        columns = small if entropy_bits(small) <= rate + 1e-12 else [*columns[:-2], columns[-1] + columns[-2]]
    return entropy_bits(columns)


def test_check_1_the_greedy_encoder():
    assert entropy_bits(P3) == pytest.approx(1.156780, abs=1e-6)
    found = [code_entropy(P3, greedy_ebim(P3, r)) for r in (0.3, 0.5, 0.8, 0.9, 1.0, 1.1, 1.156781)]
    assert found == pytest.approx([0, *[0.468996] * 2, *[0.881291] * 3, 1.156780], abs=1e-6)
    assert joint_of(P3, greedy_ebim(P3, 0.5)).sum(0).tolist() == pytest.approx([0.9, 0.1])


def test_check_2_theorem_3():
    rates = (0.3, 0.6, 0.8, 0.85, 0.95, 1.0, 1.1)
    expected = [0.200303, 0.510510, 0.752841, 0.780454, 0.899580, 0.921421, 1.029664]
    for maps in ("path", "all"):
        joints = [ebim_refine(P3, r, maps) for r in rates]
        assert [information_bits(j) for j in joints] == pytest.approx(expected, abs=1e-6)
        for joint, rate in zip(joints, rates, strict=True):
            assert entropy_bits(joint.sum(0)) <= rate + 1e-9
            np.testing.assert_allclose(joint.sum(1), P3, atol=1e-12)


def test_the_first_order_gain_of_theorem_3():
    joint = np.pad(joint_of(P3, [0, 1, 1]), ((0, 0), (0, 1)))
    before = information_bits(joint)
    joint[2, 1] -= 1e-6
    joint[2, 2] += 1e-6
    assert (information_bits(joint) - before) / 1e-6 == pytest.approx(1.58497, abs=1e-4)


def test_check_3_another_source():
    found = [code_entropy(P5, greedy_ebim(P5, r)) for r in (0.5, 1.0, 1.5, 1.8, 2.0, 2.1)]
    assert found == pytest.approx([0.402179, 0.916118, 1.370951, 1.565141, 1.958872, 1.958872], abs=1e-6)


def test_check_5_couplings_through_a_bottleneck():
    expected = {0.5: 0.329986, 1: 0.721928, 1.5: 1.095462, 2: 1.546439, 3: 1.692082}
    for rate, information in expected.items():
        c = bottleneck_coupling(P5, Q4, rate)
        assert information_bits(c.xy) == pytest.approx(information, abs=1e-6)
        assert c.ty.information_bits == pytest.approx(information, abs=1e-6)
        np.testing.assert_allclose(c.xy.sum(1), P5, atol=1e-12)
        np.testing.assert_allclose(c.xy.sum(0), Q4, atol=1e-12)
    c = bottleneck_coupling(P5, Q4, 1.0)
    bound = information_bits(c.xt) + c.ty.information_bits - 1.0
    assert bound == pytest.approx(0.638046, abs=1e-6)
    assert information_bits(c.xy) >= bound


@given(st.integers(0, 2**32 - 1), st.integers(1, 11), st.floats(0, 4))
def test_check_6_the_rate_holds_and_the_gap_is_as_proven(seed, n, rate):
    p = np.random.default_rng(seed).dirichlet(np.ones(n))
    H = code_entropy(p, greedy_ebim(p, rate))
    assert rate + 1e-9 >= H
    assert by_the_letter(p, rate) == pytest.approx(H, abs=1e-9)
    second = np.sort(p)[-2] if n > 1 else 0.0
    if rate < entropy_bits(p):
        assert rate - H <= entropy_bits([second, 1 - second]) + 1e-9


@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.floats(0.05, 2.5))
def test_refinement_never_tells_less_and_every_marginal_is_exact(seed, n, rate):
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(4))
    information = {}
    for encoder in ("greedy", "quantize", "refine", "best"):
        c = bottleneck_coupling(p, q, rate, encoder)
        np.testing.assert_allclose(c.xy.sum(1), p, atol=1e-11)
        np.testing.assert_allclose(c.xy.sum(0), q, atol=1e-11)
        assert entropy_bits(c.xt.sum(0)) <= rate + 1e-9
        information[encoder] = information_bits(c.xt)
        assert information_bits(c.xy) >= information[encoder] + c.ty.information_bits - rate - 1e-9
    assert information["refine"] >= information["greedy"] - 1e-12
    assert information["best"] == max(information.values())


def test_merging_lowers_the_entropy_by_what_is_said():
    assert float(merge_loss_bits(0.2, 0.1)) == pytest.approx(entropy_bits(P3) - entropy_bits([0.7, 0.3]))


def test_small_uniform_alphabets_are_where_the_quantizer_wins():
    uniform = np.full(8, 0.125)
    assert code_entropy(uniform, greedy_ebim(uniform, 1.0)) == pytest.approx(0.811278, abs=1e-6)
    assert code_entropy(uniform, quantize(uniform, 1.0)) == pytest.approx(1.0)
    assert information_bits(bottleneck_coupling(uniform, uniform, 1.0, "best").xt) == pytest.approx(1.0)


def test_degenerate_sources():
    assert greedy_ebim([1.0], 0.0).tolist() == [0]
    assert greedy_ebim([0.5, 0.0, 0.5], 0.0).tolist() == [0, -1, 0]
    assert greedy_ebim([0.5, 0.0, 0.5], 9.0).tolist() == [0, -1, 1]
    assert quantize([0.5, 0.25, 0.25], 0.9).tolist() == [0, 0, 0]
    assert quantize([0.5, 0.25, 0.25], 99.0).tolist() == [0, 1, 2]
    assert information_bits(bottleneck_coupling(P3, [0.5, 0.5], 0.0).xy) == 0.0
    for call in (greedy_ebim, quantize, ebim_refine):
        with pytest.raises(ValueError, match="rate_bits"):
            call(P3, -0.1)
        with pytest.raises(ValueError, match="sum to"):
            call([0.5, 0.6], 1.0)
    with pytest.raises(ValueError, match="of at most 8 symbols"):
        ebim_refine(np.full(9, 1 / 9), 1.0, "all")
    with pytest.raises(ValueError, match="unknown maps"):
        ebim_refine(P3, 1.0, "some")
    with pytest.raises(ValueError, match="unknown encoder"):
        bottleneck_coupling(P3, P3, 1.0, "fast")
