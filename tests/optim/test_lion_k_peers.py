"""Lion-K beside other people's: the same trajectories as pytorch-optimizer's Lion and as torch's Muon."""

import pytest
import torch

from entrokit.optim.lion_k import LionK

from .lion_k_cases import draw, parameter


def together(ours, theirs, shapes, steps=21):
    """The largest difference of parameters that both move by the same gradients."""
    apart = 0.0
    params = [[parameter(draw(*shape, seed=i)) for i, shape in enumerate(shapes)] for _ in range(2)]
    optimizers = [make(own) for make, own in zip((ours, theirs), params, strict=True)]
    starts = [p.detach().clone() for p in params[0]]
    for step in range(steps):
        for one, other in zip(*params, strict=True):
            one.grad = draw(*one.shape, seed=100 * step + one.numel())
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
        apart = max(apart, *(float((a - b).detach().abs().max()) for a, b in zip(*params, strict=True)))
    assert all(not torch.equal(p.detach(), start) for p, start in zip(params[0], starts, strict=True))
    return apart


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("foreach", [True, False])
def test_lion_of_pytorch_optimizer(weight_decay, foreach):
    peers = pytest.importorskip("pytorch_optimizer", reason="pytorch-optimizer is not installed")
    knobs = {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": weight_decay, "foreach": foreach}
    apart = together(
        lambda params: LionK(params, **knobs),
        lambda params: peers.Lion(params, **knobs),
        [(3, 4), (5,), (2, 3, 2)],
    )
    assert apart < 1e-12


def muon(mu, nesterov, weight_decay=0.1):
    return lambda params: torch.optim.Muon(params, 0.02, weight_decay, mu, nesterov)


def as_muon(betas, scale=1.0, weight_decay=0.1):
    return lambda params: LionK(
        params,
        0.02 * scale,
        betas,
        weight_decay / scale,
        K="nuclear",
        K_kwargs={"newton_schulz": 5, "bfloat16": True},
    )


def test_muon_is_the_member_with_betas_mu_squared_and_mu():
    """Nesterov's blend with the new momentum is β1 = μ² with the old one; without it both are μ. Wide matrices."""
    shapes = [(3, 5), (4, 4)]
    assert together(as_muon((0.95**2, 0.95)), muon(0.95, True), shapes) < 1e-12
    assert together(as_muon((0.95, 0.95)), muon(0.95, False), shapes) < 1e-12
    assert together(as_muon((0.95, 0.95)), muon(0.95, True), shapes) > 1e-4


def test_of_tall_matrices_muon_s_bound_is_another_one():
    """torch's Muon multiplies steps of M × N by √(M/N) where M > N, and so its bound on ‖X‖_op, over 1/λ."""
    scale = (6 / 3) ** 0.5
    assert together(as_muon((0.95**2, 0.95), scale), muon(0.95, True), [(6, 3)]) < 1e-12
    x = parameter(torch.zeros(6, 3))
    optimizer = muon(0.95, True, weight_decay=1.0)([x])
    for _ in range(400):
        x.grad = -draw(6, 3)
        optimizer.step()
    # A constant direction: singular values of a step are about 1, times the factor, and x is their geometric mean.
    assert float(torch.linalg.matrix_norm(x.detach(), 2)) > 1.2 / 1.0
