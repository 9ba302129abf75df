"""What holds on tiny random models, on a pretrained one: run where `python experiments/smollm2.py` has put it."""

import json

import pytest
import torch
from experiments import smollm2
from transformers import AutoModelForCausalLM, AutoTokenizer

from entrokit.distributions import linear_token_statistics
from entrokit.runs import Run, StepAccount
from entrokit.runs.layout import ACCOUNT
from entrokit.training.session import train
from entrokit.training.settings import TrainSettings

FOLDER = smollm2.folder()
pytestmark = pytest.mark.skipif(
    not FOLDER.exists(), reason=f"no real model in {FOLDER}; python experiments/smollm2.py fetches it (93 MB)"
)
TEXT = (
    "The river was low that summer, and the bridge, which nobody had painted for years, showed its rust to the boats."
)


@pytest.fixture(scope="module")
def hidden():
    """Last hidden states of a sentence, the head's weight, and the tokens that follow."""
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    ids = AutoTokenizer.from_pretrained(FOLDER)(TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        states = model.model(input_ids=ids).last_hidden_state[0]
    return states[:-1], model.lm_head.weight.detach(), ids[0, 1:]


def test_statistics_of_a_trained_head_are_those_of_float64(hidden):
    states, weight, tokens = hidden
    logits = states.double() @ weight.double().T
    logp = logits.log_softmax(-1)
    p = logp.exp()
    found = linear_token_statistics(states, weight, tokens)
    expected = {
        "logp": logp.gather(1, tokens[:, None])[:, 0],
        "entropy": -(p * logp).sum(-1),
        "collision": p.square().sum(-1),
        "weighted_surprise": (p.square() * logp).sum(-1),
    }
    # A logit is a sum of 576 products; its rounding is at most that of the sum of their sizes, here up to 100.
    size = (states.abs() @ weight.abs().T).max().item()
    rounding = states.shape[1] ** 0.5 * torch.finfo(torch.float32).eps * size
    for name, value in expected.items():
        assert (getattr(found, name).double() - value).abs().max() <= rounding, name


@pytest.mark.parametrize("lora", [0, 4])
def test_the_account_of_two_steps(lora, tmp_path):
    """Chat prompts hold the padding token here, which is the end of a message: shares add up all the same."""
    train(
        TrainSettings(
            "grpo",
            str(tmp_path / "run"),
            task="words:mention",
            model=str(FOLDER),
            lora=lora,
            steps=2,
            updates=2,
            prompts=2,
            completions=4,
            max_completion_length=12,
            evaluation_prompts=0,
            system="Write one short sentence.",
            account_every=1,
        )
    )
    lines = (tmp_path / "run" / ACCOUNT).read_text().splitlines()
    accounts = [StepAccount.from_dict(json.loads(line)) for line in lines]
    moving = [a for a in accounts if a.gradient]
    assert moving
    for a in moving:
        # 30 layers in float32: on this model the two sides agreed to 2e-4 wherever they were compared.
        assert a.tokens == pytest.approx(a.gradient, rel=2e-3)
    if lora == 0:
        assert all((a.predicted > 0) == (a.measured > 0) for a in moving)
    assert Run.load(tmp_path / "run").config["learning_rate"] == (1e-4 if lora else 1e-5)
