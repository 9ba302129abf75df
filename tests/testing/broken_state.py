"""Optimizers that forget, share or ignore state and knobs, each in one way, and the check that catches it."""

import random

import torch

from .momentum import Momentum


class KeepsStateToItself(Momentum):
    def buffer(self, param):
        self.buffers = getattr(self, "buffers", {})
        return self.buffers.setdefault(param, torch.zeros_like(param))


class SignsItsOwnMomentum(Momentum):
    """Steps by the sign of a momentum that nothing saves; of gradients that keep their sign nobody would notice."""

    def buffer(self, param):
        self._m = getattr(self, "_m", {})
        return self._m.setdefault(param, torch.zeros_like(param))

    def move(self, group, param, gradient, buffer):
        buffer.mul_(group["momentum"]).add_(gradient)
        param.sub_(buffer.sign() * group["lr"])

    def together(self, group, *each):
        for one in zip(*each, strict=True):
            self.move(group, *one)


class SavesAnObject(Momentum):
    def buffer(self, param):
        self.state[param]["why"] = random.Random(0)
        return super().buffer(param)


class LoadsDestructively(Momentum):
    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        state_dict["state"].clear()


class AccumulatesInFloat32(Momentum):
    def buffer(self, param):
        return self.state[param].setdefault("buffer", torch.zeros_like(param, dtype=torch.float32))


class KeepsItsOwnKnobs(Momentum):
    def load_state_dict(self, state_dict):
        own = [group["lr"] for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, lr in zip(self.param_groups, own, strict=True):
            group["lr"] = lr


class HasAnAttribute(Momentum):
    def __init__(self, params, **knobs):
        super().__init__(params, **knobs)
        self.shrink = 0.5

    def rate(self, group, param):
        return self.shrink * group["lr"]


class CopiesShareState(Momentum):
    def __deepcopy__(self, memo):
        return self


class HoldsALambda(Momentum):
    def __init__(self, params, **knobs):
        super().__init__(params, **knobs)
        self.defaults["schedule"] = lambda step: 1.0

    def __deepcopy__(self, memo):
        raise NotImplementedError


class ReadsDefaults(Momentum):
    def rate(self, group, param):
        return self.defaults["lr"]


class ReadsFirstGroup(Momentum):
    def rate(self, group, param):
        return self.param_groups[0]["lr"]


class ReadsLastGroup(Momentum):
    def rate(self, group, param):
        return self.param_groups[-1]["lr"]


class ForgetsWhenGroupsJoin(Momentum):
    def add_param_group(self, group):
        super().add_param_group(group)
        self.state.clear()


class ListsParametersOnce(Momentum):
    def step(self, closure=None):
        self.first = getattr(self, "first", list(self.param_groups))
        self.param_groups, groups = self.first, self.param_groups
        loss = super().step(closure)
        self.param_groups = groups
        return loss


class DecaysItsLr(Momentum):
    def update(self, group, params):
        super().update(group, params)
        group["lr"] *= 0.99


class KeepsItsFirstLr(Momentum):
    def rate(self, group, param):
        return self.state[param].setdefault("lr", group["lr"])


class DecaysAtLrZero(Momentum):
    def update(self, group, params):
        super().update(group, params)
        for param in params:
            param.mul_(0.999)


class RemembersLrByReference(Momentum):
    def rate(self, group, param):
        last = self.state[param].get("lr", group["lr"])
        self.state[param]["lr"] = group["lr"]
        return float(group["lr"] + last) / 2


class AcceptsNegativeLr(Momentum):
    def validate(self, lr, weight_decay):
        if weight_decay < 0:
            raise ValueError("weight_decay")


class AcceptsNegativeDecay(Momentum):
    def validate(self, lr, weight_decay):
        if lr < 0:
            raise ValueError("lr")


# Which check catches whom, and what it says that it found.
BROKEN = [
    ("resume", KeepsStateToItself, "3 steps after loading a run of 3: parameter 0"),
    ("resume", SignsItsOwnMomentum, "3 steps after loading a run of 3: parameter 0"),
    ("resume", SavesAnObject, r"weights_only=True\) does not read the state_dict"),
    ("resume", LoadsDestructively, r"load_state_dict changed what it was given at \['state'\]"),
    ("resume_dtypes", AccumulatesInFloat32, r"\['state'\]\[0\]\['buffer'\] \(torch.bfloat16 for torch.float32\)"),
    ("resume_from_saved_knobs", KeepsItsOwnKnobs, r"another one once loaded, at \['param_groups'\]\[0\]\['lr'\]"),
    ("deep_copy", SignsItsOwnMomentum, "3 steps of the copy against 3 of the original"),
    ("deep_copy", HasAnAttribute, "no attribute 'shrink'"),
    ("deep_copy", CopiesShareState, "the original's parameters after 3 steps of the copy"),
    ("pickled", SignsItsOwnMomentum, "3 steps of the copy against 3 of the original"),
    ("pickled", HasAnAttribute, "no attribute 'shrink'"),
    ("pickled", HoldsALambda, "pickle"),
    ("group_override", ReadsDefaults, "does not reach its parameters"),
    ("group_override", ReadsFirstGroup, "does not reach its parameters"),
    ("group_override", ReadsLastGroup, "with another lr in the other group: parameter 0"),
    ("group_added", ForgetsWhenGroupsJoin, "adding a group changed the state at"),
    ("group_added", ListsParametersOnce, "has not moved"),
    ("schedulers", DecaysItsLr, "StepLR set lr 0.01, and the optimizer has 0.0099"),
    ("schedulers", KeepsItsFirstLr, "steps under StepLR are those of a constant lr"),
    ("lr_zero", DecaysAtLrZero, "then 2 at lr 0: parameter 0"),
    ("lr_tensor", RemembersLrByReference, "lr as a tensor against the same number"),
    ("bad_hyperparameters", AcceptsNegativeLr, "lr=-1 is accepted"),
    ("bad_hyperparameters", AcceptsNegativeDecay, "weight_decay=-1 is accepted"),
]
