"""KappaTune: what is chosen by condition numbers, and what then trains."""

import copy
import math
from collections import Counter

import pytest
import torch
from torch import nn

from entrokit.optim.condition import (
    MatrixCondition,
    condition_numbers,
    control_arms,
    freeze_except,
    measure_matrices,
    select_by_condition,
)

from .conditioned import Tied, three

KAPPAS = {"d": 4.0, "b": 2.0, "c": 2.0, "a": math.inf, "e": 9.0}


def measured(**of):
    """By name: κ and shape."""
    return {
        name: MatrixCondition(kappa, 0.0, 0.0, shape, 1, shape[0] * shape[1], "gram", 2.0**23)
        for name, (kappa, shape) in of.items()
    }


SIX = measured(a=(3.0, (4, 4)), b=(9.0, (4, 4)), c=(5.0, (4, 4)), d=(2.0, (4, 8)), e=(1.5, (4, 8)), f=(4.0, (8, 4)))


class TestSelection:
    def test_check_1_the_first_two(self):
        assert select_by_condition(condition_numbers(three()), num=2) == ["two.weight", "diagonal.weight"]

    def test_what_was_measured_is_ranked_by_kappa(self):
        model = three()
        for budget in ({"num": 2}, {"threshold": 4.5}, {"num": 1, "order": "highest"}, {"order": "all"}):
            expected = select_by_condition(condition_numbers(model), **budget)
            assert select_by_condition(measure_matrices(model), **budget) == expected

    def test_what_cannot_be_ranked_is_named(self):
        with pytest.raises(TypeError, match="by name, as condition_numbers.* got list"):
            select_by_condition([], num=1)
        with pytest.raises(TypeError, match="a is a NoneType, and a number is needed"):
            select_by_condition({"a": None}, num=1)

    def test_arms_need_shapes(self):
        for given in (condition_numbers(three()), ["a"]):
            with pytest.raises(TypeError, match=r"control_arms: needs what measure_matrices\(model\) gives"):
                control_arms(given, num=1)

    def test_orders(self):
        assert select_by_condition(KAPPAS, num=3) == ["b", "c", "d"]
        assert select_by_condition(KAPPAS, num=3, order="highest") == ["a", "e", "d"]
        assert select_by_condition(KAPPAS, order="all") == ["b", "c", "d", "e", "a"]

    def test_ties_go_by_name_whatever_the_order_of_the_model(self):
        assert select_by_condition(dict(reversed(KAPPAS.items())), num=1) == ["b"]
        assert select_by_condition({"y": 1.0, "x": 1.0}, num=1, order="highest") == ["x"]

    def test_budgets(self):
        assert select_by_condition(KAPPAS, top_p=0.5) == ["b", "c"]
        assert select_by_condition(KAPPAS, top_p=0.01) == ["b"]
        assert len(select_by_condition(KAPPAS, top_p=1.0)) == 5
        assert select_by_condition(KAPPAS, threshold=4.0) == ["b", "c", "d"]
        assert select_by_condition(KAPPAS, threshold=4.0, order="highest") == ["a", "e", "d"]
        assert len(select_by_condition(KAPPAS, threshold=2.0, order="random")) == 2

    def test_a_random_draw_is_its_seed_s(self):
        draws = [tuple(select_by_condition(KAPPAS, num=2, order="random", seed=seed)) for seed in range(40)]
        assert draws == [tuple(select_by_condition(KAPPAS, num=2, order="random", seed=seed)) for seed in range(40)]
        assert {name for draw in draws for name in draw} == set(KAPPAS)
        assert all(len(set(draw)) == 2 for draw in draws)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, "exactly one of num, top_p and threshold"),
            ({"num": 1, "top_p": 0.5}, "exactly one"),
            ({"num": 1, "threshold": 5.0, "order": "highest"}, "exactly one"),
            ({"num": 0}, "num must be a whole number, 1 to 5"),
            ({"num": 6}, "num must be a whole number, 1 to 5"),
            ({"num": 2.5}, "num must be a whole number, 1 to 5, the matrices there are; got 2.5"),
            ({"top_p": 0.0}, "top_p"),
            ({"top_p": 1.1}, "top_p"),
            ({"threshold": 1.0}, "no matrix has a condition number <= 1.0"),
            ({"threshold": math.nan}, "no matrix has a condition number"),
            ({"num": 1, "order": "all"}, "all takes no budget"),
            ({"num": 1, "order": "low"}, "lowest, highest, random, all; got 'low'"),
        ],
    )
    def test_bad_budgets_are_named(self, options, message):
        with pytest.raises(ValueError, match=message):
            select_by_condition(KAPPAS, **options)

    def test_nothing_to_choose_from(self):
        with pytest.raises(ValueError, match="no condition numbers"):
            select_by_condition({}, num=1)
        with pytest.raises(ValueError, match="NaN cannot be ranked: x"):
            select_by_condition({"x": math.nan, "y": 1.0}, num=1)
        with pytest.raises(ValueError, match="condition number >= 10.0"):
            select_by_condition({"x": 1.0}, threshold=10.0, order="highest")


