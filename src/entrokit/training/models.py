"""From a model's name to a model that can be trained, or one line that says why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from safetensors import SafetensorError

from entrokit.rlvr.tasks import Task, load_task

from .pocket import PocketConfig, at_hand, pocket_policy
from .settings import POCKET, TrainSettings

# One of these makes a folder's tokenizer.
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "*.model", "tekken.json")


class ModelError(ValueError):
    """A model that cannot be trained as it was asked for."""


def pocket_config(task: Task) -> PocketConfig:
    """The pocket policy that plays a task.

    Raises:
        ValueError: it cannot.
    """
    if task.demonstrations is None:
        raise ValueError(
            f"the pocket policy cannot play {task.name}: it knows countdown, sums, instructions and mazes; give "
            "--model a local path or a hub id"
        )
    return PocketConfig(demonstrations=task.demonstrations)


def warm_pocket(task: str, progress: Callable[[int, int, float], None] | None = None) -> None:
    """Makes the pocket policy of a task where it is not at hand, before several processes wait for it, or make it each.

    Args:
        task: as `load_task` names it. progress: as for `pocket_policy`.
    """
    config = pocket_config(load_task(task, train_size=1))
    if not at_hand(config):
        pocket_policy(config, progress)


def check_pocket(settings: TrainSettings) -> None:
    """Refuses what the pocket policy cannot be given; a warm-up takes minutes, so this is asked before it.

    Raises:
        ModelError: a system message.
    """
    if settings.model == POCKET and settings.system is not None:
        raise ModelError(_no_system(settings))


def load(settings: TrainSettings, task: Task) -> tuple[Any, Any]:
    """The model, or the name by which the trainer loads it, and its tokenizer.

    Raises:
        ModelError: what was named is no causal language model with a tokenizer, or lacks what the settings need.
    """
    if settings.model == POCKET:
        check_pocket(settings)
        model, tokenizer = pocket_policy(pocket_config(task))
    else:
        named = Path(settings.model).expanduser()
        if named.exists():
            _check_folder(named)
        elif _is_path(settings.model):
            raise ModelError(f"model {settings.model}: there is no such folder")
        model, tokenizer = str(named) if named.exists() else settings.model, _tokenizer(settings)
    _check_tokenizer(settings, tokenizer)
    return model, tokenizer


@contextmanager
def explained(settings: TrainSettings) -> Iterator[None]:
    """Says in one line what `transformers` says of a model in many, or in other words than ours."""
    try:
        yield
    except ModelError:
        raise
    except (OSError, ValueError) as error:
        if "trust_remote_code" in str(error) and not settings.trust_remote_code:
            raise ModelError(
                f"{settings.model} brings Python code of its own, which was not run: read it, and if you trust it, "
                "say --trust-remote-code (trust_remote_code=True)"
            ) from error
        if isinstance(error, OSError) and error.errno is None and settings.model != POCKET:
            raise ModelError(f"model {settings.model}: cannot be loaded: {_first_line(error)}") from error
        raise
    except (SafetensorError, UnpicklingError) as error:
        raise ModelError(f"model {settings.model}: its weights cannot be read: {_first_line(error)}") from error


def _is_path(name: str) -> bool:
    """Whether a name can only mean a path: a hub id is ``name`` or ``owner/name``."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name


def _check_folder(path: Path) -> None:
    if path.is_file():
        kind = "a GGUF file" if path.suffix.lower() == ".gguf" else "a file"
        raise ModelError(f"model {path}: is {kind}, not a folder of transformers' save_pretrained{_how(path)}")
    if (path / "config.json").exists():
        if not any(file for pattern in _TOKENIZERS for file in path.glob(pattern)):
            raise ModelError(f"model {path}: holds no tokenizer (no tokenizer.json); save the model's own beside it")
        return
    if (path / "adapter_config.json").exists():
        raise ModelError(f"model {path}: holds an adapter alone; merge it into its model (PEFT's merge_and_unload)")
    ggufs = sorted(file for file in path.iterdir() if file.suffix.lower() == ".gguf")
    if ggufs:
        raise ModelError(f"model {path}: holds a GGUF file ({ggufs[0].name}) and no config.json{_how(ggufs[0])}")
    raise ModelError(f"model {path}: holds no config.json, so it is no folder of transformers' save_pretrained")


def _how(path: Path) -> str:
    if path.suffix.lower() != ".gguf":
        return ""
    return (
        f"; convert it once: AutoModelForCausalLM.from_pretrained({str(path.parent)!r}, gguf_file={path.name!r}, "
        "quantization_config=GgufConfig(dequantize=True)), then save_pretrained, and the tokenizer likewise"
    )


def _tokenizer(settings: TrainSettings) -> Any:
    from transformers import AutoTokenizer

    name = str(Path(settings.model).expanduser()) if Path(settings.model).expanduser().exists() else settings.model
    try:
        with explained(settings):
            return AutoTokenizer.from_pretrained(
                name, padding_side="left", trust_remote_code=settings.trust_remote_code
            )
    except ModelError:
        raise
    except Exception as error:  # whatever a damaged file makes the tokenizers' parsers raise
        raise ModelError(f"model {settings.model}: its tokenizer cannot be loaded: {_first_line(error)}") from error


def _check_tokenizer(settings: TrainSettings, tokenizer: Any) -> None:
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"model {settings.model}: its tokenizer has no end-of-sequence token, so no completion could end; "
            "set eos_token in tokenizer_config.json"
        )
    if not tokenizer.chat_template and settings.system is not None:
        raise ModelError(_no_system(settings))


def _no_system(settings: TrainSettings) -> str:
    return (
        f"model {settings.model}: its tokenizer has no chat template, so it takes no system message; leave --system out"
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
