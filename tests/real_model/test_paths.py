"""Paths on a pretrained model: run where `python experiments/smollm2.py` has put it."""

import pytest
import torch
from experiments import smollm2
from transformers import AutoModelForCausalLM, AutoTokenizer

from entrokit.decoding.path_nucleus import PathTopP

FOLDER = smollm2.folder()
pytestmark = pytest.mark.skipif(
    not FOLDER.exists(), reason=f"no real model in {FOLDER}; python experiments/smollm2.py fetches it (93 MB)"
)


def test_the_most_probable_pairs_are_beam_search_on_padded_prompts():
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    given = tokenizer(
        ["The river was low", "In the morning, before anybody else was up,"],
        return_tensors="pt",
        padding=True,
        padding_side="left",
    )
    shape = {"max_new_tokens": 5, "return_dict_in_generate": True, "do_sample": False}
    beams = model.generate(**given, num_beams=3, length_penalty=0.0, output_scores=True, **shape)
    paths = model.generate(**given, custom_generate=PathTopP(3, 1.0, do_sample=False), **shape)
    assert torch.equal(paths.sequences, beams.sequences)
    # Logits of size 30 in float32 over five tokens; what separates two beams is far above it.
    torch.testing.assert_close(paths.log_probs[:, 0].float(), beams.sequences_scores, atol=1e-3, rtol=0)
    assert (paths.log_probs[:, 0] - paths.log_probs[:, 1] > 1e-3).all()
