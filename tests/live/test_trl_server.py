"""TRL against a vLLM server: two processes train, one server samples; a server that dies, and one that comes back."""

import json
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoTokenizer

from ..processes import PATIENCE, TORCHRUN
from . import by_hand
from .policies import WITH_VLLM
from .servers import free_port, kill, surroundings, vllm_server

SPEC = "grpo+steer(min_weight=0.3, scope='generation')+epo(coef=0.1, alpha=5.0, kappa_low=0.99, kappa_high=1.01)"
TIGHT = 1e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("server")


def settings(folder, name, checkpoint, url, *, resume=None, **options):
    """The file of a run's settings."""
    config = WITH_VLLM | {"output_dir": str(folder / name), "vllm_mode": "server", "vllm_server_base_url": url}
    (folder / name).mkdir(exist_ok=True)
    file = folder / f"{name}.json"
    what = {"policy": checkpoint, "recipe": SPEC, "transfer": str(folder / name), "resume": resume}
    file.write_text(json.dumps(what | {"config": config | options}))
    return file


def start(launcher, file, out, log):
    with open(log, "w") as said:
        command = [sys.executable, *launcher, "-m", "tests.live.trl_server_run", str(file), str(out)]
        return subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=surroundings({}))


def test_two_processes_train_on_what_one_server_samples(plugged, untied, folder, record_property):
    """server, two processes (DDP): losses and weights of four steps"""
    with vllm_server(untied, plugged, folder / "server.log") as (url, _):
        file = settings(folder, "two", untied, url, per_device_train_batch_size=6, num_generations=3, max_steps=4)
        run = start(TORCHRUN, file, folder / "two.pt", folder / "two.log")
        assert run.wait(timeout=PATIENCE) == 0, (folder / "two.log").read_text()[-4000:]
    result = torch.load(folder / "two.pt", weights_only=False)
    assert result["processes"] == 2
    seen = by_hand.Seen()
    for name in ("prompts", "completions", "sampler_logp"):
        # A row of each process's own, in the order of processes.
        parts = zip(*(getattr(s, name) for s in result["seen"]), strict=True)
        setattr(seen, name, [[*first, *second] for first, second in parts])
    seen.rewards = result["seen"][0].rewards  # TRL gathers them
    assert len(seen.completions) == 4
    assert len(seen.completions[0]) == 12
    tokenizer = AutoTokenizer.from_pretrained(untied)
    args = SimpleNamespace(**json.loads(file.read_text())["config"])
    losses, weights = by_hand.trained(
        untied, SPEC, seen, args, lambda text: tokenizer.encode(text, add_special_tokens=False), "sequence_mask"
    )
    rows = [row for row in result["log"] if "loss" in row]
    apart = [abs(row["loss"] - loss) for row, loss in zip(rows, losses, strict=True)]
    apart += [float((p - weights[n]).abs().max()) for n, p in result["weights"].items()]
    record_property("recipes", [SPEC])
    record_property("apart", max(apart))
    assert max(apart) < TIGHT
    assert max(row["sampling/sampling_logp_difference/max"] for row in rows) < TIGHT


def test_a_server_that_dies_is_named_and_the_run_goes_on_with_another(plugged, untied, folder):
    """server, killed in mid-run: the run ends and names it; resumed with a new server, which gets the weights"""
    port = free_port()
    options = {"per_device_train_batch_size": 8, "save_strategy": "steps", "save_steps": 2}
    with vllm_server(untied, plugged, folder / "first.log", port) as (url, server):
        file = settings(folder, "dies", untied, url, max_steps=100_000, **options)
        run = start([], file, folder / "dies.pt", folder / "dies.log")
        end = time.monotonic() + PATIENCE
        while not list((folder / "dies").glob("checkpoint-*/trainer_state.json")):
            assert run.poll() is None, (folder / "dies.log").read_text()[-4000:]
            assert time.monotonic() < end
            time.sleep(0.1)
        kill(server)
        assert run.wait(timeout=PATIENCE) != 0
    said = (folder / "dies.log").read_text()
    assert f"the vLLM server at {url} does not answer" in said
    assert "resume from the newest checkpoint" in said
    newest = max(int(found.name.rpartition("-")[2]) for found in (folder / "dies").glob("checkpoint-*"))
    with vllm_server(untied, plugged, folder / "second.log", port) as (url, _):
        file = settings(folder, "dies", untied, url, resume=True, max_steps=newest + 3, **options)
        run = start([], file, folder / "resumed.pt", folder / "resumed.log")
        assert run.wait(timeout=PATIENCE) == 0, (folder / "resumed.log").read_text()[-4000:]
    rows = [row for row in torch.load(folder / "resumed.pt", weights_only=False)["log"] if "loss" in row]
    assert [row["step"] for row in rows][-4:] == [newest, newest + 1, newest + 2, newest + 3]
    # The new server was given the weights of the checkpoint before it sampled.
    assert max(row["sampling/sampling_logp_difference/max"] for row in rows) < TIGHT
