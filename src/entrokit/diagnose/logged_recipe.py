"""What a run's config says of its recipe, read without `rlvr`, which would need torch.

`training` writes ``base`` and ``decodes`` beside the recipe string, so that nothing need be known of methods here. Runs
of before 0.2, and those of other loops, have the string alone: it is read leniently, for the names of that time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

DEFAULT_BASE = "grpo"
# Of before ``base`` and ``decodes`` were written: these lists need no name that comes later.
BASES_BEFORE = frozenset(
    {
        *("grpo", "dr_grpo", "dapo", "cispo", "gspo", "dispo", "rloo", "rloo_sequence"),
        *("reinforce_plus_plus", "reinforce_plus_plus_baseline"),
    }
)
DECODES_BEFORE = frozenset({"adaptive-temperature", "hapo"})

# The first part of a recipe string: a name, and plain knobs. A config may be a stranger's, and what is found here is
# shown in remedies: nothing that could drive a terminal gets through, and nothing endless.
_FIRST = re.compile(r"\s*([\w-]{1,60})\s*(\([\w .,=+'\"-]{0,200}\))?\s*(?:\+|$)")
_NAME = re.compile(r"[\w-]+")
_KNOBS = re.compile(r"\([^()]*\)")


def base_of(config: Mapping[str, Any]) -> str:
    """The base of the recipe that a run was made with, with its knobs; ``grpo`` where it is not written down."""
    base = config.get("base")
    if isinstance(base, str) and _FIRST.fullmatch(base):
        return base
    first = _FIRST.match(str(config.get("recipe", "")))
    name = first[1].replace("-", "_") if first else ""
    return f"{name}{first[2] or ''}" if first and name in BASES_BEFORE else DEFAULT_BASE


def changes_sampling(config: Mapping[str, Any]) -> bool:
    """Whether the recipe itself samples from something else than the policy."""
    if isinstance(decodes := config.get("decodes"), list):
        return bool(decodes)
    names = _NAME.findall(_KNOBS.sub("", str(config.get("recipe", ""))))
    return not DECODES_BEFORE.isdisjoint(name.replace("_", "-") for name in names)
