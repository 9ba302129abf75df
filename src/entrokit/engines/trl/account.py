"""`EntropyAccountCallback`: the entropy account of a TRL run, live.

It listens to a trainer's loss, so the coefficients of the tokens are those that the step was really taken with; what
the trainer computes stays bit for bit the same. On every n-th optimiser step it costs, for a sample of the step's rows,
one forward and backward, one directional derivative and one forward more.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from entrokit.account import TokenShare, free_logit_change, split
from entrokit.account.next_step import next_moves, supports
from entrokit.diagnose import law_of_run
from entrokit.rlvr import PolicyStats
from entrokit.rlvr.interventions.pear import marker_start
from entrokit.runs import StepAccount, correlation
from entrokit.runs.layout import ACCOUNT

from .directional import token_derivatives
from .forward import PolicyForward, policy_forward
from .listening import Captured, LossListener, draw, turns_of
from .paths import hidden_from_account, through_padding

_STATISTICS = frozenset({"logp", "entropy"})
_LAW_FROM = 20  # points of entropy and reward


@dataclass
class _Open:
    """An account before its step is taken: what is known of it, and the states whose entropy is measured again."""

    known: dict[str, Any]
    before: float
    states: list[tuple[Captured, Tensor]]
    trained: int


class EntropyAccountCallback(TrainerCallback):  # type: ignore[misc]
    """Writes `StepAccount`s of a TRL trainer (`GRPOTrainer`, `RLOOTrainer`, `EntropyGRPOTrainer`).

        trainer.add_callback(EntropyAccountCallback(trainer))

    Once the law of entropy and reward can be trusted, the ceiling that it predicts is logged too, as ``law/…``.
    Every account is a line of ``entropy_account.jsonl`` in the trainer's output folder, which `entrokit diagnose`
    reads, and its main numbers go to the trainer's log as ``account/…``: shares of quadrants there are what the
    optimiser got of them, after the gradient's norm was clipped.

    Args:
        trainer: the trainer that is listened to.
        every: one optimiser step of this many is looked at, drawn by lot.
        rows: completions that are looked at, drawn anew for the states and for the tokens, so that sums over them are
            unbiased; None takes all, and the shares then add up to the prediction.
        end_of_thinking: text after which a completion's tokens count as its answer.

    Raises:
        ValueError: several processes, FSDP, DeepSpeed, fp16, a loss that hides its log-probabilities
            (``use_liger_kernel``), an embedding with ``scale_grad_by_freq`` or ``sparse``, steps that are clipped
            (``radius``), or a number out of range.
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
        if trainer.args.fp16:
            raise ValueError("EntropyAccountCallback: fp16 scales the loss, and the shares with it; use bf16=True")
        if trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled:
            raise ValueError("EntropyAccountCallback: DeepSpeed and FSDP hold parameters in pieces; leave it out here")
        radius = getattr(trainer, "radius", None)
        if radius is not None and radius.options.clip is not None:
            raise ValueError(
                "EntropyAccountCallback: accounts for the step that the optimiser takes, which "
                f"RadiusOptions(clip={radius.options.clip}) would shorten; measure alone: clip=None"
            )
        if reason := hidden_from_account(trainer.model):
            raise ValueError(f"EntropyAccountCallback: does not know the gradient of an embedding: {reason}")
        self._trainer, self._every, self._rows = trainer, every, rows
        self._file = Path(trainer.args.output_dir) / ACCOUNT
        tokenizer = getattr(trainer.processing_class, "tokenizer", trainer.processing_class)
        self._decode = tokenizer.decode
        self._marker = tokenizer.encode(end_of_thinking, add_special_tokens=False) if end_of_thinking else None
        self._forward: PolicyForward = getattr(trainer, "_forward", None) or policy_forward(
            trainer.model, temperature=trainer.temperature, autocast=trainer.accelerator.autocast
        )
        self._listener = LossListener(trainer)
        self._open: _Open | None = None
        self._course: list[tuple[float, float]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not supports(kwargs["optimizer"]):
            next(next_moves(kwargs["optimizer"]), None)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        block, place = divmod(state.global_step, self._every)
        # A step of each block by lot: every n-th would always be, say, the first one after a generation.
        chosen = random.Random(f"{args.seed} {block}").randrange(self._every)
        if place == chosen:
            self._listener.begin()
        else:
            self._listener.end()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        batches = self._listener.batches
        if batches and sum(int(b.trained.sum()) for b in batches):
            with self._aside():
                self._open = self._open_account(state.global_step, kwargs["optimizer"])

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._open is None:
            return
        opened, self._open = self._open, None
        self._listener.end()
        with self._aside(), torch.no_grad():
            after = self._entropy(opened.states, opened.known["rows"], opened.trained)
        account = StepAccount(**opened.known, measured=after.item() - opened.before)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as out:
            out.write(account.to_json() + "\n")
        for name in ("predicted", "measured", "memory", "decay", "clipping", "tokens"):
            self._trainer._metrics["train"][f"account/{name}"].append(getattr(account, name))
        for key, part in account.splits["quadrant"].items():
            self._trainer._metrics["train"][f"account/{key}"].append(account.kept * part.share)

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
        batches = self._listener.batches
        assert batches is not None
        count = sum(int(b.trained.sum()) for b in batches)
        rows = sum(len(b.tokens) for b in batches)
        generator = torch.Generator().manual_seed(step)
        states = draw(batches, [torch.ones(len(b.tokens), dtype=torch.bool) for b in batches], self._rows, generator)
        # Rows without a gradient have no shares: leaving them out of the draw costs no bias and saves spread.
        active = [b.active.any(1).cpu() for b in batches]
        chosen, moving = draw(batches, active, self._rows, generator), sum(int(a.sum()) for a in active)
        with through_padding():
            entropy = self._entropy(states, rows, count)
        direction, parts = self._direction(entropy, optimizer)
        kept = self._listener.kept_by_clipping
        tokens = self._shares(direction, chosen)
        free = [t.free for t in tokens]
        scale = moving / max(1, sum(len(index) for _, index in chosen))
        unclipped = parts["gradient"] / kept
        known: dict[str, Any] = {
            "step": step,
            "every": self._every,
            "rows": rows,
            "sampled": sum(len(index) for _, index in chosen),
            "entropy": sum(float((b.entropy * b.trained).sum()) for b in batches if b.entropy is not None) / count,
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

    def _direction(self, entropy: Tensor, optimizer: Any) -> tuple[dict[str, Tensor], dict[str, float]]:
        """``P ∇H`` by parameter name, and the parts of the prediction ``⟨∇H, Δθ⟩`` as `Move.along` names them."""
        named = {n: p for n, p in self._model.named_parameters() if p.requires_grad and p.grad is not None}
        direction: dict[str, Tensor] = {}
        parts = {"gradient": 0.0, "memory": 0.0, "decay": 0.0}
        if not named:
            return direction, parts
        slopes = torch.autograd.grad(entropy, list(named.values()), allow_unused=True)
        moves = {id(m.parameter): m for m in next_moves(optimizer)}
        for (name, parameter), slope in zip(named.items(), slopes, strict=True):
            move = moves.get(id(parameter))
            if slope is None or move is None:
                continue
            parts = {key: parts[key] + float(value) for key, value in move.along(slope).items()}
            direction[name] = move.preconditioner * slope
        return direction, parts

    @property
    def _model(self) -> Any:
        return self._trainer.accelerator.unwrap_model(self._trainer.model)

    def _entropy(self, states: Sequence[tuple[Captured, Tensor]], rows: int, count: int) -> Tensor:
        """Mean entropy over the step's trained tokens, estimated without bias from the sampled rows."""
        total = torch.zeros((), device=self._trainer.accelerator.device)
        sampled = sum(len(index) for _, index in states)
        for batch, index in states:
            stats = self._forward.stats(self._model, batch.ids[index], batch.real[index], batch.length, _STATISTICS)
            total = total + torch.where(batch.trained[index], stats.require("entropy", "account"), 0.0).sum()
        return total * (rows / sampled / count)

    def _shares(self, direction: Mapping[str, Tensor], chosen: Sequence[tuple[Captured, Tensor]]) -> list[TokenShare]:
        shares: list[TokenShare] = []
        for batch, index in chosen:
            stats, derivatives = token_derivatives(
                self._model,
                direction,
                batch.ids[index],
                batch.real[index],
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
        return shares

    def _named(
        self, batch: Captured, index: Tensor, share: Tensor, free: Tensor, stats: PolicyStats
    ) -> Iterator[TokenShare]:
        train, tokens = batch.trained[index], batch.tokens[index]
        turn = turns_of(train).tolist()
        begin, has = (torch.zeros(len(index)),) * 2
        if self._marker:
            begin, has = marker_start(tokens, train, self._marker)
        clipped = ((batch.advantages[index] != 0) & ~batch.active[index]).tolist()
        texts = {t: self._decode([t]) for t in set(tokens[train].tolist())}
        entropies = stats.require("entropy", "account")
        columns = [x.tolist() for x in (share, free, batch.advantages[index], stats.logp, entropies)]
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
