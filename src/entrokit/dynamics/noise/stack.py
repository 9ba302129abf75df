"""Runs that go on, as one stack of models: a batched step, and a look at their training sets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from .draws import distinct
from .loss import Kind, hinge, learning_rate
from .records import Checkpoint, Condition

POINTS = 512
"""How many points of a run are put through its model at once."""
_CHUNK = 64


class Stack:
    """The runs that still go on: weights and points of each, and one batched step."""

    def __init__(
        self,
        data: tuple[Tensor, Tensor],
        conditions: Sequence[Condition],
        models: list[nn.Module],
        batch: int,
        width: int,
        kind: Kind,
    ) -> None:
        self.model, self.batch, self.kind = models[0], batch, kind
        self.x, self.y = data
        self.conditions, self.alive = list(conditions), list(range(len(conditions)))
        stacked, _ = stack_module_state(models)
        self.start: dict[str, Tensor] = {name: p.detach() for name, p in stacked.items()}
        self.params = {name: p.detach().clone().requires_grad_(p.requires_grad) for name, p in stacked.items()}
        first = next(iter(self.params.values()))
        self.device = first.device
        alphas = [c.alpha for c in conditions]
        rates = [learning_rate(c.temp, batch, width) for c in conditions]
        self.alpha, self.lr = (torch.tensor(v, dtype=torch.float64, device=self.device) for v in (alphas, rates))
        self.sizes = torch.tensor([c.size for c in conditions])
        most = int(self.sizes.max())
        orders = {s: _order(s, len(self.x))[:most] for s in {c.seed for c in conditions}}
        self.rows = torch.stack([orders[c.seed] for c in conditions]).to(self.x.device)
        with torch.no_grad():
            self.zero = self._outputs(self.rows)
        self.sources = [np.random.default_rng(c.batches) for c in conditions]
        self.steps = 0
        self._batches: Iterator[Tensor] = iter(())

    def step(self) -> None:
        """One step of SGD of every run."""
        drawn = next(self._batches, None)
        if drawn is None:
            self._batches = self._draw()
            drawn = next(self._batches)
        x, y = self.x[rows := self.rows.gather(1, drawn)], self.y[rows]
        o = self._forward(x) - self.zero.gather(1, drawn)
        o = o.to(torch.promote_types(o.dtype, torch.float32))
        alpha = self.alpha.to(o.dtype)[:, None]
        # Runs share nothing, so that the gradient of their sum is that of each.
        loss = hinge(1 - alpha * o * y, alpha, self.kind).mean(1).sum()
        trained = [p for p in self.params.values() if p.requires_grad]
        gradients = torch.autograd.grad(loss, trained, materialize_grads=True)
        with torch.no_grad():
            for p, g in zip(trained, gradients, strict=True):
                p.sub_(self.lr.to(p.dtype).reshape(-1, *[1] * (p.dim() - 1)) * g)
        self.steps += 1

    def look(self) -> list[Checkpoint]:
        """A checkpoint of every run."""
        # In float64: where α is large a margin of 1/α is near to what float32 resolves of o.
        f = self._outputs(self.rows)
        o = f.double() - self.zero.double()
        margins = o * self.y[self.rows]
        scaled = self.alpha[:, None] * margins
        loss = hinge(1 - scaled, self.alpha[:, None], self.kind)
        norms = {name: _squares(p) for name, p in self.params.items()}
        moved = {name: _squares(p.double() - self.start[name].double()) for name, p in self.params.items()}
        looks = []
        for k, (c, lr) in enumerate(zip(self.conditions, self.lr.tolist(), strict=True)):
            own = margins[k, : c.size]
            looks.append(
                Checkpoint(
                    self.steps,
                    lr * self.steps,
                    float(loss[k, : c.size].mean()),
                    # Of a diverged run NaN is neither right nor fitted.
                    float((~(own > 0)).double().mean()),
                    int((~(scaled[k, : c.size] >= 1)).sum()),
                    float(own.min()) if _alive(f[k, : c.size]) else math.nan,
                    {name: n[k] for name, n in norms.items()},
                    {name: n[k] for name, n in moved.items()},
                )
            )
        return looks

    def keep(self, stay: list[int]) -> None:
        """Goes on with these rows alone."""
        at = torch.tensor(stay, dtype=torch.long)
        self.conditions, self.alive = [self.conditions[k] for k in stay], [self.alive[k] for k in stay]
        self.sources = [self.sources[k] for k in stay]
        self.alpha, self.lr, self.rows, self.zero, self.sizes = (
            t[at.to(t.device)] for t in (self.alpha, self.lr, self.rows, self.zero, self.sizes)
        )
        self.start = {name: p[at.to(p.device)] for name, p in self.start.items()}
        self.params = {
            name: p.detach()[at.to(p.device)].requires_grad_(p.requires_grad) for name, p in self.params.items()
        }
        self._batches = iter([drawn[at.to(drawn.device)] for drawn in self._batches])

    def _draw(self) -> Iterator[Tensor]:
        uniforms = np.stack([source.random((_CHUNK, self.batch)) for source in self.sources])
        sizes = np.broadcast_to(self.sizes.numpy()[:, None], uniforms.shape[:2])
        drawn = distinct(uniforms, sizes, np.full_like(sizes, self.batch))
        return iter(torch.from_numpy(drawn).to(self.rows.device).unbind(1))

    def _outputs(self, rows: Tensor) -> Tensor:
        return torch.cat([self._forward(self.x[part]) for part in torch.split(rows, POINTS, dim=1)], 1)

    def _forward(self, x: Tensor) -> Tensor:
        def one(params: dict[str, Tensor], points: Tensor) -> Tensor:
            return flat(functional_call(self.model, params, (points,)), len(points))

        found: Tensor = vmap(one)(self.params, x)
        return found


def flat(output: Tensor, points: int) -> Tensor:
    if output.shape not in ((points,), (points, 1)):
        raise ValueError(
            f"the model must give one number a point, [n] or [n, 1]; for n = {points} it gave {list(output.shape)}"
        )
    return output.reshape(points)


def _alive(f: Tensor) -> bool:
    """Finite, and not one output for all points, which is that of a net whose units have died."""
    return bool(torch.isfinite(f).all()) and (len(f) == 1 or bool((f != f[0]).any()))


def _squares(stacked: Tensor) -> list[float]:
    found: list[float] = stacked.double().flatten(1).square().sum(1).tolist()
    return found


def _order(seed: int, points: int) -> Tensor:
    return torch.randperm(points, generator=torch.Generator().manual_seed(seed))
