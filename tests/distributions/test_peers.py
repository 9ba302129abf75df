"""Parity with the functions of TRL and verl that compute the same, on random inputs."""

import pytest
import torch

from entrokit.distributions import linear_token_statistics, token_statistics

from ..rounding import assert_within, bound, unit


def test_trl_selective_log_softmax_and_entropy():
    trl = pytest.importorskip("trl.trainer.utils")
    logits, tokens = torch.randn(3, 7, 301, dtype=torch.float64), torch.randint(301, (3, 7))
    grads = []
    for form in ("ours", "trl"):
        z = logits.clone().requires_grad_()
        if form == "ours":
            stats = token_statistics(z, tokens, temperature=0.7, need={"entropy"})
            logp, entropy = stats.logp, stats.entropy
        else:
            logp, entropy = trl.selective_log_softmax_and_entropy(z, tokens, temperature=0.7)
        (logp * 0.3 - entropy).sum().backward()
        grads.append((logp.detach(), entropy.detach(), z.grad))
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_trl_chunked_lm_head(softcap, scale):
    trl = pytest.importorskip("trl.trainer.utils")
    hidden, weight, bias = (torch.randn(*shape, dtype=torch.float64) for shape in ((9, 16), (301, 16), (301,)))
    tokens = torch.randint(301, (9,))
    results = []
    for form in ("ours", "trl"):
        h, w, b = (x.clone().requires_grad_() for x in (hidden, weight, bias))
        if form == "ours":
            cap = None if softcap is None else softcap / scale
            stats = linear_token_statistics(
                h, w, tokens, bias=b, temperature=0.7 / scale, softcap=cap, need={"entropy", "collision", "top_token"}
            )
            logp, entropy, log_squares = stats.logp, stats.entropy, stats.collision.detach().log()
            is_top = stats.top_token == tokens
        else:
            outputs = ("entropy", "log_sum_sq_probs", "is_top1")
            logp, entropy, log_squares, _, is_top = trl._ChunkedLogProbFunction.apply(
                h, w, b, tokens, 0.7, 128, softcap, scale, outputs
            )
        (logp * 0.3 - entropy).sum().backward()
        results.append((logp.detach(), entropy.detach(), log_squares, is_top, h.grad, w.grad, b.grad))
    # Theirs adds up in float32: logits rounded to it, and sums over the vocabulary of them. Values are differences of
    # numbers of the logits' size; what is wrong in a gradient is a share of the largest.
    largest = float((hidden @ weight.T + bias).abs().max()) / 0.7
    relative = bound(1.0, 301 + 8) + 4 * unit() * largest
    for ours, theirs in zip(*results, strict=True):
        if ours.dtype == torch.bool:
            assert torch.equal(ours, theirs)
        else:
            assert_within(
                ours, theirs, 2 * relative * (largest if ours.shape == tokens.shape else float(theirs.abs().max()))
            )


def test_verl_entropy_and_logprobs_from_logits():
    verl = pytest.importorskip("verl.utils.torch_functional")
    logits, tokens = torch.randn(3, 7, 301, dtype=torch.float64), torch.randint(301, (3, 7))
    stats = token_statistics(logits, tokens, need={"entropy"})
    torch.testing.assert_close(stats.entropy, verl.entropy_from_logits(logits), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(stats.logp, verl.logprobs_from_logits(logits, tokens), rtol=1e-9, atol=1e-9)
