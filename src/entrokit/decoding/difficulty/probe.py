"""DiffAdapt: how hard a question is, read off its prefill, decides how it is answered.

DiffAdapt: Difficulty-Adaptive Reasoning for Token-Efficient LLM Inference (arXiv 2510.19669). Offline, a frozen model
answers every question n times; with a the share of right answers and H the mean entropy of its tokens,

    normal if a >= alpha and H <= beta;  hard if not normal and a < gamma;  easy otherwise

(easy holds what is solved with needless uncertainty). A two-layer probe learns these labels from the last hidden state
of the prompt; online it is read once a question and picks one of three ways to answer it. The model is never trained.

No primary text or code was at hand: thresholds have no published values, hidden width 256 and standardised features are
ours, and so are the words of the prompts.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

EASY, NORMAL, HARD = 0, 1, 2
CLASSES = ("easy", "normal", "hard")


@dataclass(frozen=True)
class Strategy:
    """One way to answer: an instruction put before the question, a temperature > 0, and a share of the token limit."""

    prompt: str
    temperature: float
    token_fraction: float

    def __post_init__(self) -> None:
        if self.temperature <= 0 or not 0 < self.token_fraction <= 1:
            raise ValueError(
                f"Strategy: temperature must be above 0 and token_fraction in (0, 1], got {self.temperature} and "
                f"{self.token_fraction}"
            )

    def budget(self, max_tokens: int) -> int:
        """Tokens allowed, at least 1."""
        return max(1, int(self.token_fraction * max_tokens))


STRATEGIES = (
    Strategy("Solve this directly, then check your answer once.", 0.5, 0.4),
    Strategy("Work through this step by step.", 0.8, 1.0),
    Strategy("Tokens are limited: outline an approach first, and stop early if it fails.", 0.4, 0.5),
)


def generation_entropy(token_entropy: Tensor, mask: Tensor) -> Tensor:
    """Mean entropy of each response's tokens, ``[B]`` nats.

    ``token_entropy``: ``[B, L]`` nats. ``mask``: ``[B, L]`` bool.

    Raises:
        ValueError: a response without tokens: 0 would read as certainty. Leave it out.
    """
    count = mask.sum(1)
    if not bool(count.all()):
        empty = (count == 0).nonzero()[:, 0].tolist()
        raise ValueError(f"generation_entropy: responses {empty} have no tokens in the mask; leave them out")
    return torch.where(mask, token_entropy, 0.0).sum(1) / count


def label_difficulty(correct_rate: Tensor, entropy: Tensor, alpha: float, beta: float, gamma: float) -> Tensor:
    """Labels of questions, ``[N]`` int64: 0 easy, 1 normal, 2 hard.

    Args:
        correct_rate: share of right answers, ``[N]``. entropy: mean over a question's answers, ``[N]`` nats.
        alpha: least rate of a normal question. beta: its largest entropy, nats. gamma: a question below it is hard.

    Raises:
        ValueError: ``gamma`` above ``alpha``: questions between them would be hard for being uncertain.
    """
    if not 0 <= gamma <= alpha <= 1:
        raise ValueError(f"label_difficulty: needs 0 <= gamma <= alpha <= 1, got gamma={gamma} and alpha={alpha}")
    normal = (correct_rate >= alpha) & (entropy <= beta)
    hard = ~normal & (correct_rate < gamma)
    return torch.where(normal, NORMAL, torch.where(hard, HARD, EASY))


class DifficultyProbe(nn.Module):
    """A two-layer probe ``[B, d] -> [B, 3]`` (logits), with `fit` and `predict` as in scikit-learn.

    Args:
        d_model: width of the hidden states. hidden: of the probe; None for a linear one.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, d_model: int, hidden: int | None = 256, n_classes: int = len(CLASSES)) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(d_model))
        self.register_buffer("scale", torch.ones(d_model))
        if hidden is None:
            self.layers: nn.Module = nn.Linear(d_model, n_classes)
        else:
            self.layers = nn.Sequential(nn.Linear(d_model, hidden), nn.ReLU(), nn.Linear(hidden, n_classes))

    def forward(self, h: Tensor) -> Tensor:
        if h.shape[-1] != len(self.mean):
            raise ValueError(f"DifficultyProbe: made for hidden states of width {len(self.mean)}, got {h.shape[-1]}")
        logits: Tensor = self.layers((h.float() - self.mean) / self.scale)
        return logits

    def fit(
        self, h: Tensor, y: Tensor, lr: float = 1e-3, epochs: int = 100, batch_size: int = 256, seed: int = 0
    ) -> DifficultyProbe:
        """Cross-entropy by AdamW over shuffled batches. ``h``: ``[N, d]``. ``y``: ``[N]`` int64. Returns itself.

        A class without an example is warned of: the probe will hardly ever choose it.

        Raises:
            ValueError: fewer than two questions, or a hidden state that is not finite.
        """
        if len(h) < 2 or not bool(torch.isfinite(h).all()):
            raise ValueError(f"DifficultyProbe.fit: needs at least 2 finite hidden states, got shape {list(h.shape)}")
        missing = [name for k, name in enumerate(CLASSES) if not bool((y == k).any())]
        if missing:
            warnings.warn(f"DifficultyProbe: no question is labelled {' or '.join(missing)}", stacklevel=2)
        h = h.detach().float()
        self.mean, self.scale = h.mean(0), h.std(0).clamp(min=1e-6)
        generator = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.AdamW(self.layers.parameters(), lr=lr)
        for _ in range(epochs):
            order = torch.randperm(len(h), generator=generator)
            for start in range(0, len(h), batch_size):
                rows = order[start : start + batch_size]
                optimizer.zero_grad()
                torch.autograd.backward(nn.functional.cross_entropy(self(h[rows]), y[rows]))
                optimizer.step()
        return self

    @torch.no_grad()
    def predict_proba(self, h: Tensor) -> Tensor:
        """Probabilities of the classes, ``[B, 3]``."""
        probabilities: Tensor = self(h).softmax(-1)
        return probabilities

    def predict(self, h: Tensor, min_confidence: float = 0.0) -> Tensor:
        """The likeliest class, ``[B]`` int64; normal where its probability is below ``min_confidence``.

        Raises:
            ValueError: a hidden state of NaN, which would be labelled easy.
        """
        top = self.predict_proba(h).max(-1)
        if bool(torch.isnan(top.values).any()):
            raise ValueError(
                f"DifficultyProbe.predict: questions {top.values.isnan().nonzero()[:, 0].tolist()} are NaN"
            )
        return torch.where(top.values < min_confidence, NORMAL, top.indices)


