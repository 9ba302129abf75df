"""A diffusion model, and its distillation to one step: the loop to copy.

Small perceptrons stand for the networks; noise is added without scaling (x + σ noise), σ log-uniform, t being log σ.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from entrokit.generative.f_distill import (
    RatioNormalizer,
    f_distill_loss,
    gan_discriminator_loss,
    is_student_step,
    student_loss,
)

Draw = Callable[[int, torch.Generator], Tensor]
"""Real samples ``[count, D]``."""
_Net = TypeVar("_Net", bound=nn.Module)


@dataclass(frozen=True)
class Settings:
    """Of one distillation. ``sample_norm`` and ``time_weight`` (of log σ) are those of `f_distill_loss`."""

    divergence: str
    sigma_min: float
    sigma_max: float
    iterations: int
    batch: int
    sample_norm: str
    time_weight: Callable[[Tensor], Tensor] | None
    student_rate: float = 2e-4
    critic_rate: float = 1e-3
    gan_weight: float = 1e-3
    every: int = 5
    ema: float = 0.99


class Denoiser(nn.Module):
    """x̂ of noised samples, three hidden layers, preconditioned as in EDM (Karras et al., arXiv 2206.00364)."""

    def __init__(self, dims: int, width: int, data_std: float) -> None:
        super().__init__()
        self.data_std = data_std
        self.layers = nn.ModuleList([nn.Linear(dims + 5, width), nn.Linear(width, width), nn.Linear(width, width)])
        self.out = nn.Linear(width, dims)

    def forward(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Clean data ``[B, D]`` and features ``[B, 3 width]`` of ``x`` ``[B, D]`` with noise ``sigma`` ``[B]``."""
        sigma = sigma[:, None]
        total = (sigma**2 + self.data_std**2).sqrt()
        level = sigma.log() / 4
        turns = 2 * math.pi * level * torch.tensor([0.5, 1.0])
        hidden, features = torch.cat([x / total, level, turns.sin(), turns.cos()], 1), []
        for layer in self.layers:
            hidden = nn.functional.silu(layer(hidden))
            features.append(hidden)
        skip, scale = (self.data_std / total) ** 2, sigma * self.data_std / total
        return skip * x + scale * self.out(hidden), torch.cat(features, 1)


def denoising_loss(net: Denoiser, x: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """EDM's: the squared error of x̂, so weighted that every level counts alike."""
    denoised, _ = net(x + sigma[:, None] * noise, sigma)
    weight = 1 / sigma**2 + 1 / net.data_std**2
    error: Tensor = weight[:, None] * (denoised - x).square()
    return error.mean()


def teach(draw: Draw, width: int, settings: Settings, seed: int) -> Denoiser:
    """A teacher of real samples: Adam, its rate falling linearly to 0."""
    generator = torch.Generator().manual_seed(seed)
    sample = draw(4096, generator)
    teacher = _seeded(lambda: Denoiser(sample.shape[1], width, float(sample.std())), seed)
    optimizer = torch.optim.Adam(teacher.parameters(), lr=2e-3, fused=True)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, settings.iterations)
    for _ in range(settings.iterations):
        x = draw(settings.batch, generator)
        loss = denoising_loss(teacher, x, _levels(settings, generator), torch.randn(x.shape, generator=generator))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        falling.step()
    return teacher.requires_grad_(False).eval()


