"""The tabular bench: the sheet's reference run, pairing, and what it refuses."""

import numpy as np
import pytest

from entrokit.bench import TabularSettings, train_tabular
from entrokit.diagnose import fit_entropy_reward_law

SMALL = TabularSettings(states=8, actions=6, right=1, samples=4, steps=5)


def test_the_reference_run_of_grpo():
    """Sheet entropy-mechanism, check 8: entropy 2.21 ± 0.02 at accuracy 0.5, law with R² above 0.9."""
    courses = [train_tabular("grpo", seed) for seed in range(8)]
    assert np.mean([c.entropy_at(0.5) for c in courses]) == pytest.approx(2.21, abs=0.05)
    assert np.mean([c.accuracy[-1] for c in courses]) > 0.99
    for c in courses:
        assert fit_entropy_reward_law(c.entropy.tolist(), c.accuracy.tolist()).r2 > 0.9


def test_a_seed_fixes_the_problem_and_the_run():
    one, other = (train_tabular(spec, 3, SMALL) for spec in ("grpo", "grpo+kl-cov(ratio=0.1)"))
    again = train_tabular("grpo", 3, SMALL)
    np.testing.assert_array_equal(one.entropy, again.entropy)
    assert one.entropy[0] == other.entropy[0]
    assert one.accuracy[0] == other.accuracy[0]
    assert len(one.entropy) == SMALL.steps + 1
    assert train_tabular("grpo", 4, SMALL).entropy[0] != one.entropy[0]


@pytest.mark.parametrize("scope", ["generation", "step", "micro"])
def test_one_step_s_rows_are_the_batch_so_scopes_of_the_behaviour_policy_agree(scope):
    found = train_tabular(f"grpo+clip-b(mu=0.2, scope='{scope}')", 0, SMALL)
    expected = train_tabular("grpo+clip-b(mu=0.2)", 0, SMALL)
    if scope != "micro":
        np.testing.assert_array_equal(found.entropy, expected.entropy)
    assert found.accuracy[-1] > found.accuracy[0]


def test_what_it_cannot_run_is_refused_by_name():
    with pytest.raises(ValueError, match="adaptive-temperature acts while a language model samples"):
        train_tabular("hapo", 0)
    with pytest.raises(ValueError, match="no reference policy for reference-kl"):
        train_tabular("grpo+reference-kl", 0)
    with pytest.raises(ValueError, match="TabularSettings.steps: must be above 0"):
        TabularSettings(steps=0)
    with pytest.raises(ValueError, match="right=6: must be below actions=6"):
        TabularSettings(actions=6, right=6)
