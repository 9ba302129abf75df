"""The decoder: over any function of next-token logits, and as `custom_generate` of transformers.

decoder = PathTopP(k=4, p=0.9)
model.generate(**inputs, custom_generate=decoder, max_new_tokens=64)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from .checks import check_count, check_mass, check_number, next_logits, token_ids
from .custom_generate import PathOutput, generate_paths
from .nucleus import Scope
from .state import Moved, PathState, advance


@dataclass(frozen=True)
class Path:
    """One path: its tokens behind the prompt, the end included, their log-probability (nats), and whether it ended."""

    tokens: tuple[int, ...]
    log_prob: float
    finished: bool


@dataclass(frozen=True)
class PathTopP:
    """Nucleus sampling of k paths, each weighted by its own probability.

    Attributes:
        k: paths. p: mass of pairs (path, token) that are kept. temperature: of tokens; log-probabilities are at it.
        path_temperature: τ of w = softmax(L / τ); 1 is the joint law, and large ones keep paths that are far behind.
        length_power: a of L / length^a, with which paths are weighted and compared; 0 compares their probabilities.
        scope: ``joint`` or ``path``, see `path_nucleus`. do_sample: False takes the most probable pairs; with ``p=1``
            that is beam search.

    Raises:
        ValueError: an attribute out of range. TypeError: one that is no number.
    """

    k: int = 4
    p: float = 0.9
    temperature: float = 1.0
    path_temperature: float = 1.0
    length_power: float = 0.0
    scope: Scope = "joint"
    do_sample: bool = True

    def __new__(cls, *given: Any, **named: Any) -> Self:
        """Refuses to be called as ``custom_generate=PathTopP`` calls it."""
        if "generation_config" in named:
            raise TypeError("custom_generate takes a decoder, not its class: custom_generate=PathTopP(k=4, p=0.9)")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        check_count(self.k, "PathTopP: k")
        check_mass(self.p, "PathTopP: p")
        for name in ("temperature", "path_temperature", "length_power"):
            check_number(getattr(self, name), f"PathTopP: {name}")
        if not (self.temperature > 0 and self.path_temperature > 0 and self.length_power >= 0):
            raise ValueError(
                "PathTopP: temperature and path_temperature must be above 0, and length_power at least 0; got "
                f"{self.temperature}, {self.path_temperature} and {self.length_power}"
            )
        if not isinstance(self.do_sample, bool):
            raise TypeError(f"PathTopP: do_sample must be True or False, got {self.do_sample!r}")
        if self.scope not in ("joint", "path"):
            raise ValueError(f"PathTopP: scope is 'joint' or 'path', got {self.scope!r}")

    def step(
        self, state: PathState, logits: Tensor, *, pad: int = 0, generator: torch.Generator | None = None
    ) -> Moved:
        """One step with next-token logits ``[B, k, V]``. Which new paths have ended is the caller's to set.

        Args:
            pad: what ended paths go on with.
        """
        return advance(
            state,
            logits,
            p=self.p,
            temperature=self.temperature,
            path_temperature=self.path_temperature,
            length_power=self.length_power,
            scope=self.scope,
            do_sample=self.do_sample,
            pad=pad,
            generator=generator,
        )

    @torch.no_grad()
    def generate(
        self,
        step_fn: Callable[[Tensor], Any],
        bos: int | Sequence[int],
        max_len: int,
        *,
        eos: int | Iterable[int] = (),
        generator: torch.Generator | None = None,
    ) -> list[Path]:
        """Paths from one prompt, the one of the largest score first.

        Args:
            step_fn: takes the paths that go on, ``[m, T]`` int64, m ≤ k, and returns next-token logits ``[m, V]``, a
                tensor or an array.
            bos: the prompt. max_len: tokens behind it at most. eos: tokens that end a path.
            generator: PyTorch's own where it is None.

        Raises:
            ValueError: logits of another shape, or NaN; an empty prompt; no token to make. TypeError: logits, tokens
                or ``max_len`` of another type.
        """
        prompt = token_ids(bos, "PathTopP.generate: bos")
        if not prompt:
            raise ValueError("PathTopP.generate: needs a prompt of at least one token, got none")
        check_count(max_len, "PathTopP.generate: max_len")
        ends = torch.tensor(token_ids(eos, "PathTopP.generate: eos"), dtype=torch.long)
        tokens = torch.tensor(prompt).repeat(self.k, 1)
        state = PathState.start(1, self.k)
        for _ in range(max_len):
            going = state.ongoing[0]
            if not bool(going.any()):
                break
            given = next_logits(step_fn(tokens[going]), int(going.sum()), "PathTopP.generate: step_fn")
            logits = given.new_zeros(1, self.k, given.shape[1])
            logits[0, going] = given
            moved = self.step(state, logits, generator=generator)
            tokens = torch.cat([tokens[moved.parent[0]], moved.token[0][:, None]], 1)
            ended = torch.isin(moved.token, ends)
            state = PathState(moved.state.log_prob, moved.state.length, moved.state.finished | ended)
        best = self.ranked(state)[0]
        return [
            Path(
                tuple(tokens[i, len(prompt) : len(prompt) + int(state.length[0, i])].tolist()),
                float(state.log_prob[0, i]),
                bool(state.finished[0, i]),
            )
            for i in best.tolist()
            if bool(state.there[0, i])
        ]

    @torch.no_grad()
    def __call__(
        self,
        model: Any,
        input_ids: Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        generator: torch.Generator | None = None,
        **model_kwargs: Any,
    ) -> Tensor | PathOutput:
        """What ``model.generate(..., custom_generate=self)`` calls; ``generator`` may be given to it beside.

        A prompt is read once and its cache repeated k times; from then on a step is one forward pass of B·k rows.
        Logits processors act on every path, and log-probabilities are those after them.

        Returns:
            The path of the largest score of each row ``[B, T]``; a `PathOutput` with ``return_dict_in_generate=True``.

        Raises:
            ValueError: ``num_beams`` above 1, an encoder and decoder, or a cache that cannot be reordered.
        """
        return generate_paths(
            self, model, input_ids, logits_processor, stopping_criteria, generation_config, generator, model_kwargs
        )

    def ranked(self, state: PathState) -> Tensor:
        """Indices of the paths ``[B, k]`` by falling score."""
        return state.scores(self.length_power).argsort(dim=1, descending=True, stable=True)


# What `help` and `inspect` show of the class are its attributes, and not what `__new__` lets through.
PathTopP.__new__.__wrapped__ = PathTopP.__init__  # type: ignore[attr-defined]
