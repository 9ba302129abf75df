"""PLD: the sheet's numbers, the loss written term by term, and what holds of every input."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from entrokit.losses.pld import PLDLoss, pld_loss, teacher_optimal_permutation

from ..rounding import assert_within, bound
from .ranked import Largest, S, T, Y, differences, gradient_of, ranking, term_by_term


def near(values):
    return pytest.approx(values, abs=6e-7)


class TestTheSheet:
    def test_check_1_rankings_losses_and_gradient(self):
        assert teacher_optimal_permutation(T, Y).tolist() == [[1, 0, 2, 3], [3, 1, 2, 0]]
        assert pld_loss(S, T, Y, reduction="none").tolist() == near([0.974718, 2.011341])
        assert float(pld_loss(S, T, Y)) == near(1.493030)
        (gradient,) = gradient_of(lambda s: pld_loss(s, T, Y), S)
        assert gradient[0].tolist() == near([-0.175548, -0.056874, 0.007032, 0.225391])
        assert gradient[1].tolist() == near([0.353855, -0.046332, 0.015131, -0.322654])

    @pytest.mark.parametrize(
        ("tau", "losses"),
        [(0.5, [1.005562, 1.964130]), (2.0, [0.918336, 1.968079]), (4.0, [0.862411, 1.896140])],
    )
    def test_check_1_at_other_temperatures(self, tau, losses):
        assert pld_loss(S, T, Y, tau, reduction="none").tolist() == near(losses)

    def test_check_2_other_weights(self):
        first = torch.tensor([1.0, 0.0, 0.0, 0.0])
        loss = pld_loss(S, T, Y, weights=first, reduction="none")
        torch.testing.assert_close(loss, cross_entropy(S, Y, reduction="none"), rtol=1e-12, atol=0)
        assert loss.tolist() == near([0.707919, 1.937366])
        assert pld_loss(S, T, Y, weights="uniform", reduction="none").tolist() == near([0.781146, 1.789634])
        aware = torch.tensor([7.0, 3.0, 1.0, 0.0], dtype=torch.float64) / 11
        named = pld_loss(S, T, Y, weights="plistmle", reduction="none")
        assert named.tolist() == near([0.857342, 2.286028])
        torch.testing.assert_close(named, pld_loss(S, T, Y, weights=aware, reduction="none"), rtol=1e-12, atol=0)

    def test_check_3_a_student_of_zeros(self):
        losses = pld_loss(torch.zeros_like(S), T, Y, reduction="none")
        assert float(losses[0]) == near(1.074639)
        for loss, t, y in zip(losses, T, Y.tolist(), strict=True):
            q = torch.softmax(t, 0)
            expected = sum(float(q[c]) * math.log(4 - k) for k, c in enumerate(ranking(t.tolist(), y)))
            assert float(loss) == pytest.approx(expected, abs=1e-12)

    def test_check_4_curvature(self):
        def gradient(row):
            return gradient_of(lambda s: pld_loss(s, T[:1], Y[:1]), row)[0][0]

        step = 1e-5
        hessian = torch.stack(
            [(gradient(S[:1] + step * e) - gradient(S[:1] - step * e)) / (2 * step) for e in torch.eye(4).double()]
        )
        assert torch.linalg.eigvalsh(hessian).tolist() == near([0.0, 0.073063, 0.178713, 0.320945])

    def test_check_5_the_teacher_itself_is_not_stationary(self):
        assert pld_loss(T, T, Y, reduction="none").tolist() == near([0.509691, 0.333559])
        (gradient,) = gradient_of(lambda s: pld_loss(s, T, Y), T)
        assert gradient[0].tolist() == near([0.002988, -0.086969, 0.056257, 0.027724])

    def test_check_6_a_thousand_classes_of_extreme_logits(self):
        g = torch.Generator().manual_seed(0)
        s, t = (100 * torch.randn(3, 1000, generator=g) for _ in range(2))
        y = torch.tensor([0, 500, 999])
        loss = pld_loss(s, t, y, reduction="none")
        exact = torch.stack([term_by_term(a, b, c) for a, b, c in zip(s.double(), t.double(), y, strict=True)])
        # One rounding of a sum in float64.
        assert_within(loss, exact, bound(exact.abs(), 1))
        (gradient,) = gradient_of(lambda x: pld_loss(x, t, y), s)
        assert torch.isfinite(gradient).all()
        # Of three rows, each a sum over all places of numbers up to 1, of which there are 1 + 1 in absolute value.
        assert_within(gradient.sum(1), torch.zeros(3), bound(2.0, 1000))

    def test_check_6_nothing_has_classes_times_classes(self):
        s, t = torch.randn(2, 700), torch.randn(2, 700)
        with Largest() as largest:
            gradient_of(lambda x: pld_loss(x, t, torch.tensor([3, 4])), s)
        assert largest.elements == s.numel()


numbers = st.floats(-30, 30, width=32)


@st.composite
def batches(draw):
    n, c = draw(st.integers(1, 4)), draw(st.integers(1, 7))
    rows = st.lists(st.lists(numbers, min_size=c, max_size=c), min_size=n, max_size=n)
    labels = draw(st.lists(st.integers(0, c - 1), min_size=n, max_size=n))
    # Whole numbers, so that there are ties.
    teacher = draw(st.lists(st.lists(st.integers(-3, 3), min_size=c, max_size=c), min_size=n, max_size=n))
    return (
        torch.tensor(draw(rows), dtype=torch.float64),
        torch.tensor(teacher, dtype=torch.float64),
        torch.tensor(labels),
    )


class TestEveryInput:
    @given(batches(), st.sampled_from([0.5, 1.0, 3.0]))
    def test_it_is_the_sum_of_its_terms(self, batch, tau):
        s, t, y = batch
        expected = torch.stack([term_by_term(a, b, c, temperature=tau) for a, b, c in zip(s, t, y, strict=True)])
        torch.testing.assert_close(pld_loss(s, t, y, tau, reduction="none"), expected, rtol=1e-9, atol=1e-12)
        orders = [ranking(b.tolist(), c) for b, c in zip(t, y.tolist(), strict=True)]
        assert teacher_optimal_permutation(t, y).tolist() == orders

    @given(batches())
    def test_its_gradient_is_that_of_its_terms_and_sums_to_0(self, batch):
        s, t, y = batch
        (found,) = gradient_of(lambda x: pld_loss(x, t, y, reduction="sum"), s)
        (expected,) = gradient_of(lambda x: sum(term_by_term(a, b, c) for a, b, c in zip(x, t, y, strict=True)), s)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
        assert float(found.sum(1).abs().max()) < 1e-12

    @given(batches(), st.integers(0, 10**6))
    def test_it_is_convex_and_knows_no_shift(self, batch, seed):
        s, t, y = batch
        other = s + torch.randn(s.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3
        ends = (pld_loss(s, t, y) + pld_loss(other, t, y)) / 2
        assert float(pld_loss((s + other) / 2, t, y)) <= float(ends) + 1e-9
        torch.testing.assert_close(pld_loss(s + 7.5, t, y), pld_loss(s, t, y), rtol=1e-9, atol=1e-9)
        assert float(pld_loss(s, t, y)) >= 0

    def test_its_gradient_is_the_slope(self):
        g = torch.Generator().manual_seed(1)
        s, t = (torch.randn(3, 6, generator=g, dtype=torch.float64) for _ in range(2))
        y = torch.tensor([5, 0, 2])
        for options in ({}, {"weights": "uniform"}, {"weights": "plistmle"}, {"temperature": 0.3, "reduction": "sum"}):
            (found,) = gradient_of(lambda x, o=options: pld_loss(x, t, y, **o), s)
            expected = differences(lambda x, o=options: pld_loss(x, t, y, **o), s)
            # Differences of step h are off by h² and by eps / h of the loss.
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)


class TestLargeAndSmall:
    def test_many_small_classes_are_not_lost(self):
        """One class ranked last outweighs each of the others 1e9 times, and is outweighed by 2e5 of them no more."""
        classes = 200_000
        s = torch.full((1, classes), -18.0)
        s[0, -1] = 0.0
        t = torch.linspace(5.0, 4.0, classes)[None]
        found = pld_loss(s, t, torch.tensor([0]))
        order = teacher_optimal_permutation(t, torch.tensor([0]))[0]
        q, a = torch.softmax(t[0].double(), 0)[order], s[0].double()[order]
        remaining = torch.arange(classes - 1, -1, -1, dtype=torch.float64)
        exact = (q * (torch.log1p(remaining * math.exp(-18.0)) - a)).sum()
        assert_within(found, exact, bound(float(exact)))

    @pytest.mark.parametrize("far", [600.0, 690.0, 5000.0, 1e6])
    def test_a_class_ranked_last_that_the_student_gave_up(self, far):
        s, t, y = S.clone(), T.clone(), Y
        s[0, 3] = -far
        expected = torch.stack([term_by_term(a, b, c) for a, b, c in zip(s, t, y, strict=True)])
        torch.testing.assert_close(pld_loss(s, t, y, reduction="none"), expected, rtol=1e-9, atol=0)
        # How far it is behind counts, and not where it lies.
        torch.testing.assert_close(pld_loss(s + far, t, y, reduction="none"), expected, rtol=1e-9, atol=0)
        (found,) = gradient_of(lambda x: pld_loss(x, t, y), s)
        (exact,) = gradient_of(lambda x: sum(term_by_term(a, b, c) for a, b, c in zip(x, t, y, strict=True)) / 2, s)
        # A logarithm of that size is known to an eps of itself.
        torch.testing.assert_close(found, exact, rtol=1e-9, atol=max(1e-12, 8 * torch.finfo(torch.float64).eps * far))

    def test_what_both_rule_out_is_as_if_it_were_not_there(self):
        s, t = (torch.cat([x[:, :2], torch.full((2, 1), -math.inf), x[:, 2:]], 1) for x in (S, T))
        y = torch.tensor([1, 4])
        torch.testing.assert_close(pld_loss(s, t, y), pld_loss(S, T, Y), rtol=1e-12, atol=0)
        (found,), (expected,) = (
            gradient_of(lambda x: pld_loss(x, t, y), s),
            gradient_of(lambda x: pld_loss(x, T, Y), S),
        )
        torch.testing.assert_close(found[:, [0, 1, 3, 4]], expected, rtol=1e-12, atol=1e-15)
        assert found[:, 2].tolist() == [0.0, 0.0]

    def test_what_the_teacher_rules_out_is_behind_all_and_has_no_weight(self):
        t = T.clone()
        t[0, 0] = -math.inf
        assert teacher_optimal_permutation(t, Y)[0].tolist() == [1, 2, 3, 0]
        losses = pld_loss(S, t, Y, reduction="none")
        assert float(losses[0]) == pytest.approx(float(term_by_term(S[0], t[0], 1)), abs=1e-12)

    def test_one_class(self):
        one = torch.randn(3, 1, dtype=torch.float64)
        labels = torch.zeros(3, dtype=torch.long)
        for weights in (None, "uniform", "plistmle"):
            assert float(pld_loss(one, one + 1, labels, weights=weights)) == 0
            assert not gradient_of(lambda x, w=weights: pld_loss(x, one, labels, weights=w), one)[0].any()

    @pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
    def test_half_precision_is_ranked_and_summed_in_single(self, half):
        s, t = S.to(half), T.to(half)
        assert torch.equal(pld_loss(s, t, Y), pld_loss(s.float(), t.float(), Y))
        (found,) = gradient_of(lambda x: pld_loss(x, t, Y), s)
        (exact,) = gradient_of(lambda x: pld_loss(x, T.to(half).float(), Y), s.float())
        assert found.dtype == half
        # A rounding when it is kept, one when it is halved for the mean.
        assert_within(found, exact, bound(exact.abs().double(), 2, half) + torch.finfo(half).tiny)


class TestReductions:
    def test_ignored_positions_are_not_read(self):
        s, t = (torch.cat([x, torch.full((1, 4), math.nan)]) for x in (S, T))
        y = torch.tensor([1, 3, -100])
        losses = pld_loss(s, t, y, reduction="none")
        assert losses.tolist() == [*pld_loss(S, T, Y, reduction="none").tolist(), 0.0]
        assert torch.equal(pld_loss(s, t, y), pld_loss(S, T, Y))
        assert torch.equal(pld_loss(s, t, y, reduction="sum"), losses.sum())
        for reduction in ("mean", "sum"):
            (found,) = gradient_of(lambda x, r=reduction: pld_loss(x, t, y, reduction=r), s)
            (expected,) = gradient_of(lambda x, r=reduction: pld_loss(x, T, Y, reduction=r), S)
            assert torch.equal(found, torch.cat([expected, torch.zeros(1, 4)]))
        (found,) = gradient_of(lambda x: (pld_loss(x, t, y, reduction="none") * torch.tensor([2.0, 0.0, 5.0])).sum(), s)
        (expected,) = gradient_of(lambda x: 2 * pld_loss(x, T[:1], Y[:1]), S[:1])
        torch.testing.assert_close(found, torch.cat([expected, torch.zeros(2, 4)]), rtol=1e-12, atol=0)

    @pytest.mark.parametrize("labels", [torch.full((2,), -100), torch.empty(0, dtype=torch.long)])
    def test_of_nothing_it_is_0_with_a_graph(self, labels):
        s, t = (x[: len(labels)].clone() for x in (S, T))
        for reduction in ("mean", "sum"):
            assert float(pld_loss(s, t, labels, reduction=reduction)) == 0
            assert not gradient_of(lambda x, r=reduction: pld_loss(x, t, labels, reduction=r), s)[0].any()
        assert pld_loss(s, t, labels, reduction="none").tolist() == [0.0] * len(labels)

    def test_leading_dimensions_and_one_position(self):
        s, t, y = S.view(2, 1, 4), T.view(2, 1, 4), Y.view(2, 1)
        assert pld_loss(s, t, y, reduction="none").shape == (2, 1)
        assert torch.equal(pld_loss(s, t, y), pld_loss(S, T, Y))
        assert torch.equal(pld_loss(S[0], T[0], Y[0], reduction="none"), pld_loss(S, T, Y, reduction="none")[0])
        assert torch.equal(teacher_optimal_permutation(t, y)[:, 0], teacher_optimal_permutation(T, Y))

    def test_memory_in_another_order(self):
        s, t = (x.T.contiguous().T for x in (S, T))
        (found,) = gradient_of(lambda x: pld_loss(x.T, t, Y), S.T)
        assert torch.equal(found.T, gradient_of(lambda x: pld_loss(x, T, Y), S)[0])
        assert torch.equal(pld_loss(s, t, Y), pld_loss(S, T, Y))

    def test_it_does_not_depend_on_how_rows_are_cut(self, monkeypatch):
        g = torch.Generator().manual_seed(2)
        s, t = (torch.randn(7, 9, generator=g, dtype=torch.float64) for _ in range(2))
        y = torch.tensor([0, 1, -100, 3, 4, 8, 8])
        weights = torch.rand(7, 9, generator=g)
        whole = gradient_of(lambda x: pld_loss(x, t, y, weights=weights), s)[0]
        monkeypatch.setattr("entrokit.losses.pld.loss.ELEMENTS", 27)
        monkeypatch.setattr("entrokit.losses.pld.full.ELEMENTS", 18)
        assert torch.equal(gradient_of(lambda x: pld_loss(x, t, y, weights=weights), s)[0], whole)
        losses = pld_loss(s, t, y, weights=weights, reduction="none")
        for i in (0, 1, 3, 4, 5, 6):
            alone = pld_loss(s[i], t[i], y[i], weights=weights[i])
            assert torch.equal(alone, losses[i])
            exact = term_by_term(s[i], t[i], y[i], weights[i].double().tolist())
            torch.testing.assert_close(alone, exact, rtol=1e-9, atol=0)

    def test_the_module_has_the_function_s_options(self):
        module = PLDLoss(2.0, "uniform", "sum", 3)
        assert torch.equal(module(S, T, Y), pld_loss(S, T, Y, 2.0, "uniform", "sum", 3))
        assert torch.equal(PLDLoss()(S, T, Y), pld_loss(S, T, Y))

    def test_no_gradient_reaches_the_teacher_and_none_is_formed_unasked(self):
        s, t = S.clone().requires_grad_(), T.clone().requires_grad_()
        pld_loss(s, t, Y).backward()
        assert t.grad is None
        with torch.no_grad():
            assert not pld_loss(s, t, Y).requires_grad
        assert torch.equal(t.detach(), T)
        assert torch.equal(s.detach(), S)

    def test_backward_twice_of_a_graph_that_is_kept(self):
        s = S.clone().requires_grad_()
        loss = pld_loss(s, T, Y)
        first, second = (torch.autograd.grad(loss, s, retain_graph=True)[0] for _ in range(2))
        assert torch.equal(first, second)
