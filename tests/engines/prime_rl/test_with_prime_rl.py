"""prime-rl's own `setup_rl_loss_fn`, `compute_loss` and default loss, where its ``trainer/rl/loss.py`` can be imported.

That takes none of prime-rl's engines, only its sources (of commit 559b447), Python 3.12, and torch, jaxtyping,
beartype, pydantic, prime-pydantic-config, loguru and wandb:

    PYTHONPATH=src:.:PRIME_RL/src:PRIME_RL/packages/prime-rl-configs/src \\
        python -m pytest --noconftest tests/engines/prime_rl tests/docs/test_prime_rl.py
"""

import re
import tomllib
from pathlib import Path

import pytest
import torch

pytest.importorskip("prime_rl.trainer.rl.loss", reason="prime-rl is not installed")

from prime_rl.configs.trainer import CustomLossConfig, DefaultLossConfig, LossConfig
from prime_rl.trainer.rl import loss as prime
from pydantic import TypeAdapter

from entrokit.engines.prime_rl import loss_of
from entrokit.rlvr import policy_loss

from . import contract
from .carried import CARRIED, CLOSE, built
from .contract import CUTS, batch, gradients, padded
from .methods import PrimeDefault

pytestmark = pytest.mark.filterwarnings("ignore:recipe .*advantages are those of prime-rl")
PATH = "entrokit.engines.prime_rl"
PAGE = Path(__file__).parents[3] / "docs" / "prime-rl.md"


def step(sequences, function, *, cuts):
    """As `contract.step`, by prime-rl's own `compute_loss` of every micro-batch."""
    weighted = sequences[0].loss_weights is not None
    members = sum(int(contract._members(s).sum()) for s in sequences)
    total, metrics = 0.0, {}
    for cut in cuts:
        own = [sequences[i] for i in cut]
        loss, logged = prime.compute_loss(
            trainer_logprobs=[s.trainer_logprobs for s in own],
            inference_logprobs=[s.inference_logprobs for s in own],
            ref_logprobs=None,
            advantages=[s.advantages for s in own],
            loss_mask=[s.loss_mask for s in own],
            rl_weights=[s.loss_weights for s in own] if weighted else None,
            ce_weights=None,
            ref_kl_weights=None,
            rl_loss_fn=function,
            rl_scale=members,
            ce_scale=1,
            ref_kl_scale=1,
        )
        total = total + loss
        for name, values in logged.items():
            metrics.setdefault(name, []).append(values)
    return total, {name: torch.cat(values) for name, values in metrics.items()}


def custom(name, **kwargs):
    return prime.setup_rl_loss_fn(CustomLossConfig(import_path=f"{PATH}.{name}", kwargs=kwargs))


@pytest.mark.parametrize("example", CARRIED)
def test_prime_rl_computes_the_recipe(example):
    sequences = batch()
    function = custom("recipe_loss", recipe=example, aggregation="token-mean")
    logp, old, advantages, mask = padded(sequences)
    chosen = built(example, aggregation="token-mean").recipe
    whole = policy_loss(chosen, logp=logp, old_logp=old, advantages=advantages, mask=mask)
    for cuts in CUTS:
        total, metrics = step(sequences, function, cuts=cuts)
        torch.testing.assert_close(total, whole.loss, **CLOSE)
        torch.testing.assert_close(gradients(total, sequences), gradients(whole.loss, sequences), **CLOSE)
        assert {name.removeprefix("recipe/") for name in metrics} == set(whole.metrics)
        assert all(values.shape == (4,) and values.dtype == torch.float32 for values in metrics.values())


@pytest.mark.parametrize("weighted", [False, True])
def test_what_these_tests_take_for_prime_rls_step_is_prime_rls(weighted):
    sequences = batch()
    for index, own in enumerate(sequences):
        own.loss_weights = torch.full_like(own.advantages, float(index % 3)) if weighted else None
    function = loss_of("dapo")
    for cuts in CUTS:
        ours, theirs = contract.step(sequences, function, cuts=cuts), step(sequences, function, cuts=cuts)
        torch.testing.assert_close(ours[0], theirs[0], **CLOSE)
        assert {n: v.tolist() for n, v in ours[1].items()} == {n: v.tolist() for n, v in theirs[1].items()}


@pytest.mark.parametrize(("low", "high", "tau"), [(0.2, 0.2, 1e-3), (0.05, 0.1, 0.3), (1.0, 1.0, 0.0)])
def test_its_default_loss_is_a_recipe(low, high, tau):
    sequences = batch(scale=1.0)
    config = DefaultLossConfig(dppo_mask_low=low, dppo_mask_high=high, kl_tau=tau)
    own, _ = step(sequences, prime.setup_rl_loss_fn(config), cuts=CUTS[2])
    unclipped = "dapo(clip_low=1.0, clip_high=1e9, dual_clip=None)"
    same, _ = step(sequences, built(unclipped, PrimeDefault(low, high, tau)), cuts=CUTS[2])
    torch.testing.assert_close(same, own, **CLOSE)
    torch.testing.assert_close(gradients(same, sequences), gradients(own, sequences), **CLOSE)


def test_its_own_class_comes_back():
    function = custom("recipes.dapo")
    assert all(type(function(own)) is prime.LossOutputs for own in batch())


def test_a_path_is_refused_at_the_start_and_kwargs_with_the_first_sequence():
    with pytest.raises(AttributeError, match="cannot carry steer"):
        custom("recipes.dapo+steer")
    function = custom("recipe_loss", recipe="dapo+steer")
    with pytest.raises(ValueError, match="cannot carry steer"):
        function(batch()[0])


def test_the_toml_of_the_page_is_taken_by_its_config(tmp_path, monkeypatch):
    text = PAGE.read_text(encoding="utf-8")
    (tmp_path / "my_loss.py").write_text(re.search(r"```python\n(# my_loss.py\n.*?)```", text, re.DOTALL).group(1))
    monkeypatch.syspath_prepend(tmp_path)
    blocks = [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)]
    assert len(blocks) == 3
    for block in blocks:
        config = TypeAdapter(LossConfig).validate_python(block["trainer"]["loss"])
        assert isinstance(config, CustomLossConfig)
        assert prime.setup_rl_loss_fn(config)(batch()[0]).loss.requires_grad
