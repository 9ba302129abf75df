"""What the tests of PLD share: the sheet's numbers, the loss written term by term, and what tensors a call makes."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

S = torch.tensor([[0.5, 1.5, -0.3, 0.8], [2.0, -1.0, 0.1, 0.4]], dtype=torch.float64)
T = torch.tensor([[2.0, 1.0, 0.5, -1.0], [0.2, 1.2, 0.7, 3.0]], dtype=torch.float64)
Y = torch.tensor([1, 3])


def ranking(teacher, label):
    """The label, then the rest by falling logit, equal ones by class."""
    return [label, *sorted((c for c in range(len(teacher)) if c != label), key=lambda c: (-teacher[c], c))]


def term_by_term(student, teacher, label, alpha=None, temperature=1.0):
    """L of one row, by a log-sum-exp for each place; terms of weight 0 are left out."""
    order = ranking(teacher.tolist(), int(label))
    q = torch.softmax(teacher / temperature, 0)
    weights = [float(q[c]) for c in order] if alpha is None else list(alpha)
    return sum(
        (
            w * (student[order[k:]].logsumexp(0) - student[c])
            for k, (c, w) in enumerate(zip(order, weights, strict=True))
            if w
        ),
        torch.zeros((), dtype=student.dtype),
    )


def gradient_of(loss, *leaves):
    """Gradients of a scalar function of leaves, which become new ones."""
    leaves = [x.detach().clone().requires_grad_() for x in leaves]
    return torch.autograd.grad(loss(*leaves), leaves)


def differences(loss, x, step=1e-6):
    """Central differences of a scalar function, in float64."""
    found = torch.empty_like(x)
    for i in range(x.numel()):
        moved = []
        for sign in (1.0, -1.0):
            y = x.clone()
            y.view(-1)[i] += sign * step
            moved.append(float(loss(y)))
        found.view(-1)[i] = (moved[0] - moved[1]) / (2 * step)
    return found


class Largest(TorchDispatchMode):
    """The most elements that any tensor made inside has."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        sizes = [x.numel() for x in tree_iter(made) if isinstance(x, torch.Tensor)]
        self.elements = max([self.elements, *sizes])
        return made
