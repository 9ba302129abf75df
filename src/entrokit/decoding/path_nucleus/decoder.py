"""The decoder: over any function of next-token logits, and as `custom_generate` of transformers.

decoder = PathTopP(k=4, p=0.9)
model.generate(**inputs, custom_generate=decoder, max_new_tokens=64)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .custom_generate import PathOutput, generate_paths
from .nucleus import Scope, check_mass
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
        ValueError: an attribute out of range.
    """

    k: int = 4
    p: float = 0.9
    temperature: float = 1.0
    path_temperature: float = 1.0
    length_power: float = 0.0
    scope: Scope = "joint"
    do_sample: bool = True

    def __post_init__(self) -> None:
        check_mass(self.p)
        if isinstance(self.k, bool) or not isinstance(self.k, int) or self.k < 1:
            raise ValueError(f"PathTopP: k is a whole number of at least 1, got {self.k!r}")
        if not (self.temperature > 0 and self.path_temperature > 0 and self.length_power >= 0):
            raise ValueError(
                "PathTopP: temperature and path_temperature must be above 0, and length_power at least 0; got "
                f"{self.temperature}, {self.path_temperature} and {self.length_power}"
            )
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
            step_fn: takes the paths that go on, ``[m, T]`` int64, m ≤ k, and returns next-token logits ``[m, V]``.
            bos: the prompt. max_len: tokens behind it at most. eos: tokens that end a path.
            generator: PyTorch's own where it is None.

        Raises:
            ValueError: logits of another shape, or NaN; an empty prompt; no token to make.
        """
        prompt = [bos] if isinstance(bos, int) else list(bos)
        if not prompt or max_len < 1:
            raise ValueError(f"PathTopP.generate: needs a prompt and max_len of at least 1, got {prompt} and {max_len}")
        ends = torch.tensor([eos] if isinstance(eos, int) else list(eos), dtype=torch.long)
        tokens = torch.tensor(prompt).repeat(self.k, 1)
        state = PathState.start(1, self.k)
        for _ in range(max_len):
            going = state.ongoing[0]
            if not bool(going.any()):
                break
            given = torch.as_tensor(step_fn(tokens[going])).cpu()
            if given.ndim != 2 or len(given) != int(going.sum()):
                raise ValueError(
                    f"PathTopP.generate: step_fn was given {int(going.sum())} paths and returns logits "
                    f"[{int(going.sum())}, V]; it returned {list(given.shape)}"
                )
            logits = given.new_zeros(1, self.k, given.shape[1])
            logits[0, going] = given
            was_finished = state.finished
            moved = self.step(state, logits, generator=generator)
            tokens = torch.cat([tokens[moved.parent[0]], moved.token[0][:, None]], 1)
            ended = torch.isin(moved.token, ends) & ~was_finished.gather(1, moved.parent)
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
