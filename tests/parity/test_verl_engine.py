"""Recipes under verl: its own plug-in loading, config, actor worker, engine and loss, on a CPU.

Everything is held to the recipe applied by hand to the same completions with plain PyTorch.
"""

import os
import subprocess
import sys
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch

pytest.importorskip("verl.trainer.ppo.core_algos", reason="verl needs its own environment: make test-parity")

from omegaconf import OmegaConf
from verl import DataProto
from verl.trainer.ppo.core_algos import get_adv_estimator_fn, get_policy_loss_fn
from verl.trainer.ppo.ray_trainer import compute_advantage
from verl.utils import tensordict_utils as tu
from verl.workers.config import ActorConfig
from verl.workers.utils.losses import ppo_loss

from entrokit.engines.verl import LOSS_MODES, RecipePolicyLossConfig, recipe_advantages
from entrokit.engines.verl.config import refuse
from entrokit.rlvr import INTERVENTIONS, Context, Intervention, PolicyStats, Rollouts, Weighting, recipe
from entrokit.rlvr.bases import Base
from entrokit.rlvr.interventions import registered
from entrokit.rlvr.surrogates import PPOClip

from . import verl_actor as v
from .by_hand import deviation, rollouts_by_hand, trained_by_hand, truncated
from .specs import SPECS
from .verl_actor import LOSS, MINI, actor, of_recipe, old_log_probs, statistics

REFUSED = {
    "clip-v": "clip-b",
    "siren": "siren under TRL",
    "adaptive-temperature": "vLLM",
    "recap": "one score a",
    "self-imitation": "no place",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="module")
def model(folder):
    return v.tiny_model(folder)


