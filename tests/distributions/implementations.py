"""Every way to the same statistics, as functions of logits, and the definitions that they are held to."""

import torch

from entrokit.distributions import STATISTICS, linear_token_statistics, token_statistics


def reference(logits, tokens, temperature=1.0):
    """The definitions, written naively in float64."""
    log_p = torch.log_softmax(logits.double() / temperature, -1)
    p = log_p.exp()
    s = log_p.masked_fill(p == 0, 0.0)
    h = -(p * s).sum(-1)
    return {
        "logp": log_p.gather(-1, tokens[..., None]).squeeze(-1),
        "entropy": h,
        "collision": (p * p).sum(-1),
        "weighted_surprise": (p * p * s).sum(-1),
        "varentropy": (p * s * s).sum(-1) - h * h,
    }


def linear_form(logits, tokens, **options):
    """Logits as a product: identity for hidden states, the logits as the head, and a bias that forbids.

    A token must be forbidden in every row or in none.
    """
    rows = logits.reshape(-1, logits.shape[-1])
    forbidden = torch.isneginf(rows)
    # One unit more than rows, so that an empty batch has a width too.
    weight = torch.cat([rows.masked_fill(forbidden, 0.0), torch.zeros_like(rows[:1].sum(0, keepdim=True))]).T
    bias = torch.zeros(len(weight), dtype=logits.dtype).masked_fill(forbidden.any(0), -torch.inf)
    hidden = torch.eye(len(rows), len(rows) + 1, dtype=logits.dtype).view(*tokens.shape, len(rows) + 1)
    options = options if forbidden.any() else options | {"bias": None}
    return linear_token_statistics(hidden, weight, tokens, **({"bias": bias} | options))


FORMS = {"logits": token_statistics, "linear": linear_form}

# (back end, form, statistics it has)
IMPLEMENTATIONS = {
    "torch-logits": ("torch", "logits", STATISTICS),
    "torch-linear": ("torch", "linear", STATISTICS),
    "triton-logits": ("triton", "logits", STATISTICS),
    "triton-linear": ("triton", "linear", STATISTICS),
    "liger-linear": ("liger", "linear", ("logp", "entropy")),
}