class TestArms:
    def test_they_have_the_shapes_of_the_lowest(self):
        arms = control_arms(SIX, num=3)
        assert arms["lowest"] == ["e", "d", "a"]
        assert sorted(arms["highest"]) == ["b", "d", "e"]
        assert sorted(arms["all"]) == sorted(SIX)
        for arm in ("highest", "random"):
            assert Counter(SIX[n].shape for n in arms[arm]) == Counter(SIX[n].shape for n in arms["lowest"])

    def test_random_draws_reach_every_matrix_of_a_shape(self):
        draws = [control_arms(SIX, num=3, seed=seed)["random"] for seed in range(40)]
        assert draws[0] == control_arms(SIX, num=3, seed=0)["random"]
        assert {name for draw in draws for name in draw} == {"a", "b", "c", "d", "e"}
        assert all(len(set(draw)) == 3 for draw in draws)

    def test_a_stack_is_no_matrix_of_its_shape(self):
        stack = MatrixCondition(1.0, 0.0, 0.0, (4, 4), 8, 128, "gram", 2.0**23)
        assert control_arms({**SIX, "s": stack}, num=1)["highest"] == ["s"]

    def test_another_ranking(self):
        ranks = {name: -one.kappa for name, one in SIX.items()}
        assert control_arms(SIX, top_p=0.2, by=ranks)["lowest"] == ["b"]
        with pytest.raises(ValueError, match=r"\['f'\]"):
            control_arms(SIX, num=1, by={name: 1.0 for name in "abcde"})

    def test_a_budget_is_needed(self):
        with pytest.raises(ValueError, match="exactly one"):
            control_arms(SIX)


class TestFreezing:
    def test_check_7_only_selected_tensors_change(self):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        with freeze_except(model, ["2.weight"]) as chosen:
            optimizer = torch.optim.AdamW(chosen, lr=0.1, weight_decay=0.1)
            for _ in range(5):
                optimizer.zero_grad()
                model(torch.randn(8, 3)).square().sum().backward()
                optimizer.step()
        changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
        assert changed == {"2.weight"}

    def test_an_optimiser_over_everything_passes_the_others_over(self):
        model = three()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
        sum(p.square().sum() for p in model.parameters()).backward()
        optimizer.step()
        before = copy.deepcopy(model.state_dict())
        with freeze_except(model, ["two.weight"]):
            for _ in range(5):
                model["two"].weight.square().sum().backward()
                optimizer.step()
        changed = {name for name, p in model.state_dict().items() if not torch.equal(p, before[name])}
        assert changed == {"two.weight"}

    def test_it_restores_what_was_even_after_an_error(self):
        model = three()
        model["ones"].weight.requires_grad_(False)
        model["two"].weight.requires_grad_(False)
        before = {name: p.requires_grad for name, p in model.named_parameters()}

        def stumbles():
            with freeze_except(model, ["two.weight"]):
                assert [name for name, p in model.named_parameters() if p.requires_grad] == ["two.weight"]
                raise KeyError("inside")

        with pytest.raises(KeyError, match="inside"):
            stumbles()
        assert {name: p.requires_grad for name, p in model.named_parameters()} == before

    def test_blocks_nest(self):
        model = three()
        with freeze_except(model, ["two.weight", "ones.weight"]):
            with freeze_except(model, ["ones.weight"]):
                assert not model["two"].weight.requires_grad
            assert model["two"].weight.requires_grad
            assert not model["two"].bias.requires_grad

    def test_a_tied_weight_goes_by_any_of_its_names_and_is_given_once(self):
        model = Tied()
        with freeze_except(model, ["head.weight", "embed.weight"]) as chosen:
            assert [p is model.embed.weight for p in chosen] == [True]
            assert model.head.weight.requires_grad
            assert not model.head.bias.requires_grad

    def test_names_may_come_one_by_one(self):
        model = three()
        with freeze_except(model, (name for name in ["two.weight"])) as chosen:
            assert [p is model["two"].weight for p in chosen] == [True]
            assert [name for name, p in model.named_parameters() if p.requires_grad] == ["two.weight"]

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            ([], "needs a list of names"),
            ("two.weight", "needs a list of names"),
            (["two.weight", "three.weight"], r"no parameters \['three.weight'\]"),
            (["two"], r"no parameters \['two'\]"),
            (["packed"], r"\['packed'\] hold no floats"),
        ],
    )
    def test_bad_names_change_nothing(self, names, message):
        model = three()
        model.register_parameter("packed", nn.Parameter(torch.ones(2, 2, dtype=torch.uint8), requires_grad=False))
        model["two"].weight.grad = torch.ones_like(model["two"].weight)
        with pytest.raises(ValueError, match=message), freeze_except(model, names):
            pass
        assert model["ones"].weight.requires_grad
        assert model["two"].weight.grad is not None
