"""A feed-forward part without a nonlinearity, kept stable by two scalars (arXiv 2501.03489, ScFuFFN)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .checks import check_count


class ScaledLinearFFN(nn.Module):
    """y = β x + (1/α) (W x + b), with learnable scalars α and β, both 1 at the start: two linear maps fused into one.

    Args:
        dim: of x. bias: whether there is b.
        branch: for a block that adds x itself, as those of transformers do: gives y - x, so that the block has y. It
            must see the same x then, without a norm in between.

    Raises:
        ValueError: dim is no whole number of at least 1.
    """

    def __init__(self, dim: int, *, bias: bool = True, branch: bool = False) -> None:
        super().__init__()
        check_count(dim, "ScaledLinearFFN", "dim")
        self.linear = nn.Linear(dim, dim, bias=bias)
        self.alpha = nn.Parameter(torch.ones(()))
        self.beta = nn.Parameter(torch.ones(()))
        self.branch = branch

    @classmethod
    def fused(cls, up: nn.Linear, down: nn.Linear, *, branch: bool = False) -> ScaledLinearFFN:
        """Of the two matrices of an FFN, once nothing stands between them: W = down · up; the same function.

        Raises:
            ValueError: maps that do not follow one another or do not lead back to the width of x.
        """
        if up.out_features != down.in_features or up.in_features != down.out_features:
            raise ValueError(
                "ScaledLinearFFN.fused: expected maps d → h and h → d, got "
                f"{up.in_features} → {up.out_features} and {down.in_features} → {down.out_features}"
            )
        made = cls(up.in_features, bias=up.bias is not None or down.bias is not None, branch=branch)
        made = made.to(device=up.weight.device, dtype=up.weight.dtype)
        with torch.no_grad():
            made.linear.weight.copy_(down.weight @ up.weight)
            if made.linear.bias is not None:
                zero = torch.zeros_like(made.linear.bias)
                through = zero if up.bias is None else down.weight @ up.bias
                made.linear.bias.copy_(through + (zero if down.bias is None else down.bias))
        return made

    def forward(self, x: Tensor) -> Tensor:
        """y, or y - x of a ``branch``; the shape of x, ``[..., dim]``."""
        share = self.beta - 1.0 if self.branch else self.beta
        y: Tensor = share * x + self.linear(x) / self.alpha
        return y
