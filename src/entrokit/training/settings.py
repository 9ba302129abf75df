"""What a training run can be asked for."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Hashable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from entrokit.rlvr import recipe

POCKET = "pocket"
SELECTIONS = ("all", "rare-pair", "highest-variance")
ANSWERS = ("plain", "tags", "boxed")
DTYPES = ("float32", "bfloat16", "float16", "auto")
# What a run's config holds beside the settings.
FACTS = frozenset({"base", "decodes", "versions"})
# Leave to run a model's code is said anew for every command (SECURITY.md): a file from elsewhere gives none.
_NOT_HEEDED = FACTS | {"trust_remote_code"}

# A step of Adam moves every parameter by about the rate. On 135 M pretrained parameters 1e-5 moves the entropy by 0.02
# nats a step and 1e-4 is beyond where a step's effect can be foretold; an adapter stands 1e-4.
_RATES = {"pocket": 1e-4, "adapter": 1e-4, "pretrained": 1e-5}

# NumPy's, which the trainer seeds too.
_LARGEST_SEED = 2**32 - 1

_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "text"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "bool": ((bool,), "true or false"),
}


@dataclass(frozen=True)
class TrainSettings:
    """What `entrokit train` can be asked for.

    Attributes:
        recipe: recipe string. task: as `load_task` names it.
        model: ``pocket``, or a local path or hub id of a causal language model.
        out: the run's folder. seed: of model sampling, data order and draws.
        steps: optimiser steps. updates: optimiser steps per generation batch.
        prompts, completions: prompts of a generation batch, and completions of each.
        evaluation_prompts: held-out prompts that are answered before the first step and after the last; 0 for none.
        learning_rate: constant, AdamW; None for `rate`'s default.
        temperature: of sampling, > 0.
        top_p: mass of the tokens sampled from, in (0, 1]; below 1 what samples is not the policy that is trained.
        max_completion_length: tokens; the task's own by default.
        system: a system message; the model needs a chat template.
        answer: what the prompt asks the answer to be written in: ``plain`` asks for nothing, ``tags`` for
            ``<answer>…</answer>``, ``boxed`` for ``\\boxed{…}``, where the task reads them.
        lora: rank of adapters on all linear layers (PEFT), trained instead of the model; 0 trains the whole model.
        dtype: of the weights; ``auto`` as they are stored.
        gradient_checkpointing: activations are computed again in the backward pass; None where there is a GPU.
        vllm: vLLM samples, in the trainer's process (TRL's ``colocate``).
        select: which prompts are trained on: ``all``, or one pair that a probe of the policy chose once: ``rare-pair``
            (a rare success and a rare failure) or ``highest-variance``.
        pool: prompts that are probed, ``completions`` times each, where ``select`` asks for it.
        rollouts_every: generation batches from one written batch of completions to the next.
        account_every: optimiser steps from one entropy account to the next; 0 keeps none.
        account_rows: completions of a step that an account looks at, drawn by lot; 0 for all of them.
        radius_every: optimiser steps from one whose length is measured in radii of its Taylor series (the metrics
            ``radius/...``, see `entrokit.engines.trl.RadiusOptions`) to the next; 0 measures none.
        radius_rows: completions of a step that its length is measured on, drawn by lot; 0 for all of them.
        radius_clip: the most radii that a step may have, a longer one being shortened; needs ``radius_every=1``.
        save_every: optimiser steps from one checkpoint that `resume` can go on from to the next; 0 keeps none.
        trust_remote_code: whether Python code that comes with ``model`` may run; see SECURITY.md.

    Raises:
        ValueError: what is out of range, by name.
    """

    recipe: str
    out: str
    task: str = "countdown"
    model: str = POCKET
    steps: int = 600
    seed: int = 0
    prompts: int = 16
    completions: int = 16
    updates: int = 4
    evaluation_prompts: int = 128
    learning_rate: float | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    max_completion_length: int | None = None
    system: str | None = None
    answer: str = "plain"
    lora: int = 0
    dtype: str = "float32"
    gradient_checkpointing: bool | None = None
    vllm: bool = False
    select: str = "all"
    pool: int = 256
    rollouts_every: int = 25
    account_every: int = 0
    account_rows: int = 12
    radius_every: int = 0
    radius_rows: int = 8
    radius_clip: float | None = None
    save_every: int = 0
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_type(field.name, str(field.type), getattr(self, field.name))
        recipe(self.recipe)
        for name, allowed in (("select", SELECTIONS), ("answer", ANSWERS), ("dtype", DTYPES)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: must be one of {list(allowed)}, got {getattr(self, name)!r}")
        self._at_least(1, "steps", "prompts", "updates", "pool", "rollouts_every")
        self._at_least(0, "account_every", "account_rows", "radius_every", "radius_rows", "save_every")
        self._at_least(0, "evaluation_prompts", "lora", "seed")
        if self.seed > _LARGEST_SEED:
            raise ValueError(f"seed: must be at most {_LARGEST_SEED}, got {self.seed}")
        if self.max_completion_length is not None:
            self._at_least(1, "max_completion_length")
        for name in ("learning_rate", "temperature", "radius_clip"):
            value = getattr(self, name)
            # NaN is neither; a whole number of a file may be larger than any float.
            if value is not None and not 0 < value <= sys.float_info.max:
                raise ValueError(f"{name}: must be above 0 and finite, got {value}")
        if self.radius_clip is not None and self.radius_every != 1:
            raise ValueError(f"radius_clip: needs every step measured, radius_every=1, got {self.radius_every}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p: must be in (0, 1], got {self.top_p}")
        if self.completions < 2:
            raise ValueError(f"completions: a group needs at least 2 to compare, got {self.completions}")
        if self.prompts * self.completions % self.updates:
            raise ValueError(
                f"updates={self.updates} must divide the generation batch of prompts x completions = "
                f"{self.prompts * self.completions} rows"
            )

    def _at_least(self, least: int, *names: str) -> None:
        for name in names:
            if getattr(self, name) < least:
                raise ValueError(f"{name}: must be at least {least}, got {getattr(self, name)}")

    @property
    def rate(self) -> float:
        """The learning rate; where none was asked for, 1e-4 for the pocket policy and adapters, 1e-5 for others.

        Models of billions of parameters take less: TRL's own default is 1e-6.
        """
        if self.learning_rate is not None:
            return self.learning_rate
        return _RATES["pocket" if self.model == POCKET else "adapter" if self.lora else "pretrained"]

    def resolved(self) -> TrainSettings:
        """The same settings with every default that depends on others filled in: what a run's config holds."""
        return replace(self, learning_rate=self.rate)


