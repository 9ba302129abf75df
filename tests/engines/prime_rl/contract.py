"""prime-rl's side of a custom loss, on dataclasses of the same fields, and what its trainer does with the results.

Read in prime-rl 0.8.0 (commit 559b447): src/prime_rl/trainer/rl/loss.py and train.py.
"""

import importlib
from dataclasses import dataclass

import torch


@dataclass
class LossInputs:
    trainer_logprobs: torch.Tensor
    inference_logprobs: torch.Tensor
    ref_logprobs: torch.Tensor | None
    advantages: torch.Tensor
    loss_mask: torch.Tensor
    loss_weights: torch.Tensor | None = None


@dataclass
class LossOutputs:
    loss: torch.Tensor
    metrics: dict[str, torch.Tensor]


def imported(path):
    """An object by its dotted path, found at the last dot."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def step(sequences, function, *, cuts):
    """Loss and metrics of one optimiser step as prime-rl makes them: micro-batches of packed sequences on several
    ranks, each sum divided by the number of member tokens of the whole step.

    ``cuts``: lists of indices of sequences, one a micro-batch.
    """
    members = sum(int(_members(s).sum()) for s in sequences)
    total, metrics = 0.0, {}
    for cut in cuts:
        loss = sequences[cut[0]].trainer_logprobs.sum() * 0.0
        for index in cut:
            own = sequences[index]
            mask = _members(own)
            if own.loss_weights is not None and not mask.any():
                continue
            out = function(LossInputs(**{**vars(own), "loss_mask": mask}))
            assert out.loss.shape == ()
            loss = loss + out.loss
            for name, value in out.metrics.items():
                metrics.setdefault(name, []).append(value)
        total = total + loss / max(members, 1)
    return total, {name: torch.stack(values) for name, values in metrics.items()}


def _members(sequence):
    mask = sequence.loss_mask
    return mask if sequence.loss_weights is None else mask & (sequence.loss_weights != 0)


def batch(seed=0, *, dtype=torch.float64, scale=0.5):
    """Five sequences: prompts in front, a tool's turn inside one, no token that trains in another, one of one token.

    Advantages are one number a sequence, positive and negative; ratios leave the usual clips on both sides.
    """
    g = torch.Generator().manual_seed(seed)
    masks = ["0001111111", "00110001110", "0000", "01", "000111111111110"]
    advantages = [1.3, -0.7, 0.4, 0.9, -1.1]
    made = []
    for mask, advantage in zip(masks, advantages, strict=True):
        n = len(mask)
        old = -3 * torch.rand(n, generator=g, dtype=dtype) - 0.7
        logp = (old + scale * torch.randn(n, generator=g, dtype=dtype)).clamp(max=-1e-3).requires_grad_()
        member = torch.tensor([c == "1" for c in mask])
        made.append(LossInputs(logp, old, None, torch.full((n,), advantage, dtype=dtype), member))
    return made


CUTS = [[[0, 1, 2, 3, 4]], [[0], [1], [2], [3], [4]], [[2, 4, 0], [3, 1]]]


def padded(sequences):
    """The whole batch as ``[B, T]`` tensors: log-probabilities with gradient, old ones, advantages, mask."""

    def column(name):
        return torch.nn.utils.rnn.pad_sequence([getattr(s, name) for s in sequences], batch_first=True)

    return column("trainer_logprobs"), column("inference_logprobs"), column("advantages"), column("loss_mask")


def gradients(loss, sequences):
    return torch.cat(torch.autograd.grad(loss, [s.trainer_logprobs for s in sequences], retain_graph=True))
