"""Generation by vLLM, through TRL: everything but vLLM itself, which a stand-in replaces (tests/live has it).

What TRL makes of the stand-in's samples, and what the recipe does with that, is real, and equals `GRPOTrainer`.
"""

from types import SimpleNamespace

import pytest
import requests
import torch
from transformers import AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from entrokit.engines.trl import EntropyGRPOTrainer, trl_recipe
from entrokit.engines.trl.generating import generation_explained

from .conftest import length_reward
from .vllm_standin import NOISE

CPU = {"use_cpu": True, "bf16": False}


def trained(kind, checkpoint, args, task, **extra):
    t = kind(
        checkpoint,
        reward_funcs=length_reward,
        args=args,
        train_dataset=task.train,
        processing_class=AutoTokenizer.from_pretrained(checkpoint, padding_side="left"),
        **extra,
    )
    t.train()
    return t


@pytest.mark.parametrize("mode", ["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"])
@pytest.mark.parametrize("loss_type", ["grpo", "dapo"])
def test_training_with_vllm_is_trls(stand_in, checkpoint, config, task, mode, loss_type):
    """Weights after four updates, and what is logged of the mismatch between sampler and trainer."""
    options = {
        "use_vllm": True,
        "vllm_mode": "colocate",
        "vllm_importance_sampling_mode": mode,
        "vllm_importance_sampling_clip_max": 1.2,
        "loss_type": loss_type,
        "steps_per_generation": 2,
        "max_steps": 4,
        "optim": "sgd",
        "learning_rate": 0.1,
    }
    theirs = trained(GRPOTrainer, checkpoint, config(**options), task)
    spec = trl_recipe(config(**options))
    ours = trained(EntropyGRPOTrainer, checkpoint, config(**options), task, recipe=spec)
    assert ours.vllm_generation.syncs == 2
    expected = dict(theirs.model.named_parameters())
    for name, weight in ours.model.named_parameters():
        torch.testing.assert_close(weight, expected[name], atol=2e-6, rtol=1e-4, msg=name)
    their_log, our_log = (
        {k: v for row in t.state.log_history for k, v in row.items() if k.startswith("sampling/")}
        for t in (theirs, ours)
    )
    assert len(our_log) == 5
    assert 0.5 * NOISE < our_log["sampling/sampling_logp_difference/mean"] < 2 * NOISE
    assert our_log == pytest.approx(their_log, rel=1e-4)


def test_the_weights_of_the_correction_reach_the_recipe(stand_in, checkpoint, config, task):
    seen = []
    options = {"use_vllm": True, "vllm_mode": "colocate", "vllm_importance_sampling_mode": "token_truncate"}
    args = config(**options, vllm_importance_sampling_clip_max=1.1, max_steps=1)
    trained(EntropyGRPOTrainer, checkpoint, args, task, recipe="grpo+steer", on_generation=seen.append)
    weight, train = seen[0].rollouts.sampler_weight, seen[0].rollouts.trained
    assert weight.shape == seen[0].rollouts.tokens.shape
    assert weight[train].max() == pytest.approx(1.1)
    assert weight[train].min() < 0.9


def test_without_correction_nothing_is_weighed(stand_in, checkpoint, config, task):
    seen = []
    args = config(use_vllm=True, vllm_mode="colocate", vllm_importance_sampling_correction=False, max_steps=1)
    trained(EntropyGRPOTrainer, checkpoint, args, task, recipe="grpo+steer", on_generation=seen.append)
    assert seen[0].rollouts.sampler_weight is None


def test_a_recipe_that_acts_while_sampling_is_refused(stand_in, checkpoint, config, task):
    args = config(use_vllm=True, vllm_mode="colocate")
    with pytest.raises(ValueError, match=r"use_vllm=True\) conflicts with recipe .* adaptive-temperature acts on the"):
        trained(EntropyGRPOTrainer, checkpoint, args, task, recipe="grpo+adaptive-temperature")


class GoneError(OSError):
    """As errors of `requests` are: an OSError that knows its request."""

    def __init__(self, text="", url=None):
        super().__init__(text)
        self.request = None if url is None else SimpleNamespace(url=url)


def test_a_server_that_is_gone_is_named_with_the_step_and_what_to_do():
    args = GRPOConfig("x", use_vllm=True, vllm_mode="server", vllm_server_base_url="http://there:8000", **CPU)
    with (
        pytest.raises(ConnectionError, match=r"step 7: the vLLM server at http://there:8000 .*resume") as caught,
        generation_explained(7, args),
    ):
        raise GoneError("no route", "http://there:8000/inference/v1/generate")
    assert isinstance(caught.value.__cause__, GoneError)
    by_port = GRPOConfig("x", use_vllm=True, vllm_mode="server", vllm_server_host="h", vllm_server_port=81, **CPU)
    with pytest.raises(ConnectionError, match="http://h:81"), generation_explained(0, by_port):
        raise GoneError


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("http://GPU-1:8000", "http://gpu-1:8000/inference/v1/generate"),  # as `requests` writes it
        ("http://[::1]:8000/", "http://[::1]:8000/v1/models"),
        ("http://there/vllm", "http://there/vllm/update_weights"),
        ("http://there/vllm", None),  # an answer that broke off
    ],
)
def test_a_server_is_known_by_its_address_however_it_is_written(given, asked):
    args = GRPOConfig("x", use_vllm=True, vllm_mode="server", vllm_server_base_url=given, **CPU)
    with pytest.raises(ConnectionError, match="does not answer"), generation_explained(0, args):
        raise GoneError("no route", asked)


def test_a_server_that_answers_with_errors_is_not_called_silent():
    args = GRPOConfig("x", use_vllm=True, vllm_mode="server", vllm_server_base_url="http://there:8000", **CPU)
    request = requests.Request("POST", "http://there:8000/v1/completions").prepare()
    with pytest.raises(ConnectionError, match=r"answers with errors alone .*RetryError"), generation_explained(0, args):
        raise requests.exceptions.RetryError("too many 500 error responses", request=request)


SERVER = {"use_vllm": True, "vllm_mode": "server", "vllm_server_base_url": "http://there:80"}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (SERVER, GoneError("a tool's server at a longer port", "http://there:8080/run")),
        (SERVER, GoneError("a tool's server on another machine", "http://there.example:80/run")),
        (SERVER | {"vllm_server_base_url": "http://there/a"}, GoneError("of a path beside", "http://there/ab")),
        (SERVER, requests.exceptions.MissingSchema("a tool's URL without http://")),
        (SERVER, requests.exceptions.JSONDecodeError("a tool's answer that is no JSON", "x", 0)),
        ({"use_vllm": True, "vllm_mode": "server"}, OSError("a full disk, in a reward function")),
        ({"use_vllm": True, "vllm_mode": "server"}, GoneError("a tool's own server", "http://tools:1/run")),
        ({"use_vllm": True, "vllm_mode": "colocate"}, GoneError("a reward model's own server")),
        ({}, GoneError("a tool's own server")),
        ({}, RuntimeError("something else")),
    ],
)
def test_errors_of_others_stay_as_they_are(options, error):
    with pytest.raises(type(error)) as caught, generation_explained(3, GRPOConfig("x", **options, **CPU)):
        raise error
    assert caught.value is error


def test_logits_that_are_not_finite_are_named():
    with pytest.raises(ValueError, match="step 3: the policy's logits are NaN"), generation_explained(3, None):
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
