"""Recipes train on a real server of the Tinker API, and what it ends at is the recipe by hand.

In an environment of its own (``make test-live``); see docs/tinker.md.
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError
from urllib.request import urlopen

import pytest

pytest.importorskip("skyrl", reason="no server of the Tinker API is installed")

import tinker
import torch

from entrokit.engines.tinker import TinkerRecipe
from entrokit.rlvr import Context, PolicyStats, Rollouts, recipe

from .model import encode, save_model
from .policy import Policy, adapter_of

RANK, RATE, LENGTH, ATTEMPTS = 8, 3e-3, 6, 6
PROMPTS = ["1+2=", "3+4=", "2+2="]
BATCHES, UPDATES = 6, 2
# Adam with an eps that small gradients are small against: without one it makes whole steps of their rounding.
ADAM = {"beta1": 0.9, "beta2": 0.95, "eps": 1e-4}
GOOD = set(encode("02468"))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tinker")
    save_model(folder / "model")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (folder / "server.log").open("w")
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("server.py")), str(folder / "model"), str(folder), str(port)],
        stdout=log,
        stderr=subprocess.STDOUT,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "HF_HUB_OFFLINE": "1"},
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(process, f"{address}/api/v1/healthz", folder / "server.log")
        yield SimpleNamespace(address=address, folder=folder, model=folder / "model")
    finally:
        process.terminate()
        process.wait(30)


def _wait(process, health, log):
    for _ in range(240):
        if process.poll() is not None:
            raise RuntimeError(f"the server ended:\n{log.read_text()[-3000:]}")
        try:
            return urlopen(health, timeout=5).read()
        except (URLError, OSError):
            time.sleep(0.5)
    raise RuntimeError(f"no server after 120 s:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def service(server):
    os.environ["TINKER_API_KEY"] = "tml-local"
    os.environ["TINKER_TELEMETRY"] = "0"
    return tinker.ServiceClient(base_url=server.address)


def _groups(sampler, seed):
    """Attempts at every prompt, as the cookbook's trajectory groups are; the reward is for an even first digit."""
    groups = []
    for n, prompt in enumerate(PROMPTS):
        observed = tinker.ModelInput.from_ints(encode(prompt))
        params = tinker.SamplingParams(max_tokens=LENGTH, temperature=1.0, seed=seed * 100 + n)
        found = sampler.sample(observed, num_samples=ATTEMPTS, sampling_params=params).result().sequences
        trajectories = []
        for s in found:
            action = SimpleNamespace(tokens=s.tokens, maybe_logprobs=s.logprobs, stop_reason=s.stop_reason)
            reward = float(sum(t in GOOD for t in s.tokens[:3]) > 0)
            step = SimpleNamespace(ob=observed, ac=action, reward=reward, metrics={}, episode_done=True)
            trajectories.append(SimpleNamespace(transitions=[step], stop_reason=None))
        totals = [t.transitions[0].reward for t in trajectories]
        groups.append(SimpleNamespace(trajectories_G=trajectories, get_total_rewards=lambda totals=totals: totals))
    return groups


def _by_hand(groups):
    """The same groups as `Rollouts`, and every row's whole sequence."""
    rows = [(g, t.transitions[0]) for g, group in enumerate(groups) for t in group.trajectories_G]
    width = max(len(step.ac.tokens) for _, step in rows)
    tokens, logp = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width, dtype=torch.double)
    real = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, (_, step) in enumerate(rows):
        n = len(step.ac.tokens)
        tokens[i, :n], real[i, :n] = torch.tensor(step.ac.tokens), True
        logp[i, :n] = torch.tensor(step.ac.maybe_logprobs, dtype=torch.double)
    reward = torch.tensor([step.reward for _, step in rows], dtype=torch.double)
    rollouts = Rollouts(
        tokens=tokens,
        real=real,
        trained=real,
        group=torch.tensor([g for g, _ in rows]),
        reward=reward,
        behaviour=PolicyStats(logp=logp),
        correct=reward == 1,
    )
    return rollouts, [(step.ob.to_ints(), list(step.ac.tokens)) for _, step in rows]


def _saved(client, server, name):
    client.save_weights_for_sampler(name).result()
    return adapter_of(next(server.folder.glob(f"checkpoints/{client.model_id}/sampler_weights/{name}.tar.gz")))


@pytest.mark.parametrize("spec", ["grpo+clip-cov(ratio=0.2, low=0.0, high=9.0)", "dapo+token-group-average"])
def test_losses_and_weights_are_the_recipes_by_hand(server, service, spec, record_property):
    """SkyRL's server, JAX, LoRA: losses and weights of twelve steps of Adam through `forward_backward_custom`"""
    client = service.create_lora_training_client(base_model=str(server.model), rank=RANK, seed=1)
    live, chosen = TinkerRecipe(spec, updates_per_batch=UPDATES, seed=3), recipe(spec)
    policy = Policy(server.model, _saved(client, server, "start"), RANK)
    optimiser = torch.optim.Adam(policy.leaves, lr=RATE, betas=(ADAM["beta1"], ADAM["beta2"]), eps=ADAM["eps"])
    apart, moved, mismatch, step = [], [], [], 0
    before = {name: value.detach().clone() for name, value in policy.adapter.items()}
    for batch in range(BATCHES):
        sampler = client.save_weights_and_get_sampling_client(name=f"b{batch}")
        groups = _groups(sampler, batch)
        data = live.data(groups)
        rollouts, sequences = _by_hand(groups)
        context = _context(3, step)
        advantages = chosen.advantages(rollouts, context)
        prepared = chosen.prepare(rollouts, advantages, context)
        for update in range(UPDATES):
            told = {}

            def loss(d, logprobs, told=told):
                value, metrics = live.loss(d, logprobs)
                told["loss"] = float(value.detach())
                return value, metrics

            metrics = client.forward_backward_custom(data, loss).result().metrics
            client.optim_step(tinker.AdamParams(learning_rate=RATE, **ADAM)).result()
            current = torch.zeros(rollouts.trained.shape, dtype=torch.double)
            logp = [policy.logp([*p, *c])[len(p) - 1 :].double() for p, c in sequences]
            current = current.index_put(rollouts.trained.nonzero(as_tuple=True), torch.cat(logp))
            hand = chosen.loss(PolicyStats(logp=current), rollouts, advantages, prepared)
            optimiser.zero_grad()
            # SkyRL divides gradients by the number of data.
            (hand.loss / len(data)).backward()
            optimiser.step()
            step += 1
            apart.append(abs(told["loss"] - float(hand.loss.detach())))
            if update == 0:
                mismatch.append(metrics["sampling/sampling_logp_difference/max"])
    after = _saved(client, server, "end")
    weights = max(float((after[n] - v.detach()).abs().max()) for n, v in policy.adapter.items())
    moved = max(float((after[n] - v).abs().max()) for n, v in before.items())
    record_property("recipes", [spec])
    record_property("apart", max(weights, *apart))
    assert step >= 10
    assert moved > RATE
    assert max(apart) < 1e-5
    assert weights < 1e-5
    assert max(mismatch) < 1e-4


def _context(seed, step):
    return Context(step=step, generator=torch.Generator().manual_seed(seed * 1_000_003 + step))
