"""Every method of the catalogue is carried, or refused at construction with a reason and what to write instead."""

import pytest

pytest.importorskip("tinker", reason="the SDK of Tinker is not installed")

import torch

from entrokit.engines.tinker import TinkerRecipe
from entrokit.rlvr import recipe
from entrokit.rlvr.cards import examples

from .made import Reference, moved, two_groups


def _lacks(chosen):
    """Names of what the API cannot carry: read off the recipe itself."""
    return [
        i.name
        for i in chosen.interventions
        if i.needs - {"logp"} or i.needs_prompts or i.replays or i.name in chosen.decodes or i.name == "recap"
    ]


def _encode(text):
    return [3 + ord(c) % 20 for c in text]


@pytest.mark.parametrize("spec", examples())
def test_carried_or_refused(spec):
    lacking = _lacks(recipe(spec))
    options = {"reference": Reference(), "max_length": 8, "encode": _encode, "updates_per_batch": 2}
    if lacking:
        with pytest.raises(ValueError, match=rf"^({'|'.join(lacking)})\b.*(use|drop|write)"):
            TinkerRecipe(spec, **options)
        return
    live = TinkerRecipe(spec, **options)
    groups = two_groups()
    data = []
    for step in range(4):
        if step % 2 == 0:
            data = live.data(groups)
        leaves = moved(groups, data, by=0.2 + 0.1 * step)
        loss, metrics = live.loss(data, leaves)
        loss.backward()
        assert torch.isfinite(loss)
        assert any(leaf.grad.any() for leaf in leaves)
        assert all(torch.isfinite(torch.tensor(value)) for value in metrics.values())
    _goes_on_as_the_same_run(spec, live, groups)


def _goes_on_as_the_same_run(spec, live, groups):
    """The next batch, in this process and in one that took the state over."""
    again = TinkerRecipe(spec, reference=Reference(), max_length=8, encode=_encode, updates_per_batch=2)
    again.load_state_dict(live.state_dict())
    losses = []
    for each in (live, again):
        data = each.data(groups)
        loss, _ = each.loss(data, moved(groups, data))
        losses.append(float(loss.detach()))
    assert losses[0] == losses[1]


@pytest.mark.parametrize("spec", ["grpo+reference-kl(beta=0.1)", "rloo_sequence+reward-kl(beta=0.1)"])
def test_a_kl_term_asks_for_its_reference(spec):
    with pytest.raises(ValueError, match=r"reference.*create_sampling_client"):
        TinkerRecipe(spec)


def test_dr_grpo_asks_for_the_length():
    with pytest.raises(ValueError, match=r"^dr_grpo divides .*max_length="):
        TinkerRecipe("dr_grpo")


@pytest.mark.parametrize("options", [{"updates_per_batch": 0}, {"max_length": 0}, {"total_steps": -1}])
def test_numbers_out_of_range(options):
    with pytest.raises(ValueError, match="must be at least"):
        TinkerRecipe("grpo", **options)


def test_the_reference_s_log_probabilities_are_those_of_what_was_chosen():
    groups = two_groups()
    live = TinkerRecipe("grpo+reference-kl(beta=0.5, bias_correction=False)", reference=Reference())
    plain = TinkerRecipe("grpo")
    losses = []
    for each in (live, plain):
        data = each.data(groups)
        losses.append(float(each.loss(data, moved(groups, data))[0].detach()))
    own = moved(groups, plain.data(groups))
    terms = []
    trajectories = [t.transitions[0] for g in groups for t in g.trajectories_G]
    for leaf, step in zip(own, trajectories, strict=True):
        reference = torch.tensor([-1.0 / (1 + t) for t in step.ac.tokens], dtype=torch.float64)
        d = reference - leaf.detach()[step.ob.length - 1 :]
        terms.append((d.exp() - d - 1).mean())
    assert losses[0] - losses[1] == pytest.approx(0.5 * float(torch.stack(terms).mean()), abs=1e-12)
