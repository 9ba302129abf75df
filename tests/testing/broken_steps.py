"""Optimizers that step wrongly, each in one way, and the check that catches it."""

import random

import torch

from .momentum import Momentum


class Ascends(Momentum):
    def rate(self, group, param):
        return -group["lr"]


class DrawsUnseeded(Momentum):
    def rate(self, group, param):
        return group["lr"] * random.SystemRandom().random()


class ReadsParametersTwice(Momentum):
    def __init__(self, params, **knobs):
        self.count = len(list(params))
        super().__init__(params, **knobs)


class ReplacesParameters(Momentum):
    def move(self, group, param, gradient, buffer):
        param.data = param.data - group["lr"] * gradient


class KeepsFloat32(Momentum):
    def move(self, group, param, gradient, buffer):
        param.data = param.data.float() - group["lr"] * gradient.float()


class OverflowsInBfloat16(Momentum):
    def rate(self, group, param):
        return 1e39 if param.dtype == torch.bfloat16 else group["lr"]


class FlattensParameters(Momentum):
    def move(self, group, param, gradient, buffer):
        param.reshape(-1).sub_(group["lr"] * gradient.reshape(-1))


class ScalesByLargest(Momentum):
    def rate(self, group, param):
        return group["lr"] / (1 + param.abs().max())


class ReturnsNoLoss(Momentum):
    def evaluate(self, closure):
        super().evaluate(closure)


class EvaluatesTwice(Momentum):
    def evaluate(self, closure):
        super().evaluate(closure)
        return super().evaluate(closure)


class EvaluatesAfterwards(Momentum):
    def step(self, closure=None):
        super().step()
        return None if closure is None else closure()


class NeverEvaluates(Momentum):
    def evaluate(self, closure):
        return 0.0


class EvaluatesWithoutGradients(Momentum):
    def evaluate(self, closure):
        return None if closure is None else closure()


class LeavesGradientsDisabled(Momentum):
    def step(self, closure=None):
        loss = super().step(closure)
        torch.set_grad_enabled(False)
        return loss


class ForeachForgetsMomentum(Momentum):
    def together(self, group, params, gradients, buffers):
        for param, gradient in zip(params, gradients, strict=True):
            param.sub_(gradient * group["lr"])


class ForeachForgetsDecay(Momentum):
    def together(self, group, params, gradients, buffers):
        super().together(group, params, [param.grad for param in params], buffers)


class ForeachNeedsOneDtype(Momentum):
    def together(self, group, params, gradients, buffers):
        flat = torch._utils._flatten_dense_tensors(gradients)
        for param, part in zip(params, torch._utils._unflatten_dense_tensors(flat, params), strict=True):
            assert param.dtype == part.dtype
        super().together(group, params, gradients, buffers)


class IgnoresMaximize(Momentum):
    def gradient(self, group, param):
        return super().gradient({**group, "maximize": False}, param)


class MaximizeForgetsDecay(Momentum):
    def __init__(self, params, weight_decay=0.1, **knobs):
        super().__init__(params, weight_decay=weight_decay, **knobs)

    def gradient(self, group, param):
        return -param.grad if group["maximize"] else super().gradient(group, param)


class NoName(Momentum):
    def __repr__(self):
        return "optimizer"


class GlidesOn(Momentum):
    def step(self, closure=None):
        loss = super().step(closure)
        with torch.no_grad():
            for group in self.param_groups:
                for param in group["params"]:
                    if param.grad is None and param in self.state:
                        param.sub_(group["lr"] * self.state[param]["buffer"])
        return loss


class NeedsGradients(Momentum):
    def update(self, group, params):
        self.norm = torch.stack([param.grad.norm() for param in params]).norm()
        super().update(group, params)


class DividesByNorm(Momentum):
    def gradient(self, group, param):
        return super().gradient(group, param) / param.grad.norm()


class DecaysFrozen(Momentum):
    def update(self, group, params):
        super().update(group, params)
        for param in group["params"]:
            param.mul_(1 - 0.1 * group["lr"])


class ScalesGradients(Momentum):
    def gradient(self, group, param):
        return param.grad.mul_(2)