@pytest.mark.parametrize("layout", ["old", "new"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_an_update_of_verls_actor_is_the_recipes_by_hand(spec, layout, folder, model):
    loss, weight, moved = deviation(spec, folder, model, layout)
    assert loss < 2e-5
    assert weight < 2e-5
    assert moved > 1e-3


CONTROLLERS = ["epo", "epo-official", "aepo-kl", "aepo-reward", "tool-reward"]


@pytest.mark.parametrize("name", CONTROLLERS)
def test_a_micro_batch_of_which_nothing_is_trained_on_moves_no_controller(name, folder, model):
    loss, weight, moved = deviation(SPECS[name], folder, model, "old", cut=truncated)
    assert loss < 2e-5
    assert weight < 2e-5
    assert moved > 1e-3


@pytest.mark.parametrize(
    ("correct", "column", "message"),
    [
        ("acc", None, r"policy_loss.correct=acc: verl's batch has no such column"),
        ("acc", [0.5] * 12, r"policy_loss.correct=acc: row 0 holds 0.5; expected True or False"),
        (None, None, "weighted-grpo needs to know which completions are right"),
    ],
)
def test_what_is_right_is_said_by_name(folder, model, correct, column, message):
    """A graded score says nothing; a column of the reward function's does."""
    columns = v.completions()
    old = old_log_probs(model, columns)
    graded = {n: columns[n] * 0.5 for n in ("token_level_scores", "token_level_rewards")}
    named = [] if correct is None else [f"+{LOSS}.correct={correct}"]
    worker = actor(folder, *of_recipe("grpo+weighted-grpo"), *named)
    data = v.update_batch(columns | graded, torch.zeros(v.ROWS, v.LENGTH), old, mini_batch=MINI)
    if column is not None:
        data["acc"] = torch.tensor(column)
    with pytest.raises(ValueError, match=message):
        worker.update_actor(data)


def test_a_score_that_was_graded_once_stays_graded():
    """Of the worker's own methods, without an engine."""
    from verl.workers.engine_workers import ActorRolloutRefWorker

    RecipeWorker = ActorRolloutRefWorker.actor_worker_cls
    columns = v.completions()
    worker = SimpleNamespace(_correct=None, _graded=False)
    right = RecipeWorker._right(worker, columns, Context())
    assert right.tolist() == (columns["token_level_scores"].sum(1) == 1).tolist()
    half = columns | {n: columns[n] * 0.5 for n in ("token_level_scores", "token_level_rewards")}
    assert RecipeWorker._right(worker, half, Context()) is None
    assert RecipeWorker._right(worker, columns, Context()) is None
    # A penalty lowers what a completion is worth, not whether it is right.
    penalised = columns | {"token_level_rewards": columns["token_level_rewards"] - 0.1}
    fresh = SimpleNamespace(_correct=None, _graded=False)
    assert torch.equal(RecipeWorker._right(fresh, penalised, Context()), right)


@pytest.mark.parametrize(("updates", "rank", "said"), [(1, 0, 1), (1, 1, 0), (2, 0, 0)])
def test_what_cannot_act_is_said_in_verls_words(caplog, updates, rank, said):
    from verl.workers.engine_workers import ActorRolloutRefWorker

    worker = SimpleNamespace(rank=rank, _updates=updates)
    ActorRolloutRefWorker.actor_worker_cls._warn(worker, recipe("grpo+kl-cov"))
    assert len(caplog.messages) == said
    for message in caplog.messages:
        assert "kl-cov cannot act with one update per rollout" in message
        assert "ppo_epochs" in message
        assert "TRL" not in message


def test_a_named_column_is_what_is_right(folder, model):
    columns = v.completions()
    old = old_log_probs(model, columns)
    right = torch.tensor([1, 0, 0] * 4)
    worker = actor(folder, *of_recipe("grpo+weighted-grpo"), f"+{LOSS}.correct=acc")
    data = v.update_batch(columns, torch.zeros(v.ROWS, v.LENGTH), old, mini_batch=MINI)
    data["acc"] = right
    worker.update_actor(data)
    by_hand = recipe("grpo+weighted-grpo")
    rollouts = replace(rollouts_by_hand(model, columns, by_hand, old, None), correct=right.bool())
    _, weights = trained_by_hand(model, columns, by_hand, old, 1, given=by_hand.advantages(rollouts))
    after = v.parameters(worker)
    for n, weight in weights.items():
        torch.testing.assert_close(after[n], weight.detach(), atol=1e-5, rtol=1e-4)


def test_every_intervention_is_carried_or_refused():
    used = {part.name for spec in SPECS.values() for part in recipe(spec).interventions}
    assert used | set(REFUSED) == set(INTERVENTIONS)


def test_verls_own_loss_is_left_alone_and_equals_our_recipe_for_it(folder, model):
    """`vanilla` on the advantages of verl's GRPO, against the recipe `dapo`, which computes its own."""
    columns = v.completions()
    old = old_log_probs(model, columns)
    theirs, _ = get_adv_estimator_fn("grpo")(
        token_level_rewards=columns["token_level_rewards"],
        response_mask=columns["response_mask"],
        index=np.array(columns["uid"]),
    )
    after = {}
    for name, overrides in {
        "verl": [f"{LOSS}.loss_mode=vanilla"],
        "ours": of_recipe("dapo(clip_high=0.2)"),
    }.items():
        worker = actor(folder, *overrides)
        assert (worker.actor._recipe is None) == (name == "verl")
        worker.update_actor(v.update_batch(columns, theirs, old, mini_batch=MINI, epochs=2))
        after[name] = v.parameters(worker)
    for n, weight in after["verl"].items():
        torch.testing.assert_close(after["ours"][n], weight, atol=1e-6, rtol=1e-5)


def test_a_short_name_stands_upon_verls_clip_and_advantages(folder, model):
    columns = v.completions()
    old = old_log_probs(model, columns)
    g = torch.Generator().manual_seed(3)
    advantages = torch.randn(v.ROWS, 1, generator=g).expand(v.ROWS, v.LENGTH) * columns["response_mask"]
    worker = actor(
        folder,
        f"{LOSS}.loss_mode=entrokit-steer",
        "actor_rollout_ref.actor.clip_ratio_high=0.28",
        "actor_rollout_ref.actor.clip_ratio_c=2.0",
    )
    worker.update_actor(v.update_batch(columns, advantages, old, mini_batch=MINI))
    base = recipe("grpo+steer")
    by_hand = replace(base, base=Base(base.base.advantage, PPOClip(0.2, 0.28, 2.0), "token-mean"))
    _, weights = trained_by_hand(model, columns, by_hand, old, 1, given=advantages)
    after = v.parameters(worker)
    for n, weight in weights.items():
        torch.testing.assert_close(after[n], weight.detach(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        *(([f"{LOSS}.loss_mode=entrokit-{name}"], hint) for name, hint in REFUSED.items()),
        (of_recipe("dapo+steer(form='exact')"), "form='theorem'"),
        (of_recipe("grpo+weighted-grpo(normalize='pair')"), "verl reorders them"),
        (of_recipe("dapo+reference-kl"), "use_kl_loss=True"),
        (
            [f"{LOSS}.loss_mode=entrokit-pear"],
            "acts on rewards, and loss_mode=entrokit-pear takes advantages.*grpo.pear",
        ),
        ([*of_recipe("dapo"), "actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean"], "loss_agg_mode=token-mean"),
        ([*of_recipe("dapo"), "actor_rollout_ref.actor.clip_ratio_high=0.28"], "clip_ratio_high=0.28 is not read"),
        ([f"{LOSS}.loss_mode=entrokit"], r"needs a recipe.*_target_=entrokit.engines.verl.RecipePolicyLossConfig"),
        ([*of_recipe("dapo"), f"{LOSS}.loss_mode=entrokit-steer"], "write loss_mode=entrokit"),
        ([*of_recipe("dapo")[:2], f"+{LOSS}.recipe='grpo+stear'"], "did you mean 'steer'"),
        (
            [f"{LOSS}.loss_mode=entrokit-steer", "actor_rollout_ref.actor.loss_agg_mode=token-sum"],
            "token-sum: recipes know",
        ),
    ],
)
def test_what_cannot_run_is_refused_when_the_worker_starts(folder, model, overrides, message):
    with pytest.raises(ValueError, match=message):
        actor(folder, *overrides)


def test_other_engines_are_refused():
    config = SimpleNamespace(strategy="megatron", use_kl_loss=False)
    with pytest.raises(ValueError, match="run with fsdp and fsdp2"):
        refuse(recipe("dapo"), config)


@dataclass
class Counting(Intervention):
    """A user's own: what it sees of every optimiser step."""

    name: ClassVar[str] = "counting"
    needs: ClassVar[frozenset[str]] = frozenset({"entropy"})
    seen: list[float] = field(default_factory=list, init=False, compare=False)

    def weight(self, update, clip, prepared):
        return Weighting(metrics={"entropy": update.mean(update.current.entropy)})

    def observe(self, metrics, context):
        assert metrics["entropy"] == pytest.approx(metrics["counting/entropy"], rel=1e-6)
        assert 0.0 <= metrics["clip_ratio/region_mean"] <= 1.0
        self.seen.append(metrics["counting/entropy"])

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = list(state["seen"])


@pytest.mark.parametrize("cut", [lambda columns: columns, truncated], ids=["all", "an empty micro-batch"])
def test_what_is_logged_is_a_mean_over_tokens(cut, folder, model):
    """verl averages the numbers of micro-batches, whose lengths differ, and takes those without a token for zeros."""
    spec = "grpo+kl-cov(ratio=0.2)+epo(coef=0.1, alpha=5.0, kappa_low=0.99, kappa_high=1.01, total_steps=9)"
    columns = cut(v.completions())
    old = old_log_probs(model, columns)
    lengths = columns["response_mask"].sum(1).reshape(-1, 3).sum(1)
    assert len(set(lengths.tolist())) > 1
    worker = actor(folder, *of_recipe(spec))
    zeros = torch.zeros(v.ROWS, v.LENGTH)
    logged = worker.update_actor(v.update_batch(columns, zeros, old, mini_batch=MINI))["metrics"]
    mask = columns["response_mask"][:MINI].bool()
    with torch.no_grad():
        entropy = statistics(model, v.rows_of(columns, slice(0, MINI)), frozenset({"entropy"})).entropy[mask]
    # float32; the alternative, a mean over micro-batches of three completions, lies 1e-3 and more away.
    assert logged["actor/epo/entropy"][0] == pytest.approx(entropy.mean().item(), rel=1e-5)
    assert sum(logged["actor/epo/entropy"]) == pytest.approx(worker.actor._recipe.interventions[1].seen[0], rel=1e-12)
    assert len(logged["actor/kl-cov/penalty"]) == len(logged["loss"]) == v.ROWS // MINI


def test_controllers_observe_every_step_and_live_in_verls_checkpoints(folder, model, tmp_path):
    with registered(Counting):
        counted_and_loaded_again(folder, model, tmp_path)


def counted_and_loaded_again(folder, model, tmp_path):
    columns = v.completions()
    old = old_log_probs(model, columns)
    worker = actor(folder, *of_recipe("dapo+counting"))
    zeros = torch.zeros(v.ROWS, v.LENGTH)
    worker.update_actor(v.update_batch(columns, zeros, old, mini_batch=MINI, epochs=2))
    seen = worker.actor._recipe.interventions[0].seen
    assert len(seen) == 4
    mask = columns["response_mask"][:MINI].bool()
    with torch.no_grad():
        first = statistics(model, v.rows_of(columns, slice(0, MINI)), frozenset({"logp", "entropy"})).entropy[mask]
    assert seen[0] == pytest.approx(first.mean().item(), rel=1e-5)
    worker.save_checkpoint(str(tmp_path / "actor"), global_step=1)
    again = actor(folder, *of_recipe("dapo+counting"))
    again.load_checkpoint(str(tmp_path / "actor"))
    assert again.actor._recipe.interventions[0].seen == seen
    assert again.actor._steps == 4
    for n, weight in v.parameters(worker).items():
        torch.testing.assert_close(v.parameters(again)[n], weight, atol=0, rtol=0)
    (tmp_path / "actor" / "entrokit_rank_0.pt").unlink()
    with pytest.raises(FileNotFoundError, match="no state of recipe"):
        again.load_checkpoint(str(tmp_path / "actor"))


def test_the_registered_loss_without_our_worker_is_the_micro_batch_form(model, folder):
    """As a worker of verl's own calls it, through verl's own `ppo_loss`."""
    spec = "dapo+clip-cov(ratio=0.3, low=0.0, high=9.0)"
    columns = v.completions()
    old = old_log_probs(model, columns)
    worker = actor(folder, *of_recipe(spec))
    worker.actor.set_loss_fn(lambda *args, **kwargs: None)  # RecipeWorker stands aside
    assert worker.actor._recipe is None
    config = verl_loss_config(spec)
    advantages = torch.randn(v.ROWS, 1).expand(v.ROWS, v.LENGTH) * columns["response_mask"]
    data = v.update_batch(columns, advantages, old, mini_batch=MINI)
    tokens = int(columns["response_mask"].sum())
    tu.assign_non_tensor(data, dp_size=1, batch_num_tokens=tokens, global_batch_size=v.ROWS)
    x = old_log_probs(model, columns, noise=0.2).requires_grad_()
    loss, metrics = ppo_loss(config, {"log_probs": v.whole_sequences(x, data)}, data)
    mask = columns["response_mask"].bool()
    rollouts = Rollouts(
        tokens=columns["responses"],
        real=mask,
        trained=mask,
        group=torch.arange(v.ROWS),
        reward=torch.zeros(v.ROWS),
        behaviour=PolicyStats(logp=old),
    )
    micro = recipe("dapo+clip-cov(ratio=0.3, low=0.0, high=9.0, scope='micro')")
    prepared = micro.prepare(rollouts, advantages, Context(generator=torch.Generator().manual_seed(0)))
    expected = micro.loss(PolicyStats(logp=x), rollouts, advantages, prepared)
    torch.testing.assert_close(loss, expected.loss)
    assert metrics["actor/clip-cov/chosen_fraction"].aggregate() > 0.1
    with pytest.raises(ValueError, match="reference-kl: .* no reference log-probabilities"):
        ppo_loss(verl_loss_config("dapo+reference-kl"), {"log_probs": v.whole_sequences(x, data)}, data)
    plain, _ = ppo_loss(verl_loss_config("dapo+self-imitation"), {"log_probs": v.whole_sequences(x, data)}, data)
    torch.testing.assert_close(plain, recipe("dapo").loss(PolicyStats(logp=x), rollouts, advantages).loss)
    with pytest.raises(ValueError, match=r"steer needs more than verl hands.*entrokit doctor"):
        ppo_loss(verl_loss_config("dapo+steer"), {"log_probs": v.whole_sequences(x, data)}, data)


def verl_loss_config(spec):
    return ActorConfig(
        strategy="fsdp",
        rollout_n=1,
        ppo_micro_batch_size_per_gpu=1,
        policy_loss=RecipePolicyLossConfig(loss_mode="entrokit", recipe=spec),
    )


@pytest.mark.parametrize(
    ("spec", "name"),
    [("grpo", "grpo"), ("rloo", "rloo"), ("reinforce_plus_plus_baseline", "reinforce_plus_plus_baseline")],
)
def test_the_estimator_in_verls_driver(spec, name):
    """verl's own `compute_advantage` on a `DataProto`, with our estimator and with verl's."""
    columns = v.completions()

    def computed(estimator, algorithm):
        data = DataProto.from_dict(
            tensors={n: columns[n] for n in ("token_level_rewards", "response_mask", "responses", "attention_mask")},
            non_tensors={"uid": np.array(columns["uid"], dtype=object)},
        )
        return compute_advantage(data, estimator, config=OmegaConf.create(algorithm)).batch["advantages"]

    ours = computed("entrokit", {"recipe": spec})
    assert ours.abs().max() > 0.1
    torch.testing.assert_close(ours, computed(name, {}), atol=1e-5, rtol=1e-4)


def test_the_estimator_says_what_it_cannot_do():
    columns = v.completions()
    arguments = columns["token_level_rewards"], columns["response_mask"]
    with pytest.raises(ValueError, match=r"\+algorithm.recipe=grpo"):
        recipe_advantages(*arguments, config={}, index=columns["uid"])
    with pytest.raises(ValueError, match=r"canon needs more than the rewards.*adv_estimator=grpo"):
        recipe_advantages(*arguments, config={"recipe": "grpo+canon"}, index=columns["uid"])


@pytest.mark.parametrize(
    ("code", "environment"),
    [
        ("import verl; from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY as r; assert 'entrokit' in r", {}),
        ("from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY as r; assert 'entrokit' in r", {}),
        (
            "from verl.workers.engine_workers import ActorRolloutRefWorker as w; import entrokit.engines.verl as e;"
            "assert w.actor_worker_cls is e.RecipeWorker",
            {},
        ),
        (
            "from entrokit.engines.verl import RecipeWorker; from verl.workers.engine_workers import"
            " ActorRolloutRefWorker as w; assert w.actor_worker_cls is RecipeWorker",
            {},
        ),
        ("import sys, verl; assert 'verl.trainer.ppo.core_algos' not in sys.modules", {}),
        (
            "from verl.workers.engine_workers import ActorRolloutRefWorker as w;"
            "assert w.actor_worker_cls.__module__.startswith('verl.')",
            {"VERL_USE_EXTERNAL_PLUGINS": "none"},
        ),
        (
            "from verl.workers.engine_workers import ActorRolloutRefWorker as w; import entrokit.engines.verl as e;"
            "assert w.actor_worker_cls is e.RecipeWorker",
            {"VERL_USE_EXTERNAL_PLUGINS": "none"},
        ),
    ],
    ids=[
        "losses",
        "estimator",
        "worker",
        "the worker first",
        "nothing imported early",
        "switched off",
        "registered by hand",
    ],
)
def test_verl_loads_the_plug_in_by_itself(code, environment):
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=os.environ | environment, check=False)
    assert done.returncode == 0


def test_every_loss_mode_is_registered():
    assert all(get_policy_loss_fn(mode) for mode in LOSS_MODES)