class Distillation:
    """A student on its way, with all that is trained beside it; `state_dict` and `load_state_dict` resume it exactly.

    The student is the teacher at the highest noise level, its input pure noise.
    """

    def __init__(self, teacher: Denoiser, settings: Settings, seed: int) -> None:
        self.teacher, self.settings, self.iteration = teacher, settings, 0
        self.generator = torch.Generator().manual_seed(seed)
        self.student, self.fake = (copy.deepcopy(teacher).requires_grad_(True).train() for _ in range(2))
        width = teacher.out.in_features
        self.head = _seeded(lambda: nn.Sequential(nn.Linear(3 * width, 64), nn.SiLU(), nn.Linear(64, 1)), seed)
        self.normalizer = RatioNormalizer(math.log(settings.sigma_min), math.log(settings.sigma_max), ema_rate=0.5)
        averaging = get_ema_multi_avg_fn(settings.ema)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(self.student, multi_avg_fn=averaging)
        self.student_optimizer = torch.optim.AdamW(self.student.parameters(), settings.student_rate, fused=True)
        critics = [*self.fake.parameters(), *self.head.parameters()]
        self.critic_optimizer = torch.optim.AdamW(critics, settings.critic_rate, fused=True)

    def run(self, draw: Draw, until: int | None = None) -> Distillation:
        """On to an iteration; by default to the last."""
        while self.iteration < (self.settings.iterations if until is None else until):
            if is_student_step(self.iteration, self.settings.every):
                self._student_step()
            else:
                self._critic_step(draw(self.settings.batch, self.generator))
            self.iteration += 1
        return self

    def _student_step(self) -> None:
        own = self.settings
        gen = self._generate(self.student, own.batch)
        sigma = _levels(own, self.generator)
        noised = gen + sigma[:, None] * torch.randn(gen.shape, generator=self.generator)
        with torch.no_grad():
            fake_x0, _ = self.fake(noised, sigma)
        # The GAN term's gradient goes through these features into the student.
        teacher_x0, features = self.teacher(noised, sigma)
        logits = self.head(features)
        distillation, _ = f_distill_loss(
            gen, teacher_x0, fake_x0, logits, sigma.log(), divergence=own.divergence, normalizer=self.normalizer,
            sample_norm=own.sample_norm, time_weight=own.time_weight,
        )  # fmt: skip
        self.student_optimizer.zero_grad()
        torch.autograd.backward(student_loss(distillation, logits, own.gan_weight))
        self.student_optimizer.step()
        self.average.update_parameters(self.student)

    def _critic_step(self, real: Tensor) -> None:
        with torch.no_grad():
            fake = self._generate(self.student, len(real))
        sigmas = [_levels(self.settings, self.generator) for _ in range(2)]
        noises = [torch.randn(real.shape, generator=self.generator) for _ in range(2)]
        logits = [
            self.head(self.teacher(x + sigma[:, None] * noise, sigma)[1])
            for x, sigma, noise in zip((real, fake), sigmas, noises, strict=True)
        ]
        loss = gan_discriminator_loss(*logits) + denoising_loss(self.fake, fake, sigmas[1], noises[1])
        self.critic_optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.critic_optimizer.step()

    def _generate(self, net: nn.Module, count: int, generator: torch.Generator | None = None) -> Tensor:
        dims = self.teacher.out.out_features
        z = torch.randn(count, dims, generator=generator or self.generator)
        found: Tensor = net(self.settings.sigma_max * z, torch.full((count,), self.settings.sigma_max))[0]
        return found

    @torch.no_grad()
    def sample(self, count: int, seed: int) -> Tensor:
        """``[count, D]`` in one step each, of the averaged student."""
        return self._generate(self.average.module, count, torch.Generator().manual_seed(seed))

    def _parts(self) -> dict[str, Any]:
        return {
            "student": self.student, "fake": self.fake, "head": self.head, "normalizer": self.normalizer,
            "average": self.average, "student_optimizer": self.student_optimizer,
            "critic_optimizer": self.critic_optimizer,
        }  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs, but for teacher and settings."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        return {**parts, "iteration": self.iteration, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.iteration = state["iteration"]
        self.generator.set_state(state["generator"])


@torch.no_grad()
def sample_teacher(teacher: Denoiser, settings: Settings, count: int, seed: int, steps: int = 32) -> Tensor:
    """``[count, D]`` by Euler steps of the probability flow through ``steps`` levels, the last of them 0."""
    generator = torch.Generator().manual_seed(seed)
    levels = torch.logspace(math.log10(settings.sigma_max), math.log10(settings.sigma_min), steps).tolist()
    x = settings.sigma_max * torch.randn(count, teacher.out.out_features, generator=generator)
    for sigma, after in zip(levels, [*levels[1:], 0.0], strict=True):
        denoised, _ = teacher(x, torch.full((count,), sigma))
        x = denoised + (after / sigma) * (x - denoised)
    return x


def _levels(settings: Settings, generator: torch.Generator) -> Tensor:
    low, high = math.log(settings.sigma_min), math.log(settings.sigma_max)
    return (low + (high - low) * torch.rand(settings.batch, generator=generator)).exp()


def _seeded(make: Callable[[], _Net], seed: int) -> _Net:
    """Weights by a seed, without touching anybody's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()
