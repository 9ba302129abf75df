"""Per-token statistics of a policy: through its LM head without logits, or from its own logits where it must be."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from entrokit.distributions import TokenStatistics, token_statistics
from entrokit.rlvr import PolicyStats

from .batch import predicted
from .head import KEYWORD, HeadRequest, UnknownHeadError, attach_head, bare

# Nats. Half precision rounds the native logits; float32 differs by the order of summation only.
_TOLERANCE, _HALF_TOLERANCE = 1e-3, 0.1


@dataclass(frozen=True)
class PolicyForward:
    """How a policy's statistics are computed. Build it with `policy_forward`.

    Attributes:
        temperature: of sampling.
        autocast: makes the context of a forward.
        head_unknown: why the model's own logits are used; None where its head is read directly.
    """

    temperature: float
    autocast: Callable[[], AbstractContextManager[Any]]
    head_unknown: str | None = None

    def stats(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        length: int,
        need: frozenset[str],
        batch_size: int | None = None,
    ) -> PolicyStats:
        """Statistics of the last ``length`` of ``input_ids [B, L]``, ``batch_size`` rows at a time: ``[B, length]``.

        Zeros where ``attention_mask [B, L]`` is 0. Always through ``model(...)`` itself, so that the hooks of DDP, FSDP
        and PEFT run.
        """
        size = batch_size or max(1, len(input_ids))
        chunks = [slice(start, start + size) for start in range(0, max(1, len(input_ids)), size)]
        parts = [self._some(model, input_ids[rows], attention_mask[rows], length, need) for rows in chunks]
        names = [n for n in TokenStatistics.__dataclass_fields__ if parts[0].get(n) is not None]
        return PolicyStats(**{n: torch.cat([part[n] for part in parts]) for n in names})

    def prompt_logp(self, model: Any, ids: Tensor, mask: Tensor, batch_size: int | None = None) -> Tensor:
        """Log-probabilities of the tokens of left-padded prompts but the first, ``[B, P - 1]``, without gradient.

        Zeros where nothing was predicted: at padding, and at a prompt's first token.
        """
        if ids.shape[1] < 2:
            return torch.zeros(len(ids), 0, device=ids.device)
        with torch.no_grad():
            logp = self.stats(model, ids, mask, ids.shape[1] - 1, frozenset({"logp"}), batch_size).logp
        return torch.where(predicted(mask), logp, 0.0)

    def loss(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        length: int,
        need: frozenset[str],
        loss: Callable[[PolicyStats], Tensor],
    ) -> tuple[Tensor, PolicyStats]:
        """A loss that is separable by token, and the statistics without gradient: see `linear_token_loss`."""
        assert self.head_unknown is None

        def of_statistics(statistics: TokenStatistics) -> Tensor:
            return loss(PolicyStats.of(statistics))

        request = replace(self._request(input_ids, attention_mask, length, need), loss=of_statistics)
        answer = self._ask(model, input_ids, attention_mask, request)
        value = answer.pop("loss")
        return value, PolicyStats(**answer)

    def _some(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, length: int, need: frozenset[str]
    ) -> dict[str, Any]:
        if self.head_unknown is None:
            request = self._request(input_ids, attention_mask, length, need)
            return self._ask(model, input_ids, attention_mask, request)
        with self.autocast():
            logits = _last_logits(model, input_ids, attention_mask, length + 1)[:, :-1]
        tokens, mask = _last(input_ids, length), _last(attention_mask, length).bool()
        return vars(token_statistics(logits, tokens, temperature=self.temperature, mask=mask, need=need))

    def _request(self, input_ids: Tensor, attention_mask: Tensor, length: int, need: frozenset[str]) -> HeadRequest:
        mask = _last(attention_mask, length).bool()
        return HeadRequest(_last(input_ids, length), mask, self.temperature, need)

    def _ask(self, model: Any, input_ids: Tensor, attention_mask: Tensor, request: HeadRequest) -> dict[str, Tensor]:
        with self.autocast():
            answer: dict[str, Tensor] = model(input_ids=input_ids, attention_mask=attention_mask, **{KEYWORD: request})
        return answer


def policy_forward(
    model: Any, *, temperature: float, autocast: Callable[[], AbstractContextManager[Any]]
) -> PolicyForward:
    """Reads the head of a model directly where that gives what its own logits give, on a few tokens.

    Raises:
        ValueError: even its last logits differ from those of its whole output (it ignores ``logits_to_keep`` or shifts
            its output); training on it would be silently wrong.
    """
    attach_head(model)
    direct = PolicyForward(temperature, autocast)
    try:
        gap, allowed = _gap(direct, model)
        reason = f"its head, read directly, differs from its logits by {gap:.3g} nats"
    except UnknownHeadError as error:
        gap, allowed, reason = torch.inf, 0.0, str(error)
    except (AttributeError, TypeError) as error:
        gap, allowed, reason = torch.inf, 0.0, f"its backbone does not answer as others do ({error})"
    if gap <= allowed:
        return direct
    native = replace(direct, head_unknown=reason)
    gap, allowed = _gap(native, model)
    if not gap <= allowed:
        raise ValueError(
            f"{type(bare(model)).__name__}: log-probabilities from its last logits differ from those of its whole "
            f"output by {gap:.3g} nats; this architecture is not supported by EntropyGRPOTrainer"
        )
    return native


def _gap(forward: PolicyForward, model: Any) -> tuple[float, float]:
    """Largest difference of log-probabilities from a plain log-softmax of all logits, in nats, and what is allowed."""
    embeddings = model.get_input_embeddings().weight
    ids = torch.randint(embeddings.shape[0], (2, 8), generator=torch.Generator().manual_seed(0)).to(embeddings.device)
    everything = torch.ones_like(ids)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            with forward.autocast():
                native = model(input_ids=ids, attention_mask=everything, use_cache=False).logits
            ours = forward.stats(model, ids, everything, 5, frozenset({"logp"})).logp
    finally:
        model.train(was_training)
    log_p = torch.log_softmax(native.double() / forward.temperature, -1)[:, -6:-1]
    expected = log_p.gather(-1, ids[:, 3:, None]).squeeze(-1)
    allowed = _TOLERANCE if native.dtype in (torch.float32, torch.float64) else _HALF_TOLERANCE
    return float((ours.double() - expected).abs().max()), allowed


def _last(x: Tensor, length: int) -> Tensor:
    return x[:, x.shape[1] - length :]


def _last_logits(model: Any, input_ids: Tensor, attention_mask: Tensor, last: int) -> Tensor:
    keep = (
        {"logits_to_keep": last} if "logits_to_keep" in inspect.signature(type(bare(model)).forward).parameters else {}
    )
    logits: Tensor = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False, **keep).logits
    return logits[:, -last:]
