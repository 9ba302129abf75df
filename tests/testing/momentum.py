"""An optimizer that is right."""

import torch
from torch.optim import Optimizer


class Momentum(Optimizer):
    """Heavy ball, with everything that the battery looks at."""

    def __init__(self, params, lr=0.01, momentum=0.9, weight_decay=0.0, *, foreach=False, maximize=False):
        self.validate(lr, weight_decay)
        super().__init__(
            params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay, foreach=foreach, maximize=maximize)
        )

    def validate(self, lr, weight_decay):
        if not lr >= 0 or not weight_decay >= 0:
            raise ValueError(f"lr and weight_decay must be at least 0, got {lr} and {weight_decay}")

    @torch.no_grad()
    def step(self, closure=None):
        loss = self.evaluate(closure)
        for group in self.param_groups:
            self.update(group, [param for param in group["params"] if param.grad is not None])
        return loss

    def evaluate(self, closure):
        if closure is not None:
            with torch.enable_grad():
                return closure()

    def update(self, group, params):
        gradients = [self.gradient(group, param) for param in params]
        buffers = [self.buffer(param) for param in params]
        if group["foreach"] and params:
            self.together(group, params, gradients, buffers)
        else:
            for param, gradient, buffer in zip(params, gradients, buffers, strict=True):
                self.move(group, param, gradient, buffer)

    def gradient(self, group, param):
        self.refuse(param)
        gradient = -param.grad if group["maximize"] else param.grad
        return gradient.add(param, alpha=group["weight_decay"]) if group["weight_decay"] else gradient

    def refuse(self, param):
        if param.grad.is_sparse or param.is_complex():
            raise RuntimeError("Momentum supports neither sparse gradients nor complex parameters")

    def buffer(self, param):
        return self.state[param].setdefault("buffer", torch.zeros_like(param))

    def move(self, group, param, gradient, buffer):
        buffer.mul_(group["momentum"]).add_(gradient)
        param.sub_(buffer * self.rate(group, param))

    def rate(self, group, param):
        return float(group["lr"])

    def together(self, group, params, gradients, buffers):
        for dtype in {param.dtype for param in params}:
            chosen = [at for at, param in enumerate(params) if param.dtype == dtype]
            params_, gradients_, buffers_ = ([each[at] for at in chosen] for each in (params, gradients, buffers))
            torch._foreach_mul_(buffers_, group["momentum"])
            torch._foreach_add_(buffers_, gradients_)
            torch._foreach_sub_(params_, torch._foreach_mul(buffers_, float(group["lr"])))
