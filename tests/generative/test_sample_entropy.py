"""Entropy of samples and of flows, held to laws whose entropy is known."""

import math

import pytest
import torch

from entrokit.generative.flow_entropy import flow_entropy
from entrokit.generative.mixtures import GaussianMixture
from entrokit.generative.sample_entropy import knn_entropy

F64 = torch.float64


def drawn(law, count, dimensions, seed=0):
    g = torch.Generator().manual_seed(seed)
    return {
        "normal": lambda: torch.randn(count, dimensions, dtype=F64, generator=g),
        "uniform": lambda: torch.rand(count, dimensions, dtype=F64, generator=g),
    }[law]()


@pytest.mark.parametrize(("law", "each"), [("normal", 0.5 * math.log(2 * math.pi * math.e)), ("uniform", 0.0)])
@pytest.mark.parametrize("dimensions", [1, 2, 5])
@pytest.mark.parametrize("k", [1, 4])
def test_known_laws(law, each, dimensions, k):
    """An estimate's deviation is about √((ψ'(k) + var log p) / N), its bias at edges of the order of the radius."""
    count = 3000
    deviation = math.sqrt((float(torch.polygamma(1, torch.tensor(float(k)))) + 0.5 * dimensions) / count)
    edge = 2 * dimensions * (k / count) ** (1 / dimensions) if dimensions > 1 else 0
    found = knn_entropy(drawn(law, count, dimensions), k)
    assert found == pytest.approx(dimensions * each, abs=5 * deviation + 0.25 * edge)


def test_a_few_points_by_hand():
    """ψ(3) - ψ(1) = 3/2 and ψ(3) - ψ(2) = 1/2; the unit ball is 2 on the line and π in the plane."""
    line = torch.tensor([[0.0], [1.0], [3.0]], dtype=F64)
    assert knn_entropy(line, 1) == pytest.approx(1.5 + math.log(2) + math.log(1 * 1 * 2) / 3, abs=1e-12)
    assert knn_entropy(line, 2) == pytest.approx(0.5 + math.log(2) + math.log(3 * 2 * 3) / 3, abs=1e-12)
    plane = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=F64)
    assert knn_entropy(plane, 1) == pytest.approx(1 + math.log(math.pi) + 2 * math.log(5), abs=1e-12)


def test_a_scale_adds_its_logarithm_and_a_rotation_nothing():
    x = drawn("normal", 500, 3)
    q, _ = torch.linalg.qr(drawn("normal", 3, 3, seed=1))
    assert knn_entropy(7 * x + 5) == pytest.approx(knn_entropy(x) + 3 * math.log(7), abs=1e-9)
    assert knn_entropy(x @ q) == pytest.approx(knn_entropy(x), abs=1e-9)


def test_modes_that_are_lost_lower_it_by_their_logarithm():
    """One mode in eight far apart: log 8 less."""
    g = torch.Generator().manual_seed(0)
    ring = GaussianMixture.circle(dtype=F64)
    one = GaussianMixture(torch.ones(1, dtype=F64), ring.means[:1], ring.stds[:1])
    gap = knn_entropy(ring.sample(4000, g)) - knn_entropy(one.sample(4000, g))
    assert gap == pytest.approx(math.log(8), abs=0.1)


def test_what_has_no_entropy_is_named():
    x = drawn("normal", 20, 2)
    with pytest.raises(ValueError, match="3 of 20 samples are the same point"):
        knn_entropy(torch.cat([x[:17], x[:1].expand(3, -1)]).clone().index_copy_(0, torch.tensor([0]), x[19:]), k=2)
    with pytest.raises(ValueError, match="N - 1 = 19"):
        knn_entropy(x, 20)
    for wrong in (x[0], x[:, :0]):
        with pytest.raises(ValueError, match=r"\[N, D\]"):
            knn_entropy(wrong)
    with pytest.raises(ValueError, match="NaN"):
        knn_entropy(x * math.nan)
    with pytest.warns(UserWarning, match="17 dimensions"):
        knn_entropy(drawn("normal", 30, 17))


def test_a_linear_flow_is_exact():
    """x' = (I - dt A) x at each of four steps, whatever the noise."""
    a = torch.tensor([[0.5, 0.2], [-0.3, 0.8]], dtype=F64)
    found = flow_entropy(lambda x, t: x @ a.T, drawn("normal", 3, 2), steps=4)
    log_det = 4 * math.log(float(torch.linalg.det(torch.eye(2, dtype=F64) - a / 4)))
    assert found == pytest.approx(math.log(2 * math.pi * math.e) + log_det, abs=1e-12)


def test_the_flow_s_own_entropy_is_what_neighbours_find():
    def velocity(x, t):
        return torch.sin(2 * x) + 0.5 * x * t[:, None]

    noise = drawn("normal", 4000, 2)
    x = noise
    for i in range(20):
        x = x - velocity(x, torch.full((len(x),), 1 - i / 20, dtype=F64)) / 20
    assert knn_entropy(x) == pytest.approx(flow_entropy(velocity, noise, 20), abs=0.1)


def test_steps_that_fold_are_named():
    with pytest.raises(ValueError, match=r"t = 1 folds space at 3 of 3"):
        flow_entropy(lambda x, t: 3 * x, drawn("normal", 3, 1), steps=2)
    some = torch.tensor([[-1.0], [-2.0], [1.0]], dtype=F64)
    with pytest.raises(ValueError, match=r"t = 1 folds space at 1 of 3"):
        flow_entropy(lambda x, t: 3 * x.clamp(min=0), some, steps=2)
    with pytest.raises(ValueError, match="steps"):
        flow_entropy(lambda x, t: x, drawn("normal", 3, 1), steps=0)
    with pytest.raises(ValueError, match=r"\[B, D\]"):
        flow_entropy(lambda x, t: x, torch.zeros(3), steps=2)


