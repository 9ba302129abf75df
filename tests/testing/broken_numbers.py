"""Methods whose numbers are wrong, each in one way, and the check that catches it."""

from dataclasses import replace

import torch

from entrokit.rlvr import Weighting

from .tether import Tether


class LogsMeanOfColumns(Tether):
    """Over micro-batches, tokens then weigh unlike."""

    def weight(self, update, clip, prepared):
        gap = self.gap(update, prepared).detach().abs()
        return Weighting(weight=self.weights(gap, update), metrics={"gap": gap.sum() / update.trained.any(1).sum()})


class ThresholdOfMicroBatch(Tether):
    def weights(self, gap, update):
        return (gap <= gap[update.trained].median()).to(gap.dtype) if update.trained.any() else gap


class LogsLastMicroBatch(Tether):
    def penalty(self, update, prepared):
        self.mean = float(self.gap(update, prepared).detach().sum())
        return super().penalty(update, prepared)


class ReadsEnvironment(Tether):
    def prepare(self, rollouts, advantages, context):
        mean = self.batch_mean(rollouts.behaviour.entropy, rollouts.real, context)
        return {"mean": mean, "anchor": mean}


class RemembersCurrentPadding(Tether):
    def weight(self, update, clip, prepared):
        gap = update.trained.to(update.advantages.dtype).mean()
        return replace(super().weight(update, clip, prepared), metrics={"gap": gap})


class ReadsPadding(Tether):
    def advantage(self, rollouts, advantages, context):
        return advantages / rollouts.tokens.to(advantages.dtype).add(1).mean(1, keepdim=True)


class CountsColumns(Tether):
    def advantage(self, rollouts, advantages, context):
        return advantages / rollouts.tokens.shape[1]


class CountsRows(Tether):
    def advantage(self, rollouts, advantages, context):
        return advantages * torch.arange(len(rollouts), dtype=advantages.dtype)[:, None]


class GroupsByNumber(Tether):
    def advantage(self, rollouts, advantages, context):
        return advantages * (1 + rollouts.group[:, None])


class MeanOfThisRank(Tether):
    def batch_mean(self, entropy, trained, context):
        return entropy[trained].sum() / trained.sum().clamp(min=1)


class CountsTrajectoriesOfThisRank(Tether):
    """By the numbers that an engine gives to episodes, which differ from rank to rank."""

    def advantage(self, rollouts, advantages, context):
        return advantages if rollouts.trajectory is None else advantages / len(rollouts.trajectory.unique())


class RemembersItsRank(Tether):
    def observe(self, metrics, context):
        self.mean = metrics["tether/mean"] + 0.01 * context.rank


class ReducesOnOneRank(Tether):
    def reward(self, rollouts, rewards, context):
        if context.rank == 0:
            context.reduce(rewards.sum())
        return rewards


class ReducesAfterwards(Tether):
    def remember(self, rollouts, advantages, context):
        if context.rank == 0:
            context.reduce(advantages.sum())


class Normalises(Tether):
    def weights(self, gap, update):
        return gap / gap.sum().clamp(min=1e-6)


class _DoubledSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx, slope):
        (x,) = ctx.saved_tensors
        return 4 * x * slope


class WrongBackward(Tether):
    def penalty(self, update, prepared):
        return self.pull * _DoubledSlope.apply(self.gap(update, prepared))


class CountsInDouble(Tether):
    def penalty(self, update, prepared):
        return super().penalty(update, prepared).double()


class LosesSmallGaps(Tether):
    def penalty(self, update, prepared):
        gap = self.gap(update, prepared)
        return self.pull * ((gap + 1e6) - 1e6) ** 2


class MeanOfNothing(Tether):
    def remember(self, rollouts, advantages, context):
        self.mean = float(rollouts.behaviour.entropy[rollouts.trained].mean())


class DeviationOfOne(Tether):
    def advantage(self, rollouts, advantages, context):
        return advantages / (advantages.sum(1).std() + 1e-6)


class DividesByRange(Tether):
    def reward(self, rollouts, rewards, context):
        kept = rewards[~rewards.isnan()]
        return rewards / (kept.max() - kept.min()) if len(kept) > 1 else rewards


class InverseProbability(Tether):
    def weights(self, gap, update):
        return (-2 * update.current.logp.detach()).exp()


# Which check catches whom, and what it says that it found.
BROKEN = [
    ("cut", LogsMeanOfColumns, "micro-batches against 1: the metrics, tether/gap"),
    ("cut", ThresholdOfMicroBatch, "in 2 micro-batches against 1: the loss"),
    ("cut", LogsLastMicroBatch, "in 2 micro-batches against 1: the state, tether, mean"),
    ("untrained_tokens", ReadsEnvironment, "with other statistics at environment tokens"),
    ("padding", ReadsPadding, "three more columns of padding: the loss"),
    ("padding", CountsColumns, "three more columns of padding: the loss"),
    ("padding", RemembersCurrentPadding, "three more columns of padding: the metrics, tether/gap"),
    ("order", CountsRows, "rows in another order: the loss"),
    ("order", GroupsByNumber, "rows in another order"),
    ("ranks", MeanOfThisRank, "step 0 on two ranks: prepared tether/mean .*context.gather or context.reduce"),
    ("ranks", CountsTrajectoriesOfThisRank, "step 1 on two ranks: advantages"),
    ("ranks", RemembersItsRank, "state of rank 1, tether, mean"),
    ("ranks", ReducesOnOneRank, "ranks did not make the same calls"),
    ("ranks", ReducesAfterwards, "ranks did not make the same calls"),
    ("separable", Normalises, "statistics of other tokens move the gradient"),
    ("gradient", WrongBackward, "along a direction in entropy the loss changes by"),
    ("float32", CountsInDouble, "the loss of a batch in float32 is torch.float64"),
    ("float32", LosesSmallGaps, "in float32 is off by up to"),
    ("nothing_trained", MeanOfNothing, "the state .* is not finite"),
    ("small_batches", DeviationOfOne, "a single row: the loss is not finite"),
    ("unusual_rewards", DividesByRange, "every completion right"),
    ("extreme_statistics", InverseProbability, "is not finite"),
]
