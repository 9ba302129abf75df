"""Pocket policies that come with the package: weights, and beside them the recipe that gives them again.

``<name>.json`` says what the weights depend on (``key``, ``settings``), on what they were made, how the first steps of
the warm-up went, and how good the policy is. ``python scripts/warm_policy.py --check`` makes it anew and compares.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

__all__ = ["weights_of"]


def weights_of(key: str) -> Path | None:
    """The weights (float16) of `PocketConfig.key`; None where the package has none, or ones of another warm-up."""
    return _weights().get(key)


@cache
def _weights() -> dict[str, Path]:
    recipes = sorted(Path(__file__).parent.glob("*.json"))
    return {
        json.loads(recipe.read_text(encoding="utf-8"))["key"]: recipe.with_suffix(".safetensors") for recipe in recipes
    }
