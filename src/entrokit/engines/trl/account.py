"""`EntropyAccountCallback`: the entropy account of a TRL run, live.

It listens to a trainer's loss, so the coefficients of the tokens are those that the step was really taken with; what
the trainer computes stays bit for bit the same. On every n-th optimiser step it costs, for a sample of the step's rows,
one forward and backward, one directional derivative and one forward more.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from entrokit.diagnose import StepAccount, TokenShare, correlation, free_logit_change, law_of_run, split
from entrokit.diagnose.next_step import next_moves, supports
from entrokit.rlvr import PolicyStats
from entrokit.rlvr.interventions.pear import marker_start
from entrokit.runs.layout import ACCOUNT

from .directional import token_derivatives
from .forward import PolicyForward, policy_forward
from .trainer import EntropyGRPOTrainer

_STATISTICS = frozenset({"logp", "entropy"})
_LAW_FROM = 20  # points of entropy and reward


@dataclass
class _Batch:
    """A micro-batch of the step, and the derivatives of the loss in its tokens' statistics, all ``[B, T]``."""

    ids: Tensor
    attention: Tensor
    prompt: Tensor
    tokens: Tensor
    train: Tensor
    advantages: Tensor
    logp: Tensor | None = None
    entropy: Tensor | None = None
    coefficients: dict[str, Tensor] = field(default_factory=dict)

    @property
    def length(self) -> int:
        return self.tokens.shape[1]

    @property
    def active(self) -> Tensor:
        """``[B, T]`` bool: the loss takes a gradient from them."""
        found = torch.zeros_like(self.train)
        for coefficient in self.coefficients.values():
            found |= coefficient != 0
        return found

    def _keep(self, name: str, derivative: Tensor) -> None:
        self.coefficients[name] = derivative.detach()

    def watch(self, name: str, value: Tensor) -> None:
        """Keeps a statistic, and its derivative once it is known; the last one counts."""
        if name == "logp":
            self.logp = value.detach()
        elif name == "entropy":
            self.entropy = value.detach()
        if value.requires_grad:
            value.register_hook(partial(self._keep, name))  # type: ignore[no-untyped-call]


@dataclass
class _Open:
    """An account before its step is taken: what is known of it, and the states whose entropy is measured again."""

    known: dict[str, Any]
    before: float
    states: list[tuple[_Batch, Tensor]]
    trained: int