def _check_type(name: str, declared: str, value: Any) -> None:
    """Whether a value is what a field is declared to be: settings come from files too."""
    kind, _, optional = declared.partition(" | ")
    if value is None and optional:
        return
    types, words = _KINDS[kind]
    if not isinstance(value, types) or (isinstance(value, bool) and kind != "bool"):
        # A list in a file may name itself a thousand times over: its text would fill the memory.
        shown = repr(value) if value is None or isinstance(value, str | int | float) else type(value).__name__
        raise ValueError(f"{name}: expected {words}, got {shown}")


def settings_in(file: str | Path) -> dict[str, Any]:
    """The settings that a YAML file holds, by name: ``TrainSettings(**settings_in("run.yaml"))``.

    A run's own ``config.yaml`` is one; what it holds beside settings is left out, and so is ``trust_remote_code``:
    a file from elsewhere must not give itself leave.

    Raises:
        ValueError: no such file, no mapping of names to values, or a name that is no setting.
    """
    path = Path(file)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Settings)
    except Exception as error:  # besides its own errors, whatever a forced type makes PyYAML's constructors raise
        reason = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
        raise ValueError(f"{path}: cannot be read as YAML: {reason}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected lines of 'setting: value', got {type(content).__name__}")
    declared = {f.name: str(f.type) for f in fields(TrainSettings)}
    known = list(declared)
    found: dict[str, Any] = {}
    for written, value in content.items():
        name = str(written).replace("-", "_")
        if name in found:
            raise ValueError(f"{path}: {name!r} stands twice")
        if name not in _NOT_HEEDED:
            found[name] = value
    for name, value in found.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise ValueError(f"{path}: no setting {name!r}{hint} There are {', '.join(known)}")
        if name in declared:
            try:
                _check_type(name, declared[name], value)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
    return found


class _Settings(yaml.SafeLoader):
    """YAML whose numbers are those of everybody else, and in which nothing stands twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        seen: set[Any] = set()
        for name in names:
            if not isinstance(name, Hashable):
                break  # refused below
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} stands twice", node.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


# YAML 1.1 takes a number like 1e-5 or .5e3 for text, and 010 for eight, 1:30 for ninety and 1:30.5 for 90.5.
_NUMBERS = {
    "tag:yaml.org,2002:int": r"[-+]?(0|[1-9][0-9]*)$",
    "tag:yaml.org,2002:float": r"[-+]?(([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(inf|nan))$",
}
_Settings.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NUMBERS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in _NUMBERS.items():
    _Settings.add_implicit_resolver(_tag, re.compile(_pattern), list("-+.0123456789"))
