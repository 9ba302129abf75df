"""The loss: a clipped policy gradient of matching log-likelihoods, held to a reference and to its own recent past."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import check_finite, check_numbers, check_tensors
from ..velocities import Velocity, velocity_at
from .anchors import check_apart, check_trained
from .matching import WEIGHTINGS, at_least_single, check_path, interpolate, matching_logp

__all__ = ["PRESETS", "AWMLoss"]

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "awm-sd3": {"beta": 0.003, "beta_ema": 1.0, "weighting": "ghuber", "power": 0.25, "clip_range": 1.0}
}
"""Published settings, as arguments of `AWMLoss`: of Stable Diffusion 3.5 Medium on OCR."""

# Beyond it a ratio stands still, and has no gradient: e^20 is 5e8.
_LARGEST_EXPONENT = 20.0


class AWMLoss(nn.Module):
    """``mean max(-A r, -A clip(r, 1 ± clip_range)) + beta KL(ref) + beta_ema KL(average)``.

    ``r = exp(log π - log π_old)`` of `matching_logp`, with the same noise and time for both. The KLs are mean squared
    differences of velocities.

    Args:
        beta: weight of the pull to the reference, at least 0. A negative advantage pushes an error that has no upper
            end, so training can diverge: 0 warns; with the uniform weighting no velocity runs away, whatever the
            advantages, where ``beta`` is at least their ``max_abs``; less learns faster. Errors are means over
            elements, so the dimension does not count.
        beta_ema: weight of the pull to ``ema_model``, at least 0.
        clip_range: in (0, 1].
        weighting, power: of `matching_logp`. ``ghuber`` is the published runs'; it flattens large errors, and in few
            dimensions learns more slowly.
        loss_type: ``exp_first`` has a ratio for each time, ``sum_first`` one of each sample, from the mean over times.
        kl_weighting: ``uniform``, or ``elbo``, which divides by 2 std² with ``std = 0.7 √(t / (1 - min(t, 0.99)))``,
            for times above 0.

    Raises:
        TypeError: a knob that is no number.
        ValueError: a knob out of range.

    Source: Advantage Weighted Matching (arXiv 2509.25050), released code.
    """

    def __init__(
        self,
        beta: float = 0.1,
        beta_ema: float = 0.0,
        clip_range: float = 1.0,
        weighting: str = "uniform",
        power: float = 0.25,
        loss_type: str = "exp_first",
        kl_weighting: str = "uniform",
    ) -> None:
        super().__init__()
        check_numbers(beta=beta, beta_ema=beta_ema, clip_range=clip_range, power=power)
        if not (0 <= beta < float("inf") and 0 <= beta_ema < float("inf")):
            raise ValueError(f"beta and beta_ema are finite and at least 0; they are {beta} and {beta_ema}")
        if not 0 < clip_range <= 1:
            raise ValueError(f"clip_range must lie in (0, 1]; it is {clip_range}")
        if not 0 < power <= 1:
            raise ValueError(f"power must lie in (0, 1]; it is {power}")
        for name, value, known in (
            ("weighting", weighting, tuple(WEIGHTINGS)),
            ("loss_type", loss_type, ("exp_first", "sum_first")),
            ("kl_weighting", kl_weighting, ("uniform", "elbo")),
        ):
            if value not in known:
                raise ValueError(f"{name} {value!r} is not known; there are {', '.join(map(repr, known))}")
        if beta == 0:
            warnings.warn(
                "AWMLoss(beta=0) has no pull to a reference: negative advantages can make it diverge", stacklevel=2
            )
        self.beta, self.beta_ema, self.clip_range = beta, beta_ema, clip_range
        self.weighting, self.power = weighting, power
        self.loss_type, self.kl_weighting = loss_type, kl_weighting

    def extra_repr(self) -> str:
        """Every knob."""
        knobs = ("beta", "beta_ema", "clip_range", "weighting", "power", "loss_type", "kl_weighting")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in knobs)

    @classmethod
    def preset(cls, name: str) -> AWMLoss:
        """The loss of published runs, one of `PRESETS`."""
        if name not in PRESETS:
            raise ValueError(f"preset {name!r} is not known; there are {', '.join(map(repr, PRESETS))}")
        return cls(**PRESETS[name])

    def forward(
        self,
        model: Velocity,
        ref_model: Velocity | None,
        x0: Tensor,
        advantages: Tensor,
        t: Tensor,
        noise: Tensor,
        old_logp: Tensor | None = None,
        ema_model: Velocity | None = None,
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss, and what it was made of.

        Args:
            model: the velocity that is trained. It is called once, with ``B T`` rows, sample by sample: what it is
                conditioned on is repeated by ``repeat_interleave(T, 0)``.
            ref_model: the pretrained one, such as ``copy.deepcopy(model).requires_grad_(False)``; may be None where
                ``beta`` is 0.
            x0: ``[B, *]`` samples, of any sampler, floating point. advantages: ``[B]``, from `group_advantages`.
            t: ``[B, T]`` or ``[B]``, from `training_times`; models get them in the dtype that they have here.
            noise: ``[B, T, *]`` or ``[B, *]``, standard normal.
            old_logp: ``[B, T]`` (``[B, 1]`` for ``t`` ``[B]``), ``log_prob`` under the policy that drew ``x0``, of the
                same ``t`` and ``noise``; None for the first step after drawing, whose ratios are 1.
            ema_model: an average of the policy's past; may be None where ``beta_ema`` is 0.

        Returns:
            The loss, a scalar of the velocity's dtype (float32 at least), and numbers of this batch: ``policy_loss``,
            ``kl_ref``, ``kl_ema``, ``matching_loss``, ``ratio``, ``clip_fraction`` (of ratios that count no more),
            ``capped_fraction`` (ratios above e^20). Where ratios are 1, ``policy_loss`` is minus the mean advantage,
            about 0, whatever is learnt: its gradient is what counts.

        Raises:
            TypeError: an argument, or what a model returns, that is no tensor.
            ValueError: shapes that do not fit, NaN or infinity in any argument or velocity, a model that is asked for
                and lacks; a ``ref_model`` or ``ema_model`` that is the model or shares what it trains; while gradients
                are on, a frozen module as ``model``, or one without gradient beside a trainable other; velocities or
                advantages so large that the loss overflows.
        """
        for name, weight, other in (("ref_model", self.beta, ref_model), ("ema_model", self.beta_ema, ema_model)):
            if weight and other is None:
                raise ValueError(f"{name} is needed where {'beta' if name == 'ref_model' else 'beta_ema'} is not 0")
            if weight:
                check_apart(model, other, name)
        rows = _Rows(x0, t, noise)
        check_tensors(advantages=advantages)
        if advantages.shape != (len(x0),):
            raise ValueError(
                f"advantages are one number a sample, [{len(x0)}]; their shape is {list(advantages.shape)}"
            )
        check_finite("advantages", advantages)
        velocity = rows.velocity(model, "the model's velocity")
        check_trained(velocity, model, ref_model, ema_model)
        logp = rows.logp(velocity, self.weighting, self.power)
        policy, stats = self._policy_loss(logp, advantages.detach(), old_logp)
        loss = policy
        for name, weight, other in (("kl_ref", self.beta, ref_model), ("kl_ema", self.beta_ema, ema_model)):
            if weight and other is not None:
                with torch.no_grad():
                    anchor = rows.velocity(other, f"{name[3:]}_model's velocity")
                kl = self._kl(velocity, anchor, rows.t)
                loss = loss + weight * kl
                stats[name] = float(kl.detach())
        loss = loss.to(at_least_single(velocity))
        if not bool(torch.isfinite(loss.detach())):
            raise ValueError(
                f"the loss overflows to {float(loss.detach())}: velocities are up to "
                f"{float(velocity.detach().abs().max()):g}, advantages up to {float(advantages.abs().max()):g}"
            )
        return loss, {**stats, "matching_loss": rows.matching_loss(velocity.detach())}

    def log_prob(self, model: Velocity, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """`matching_logp` of samples at their times, ``[B, T]``, differentiable; arguments as of `forward`.

        What ``old_logp`` takes: under `torch.no_grad`, or its graph lives as long as it is kept.
        """
        rows = _Rows(x0, t, noise)
        return rows.logp(rows.velocity(model, "the model's velocity"), self.weighting, self.power)

    def _policy_loss(
        self, logp: Tensor, advantages: Tensor, old_logp: Tensor | None
    ) -> tuple[Tensor, dict[str, float]]:
        check_finite("the matching log-likelihood", logp.detach())
        if old_logp is None:
            old_logp = logp
        check_tensors(old_logp=old_logp)
        if old_logp.shape != logp.shape:
            raise ValueError(f"old_logp has shape {list(old_logp.shape)}, log-likelihoods here {list(logp.shape)}")
        old = old_logp.detach().to(logp)
        check_finite("old_logp", old)
        a = advantages.to(logp)[:, None]
        difference = logp - old
        if self.loss_type == "sum_first":
            difference = difference.mean(1, keepdim=True)
        ratio = difference.clamp(max=_LARGEST_EXPONENT).exp()
        clipped = ratio.clamp(1 - self.clip_range, 1 + self.clip_range)
        loss = torch.maximum(-a * ratio, -a * clipped).mean()
        over = torch.where(a > 0, ratio > 1 + self.clip_range, (ratio < 1 - self.clip_range) & (a < 0))
        return loss, {
            "policy_loss": float(loss.detach()),
            "ratio": float(ratio.detach().mean()),
            "clip_fraction": float(over.double().mean()),
            "capped_fraction": float((difference > _LARGEST_EXPONENT).double().mean()),
        }

    def _kl(self, velocity: Tensor, anchor: Tensor, t: Tensor) -> Tensor:
        wide = at_least_single(velocity)
        squares = (velocity.to(wide) - anchor.to(wide)).square().flatten(1).mean(1)
        if self.kl_weighting == "elbo":
            if bool((t <= 0).any()):
                raise ValueError("kl_weighting 'elbo' divides by the time: a time of 0 has no weight")
            squares = squares * (1 - t.clamp(max=0.99)) / (2 * 0.7**2 * t)
        return squares.mean()


class _Rows:
    """Samples and their times side by side, one a row: ``B * T`` of them."""

    def __init__(self, x0: Tensor, t: Tensor, noise: Tensor) -> None:
        check_tensors(x0=x0, t=t, noise=noise)
        if t.ndim == 1:
            t, noise = t[:, None], noise[:, None]
        if t.ndim != 2 or x0.ndim < 2 or noise.shape != (*t.shape, *x0.shape[1:]):
            raise ValueError(
                f"x0 [B, *], t [B, T] and noise [B, T, *] belong together; their shapes are {list(x0.shape)}, "
                f"{list(t.shape)} and {list(noise.shape)}"
            )
        self.shape = t.shape
        self.t, self.noise = t.flatten(), noise.flatten(0, 1)
        self.views = x0.detach()[:, None].expand_as(noise)
        check_path(self.x0, self.noise, self.t)
        check_finite("x0", x0.detach())
        check_finite("noise", noise.detach())

    @property
    def x0(self) -> Tensor:
        """``[B * T, *]``, copied anew: it is not kept while models run."""
        return self.views.flatten(0, 1)

    def velocity(self, model: Velocity, name: str) -> Tensor:
        """``[B * T, *]``."""
        return velocity_at(model, interpolate(self.x0, self.noise, self.t), self.t, name)

    def matching_loss(self, velocity: Tensor) -> float:
        """The plain mean squared error."""
        wide = at_least_single(velocity)
        return float((velocity.to(wide) - (self.noise - self.x0)).square().mean())

    def logp(self, velocity: Tensor, weighting: str, power: float) -> Tensor:
        """``[B, T]``."""
        return matching_logp(velocity, self.x0, self.noise, self.t, weighting, power).reshape(self.shape)
