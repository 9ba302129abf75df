"""What to do about the causes that no recipe mends."""

from __future__ import annotations

from .impossible import Kind
from .remedies import Remedy


def broken_numbers(step: float) -> tuple[Remedy, ...]:
    return (
        Remedy(f"resume from a checkpoint before step {step:g}: nothing after it is worth keeping"),
        Remedy("lower the learning rate, warm it up, and clip the gradient's norm"),
        Remedy("skip steps whose gradient is not finite, and compute logits and losses in fp32 or bf16, not fp16"),
    )


def impossible_entropy(kind: Kind) -> tuple[Remedy, ...]:
    if kind == "summed":
        return (Remedy("log the mean over tokens, or divide by the mean length of the completions"),)
    if kind == "negative":
        return (Remedy("log the entropy itself, over completion tokens alone: its mask must leave out padding"),)
    if kind in ("zero", "constant"):
        return (Remedy("switch the metric on, and write at least four digits"),)
    return (Remedy("log the mean over tokens, in nats, of the distribution that was sampled from"),)


def never_ends() -> tuple[Remedy, ...]:
    return (
        Remedy("look at one completion's end: is the end-of-turn token there, and is it a stop token of the sampler?"),
        Remedy("apply the model's chat template to prompts; a base model needs a stop string or a template of its own"),
        Remedy("only then raise the length limit"),
    )


def too_hard() -> tuple[Remedy, ...]:
    return (
        Remedy("choose prompts that are sometimes right: easier ones first, or a short supervised start"),
        Remedy("sample more completions a prompt, and drop groups whose rewards are all equal"),
        Remedy("score some completions by hand: does the reward function find the right ones?"),
    )


def signal_lost() -> tuple[Remedy, ...]:
    return (
        Remedy("drop groups whose rewards are all equal, and sample until a batch is full (dynamic sampling)"),
        Remedy("leave out the prompts that are always or never solved"),
        Remedy("sample more completions a prompt"),
    )


def too_easy() -> tuple[Remedy, ...]:
    return (
        Remedy("stop here, or go on with harder prompts: leave out those that are always solved"),
        Remedy("drop groups whose rewards are all equal: most of the sampling is spent on them"),
    )


def reward_hacking(part: str) -> tuple[Remedy, ...]:
    return (
        Remedy(f"read completions from before and after: what does the reward pay for that {part} does not?"),
        Remedy(f"give {part} more weight, or pay the other parts only where it is earned"),
        Remedy("keep the checkpoint from before"),
    )


def reward_imbalance(part: str) -> tuple[Remedy, ...]:
    return (
        Remedy(f"lower the weight of {part} now that it is learnt, or make it a condition instead of a reward"),
        Remedy("scale the parts so that their spreads within a group are alike"),
    )


def length_growth() -> tuple[Remedy, ...]:
    return (
        Remedy("measure on held-out prompts before going on: the training reward may pay for length alone"),
        Remedy("a penalty on overlong completions, or the same weight for every token (no mean per completion)"),
        Remedy("look for repetition at the ends of completions"),
    )


def length_collapse() -> tuple[Remedy, ...]:
    return (
        Remedy("read the short completions: does the reward pay for answers without work, or punish length too much?"),
        Remedy("lower the length penalty, and keep the checkpoint from before"),
    )


def repetition() -> tuple[Remedy, ...]:
    return (
        Remedy("end completions that repeat themselves, and give them no reward"),
        Remedy("look at the completions' ends; a length limit that is met by repeating is no length limit"),
    )


def kl_blow_up() -> tuple[Remedy, ...]:
    return (
        Remedy("go back to a checkpoint from before, with a smaller learning rate"),
        Remedy("raise the weight of the KL term, or reset the reference to a good checkpoint"),
        Remedy("take fewer updates per generation batch"),
    )


def gradient_spikes() -> tuple[Remedy, ...]:
    return (
        Remedy("clip the gradient's norm (1.0 is usual; near the median of what is logged is safer)"),
        Remedy("find the batches: very long or cut completions, and ratios far from 1, are the first suspects"),
        Remedy("lower the learning rate, or warm it up"),
    )


def clip_saturation() -> tuple[Remedy, ...]:
    return (
        Remedy("lower the learning rate, or take fewer updates per generation batch: most tokens are off the policy"),
        Remedy("check that the old log-probabilities are of the policy that sampled"),
        Remedy("a wider upper clip helps only where the updates are not too many"),
    )


def plateau() -> tuple[Remedy, ...]:
    return (
        Remedy("more completions a prompt and larger batches: what is left to learn is smaller than their noise"),
        Remedy("raise the learning rate, or begin again from here with a fresh schedule if it has decayed"),
        Remedy("other prompts: those that are sometimes right"),
    )


def plateau_of_loss() -> tuple[Remedy, ...]:
    return (
        Remedy(
            "check that parameters are trained at all (frozen layers, an adapter that is not active) and labels masked"
        ),
        Remedy("raise the learning rate"),
    )


def instability() -> tuple[Remedy, ...]:
    return (
        Remedy("lower the learning rate, and take larger batches"),
        Remedy("hold the policy near a reference by a KL term"),
        Remedy("look at the prompts of the falls: batches of another kind move the mean as well"),
    )


def stale_weights() -> tuple[Remedy, ...]:
    return (
        Remedy("check that the sampler gets the trainer's weights after every update: the gap grows with the training"),
        Remedy("lower the number of steps that the sampler may lag behind"),
        Remedy("weigh by the ratio of both policies until it is mended"),
    )


def loss_divergence() -> tuple[Remedy, ...]:
    return (
        Remedy("go back to a checkpoint from before, with a smaller learning rate and a warm-up"),
        Remedy("clip the gradient's norm, and look at the batches where the loss jumped"),
    )


def overfitting() -> tuple[Remedy, ...]:
    return (
        Remedy("keep the checkpoint of the lowest evaluation loss, and stop there"),
        Remedy("fewer epochs, more data, or a smaller learning rate"),
    )
