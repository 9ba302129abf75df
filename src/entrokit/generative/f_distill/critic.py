"""What is trained beside the student: the discriminator's losses, and whose turn it is.

The fake score net needs nothing of its own: it is a denoiser, trained on the student's detached samples.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import mse_loss, softplus

from .checks import check_count, check_finite, check_logits, check_number


def gan_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """``mean softplus(D(fake)) + mean softplus(-D(real))``, 0-dim, at least 0; at its least D is log p/q.

    Args:
        real_logits, fake_logits: ``[B, heads]``, of noised data or teacher's samples, and of the student's; the
            batches may differ in size.

    Raises:
        TypeError, ValueError: logits that are no finite floats ``[B, heads]``, or differ in heads.
    """
    real = check_logits(real_logits, "gan_discriminator_loss: real")
    fake = check_logits(fake_logits, "gan_discriminator_loss: fake")
    if real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"gan_discriminator_loss: logits of the same heads are expected, got shapes {list(real.shape)} and "
            f"{list(fake.shape)}"
        )
    return softplus(fake).mean() + softplus(-real).mean()


def gan_generator_loss(fake_logits: Tensor) -> Tensor:
    """``mean softplus(-D(fake))``, 0-dim, at least 0; its gradient goes through the noised sample into the student.

    Args:
        fake_logits: ``[B, heads]``.

    Raises:
        TypeError, ValueError: logits that are no finite floats ``[B, heads]``.
    """
    return softplus(-check_logits(fake_logits, "gan_generator_loss")).mean()


def approximate_r1(real_logits: Tensor, perturbed_logits: Tensor) -> Tensor:
    """``mean (D(x) - D(x + α noise))²``, 0-dim: to be added to the discriminator's loss, times γ.

    Args:
        real_logits, perturbed_logits: ``[B, heads]``, of real samples and of the same with a little noise (α = 0.1).

    Raises:
        TypeError, ValueError: logits that are no finite floats ``[B, heads]``, or of two shapes.
    """
    real = check_logits(real_logits, "approximate_r1: real")
    perturbed = check_logits(perturbed_logits, "approximate_r1: perturbed")
    if real.shape != perturbed.shape:
        raise ValueError(
            f"approximate_r1: logits of the same samples are expected, got shapes {list(real.shape)} and "
            f"{list(perturbed.shape)}"
        )
    return mse_loss(perturbed, real)


def student_loss(
    distillation: Tensor, fake_logits: Tensor, gan_weight: float = 1e-3, *, discriminator_trained: bool = False
) -> Tensor:
    """The student's whole loss, 0-dim: that of `f_distill_loss` and ``gan_weight`` times `gan_generator_loss`.

    Without its GAN term the student still needs a discriminator for the ratio (the paper's Table 10), so a weight of
    0 is refused unless one is said to be trained.

    Args:
        distillation: 0-dim. fake_logits: ``[B, heads]``, not detached. gan_weight: λ, at least 0.
        discriminator_trained: that `gan_discriminator_loss` is minimised although λ is 0.

    Raises:
        TypeError, ValueError: a loss or logits that are not finite floats, a weight below 0 or not finite, a weight
            of 0 without a trained discriminator, or a graph behind one of the two alone, of which the other would
            teach nothing.
    """
    gan_weight = check_number(gan_weight, "student_loss: gan_weight, which comes behind distillation and fake_logits,")
    if not 0 <= gan_weight < float("inf"):
        raise ValueError(f"student_loss: gan_weight must be a number of at least 0, got {gan_weight}")
    if gan_weight == 0 and not discriminator_trained:
        raise ValueError(
            "student_loss: gan_weight is 0, and the ratio needs a discriminator all the same; train one by "
            "gan_discriminator_loss and say discriminator_trained=True"
        )
    distillation = check_finite(distillation, "student_loss: distillation", "see what it was made of")
    if distillation.ndim:
        raise ValueError(f"student_loss: distillation must be 0-dim, got shape {list(distillation.shape)}")
    if not gan_weight:
        return distillation
    term = gan_generator_loss(fake_logits)
    if distillation.requires_grad and not term.requires_grad:
        raise ValueError(
            "student_loss: fake_logits have no graph, so the GAN term would teach nothing; give the discriminator's "
            "logits of samples that are not detached"
        )
    if term.requires_grad and not distillation.requires_grad:
        raise ValueError(
            "student_loss: distillation has no graph, so the student would learn from the GAN term alone; give "
            "f_distill_loss samples that are not detached"
        )
    return distillation + gan_weight * term


def is_student_step(iteration: int, every: int = 5) -> bool:
    """Whether the student is updated in this iteration; otherwise fake score and discriminator are.

    Args:
        iteration: from 0, which is the student's. every: one of so many iterations is the student's; 1 leaves the
            others untrained, and is refused.

    Raises:
        ValueError: an iteration below 0, or ``every`` below 2. TypeError: one is no integer.
    """
    iteration = check_count(iteration, 0, "is_student_step: iteration")
    return iteration % check_count(every, 2, "is_student_step: every") == 0
