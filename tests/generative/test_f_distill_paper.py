"""The entry's own loop and scores: that a resumed run is the same, and that scores say what they are said to."""

import math
from dataclasses import replace

import pytest
import torch

from entrokit.generative.mixtures import GaussianMixture
from entrokit.papers.generative import _f_distill_laws as laws
from entrokit.papers.generative import _f_distill_loop as loop
from entrokit.papers.generative import _f_distill_students as students
from entrokit.papers.generative._f_distill_scores import mode_shares, precision_recall, spread
from entrokit.papers.generative.f_distill import _more

LAW = GaussianMixture.circle()
SMALL = replace(students.CIRCLE, divergence="js", iterations=12, batch=64)


@pytest.fixture(scope="module")
def teacher():
    return loop.teach(LAW.sample, 16, SMALL, 0)


def test_a_resumed_distillation_is_the_same(teacher, tmp_path):
    whole = loop.Distillation(teacher, SMALL, 1).run(LAW.sample)
    begun = loop.Distillation(teacher, SMALL, 1).run(LAW.sample, until=7)
    torch.save(begun.state_dict(), tmp_path / "state.pt")
    resumed = loop.Distillation(teacher, SMALL, 2)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt"))
    assert torch.equal(resumed.run(LAW.sample).sample(9, 3), whole.sample(9, 3))
    for one, other in zip(resumed.fake.parameters(), whole.fake.parameters(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(resumed.normalizer.bins, whole.normalizer.bins)


def test_a_student_step_moves_the_student_and_a_critic_step_the_critics(teacher):
    run = loop.Distillation(teacher, SMALL, 1)

    def weights():
        return [p.detach().clone() for p in (run.student.out.weight, run.fake.out.weight, run.head[0].weight)]

    taught = teacher.out.weight.clone()
    start = weights()
    after_student = (run.run(LAW.sample, until=1), weights())[1]
    after_critic = (run.run(LAW.sample, until=2), weights())[1]
    assert [torch.equal(a, b) for a, b in zip(start, after_student, strict=True)] == [False, True, True]
    assert [torch.equal(a, b) for a, b in zip(after_student, after_critic, strict=True)] == [True, False, False]
    assert torch.equal(teacher.out.weight, taught)


def test_weights_leave_everybody_s_random_numbers_alone(teacher):
    before = torch.get_rng_state()
    loop.Distillation(teacher, SMALL, 1).run(LAW.sample, until=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_exact_denoisers_and_ratio_are_those_of_the_noised_laws():
    x = torch.linspace(-3, 3, 7)[:, None]
    mean, std, sigma = torch.tensor(0.3), torch.tensor(1.5), 0.4
    teacher_x0, fake_x0, log_ratio = laws._exact(x, torch.full((7, 1), sigma), mean, std)
    student = GaussianMixture(torch.ones(1), torch.tensor([[0.3]]), torch.tensor([1.5])).noised(1.0, sigma)
    teacher = laws.TEACHER.noised(1.0, sigma)
    # Sizes are below 3 and 20 here, in float32.
    torch.testing.assert_close(teacher_x0, x + sigma**2 * teacher.score(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(fake_x0, x + sigma**2 * student.score(x), rtol=1e-5, atol=1e-5)
    exact = (teacher.log_prob(x) - student.log_prob(x))[:, None]
    torch.testing.assert_close(log_ratio, exact, rtol=1e-5, atol=1e-4)


def test_steps_by_quadrature_start_where_they_are_told_and_move_to_the_moments():
    assert laws.followed("kl", [laws.START], steps=0) == [pytest.approx(laws.START)]
    (mean, std), (other, _) = laws.followed("kl", [laws.START, (-0.5, 1.5)], steps=300)
    assert -0.8 < mean < 0.5
    assert abs(std - 1.9) < 0.1 * abs(laws.START[1] - 1.9)
    assert other < -0.5
    assert pytest.approx((float((laws.TEACHER.weights @ laws.TEACHER.means)[0]), math.sqrt(3.61))) == laws.MOMENTS


def test_a_few_steps_by_samples_move_the_student_towards_the_teacher(monkeypatch):
    monkeypatch.setattr(laws, "STEPS", 40)
    monkeypatch.setattr(laws, "BATCH", 256)
    mean, std = laws.distilled("kl", 0)
    assert mean < 0.5
    assert std > 1.0


def test_shares_of_modes():
    x = torch.cat([LAW.means[:3], LAW.means[:1] + 0.9 * 0.3, torch.zeros(4, 2)])
    shares = mode_shares(x, LAW)
    assert shares.tolist() == [0.25, 0.125, 0.125, 0, 0, 0, 0, 0]
    assert spread(shares) == pytest.approx(1.5 * math.log(2))
    assert spread(torch.zeros(8, dtype=torch.float64)) == 0.0


def test_precision_and_recall_of_samples_that_seek_and_that_scatter():
    generator = torch.Generator().manual_seed(0)
    real = torch.cat([torch.randn(50, 2, generator=generator), 20 + torch.randn(50, 2, generator=generator)])
    # Copies of one half: faithful, and half is covered.
    assert precision_recall(real[:50], real) == (1.0, 0.5)
    assert precision_recall(real, real) == (1.0, 1.0)
    precision, recall = precision_recall(torch.cat([real, 1000 + 30 * torch.randn(100, 2, generator=generator)]), real)
    assert (precision, recall) == (0.5, 1.0)


def test_a_teacher_s_samples_are_those_of_its_law():
    """With a denoiser that is exact the flow ends within the modes."""

    class Exact(torch.nn.Module):
        out = torch.nn.Linear(1, 2)

        def forward(self, x, sigma):
            return x + sigma[:, None] ** 2 * LAW.noised(1.0, float(sigma[0])).score(x), x

    shares = mode_shares(loop.sample_teacher(Exact(), replace(SMALL, sigma_max=20.0), 400, 0), LAW)
    assert float(shares.sum()) > 0.9
    assert float(shares.min()) > 0.05


def test_the_fake_score_is_taught_by_the_student_s_samples(teacher, monkeypatch):
    seen, original = [], loop.denoising_loss
    monkeypatch.setattr(loop, "denoising_loss", lambda net, x, *rest: (seen.append(x), original(net, x, *rest))[1])
    loop.Distillation(teacher, SMALL, 1).run(lambda count, generator: torch.full((count, 2), 1e3), until=2)
    (taught,) = seen
    assert float(taught.abs().max()) < 100
    assert not taught.requires_grad


def test_a_claim_of_more_is_of_the_divergence_that_it_names():
    more, less = ([students.CircleRun([], 0.0, spread + seed / 100) for seed in range(5)] for spread in (2.0, 1.0))
    finding = _more({"kl": more, "rkl": less}, "spread", "kl", "rkl", "claim", "entropy", "nats")
    assert finding.passed
    assert finding.measured.startswith("+1.0000")
    assert not _more({"kl": less, "rkl": more}, "spread", "kl", "rkl", "claim", "entropy", "nats").passed


def test_samples_are_of_the_averaged_student(teacher):
    run = loop.Distillation(teacher, SMALL, 1).run(LAW.sample, until=6)
    before = run.sample(5, 0)
    torch.nn.init.zeros_(run.student.out.weight)
    assert torch.equal(run.sample(5, 0), before)
