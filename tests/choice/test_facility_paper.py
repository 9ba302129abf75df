"""The entry's own search over phantoms, in small, and the rules whose equilibria it looks for."""

import pytest
import torch

from entrokit.choice.facility import best_welfare_ratio, fairness_report
from entrokit.papers.choice._facility_games import half_phantom, half_quadratic, middle, quadratic
from entrokit.papers.choice._facility_search import every_phantom, is_uniform, near_uniform, profiles_of, searched


@pytest.mark.parametrize("n", [2, 3, 4])
def test_uniform_phantoms_alone_keep_an_axiom(n):
    found = searched(n, every_phantom(n))
    uniform = is_uniform(found.phantoms)
    assert uniform.sum() == 1
    for axiom in ("proportional", "ufs", "pf"):
        assert torch.equal(found.keeps[axiom], uniform)
    assert found.worst[uniform].item() == pytest.approx(float(best_welfare_ratio(n, "ufs")), abs=1e-9)
    assert found.worst[found.keeps["ifs"]].min().item() == pytest.approx(float(best_welfare_ratio(n, "ifs")), abs=1e-9)


def test_nearly_uniform_phantoms_are_near_and_are_not():
    near = near_uniform(4, 50, torch.Generator().manual_seed(0))
    assert ((near - torch.tensor([0.25, 0.5, 0.75])).abs() <= 0.1).all()
    assert not is_uniform(near).any()


def test_rules_that_are_played_are_fair_and_strictly_monotone_and_the_control_is_not_fair():
    x = torch.cat([profiles_of(4), torch.rand(200, 4, dtype=torch.float64)])
    more = x.clone()
    more[:, 1] = (x[:, 1] + 0.01).clamp(max=1)
    rose = more[:, 1] > x[:, 1]
    for rule in (half_phantom, half_quadratic):
        assert fairness_report(x, rule(x)).violation_rates()["ufs"] == 0
        assert (rule(more) > rule(x))[rose].all()
    assert fairness_report(x, quadratic(x)).violation_rates()["ufs"] > 0


def test_the_mean_of_the_middle_two_is_numpy_s_median():
    x = torch.rand(20, 4, dtype=torch.float64)
    torch.testing.assert_close(middle(x), x.quantile(0.5, dim=-1))
    torch.testing.assert_close(middle(x[:, :3]), x[:, :3].median(-1).values)
