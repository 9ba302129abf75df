"""Jacobians of every sample's outputs with respect to chosen parameters, or to cuts of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

Block = Mapping[str, slice]
"""Parameters by name, each as a range of its flattened entries."""


class SampleJacobian:
    """Derivatives of ``model(x)`` row by row; the model's parameters and modes are as before afterwards.

    Args:
        params: names, or None for all that require a gradient. A tied parameter is one, by any of its names.
        vectorize: by `torch.func` over samples and outputs at once; otherwise one backward pass an output.

    Raises:
        ValueError: an unknown name, or no parameter.
    """

    def __init__(self, model: nn.Module, params: Sequence[str] | None, vectorize: bool) -> None:
        own = dict(model.named_parameters())
        if params is None:
            chosen = [name for name, value in own.items() if value.requires_grad]
        else:
            chosen = [_first_name(model, name) for name in ([params] if isinstance(params, str) else params)]
        self._values = {name: own[name].detach() for name in dict.fromkeys(chosen) if own[name].numel()}
        if not self._values:
            raise ValueError("tangent_kernel: no parameter to differentiate; name some, or let some require a gradient")
        fixed = {name: value for name, value in own.items() if name not in self._values}
        self._fixed = {name: value.detach() for name, value in (fixed | dict(model.named_buffers())).items()}
        self._model, self._vectorize = model, vectorize

    @property
    def sizes(self) -> dict[str, int]:
        """Entries of every parameter."""
        return {name: value.numel() for name, value in self._values.items()}

    @property
    def dtype(self) -> torch.dtype:
        """Of products of rows: float64 where a parameter is, float32 otherwise."""
        double = any(value.dtype == torch.float64 for value in self._values.values())
        return torch.float64 if double else torch.float32

    @property
    def device(self) -> torch.device:
        return next(iter(self._values.values())).device

    def outputs(self, inputs: Tensor) -> int:
        """How many numbers the model gives for one sample.

        Raises:
            ValueError: no tensor of floating point ``[1, ...]`` for an input ``[1, ...]``.
        """
        with torch.no_grad():
            out = functional_call(self._model, self._values | self._fixed, (inputs[:1],))
        if not isinstance(out, Tensor):
            raise ValueError(
                f"tangent_kernel: the model returns {type(out).__name__}; wrap it in a module that returns a tensor"
            )
        if not out.dim() or len(out) != 1 or not out.numel() or not out.is_floating_point():
            raise ValueError(
                f"tangent_kernel: the model gives {out.dtype} {list(out.shape)} for one sample; it must give floating "
                "point [n, ...] for inputs [n, ...]"
            )
        return out.numel()

    def rows(self, inputs: Tensor, block: Block, outputs: slice) -> dict[str, Tensor]:
        """For c samples and k of their outputs, ``[c, k, size]`` of every parameter of the block.

        Raises:
            RuntimeError: `torch.func` cannot run the model.
        """
        if self._vectorize:
            pieces = {name: self._values[name].reshape(-1)[cut] for name, cut in block.items()}
            jacobian = vmap(jacrev(lambda pieces, x: self._of_one(self._put(pieces, block), x)[outputs]), (None, 0))
            try:
                found: dict[str, Tensor] = jacobian(pieces, inputs)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                raise RuntimeError(
                    f"tangent_kernel: torch.func cannot run this model sample by sample ({error}); pass vectorize=False"
                ) from error
            return found
        by_sample = [self._by_passes(x, block, outputs) for x in inputs]
        return {name: torch.stack([rows[name] for rows in by_sample]) for name in block}

    def _of_one(self, values: Mapping[str, Tensor], x: Tensor) -> Tensor:
        out: Tensor = functional_call(self._model, self._fixed | dict(values), (x[None],))
        return out.reshape(-1)

    def _put(self, pieces: Mapping[str, Tensor], block: Block) -> dict[str, Tensor]:
        """All chosen parameters, with the pieces where the block says."""
        values = dict(self._values)
        for name, piece in pieces.items():
            whole, cut = self._values[name], block[name]
            if piece.numel() < whole.numel():
                flat = whole.reshape(-1)
                piece = torch.cat([flat[: cut.start], piece, flat[cut.stop :]])
            values[name] = piece.reshape(whole.shape)
        return values

    def _by_passes(self, x: Tensor, block: Block, outputs: slice) -> dict[str, Tensor]:
        with torch.enable_grad():
            leaves = {name: self._values[name].clone().requires_grad_() for name in block}
            out = self._of_one(self._values | leaves, x)[outputs]
            rows: dict[str, list[Tensor]] = {name: [] for name in block}
            for k in out.unbind():
                # An output that depends on none of them belongs to no graph.
                grads = (
                    torch.autograd.grad(k, list(leaves.values()), retain_graph=True, materialize_grads=True)
                    if k.requires_grad
                    else [torch.zeros_like(leaf) for leaf in leaves.values()]
                )
                for (name, cut), grad in zip(block.items(), grads, strict=True):
                    rows[name].append(grad.reshape(-1)[cut].clone())
        return {name: torch.stack(own) for name, own in rows.items()}


def _first_name(model: nn.Module, name: str) -> str:
    """The name under which `named_parameters` lists a parameter that may have several."""
    every = dict(model.named_parameters(remove_duplicate=False))
    if name not in every:
        some = ", ".join(list(every)[:8])
        raise ValueError(
            f"tangent_kernel: the model has no parameter {name!r}; it has {some}{', ...' * (len(every) > 8)}"
        )
    return next(first for first, value in model.named_parameters() if value is every[name])
