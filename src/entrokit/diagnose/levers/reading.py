"""One engine's levers: from its YAML file to what is pasted, with the numbers that a run's config has."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

LEVERS: tuple[str, ...] = (
    *("raise_length_limit", "mask_truncated", "overlong_penalty", "stop_token"),
    *("importance_correction", "sample_from_policy", "fresh_weights", "higher_precision"),
    *("lower_learning_rate", "clip_gradient", "warmup", "skip_nonfinite", "fewer_updates", "save_often"),
    *("reference_kl", "entropy_bonus_on", "entropy_bonus_off", "clip_higher", "clip_standard", "kl_cov", "clip_cov"),
    *("dynamic_sampling", "more_completions", "no_std_scaling", "token_mean_loss", "reward_weights"),
    *("curriculum", "keep_out_family"),
    *("log_entropy", "log_completions", "log_every_step", "log_sampler_gap"),
)
"""What can be done to a run of RL. Every engine's file says how, or that it has no option for it."""

SUPERVISED_LEVERS: tuple[str, ...] = (
    *("lower_learning_rate", "clip_gradient", "warmup", "skip_nonfinite", "save_often", "higher_precision"),
    *("weight_decay", "fewer_epochs", "evaluate_often", "log_every_step"),
)
"""What can be done to a supervised run."""

# What engines of any kind and our own runs call the number that a lever changes.
_CANONICAL = {
    "raise_length_limit": ("max_completion_length",),
    "lower_learning_rate": ("learning_rate",),
    "more_completions": ("num_generations", "completions"),
    "clip_gradient": ("max_grad_norm",),
}
_VALUE = "{value}"
_OPTION = re.compile(r"-{0,2}([\w.-]+)(?:=|: | )\{value\}")


@dataclass(frozen=True)
class Advice:
    """How an engine is told.

    Attributes:
        write: what is pasted: arguments, overrides, flags or YAML lines. None where nothing is, or where the number is
            not known.
        note: what to know of it: that there is no such option and what is closest, or which option takes the number.
    """

    write: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Levers:
    """The levers of one engine, in its own words.

    A file ``<engine>.yaml`` holds ``engine`` (its key), ``title``, ``version`` (what was read), ``where`` (what the
    lines are), ``form`` (`python`, `overrides`, `flags` or `yaml`), ``sources``, and two tables, ``levers`` (RL) and
    ``supervised``; ``like`` takes over the tables of another engine. A lever is a table of ``write``, in which
    ``{value}`` is filled (by ``default`` where the run's number is unknown), ``note``, and ``none``: that there is no
    such option, and what is closest.
    """

    engine: str | None = None
    title: str = ""
    version: str = ""
    where: str = ""
    form: str = ""
    sources: tuple[str, ...] = ()
    entries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, engine: str | None, *, supervised: bool = False) -> Levers:
        """The levers of an engine by its key (`trl`, `verl`, …); without any words for an engine that is not known."""
        key = (engine or "").strip().lower().replace("_", "-")
        if key not in engines_with_levers():
            return cls(engine)
        data = _file(key)
        return cls(
            key,
            str(data["title"]),
            str(data["version"]),
            str(data["where"]),
            str(data["form"]),
            tuple(data["sources"]),
            data.get("supervised" if supervised else "levers") or {},
        )

    def has(self, lever: str) -> bool:
        """Whether the engine has an option for it, and not the closest to it alone."""
        return "write" in (entry := self._entry(lever)) and "none" not in entry

    def say(self, lever: str, **values: object) -> Advice:
        """How the engine is told to pull a lever.

        Args:
            lever: one of `LEVERS` or `SUPERVISED_LEVERS`.
            values: what stands in the line: ``value``, the number to be set.

        Raises:
            ValueError: no lever has that name.
        """
        entry = self._entry(lever)
        none, note, write = entry.get("none"), entry.get("note"), entry.get("write")
        said = f"{self.title} {self.version.partition(' (')[0]}: {none}" if none else note
        if write is None or _VALUE not in write:
            return Advice(write, said)
        value = values.get("value")
        if (value := entry.get("default") if value is None else value) is not None:
            return Advice(write.replace(_VALUE, _plain(value, self.form)), said)
        option = f"`{write.replace(_VALUE, '').rstrip('=: ')}` of {self.title}"
        return Advice(None, f"{option}; {said}" if said else option)

    def current(self, lever: str, config: Mapping[str, Any]) -> float | None:
        """The number that a run's config has where this lever changes one; None where it holds none above 0.

        Args:
            lever: one of `LEVERS` or `SUPERVISED_LEVERS`.
            config: hyperparameters as they were logged: flat, joined by "/" or ".", or nested.
        """
        option = _OPTION.search(str(self._entry(lever).get("write", "")))
        paths = [*_CANONICAL.get(lever, ()), *([option[1]] if option else [])]
        return next((number for path in paths if (number := number_at(config, path))), None)

    def _entry(self, lever: str) -> Mapping[str, Any]:
        if lever not in LEVERS and lever not in SUPERVISED_LEVERS:
            raise ValueError(f"no lever is called {lever!r}; there are {', '.join({*LEVERS, *SUPERVISED_LEVERS})}")
        return self.entries.get(lever, {})


@cache
def engines_with_levers() -> frozenset[str]:
    """Keys of the engines whose options are known."""
    found = (file.name for file in files(__package__).iterdir())
    return frozenset(name.removesuffix(".yaml") for name in found if name.endswith(".yaml"))


@cache
def _file(engine: str) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(files(__package__).joinpath(f"{engine}.yaml").read_text("utf-8"))
    if "like" not in data:
        return data
    base = _file(data["like"])
    tables = {table: {**base.get(table, {}), **data.get(table, {})} for table in ("levers", "supervised")}
    return {**base, **data, **tables}


def number_at(config: Mapping[str, Any], path: str) -> float | None:
    """A number above 0 at an option's path (pieces joined by "."), however the config was written."""
    return next((number for found in _at(config, path) if (number := _number(found))), None)


def _at(config: Mapping[str, Any], path: str) -> Iterator[Any]:
    path = path.replace("-", "_")
    for flat in (path, path.replace(".", "/")):
        yield config.get(flat)
    inner: Any = config
    for piece in path.split("."):
        inner = inner.get(piece) if isinstance(inner, Mapping) else None
    yield inner


def _number(found: object) -> float | None:
    """A number above 0; texts of numbers count, as some stores keep nothing else."""
    if isinstance(found, bool) or not isinstance(found, (int, float, str)):
        return None
    try:
        number = float(found)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _plain(value: object, form: str) -> str:
    if not isinstance(value, float):
        return str(value)
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    mantissa, e, exponent = f"{value:.6g}".partition("e")
    # YAML 1.1 takes 1e-06 for a text, and 1.0e-06 for a number.
    point = ".0" if e and form == "yaml" and "." not in mantissa else ""
    return f"{mantissa}{point}{e}{exponent}"
