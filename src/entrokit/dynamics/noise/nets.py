"""The fully connected net of the paper, in the scaling in which α and T mean what they mean there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]


class MeanFieldMLP(nn.Module):
    """A scalar output of hidden layers φ(W x/√fan_in), and a last layer divided by its fan-in; no biases.

    All weights start as N(0, 1); φ is scaled so that E φ(z)² = 1 for a normal z. Its temperature is η/(B · width), see
    `temperature`.

    Args:
        sizes: of the input and of every hidden layer. generator: of the weights.
        activation: `torch.relu` by default.

    Raises:
        ValueError: no hidden layer, or a size below 1.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        generator: torch.Generator,
        *,
        activation: Activation = torch.relu,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"sizes are those of the input and of at least one hidden layer, got {list(sizes)}")
        shapes = [*zip(sizes[1:], sizes[:-1], strict=True), (1, sizes[-1])]
        self.layers = nn.ParameterList(torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes)
        self.activation, self.gain = activation, _gain(activation)

    def forward(self, x: Tensor) -> Tensor:
        """``[n, fan_in]`` to ``[n]``."""
        *hidden, last = self.layers
        for weight in hidden:
            x = self.gain * self.activation(x @ weight.T / math.sqrt(weight.shape[1]))
        output: Tensor = (x @ last.T)[:, 0] / last.shape[1]
        return output


def _gain(activation: Activation) -> float:
    """1/√E φ(z)², by the trapezoid rule: for ReLU √2, to rounding."""
    z = torch.linspace(-12, 12, 24001, dtype=torch.float64)
    weight = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    return 1 / math.sqrt(float(torch.trapezoid(activation(z).square() * weight, z)))