class EntropyAccountCallback(TrainerCallback):  # type: ignore[misc]
    """Writes `StepAccount`s of a TRL trainer (`GRPOTrainer`, `RLOOTrainer`, `EntropyGRPOTrainer`).

        trainer.add_callback(EntropyAccountCallback(trainer))

    Once the law of entropy and reward can be trusted, the ceiling that it predicts is logged too, as ``law/…``.
    Every account is a line of ``entropy_account.jsonl`` in the trainer's output folder, which `entrokit diagnose`
    reads, and its main numbers go to the trainer's log as ``account/…``.

    Args:
        trainer: the trainer that is listened to.
        every: one optimiser step of this many is looked at, drawn by lot.
        rows: completions that are looked at, drawn anew for the states and for the tokens, so that sums over them are
            unbiased; None takes all, and the shares then add up to the prediction.
        end_of_thinking: text after which a completion's tokens count as its answer.

    Raises:
        ValueError: several processes, a loss that hides its log-probabilities (``use_liger_kernel``), or a number out
            of range.
        TypeError: when training begins: an optimiser that `next_moves` does not know.
    """

    def __init__(
        self, trainer: Any, *, every: int = 10, rows: int | None = 12, end_of_thinking: str | None = None
    ) -> None:
        if every < 1 or (rows is not None and rows < 1):
            raise ValueError(f"EntropyAccountCallback: every and rows must be at least 1, got {every} and {rows}")
        if trainer.accelerator.num_processes > 1:
            raise ValueError(
                f"EntropyAccountCallback: accounts for one process, this run has {trainer.accelerator.num_processes}; "
                "leave it out here and let `entrokit diagnose` read the run's logs"
            )
        if getattr(trainer.args, "use_liger_kernel", False):
            raise ValueError("EntropyAccountCallback: the Liger loss hides log-probabilities; use_liger_kernel=False")
        self._trainer, self._every, self._rows = trainer, every, rows
        self._file = Path(trainer.args.output_dir) / ACCOUNT
        tokenizer = getattr(trainer.processing_class, "tokenizer", trainer.processing_class)
        self._decode = tokenizer.decode
        self._marker = tokenizer.encode(end_of_thinking, add_special_tokens=False) if end_of_thinking else None
        self._forward: PolicyForward = getattr(trainer, "_forward", None) or policy_forward(
            trainer.model, temperature=trainer.temperature, autocast=trainer.accelerator.autocast
        )
        self._batches: list[_Batch] | None = None
        self._norm = math.nan
        self._open: _Open | None = None
        self._course: list[tuple[float, float]] = []
        self._listen()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not supports(kwargs["optimizer"]):
            next(next_moves(kwargs["optimizer"]), None)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        block, place = divmod(state.global_step, self._every)
        # A step of each block by lot: every n-th would always be, say, the first one after a generation.
        chosen = random.Random(f"{args.seed} {block}").randrange(self._every)
        self._batches = [] if place == chosen else None

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._batches and sum(int(b.train.sum()) for b in self._batches):
            with self._aside():
                self._open = self._open_account(state.global_step, kwargs["optimizer"])

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._open is None:
            return
        opened, self._open, self._batches = self._open, None, None
        with self._aside(), torch.no_grad():
            after = self._entropy(opened.states, opened.known["rows"], opened.trained)
        account = StepAccount(**opened.known, measured=after.item() - opened.before)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as out:
            out.write(account.to_json() + "\n")
        for name in ("predicted", "measured", "memory", "decay", "clipping", "tokens"):
            self._trainer._metrics["train"][f"account/{name}"].append(getattr(account, name))
        for key, part in account.splits["quadrant"].items():
            self._trainer._metrics["train"][f"account/{key}"].append(part.share)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], **kwargs: Any) -> None:
        """Fits the law of entropy and reward to the run so far; its ceiling goes to the next log."""
        try:
            self._course.append((float(logs["entropy"]), float(logs["reward"])))
        except (KeyError, TypeError, ValueError):
            return
        # Ever rarer as the run grows, so that fits cost the same all along.
        if len(self._course) >= _LAW_FROM and len(self._course) % max(1, len(self._course) // _LAW_FROM) == 0:
            try:
                found = law_of_run(*zip(*self._course, strict=True))
            except ValueError:  # entropy has not moved
                return
            if found.trusted:
                low, high = found.ceiling
                for name, value in (("ceiling", found.law.ceiling), ("ceiling_low", low), ("ceiling_high", high)):
                    self._trainer._metrics["train"][f"law/{name}"].append(value)

    def _listen(self) -> None:
        """Wraps the trainer's loss and the function that gives it log-probabilities."""
        trainer, compute_loss = self._trainer, self._trainer._compute_loss

        def listening(model: Any, inputs: Mapping[str, Any]) -> Any:
            if self._batches is None or not trainer.model.training:
                return compute_loss(model, inputs)
            batch = _batch(inputs)
            self._batches.append(batch)
            with self._watching(batch):
                return compute_loss(model, inputs)

        trainer._compute_loss = listening
        clip = trainer._clip_grad_norm

        def clipping(model: Any) -> Any:
            norm = clip(model)
            self._norm = float(norm)
            return norm

        trainer._clip_grad_norm = clipping

    @contextmanager
    def _watching(self, batch: _Batch) -> Iterator[None]:
        """While a loss is computed: shows its statistics to the batch, and to whoever else is watching."""
        trainer = self._trainer
        own = "on_statistics" if isinstance(trainer, EntropyGRPOTrainer) else "_get_per_token_logps_and_entropies"
        before = getattr(trainer, own)

        def on_statistics(stats: PolicyStats) -> None:
            if before is not None:
                before(stats)
            for name, value in stats.columns().items():
                batch.watch(name, value)

        def log_probabilities(*args: Any, **kwargs: Any) -> Any:
            logp, entropy, rest = before(*args, **kwargs)
            for name, value in (("logp", logp), ("entropy", entropy)):
                if value is not None:
                    batch.watch(name, value)
            return logp, entropy, rest

        setattr(trainer, own, on_statistics if own == "on_statistics" else log_probabilities)
        try:
            yield
        finally:
            setattr(trainer, own, before)

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """In evaluation mode: no dropout, so no random numbers are drawn, and no checkpointing."""
        model = self._trainer.model
        model.eval()
        try:
            yield
        finally:
            model.train()

    def _open_account(self, step: int, optimizer: Any) -> _Open:
        batches = self._batches
        assert batches is not None
        count = sum(int(b.train.sum()) for b in batches)
        rows = sum(len(b.tokens) for b in batches)
        draw = torch.Generator().manual_seed(step)
        states = _draw(batches, [torch.ones(len(b.tokens), dtype=torch.bool) for b in batches], self._rows, draw)
        # Rows without a gradient have no shares: leaving them out of the draw costs no bias and saves spread.
        active = [b.active.any(1).cpu() for b in batches]
        chosen, moving = _draw(batches, active, self._rows, draw), sum(int(a.sum()) for a in active)
        named = {n: p for n, p in self._model.named_parameters() if p.requires_grad and p.grad is not None}
        entropy = self._entropy(states, rows, count)
        slopes = torch.autograd.grad(entropy, list(named.values()), allow_unused=True)
        direction: dict[str, Tensor] = {}
        moves = {id(m.parameter): m for m in next_moves(optimizer)}
        parts = {"gradient": 0.0, "memory": 0.0, "decay": 0.0}
        for (name, parameter), slope in zip(named.items(), slopes, strict=True):
            move = moves.get(id(parameter))
            if slope is None or move is None:
                continue
            parts = {key: parts[key] + float(value) for key, value in move.along(slope).items()}
            direction[name] = move.preconditioner * slope
        kept = self._kept_by_clipping()
        tokens, free = self._shares(direction, chosen)
        scale = moving / max(1, sum(len(index) for _, index in chosen))
        unclipped = parts["gradient"] / kept
        known: dict[str, Any] = {
            "step": step,
            "every": self._every,
            "rows": rows,
            "sampled": sum(len(index) for _, index in chosen),
            "entropy": sum(float((b.entropy * b.train).sum()) for b in batches if b.entropy is not None) / count,
            "predicted": sum(parts.values()),
            "gradient": unclipped,
            "clipping": parts["gradient"] - unclipped,
            "memory": parts["memory"],
            "decay": parts["decay"],
            "tokens": scale * sum(t.share for t in tokens),
            "free": scale * sum(free),
            "free_correlation": correlation([t.share for t in tokens], free),
            "splits": split(tokens, scale),
        }
        return _Open(known, entropy.item(), states, count)

    @property
    def _model(self) -> Any:
        return self._trainer.accelerator.unwrap_model(self._trainer.model)

    def _kept_by_clipping(self) -> float:
        """The factor that clipping the gradient's norm has multiplied it by."""
        limit = self._trainer.args.max_grad_norm
        if not limit or not math.isfinite(self._norm):
            return 1.0
        return min(1.0, float(limit) / (self._norm + 1e-6))

    def _entropy(self, states: Sequence[tuple[_Batch, Tensor]], rows: int, count: int) -> Tensor:
        """Mean entropy over the step's trained tokens, estimated without bias from the sampled rows."""
        total = torch.zeros((), device=self._trainer.accelerator.device)
        sampled = sum(len(index) for _, index in states)
        for batch, index in states:
            stats = self._forward.stats(
                self._model, batch.ids[index], batch.attention[index], batch.length, _STATISTICS
            )
            total = total + torch.where(batch.train[index], stats.require("entropy", "account"), 0.0).sum()
        return total * (rows / sampled / count)

    def _shares(
        self, direction: Mapping[str, Tensor], chosen: Sequence[tuple[_Batch, Tensor]]
    ) -> tuple[list[TokenShare], list[float]]:
        shares: list[TokenShare] = []
        for batch, index in chosen:
            stats, derivatives = token_derivatives(
                self._model,
                direction,
                batch.ids[index],
                batch.attention[index],
                batch.length,
                self._forward,
            )
            none = torch.zeros_like(stats.logp)
            share = none
            for name, coefficient in batch.coefficients.items():
                if name in derivatives:
                    share = share - coefficient[index] * derivatives[name]
            c = batch.coefficients.get("logp", none[:0])
            free = free_logit_change(
                c[index] if len(c) else none,
                *(stats.require(n, "account") for n in ("logp", "entropy", "collision", "weighted_surprise")),
            )
            shares += self._named(batch, index, share, free, stats)
        return shares, [t.free for t in shares]

    def _named(
        self, batch: _Batch, index: Tensor, share: Tensor, free: Tensor, stats: PolicyStats
    ) -> Iterator[TokenShare]:
        train, tokens = batch.train[index], batch.tokens[index]
        turn = turns_of(train).tolist()
        begin, has = (torch.zeros(len(index)),) * 2
        if self._marker:
            begin, has = marker_start(tokens, train, self._marker)
        clipped = ((batch.advantages[index] != 0) & ~batch.active[index]).tolist()
        texts = {t: self._decode([t]) for t in set(tokens[train].tolist())}
        columns = [x.tolist() for x in (share, free, batch.advantages[index], stats.logp, stats.entropy)]  # type: ignore[union-attr]
        for i, row in enumerate(train):
            ids = batch.prompt[index[i]]
            prompt = self._decode(ids[ids >= 0].tolist(), skip_special_tokens=True)[-120:]
            for t in row.nonzero()[:, 0].tolist():
                phase = ""
                if self._marker:
                    phase = "answer" if bool(has[i]) and t >= int(begin[i]) + len(self._marker) else "thinking"
                value, independent, advantage, logp, entropy = (column[i][t] for column in columns)
                yield TokenShare(
                    share=value,
                    free=independent,
                    advantage=advantage,
                    logp=logp,
                    entropy=entropy,
                    clipped=clipped[i][t],
                    position=t,
                    turn=turn[i][t],
                    phase=phase,
                    prompt=prompt,
                    token=texts[int(tokens[i, t])],
                )


def turns_of(train: Tensor) -> Tensor:
    """How many stretches of trained tokens lie before each trained token, ``[B, T]`` int64; -1 before the first.

    Tokens of tools and environments are not trained on, so a stretch is one turn of the policy.
    """
    starts = train & ~torch.nn.functional.pad(train, (1, 0))[:, :-1]
    turns: Tensor = starts.cumsum(1) - 1
    return turns


def _batch(inputs: Mapping[str, Any]) -> _Batch:
    prompt, completion = inputs["prompt_ids"], inputs["completion_ids"]
    attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
    train = inputs["completion_mask"].bool()
    if inputs.get("tool_mask") is not None:
        train = train & inputs["tool_mask"].bool()
    advantages = inputs["advantages"]
    advantages = advantages[:, None].expand(train.shape) if advantages.dim() == 1 else advantages
    return _Batch(
        ids=torch.cat([prompt, completion], 1),
        attention=attention,
        prompt=prompt.masked_fill(inputs["prompt_mask"] == 0, -1),
        tokens=completion,
        train=train,
        advantages=advantages.detach(),
    )


def _draw(
    batches: Sequence[_Batch], among: Sequence[Tensor], rows: int | None, generator: torch.Generator
) -> list[tuple[_Batch, Tensor]]:
    """Rows of the step, uniformly and without replacement, by the micro-batch in which they lie.

    Args:
        among: for each micro-batch ``[B]`` bool, the rows that may be drawn.
    """
    places = torch.cat([torch.stack([torch.full_like(i := a.nonzero()[:, 0], n), i], 1) for n, a in enumerate(among)])
    chosen = places[torch.randperm(len(places), generator=generator)[:rows].sort().values]
    drawn = []
    for n, batch in enumerate(batches):
        own = chosen[chosen[:, 0] == n, 1]
        if len(own):
            drawn.append((batch, own.to(batch.tokens.device)))
    return drawn
