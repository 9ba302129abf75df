"""The reference policy of a KL penalty."""

from __future__ import annotations

import copy
from typing import Any


def frozen_copy_for_reference(bound: dict[str, Any]) -> tuple[Any, float]:
    """The reference of a model handed over in memory is a frozen copy of that very model.

    TRL would load the reference anew from ``config.name_or_path``, which for a model that was made or changed in memory
    is another model, or none. A model given by its name, or with PEFT (whose adapter is switched off), is left to TRL.
    """
    args, model = bound["args"], bound["model"]
    with_peft = bound.get("peft_config") is not None or hasattr(model, "peft_config")
    if not args.beta or isinstance(model, str) or with_peft:
        return None, 0.0
    if args.sync_ref_model or args.deepspeed_plugin is not None:
        raise ValueError(
            f"reference-kl(beta={args.beta}) with a model in memory supports neither sync_ref_model nor DeepSpeed; "
            "pass the model's path instead of the model"
        )
    beta, args.beta = args.beta, 0.0
    return copy.deepcopy(model).requires_grad_(False).eval(), beta
