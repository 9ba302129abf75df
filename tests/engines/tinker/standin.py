"""What the Tinker API promises, on a table of logits: weighted cross-entropy through log-probabilities, and Adam."""

from types import SimpleNamespace

import tinker
import torch

VOCABULARY = 8


def _done(value):
    return SimpleNamespace(result=lambda: value)


class Client:
    def __init__(self):
        self.logits = torch.zeros(VOCABULARY, VOCABULARY, requires_grad=True)
        self.adam = torch.optim.Adam([self.logits], lr=0.1)

    def _logp(self, datum):
        targets = datum.loss_fn_inputs["target_tokens"].to_torch()
        rows = self.logits[torch.tensor(datum.model_input.to_ints())]
        return rows.log_softmax(-1).gather(-1, targets[:, None])[:, 0]

    def forward_backward_custom(self, data, loss_fn):
        leaves = [self._logp(datum).detach().clone().requires_grad_() for datum in data]
        loss, metrics = loss_fn(data, leaves)
        loss.backward()
        assert all(leaf.grad is not None for leaf in leaves)
        # The SDK sends tensors of float32.
        weights = [-leaf.grad.float() for leaf in leaves]
        sum((-w * self._logp(datum)).sum() for datum, w in zip(data, weights, strict=True)).backward()
        return _done(SimpleNamespace(metrics=metrics))

    def optim_step(self, params):
        assert isinstance(params, tinker.AdamParams)
        self.adam.step()
        self.adam.zero_grad()
        return _done(None)

    def save_weights_and_get_sampling_client(self, name):
        return self.logits.detach().clone()


class Service:
    def create_lora_training_client(self, base_model, rank):
        return Client()
