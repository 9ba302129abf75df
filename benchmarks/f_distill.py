"""What f-distill costs beside plain distribution matching: the loss and its gradient, and a whole step of a student.

The peer of the loss is `torch.nn.functional.mse_loss` of the same tensors, that of the step the same step by plain
DMD2: `vsd_loss` and the GAN term. Called in turns, in an order that turns with every round: microseconds of the core a
call, median of rounds and range, and the ratio to the peer's of the same round. Takes about a minute.
"""

from __future__ import annotations

import argparse
import copy
import os
from collections.abc import Callable

import torch
from torch import Tensor, nn
from turns import shown, timed

from entrokit.generative.f_distill import RatioNormalizer, f_distill_loss, student_loss, vsd_loss

SHAPES = ((128, 64), (256, 3, 32, 32), (32, 4, 64, 64))
Calls = dict[str, Callable[[], None]]


def losses(shape: tuple[int, ...]) -> Calls:
    generator = torch.Generator().manual_seed(0)
    gen, teacher, fake = (torch.randn(shape, generator=generator) for _ in range(3))
    gen.requires_grad_()
    logits, t = torch.randn(shape[0], 1, generator=generator), torch.rand(shape[0], generator=generator)
    normalizer = RatioNormalizer(0.0, 1.0, ema_rate=0.5)

    def call(loss: Callable[[], Tensor]) -> Callable[[], None]:
        return lambda: torch.autograd.backward(loss(), inputs=[gen])

    return {
        "mse_loss": call(lambda: nn.functional.mse_loss(gen, teacher)),
        "vsd_loss": call(lambda: vsd_loss(gen, teacher, fake)),
        "f_distill_loss, js": call(lambda: f_distill_loss(gen, teacher, fake, logits, t)[0]),
        "the same, normalised": call(lambda: f_distill_loss(gen, teacher, fake, logits, t, normalizer=normalizer)[0]),
    }


def steps(width: int, batch: int = 128, dims: int = 64) -> Calls:
    """A student's step with perceptrons of three hidden layers; discriminator and GAN term are in both."""
    torch.manual_seed(0)
    body = [nn.Linear(dims, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()]
    features, out = nn.Sequential(*body).requires_grad_(False), nn.Linear(width, dims).requires_grad_(False)
    fake = copy.deepcopy(nn.Sequential(features, out))
    head = nn.Linear(width, 1)
    z, t = torch.randn(batch, dims), torch.rand(batch)

    def call(plain: bool) -> Callable[[], None]:
        student = copy.deepcopy(nn.Sequential(features, out)).requires_grad_(True)
        optimizer = torch.optim.AdamW(student.parameters(), 1e-5)
        normalizer = RatioNormalizer(0.0, 1.0, ema_rate=0.5)

        def once() -> None:
            gen = student(z)
            hidden = features(gen)
            logits = head(hidden)
            distillation = (
                vsd_loss(gen, out(hidden), fake(gen))
                if plain
                else f_distill_loss(gen, out(hidden), fake(gen), logits, t, normalizer=normalizer)[0]
            )
            optimizer.zero_grad()
            torch.autograd.backward(student_loss(distillation, logits))
            optimizer.step()

        return once

    return {"DMD2": call(True), "f-distill, js": call(False)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.03, help="of the peer's calls in a round")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, one thread, float32")
    for shape in SHAPES:
        shown(
            f"loss and gradient, {list(shape)}",
            timed(losses(shape), arguments.rounds, seconds=arguments.seconds, unit=1e-6),
            "µs",
        )
    for width in (256, 1024):
        shown(
            f"student's step, {width} wide",
            timed(steps(width), arguments.rounds, seconds=arguments.seconds, unit=1e-6),
            "µs",
        )


if __name__ == "__main__":
    main()