def test_a_flow_that_only_moves_what_it_has_keeps_its_entropy():
    """Velocities that do not depend on x have no Jacobian; callers may have gradients off."""
    whole = math.log(2 * math.pi * math.e)
    with torch.no_grad():
        assert flow_entropy(lambda x, t: torch.ones_like(x), drawn("normal", 3, 2)) == pytest.approx(whole, abs=1e-12)
        # Of two components one moves by itself.
        found = flow_entropy(lambda x, t: torch.stack([0.5 * x[:, 0], t], 1), drawn("normal", 3, 2), steps=2)
    assert found == pytest.approx(whole + 2 * math.log(0.75), abs=1e-12)


def test_a_flow_of_half_precision_has_a_determinant():
    found = flow_entropy(lambda x, t: 0.5 * x, drawn("normal", 3, 2).bfloat16(), steps=2)
    assert found == pytest.approx(math.log(2 * math.pi * math.e) + 4 * math.log(0.75), abs=1e-9)


def test_velocities_that_are_none_are_named():
    noise = drawn("normal", 4, 2)
    with pytest.raises(ValueError, match=r"velocity at t = 1 has shape \[1, 2\]"):
        flow_entropy(lambda x, t: x[:1], noise)
    with pytest.raises(ValueError, match=r"velocity at t = 1 is NaN or infinite in 4 of 4"):
        flow_entropy(lambda x, t: x * math.nan, noise)
    with pytest.raises(ValueError, match="floating point"):
        flow_entropy(lambda x, t: 0.1 * x, noise.long())


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_a_callers_mode_does_not_change_a_flows_entropy(off):
    """Half of what is there at each of two steps; noise made under inference mode may be used outside of it."""
    exact = math.log(2 * math.pi * math.e) + 4 * math.log(0.75)
    with off():
        noise = drawn("normal", 3, 2)
        assert flow_entropy(lambda x, t: 0.5 * x, noise, steps=2) == pytest.approx(exact, abs=1e-12)
    assert flow_entropy(lambda x, t: 0.5 * x, noise, steps=2) == pytest.approx(exact, abs=1e-12)
    assert not noise.requires_grad


@pytest.mark.parametrize("wrap", [torch.no_grad(), torch.inference_mode()], ids=["no_grad", "inference_mode"])
def test_a_velocity_that_hides_its_gradient_is_told(wrap):
    """Its determinants would be 1, and the entropy that of the noise."""
    inner = torch.nn.Linear(2, 2).double()
    for velocity in (wrap(lambda x, t: inner(x)), lambda x, t: inner(x.detach()), lambda x, t: inner(x).detach()):
        with pytest.raises(ValueError, match=r"velocity at t = 1 changes with x and has no gradient"):
            flow_entropy(velocity, drawn("normal", 3, 2))


def test_a_flows_parameters_and_noise_are_left_as_they_were():
    inner, noise = torch.nn.Linear(2, 2).double(), drawn("normal", 3, 2).requires_grad_()
    before = noise.detach().clone()
    flow_entropy(lambda x, t: 0.1 * inner(x), noise, steps=2)
    assert torch.equal(noise, before)
    assert noise.grad is None
    assert inner.weight.grad is None


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_distances_that_leave_float64_are_named(scale):
    with pytest.raises(ValueError, match=r"leave float64"):
        knn_entropy(scale * drawn("normal", 20, 2))
    with pytest.raises(TypeError, match="samples must be a torch.Tensor"):
        knn_entropy(drawn("normal", 20, 2).numpy())


def test_a_surface_loses_entropy_with_every_sample():
    """In the plane, points on a circle: radii fall like 1 / N, so its log falls twice for each of ψ(N)."""

    def circle(count):
        angle = 2 * math.pi * drawn("uniform", count, 1)
        return torch.cat([angle.cos(), angle.sin()], 1)

    # Neighbours along the curve: log r is that of a line, up to the sampling error of 1000 radii at k = 4.
    deviation = math.sqrt(4 * float(torch.polygamma(1, torch.tensor(4.0))) * 2 / 1000)
    gap = knn_entropy(circle(4000)) - knn_entropy(circle(1000))
    assert gap == pytest.approx(-math.log(4), abs=5 * deviation)


def test_samples_with_a_gradient_are_samples_and_zeros_are_one_point():
    x = drawn("normal", 20, 2)
    assert knn_entropy(x.clone().requires_grad_()) == knn_entropy(x)
    with pytest.raises(ValueError, match="20 of 20 samples are the same point"):
        knn_entropy(0 * x)
    with pytest.raises(ValueError, match="it is 0"):
        knn_entropy(x, 0)
    for k in (4.0, 2.5, None):
        with pytest.raises(TypeError, match="k must be a whole number"):
            knn_entropy(x, k)
    for kind in (torch.complex64, torch.bool):
        with pytest.raises(ValueError, match=f"samples are real numbers; their dtype is {kind}"):
            knn_entropy(x.to(kind))


def test_each_step_has_the_time_at_which_it_begins():
    """Of v = t x over two steps the volumes are (1 - 1/2) and (1 - 1/4)."""
    found = flow_entropy(lambda x, t: t[:, None] * x, drawn("normal", 3, 1), steps=2)
    assert found == pytest.approx(0.5 * math.log(2 * math.pi * math.e) + math.log(0.5 * 0.75), abs=1e-12)
