"""Puts other modules in a model's places for a while."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import nn

from .blocks import with_block


@with_block("with swapped_modules(model, modules) as taken: ...")
def swapped_modules(model: nn.Module, modules: Mapping[str, nn.Module]) -> Iterator[dict[str, nn.Module]]:
    """While the block runs, ``modules`` stand in their places of the model; afterwards the former ones do.

    Yields what was taken out, by name. A softmax-only GPT-2 is one with `nn.Identity` for its norms and
    `ScaledLinearFFN` (``branch=True``) for its ``mlp``. Call
    backward inside of the block where layers are checkpointed: they run again in it, with what stands there then.

    Args:
        modules: by names of `Module.named_modules`.

    Raises:
        ValueError: no modules, the model itself, a name that the model does not have, or one inside of another.
            Nothing has been changed then.
        TypeError: no module, or no modules by name.
    """
    if not isinstance(model, nn.Module) or not isinstance(modules, Mapping):
        raise TypeError(
            f"swapped_modules: expected a module and modules by name, got {type(model).__name__} and "
            f"{type(modules).__name__}"
        )
    strange = [name for name, module in modules.items() if not isinstance(module, nn.Module)]
    if strange:
        raise TypeError(f"swapped_modules: what is to stand at {strange[:5]} is no torch.nn.Module")
    known = dict(model.named_modules(remove_duplicate=False))
    unknown = [name for name in modules if not name or name not in known]
    if unknown or not modules:
        raise ValueError(
            f"swapped_modules: the model has no modules {unknown[:5]}; names are those of named_modules(), at least one"
        )
    inside = [name for name in modules for other in modules if name.startswith(f"{other}.")]
    if inside:
        raise ValueError(f"swapped_modules: {inside[:5]} are inside of others that are swapped too; name one of both")
    taken = {name: known[name] for name in modules}
    try:
        for name, module in modules.items():
            model.set_submodule(name, module)
        yield taken
    finally:
        for name, module in taken.items():
            model.set_submodule(name, module)