class AlwaysNone(Momentum):
    def zero_grad(self, set_to_none=True):
        super().zero_grad()


class NeverNone(Momentum):
    def zero_grad(self, set_to_none=True):
        super().zero_grad(set_to_none=False)


class RefusesWithoutName(Momentum):
    def refuse(self, param):
        if param.grad.is_sparse or param.is_complex():
            raise RuntimeError("unsupported")


class RefusesHalfWay(Momentum):
    def refuse(self, param):
        param.mul_(0.9)
        super().refuse(param)


class TakesOneOfRepeatedRows(Momentum):
    def move(self, group, param, gradient, buffer):
        if gradient.is_sparse:
            param[gradient._indices()[0]] -= group["lr"] * gradient._values()
        else:
            param.sub_(group["lr"] * gradient)

    def refuse(self, param):
        pass


class TakesRealPart(Momentum):
    def refuse(self, param):
        pass

    def move(self, group, param, gradient, buffer):
        param.sub_(group["lr"] * gradient.real)


# Which check catches whom, and what it says that it found.
BROKEN = [
    ("descent", Ascends, "the loss went from"),
    ("determinism", DrawsUnseeded, "two runs of 4 steps: parameter 0"),
    ("iterator", ReadsParametersTwice, "empty parameter list"),
    ("in_place", ReplacesParameters, "parameter 0 has been replaced"),
    ("dtypes", KeepsFloat32, "parameter 0 of torch.float64 has become torch.float32"),
    ("dtypes", OverflowsInBfloat16, "torch.bfloat16: parameter 0 is not finite"),
    ("noncontiguous", FlattensParameters, "strided against contiguous parameters: parameter 0"),
    ("unusual_shapes", ScalesByLargest, r"a parameter of shape \(0,\)"),
    ("closure", ReturnsNoLoss, "step returned None"),
    ("closure", EvaluatesTwice, "was called 2 times"),
    ("closure", EvaluatesAfterwards, "3 steps with a closure against 3 without"),
    ("closure", NeverEvaluates, "the closure was never called"),
    ("closure_grad_mode", EvaluatesWithoutGradients, "called with gradients disabled"),
    ("closure_grad_mode", LeavesGradientsDisabled, "step left gradients disabled"),
    ("foreach_equals_loop", ForeachForgetsMomentum, "foreach against the loop.*parameter 0"),
    ("foreach_equals_loop", ForeachForgetsDecay, r"foreach against the loop, knobs \{'weight_decay': 0.1\}"),
    ("foreach_equals_loop", ForeachNeedsOneDtype, "AssertionError"),
    ("maximize", IgnoresMaximize, "maximize=True against negated gradients"),
    ("maximize", MaximizeForgetsDecay, "maximize=True against negated gradients"),
    ("printable", NoName, "repr is 'optimizer'"),
    ("missing_gradient", GlidesOn, "2 steps with gradients, then 2 with that of parameter 0 missing"),
    ("no_gradients", NeedsGradients, "RuntimeError"),
    ("zero_gradients", DividesByNorm, "then 3 with zeros: parameter 0 is not finite"),
    ("frozen_parameter", DecaysFrozen, "with parameter 0 frozen: parameter 0"),
    ("gradients_kept", ScalesGradients, "changed the gradient of parameter 0"),
    ("zero_grad", AlwaysNone, r"zero_grad\(set_to_none=False\) left None"),
    ("zero_grad", NeverNone, r"zero_grad\(\) left a gradient"),
    ("sparse_gradients", RefusesWithoutName, "does not say 'sparse': RuntimeError: unsupported"),
    ("sparse_gradients", RefusesHalfWay, "after sparse gradients were refused: parameter 0"),
    ("sparse_gradients", TakesOneOfRepeatedRows, "sparse against dense gradients: parameter 0"),
    ("complex_parameters", RefusesWithoutName, "does not say 'complex': RuntimeError: unsupported"),
    ("complex_parameters", RefusesHalfWay, "after complex parameters were refused: parameter 0"),
    ("complex_parameters", TakesRealPart, "complex parameters against their real views: parameter 0"),
]
