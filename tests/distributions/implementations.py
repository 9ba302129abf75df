"""Every way to the same statistics, as functions of logits, the definitions that they are held to, and how closely."""

import math

import torch

from entrokit.distributions import STATISTICS, chunked, linear_token_statistics, token_statistics

from ..rounding import bound, unit


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


def tolerances(logits, tokens, temperature=1.0, longest=math.inf):
    """How far rounding may take each statistic of float32 code from `reference`.

    Each is a combination of moments Σ |x|ᵏ eˣ of x = z - max z, so it errs by their relative error times the sum of the
    absolute values combined. A moment errs by its sum over the vocabulary, by a few operations a term, and by what x
    lost: the size of the logits, rounded up to four times (division, subtraction, and again in the row's maximum).
    Sums longer than ``longest`` are added up in float64. Terms too small for a normal number may be lost whole: each is
    x² eˣ with eˣ below 1e-38 and -x below 100.
    """
    z = logits.double() / temperature
    x = (z - z.amax(-1, keepdim=True)).clamp(min=-1e4)
    p = torch.softmax(x, -1)
    log_s0, first, second = torch.logsumexp(x, -1), -(p * x).sum(-1), (p * x * x).sum(-1)
    collision, weighted = (p * p).sum(-1), -(p * p * x).sum(-1)
    largest = z.masked_fill(z.isinf(), 0.0).abs().amax(-1)
    moved = 4 * unit() * largest
    relative = bound(1.0, min(z.shape[-1], longest) + 8) + moved
    taken = -x.gather(-1, tokens[..., None]).squeeze(-1)
    allowed = {
        "logp": relative + unit() * taken + moved + unit() * log_s0,
        "entropy": relative * (1 + 2 * first + log_s0) + moved,
        "collision": 3 * relative * collision,
        "weighted_surprise": 3 * relative * (weighted + (1 + log_s0) * collision),
        "varentropy": 4 * relative * (first + second),
    }
    lost = z.shape[-1] * 1e4 * torch.finfo(torch.float32).smallest_normal
    return {name: value + lost for name, value in allowed.items()}


def gradient_tolerance(logits, tokens, temperature=1.0, weight=1.0):
    """How far rounding may take the gradient of ``weight`` times any of the statistics, or of their sum.

    It is p times a polynomial of degree two in s and H (`docs/one-pass.md`), both wrong by what the moments and the
    logits lost; where the token was taken, [j = a] - p is rounded too. The last rounding is to the logits' dtype.
    """
    z = logits.double() / temperature
    s = torch.log_softmax(z, -1).clamp(min=-1e4)
    p = s.exp()
    entropy = -(p * s).sum(-1, keepdim=True)
    largest = z.masked_fill(z.isinf(), 0.0).abs().amax(-1, keepdim=True)
    relative = bound(1.0, z.shape[-1] + 8) + 4 * unit() * largest
    size = p * (1 - s + entropy).square()
    taken = torch.zeros_like(p).scatter_(-1, tokens[..., None], 1.0)
    kept = 0.0 if logits.dtype == torch.float32 else 2 * unit(logits.dtype)
    spacing = torch.finfo(logits.dtype).smallest_normal * torch.finfo(logits.dtype).eps
    lost = 1e4 * torch.finfo(torch.float32).smallest_normal + spacing  # of p, then of the result
    return weight / temperature * (4 * relative * size + (kept + 2 * unit()) * (size + taken) + lost)


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

# (back end, form, statistics it has, terms of its longest sum in float32)
IMPLEMENTATIONS = {
    "torch-logits": ("torch", "logits", STATISTICS, math.inf),
    "torch-linear": ("torch", "linear", STATISTICS, chunked.TILE_COLUMNS),
    "triton-logits": ("triton", "logits", STATISTICS, math.inf),
    "triton-linear": ("triton", "linear", STATISTICS, math.inf),
}