def route(
    h: Tensor,
    probe: DifficultyProbe,
    strategies: Sequence[Strategy] = STRATEGIES,
    max_tokens: int = 32_768,
    min_confidence: float = 0.0,
) -> list[tuple[Strategy, int]]:
    """A strategy and its token limit for each question, from its hidden state ``[B, d]``."""
    chosen = (strategies[k] for k in probe.predict(h, min_confidence).tolist())
    return [(strategy, strategy.budget(max_tokens)) for strategy in chosen]


@torch.no_grad()
def prefill_states(model: nn.Module, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Last hidden state at each prompt's last token, ``[B, d]`` float32, whichever side the padding is on.

    Args:
        model: a causal language model of `transformers`; it is run in evaluation mode, and left as it was.

    Raises:
        ValueError: a prompt without tokens in ``attention_mask``.
    """
    empty = (~attention_mask.bool().any(1)).nonzero()[:, 0].tolist()
    if empty:
        raise ValueError(f"prefill_states: prompts {empty} have no tokens in the attention mask")
    was_training = model.training
    model.eval()
    try:
        states = model(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True).hidden_states[-1]
    finally:
        model.train(was_training)
    place = torch.arange(input_ids.shape[1], device=input_ids.device)
    last = torch.where(attention_mask.bool(), place, -1).amax(1)
    found: Tensor = states[torch.arange(len(last), device=last.device), last].float()
    return found


@dataclass(frozen=True)
class UShape:
    """Means by level of difficulty, from the easiest on; ``relative_drop``: of entropy, from there to its least."""

    level: list[int]
    entropy: list[float]
    correct_rate: list[float]
    relative_drop: float


def u_shape_report(level: Tensor, entropy: Tensor, correct_rate: Tensor) -> UShape:
    """How entropy and the rate of right answers depend on difficulty.

    Args:
        level: ``[N]`` int, 1 the easiest. entropy: ``[N]`` nats. correct_rate: ``[N]``.

    Raises:
        ValueError: no questions.
    """
    if not len(level):
        raise ValueError("u_shape_report: no questions")
    levels = torch.unique(level)
    means = [float(entropy[level == k].mean()) for k in levels]
    rates = [float(correct_rate[level == k].mean()) for k in levels]
    return UShape(levels.tolist(), means, rates, (means[0] - min(means)) / means[0] if means[0] else 0.0)
