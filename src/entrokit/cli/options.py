"""One command-line option for every setting of a training run, and a YAML file for all of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

Command = TypeVar("Command", bound=Callable[..., None])


def _option(kind: Any, default: Any, *flag: str, help: str) -> tuple[Any, Any]:
    return Annotated[kind, typer.Option(*flag, help=help)], default


# `TrainSettings` by name, with its defaults once more: importing it costs seconds that `--help` must not wait for.
OPTIONS: dict[str, tuple[Any, Any]] = {
    "task": _option(
        str, "countdown", help="countdown, sums, instructions, maze, words:<task>, reasoning-gym:<task> or math:<file>"
    ),
    "model": _option(str, "pocket", help="pocket, or a local path or hub id of a causal language model"),
    "steps": _option(int, 600, help="optimiser steps"),
    "seed": _option(int, 0, help="the first seed"),
    "updates": _option(int, 4, help="optimiser steps per generation batch"),
    "prompts": _option(int, 16, help="prompts per generation batch"),
    "completions": _option(int, 16, help="completions per prompt"),
    "evaluation_prompts": _option(int, 128, help="held-out prompts, answered before the first step and after the last"),
    "learning_rate": _option(
        float | None, None, help="constant; 1e-4 by default, and 1e-5 where a whole pretrained model is trained"
    ),
    "temperature": _option(float, 1.0, help="of sampling"),
    "top_p": _option(float, 1.0, help="mass of the tokens that are sampled from"),
    "max_completion_length": _option(int | None, None, help="tokens per completion; the task's own by default"),
    "system": _option(str | None, None, help="system message, for a model with a chat template"),
    "answer": _option(str, "plain", help="form that prompts ask the answer in: plain, tags (<answer>) or boxed"),
    "lora": _option(int, 0, help="rank of adapters (LoRA) that are trained instead of the model; 0: the model"),
    "dtype": _option(str, "float32", help="of the weights: float32, bfloat16, float16 or auto (as stored)"),
    "gradient_checkpointing": _option(
        bool | None,
        None,
        "--gradient-checkpointing/--no-gradient-checkpointing",
        help="compute activations twice to save memory; by default where there is a GPU",
    ),
    "vllm": _option(bool, False, "--vllm/--no-vllm", help="vLLM samples, in the same process"),
    "select": _option(str, "all", help="prompts: all, or one pair by a probe: rare-pair, highest-variance"),
    "pool": _option(int, 256, help="prompts that the probe of --select looks at"),
    "rollouts_every": _option(int, 25, help="generation batches from one whose completions are kept to the next"),
    "account_every": _option(int, 0, help="optimiser steps from one entropy account to the next; 0 keeps none"),
    "account_rows": _option(int, 12, help="completions that an account looks at, drawn by lot; 0: all of the step"),
    "radius_every": _option(
        int, 0, help="optimiser steps from one whose length is measured in radii of its series to the next; 0: none"
    ),
    "radius_rows": _option(int, 8, help="completions that a step's length is measured on, drawn by lot; 0: all"),
    "radius_clip": _option(
        float | None, None, help="the most radii that a step may have, else shortened; needs --radius-every 1"
    ),
    "save_every": _option(int, 0, help="optimiser steps from one checkpoint to resume from to the next; 0 keeps none"),
    "trust_remote_code": _option(
        bool, False, "--trust-remote-code", help="let Python code that comes with the model run"
    ),
}


def _read(context: typer.Context, file: str | None) -> str | None:
    """Settings of a file become the options' defaults, so that what the command line says wins."""
    if file is not None:
        from entrokit.training.settings import settings_in

        found = settings_in(file)
        idle = sorted(set(found) - {p.name for p in context.command.params})
        if idle:
            typer.echo(f"{file}: `{context.command.name}` takes no {' and no '.join(idle)}; left out", err=True)
        context.default_map = found
    return file


Config = Annotated[
    str | None,
    typer.Option(callback=_read, is_eager=True, help="YAML file of settings; options of the command line win"),
]
Trust = OPTIONS["trust_remote_code"][0]


def with_settings(*without: str) -> Callable[[Command], Command]:
    """Gives a command an option for every setting but those ``without``; it receives them as keyword arguments."""

    def extend(function: Command) -> Command:
        hints = get_type_hints(function, include_extras=True)
        own = [
            p.replace(annotation=hints[p.name])
            for p in inspect.signature(function).parameters.values()
            if p.kind is not p.VAR_KEYWORD
        ]
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in OPTIONS.items()
            if name not in without
        ]
        # What typer looks at.
        function.__annotations__ = {p.name: p.annotation for p in (*own, *added)}
        function.__dict__["__signature__"] = inspect.Signature([*own, *added])
        return function

    return extend
