"""What the pages of symptoms show: a run for each, what is drawn of it, and what is done about it."""

from __future__ import annotations

from dataclasses import dataclass

from symptom_runs import Field, Planted, Pocket


@dataclass(frozen=True)
class Panel:
    """One axis of a picture.

    Attributes:
        courses: quantities, and their names in the legend; ``reward/*`` are all families.
        colour: of the first course, by its place in the pages' palette.
        smooth: whether a long course is drawn by its running mean.
    """

    title: str
    courses: dict[str, str]
    colour: int = 0
    smooth: bool = True


@dataclass(frozen=True)
class Do:
    """One remedy: what it does, the lever that says it in an engine's words, and the recipe that does it in ours."""

    text: str
    lever: str = ""
    value: float | None = None
    recipe: str = ""


@dataclass(frozen=True)
class Symptom:
    """A run, its picture and what is done about it.

    Attributes:
        supervised: takes the words of supervised trainers. fixed: a run without the fault, where the page shows one.
    """

    run: Field | Pocket | Planted
    panels: tuple[Panel, ...]
    do: tuple[Do, ...]
    supervised: bool = False
    fixed: Field | Pocket | Planted | None = None


ENTROPY = Panel("entropy (nats per token)", {"entropy": ""}, 0)
REWARD = Panel("reward (mean of a batch)", {"reward": ""}, 1)
LENGTH = Panel("length (tokens)", {"length": ""}, 2)
TRUNCATED = Panel("cut answers (share)", {"truncated": ""}, 3)
GRADIENT = Panel("gradient (norm)", {"grad_norm": ""}, 7, smooth=False)

SLOWER = Do("a tenth of the learning rate (here of 1e-6)", "lower_learning_rate", 1e-7)
NEAR = Do("hold the policy near a reference", "reference_kl", None, "grpo+reference-kl(beta=0.04)")
CLIPPED = Do("clip the gradient's norm harder", "clip_gradient", 0.5)
LIMIT = Do("raise the length limit until fewer than a tenth are cut", "raise_length_limit", 4096)
READ = Do("write completions down, and read some from both ends of the run", "log_completions")
MORE = Do("more completions a prompt: a rare success is then found", "more_completions", 16)

SYMPTOMS: dict[str, Symptom] = {
    "entropy-collapses": Symptom(
        Field("f02-verl-moe-collapse.log"),
        (ENTROPY, REWARD),
        (
            Do("pay a little for entropy", "entropy_bonus_on", None, "grpo+entropy-bonus(coef=0.02)"),
            Do("weigh down the tokens that change entropy most", "", None, "grpo+steer"),
            Do("hold the tokens that cost most entropy near the old policy", "kl_cov", None, "grpo+kl-cov(ratio=0.01)"),
            Do("let unlikely tokens rise: clip-higher", "clip_higher", None, "dapo"),
            Do("one optimiser step a batch", "fewer_updates"),
        ),
        fixed=Pocket("bonus-in-trl"),
    ),
    "falls-apart": Symptom(Pocket("learning-rate-too-high"), (REWARD, ENTROPY), (SLOWER, NEAR, CLIPPED)),
    "entropy-rises": Symptom(
        Pocket("entropy-bonus-too-large"),
        (ENTROPY, REWARD),
        (
            Do("take the entropy bonus out, or divide it by ten", "entropy_bonus_off"),
            Do("no upper clip wider than 0.28", "clip_higher", None, "dapo"),
            Do("a target instead of a push", "", None, "grpo+siren"),
        ),
        fixed=Pocket("as-usual"),
    ),
    "nan": Symptom(
        Field("f71-verl-nan-late.log"),
        (ENTROPY, TRUNCATED),
        (
            SLOWER,
            CLIPPED,
            Do("save often enough to go back to", "save_often"),
            Do("leave out steps whose gradient is not finite", "skip_nonfinite"),
        ),
        fixed=Planted("healthy", "verl"),
    ),
    "reward-up-accuracy-down": Symptom(
        Field("f62-trl-format-hacking"),
        (
            REWARD,
            Panel(
                "parts of the reward",
                {
                    "reward.part/accuracy_reward": "accuracy",
                    "reward.part/format_reward": "format",
                },
                2,
            ),
        ),
        (READ, Do("weigh the parts anew, what is right most", "reward_weights"), NEAR),
        fixed=Planted("healthy: format first", "trl"),
    ),
    "held-out-falls": Symptom(
        Planted("held-out score falls", "verl"),
        (Panel("score", {"reward": "training reward", "validation/math": "held-out score"}, 1),),
        (READ, NEAR, Do("save often, and keep the checkpoint from before", "save_often")),
    ),
    "nothing-learns": Symptom(
        Field("f73-verl-file-no-signal.jsonl"),
        (REWARD, ENTROPY),
        (
            Do("prompts that are sometimes right", "curriculum"),
            MORE,
            Do("drop groups whose rewards are all equal", "dynamic_sampling"),
        ),
        fixed=Planted("healthy: learns late", "verl"),
    ),
    "plateau": Symptom(
        Planted("plateau", "trl"),
        (REWARD, Panel("flat groups (share)", {"zero_variance": ""}, 3)),
        (
            MORE,
            Do("other prompts: those that are sometimes right", "curriculum"),
            Do("raise the learning rate, if it has decayed or was small (here to 2e-6)", "lower_learning_rate", 2e-6),
        ),
    ),
    "answers-are-cut": Symptom(
        Field("f01-verl-console-negative.log"),
        (TRUNCATED, LENGTH),
        (
            LIMIT,
            Do("leave cut answers out of the loss", "mask_truncated"),
            Do("let nearly too long answers cost", "overlong_penalty"),
        ),
    ),
    "nothing-ends": Symptom(
        Field("f45-trl-no-chat-template"),
        (TRUNCATED,),
        (
            Do("name the token that ends a turn", "stop_token"),
            READ,
            Do("only if they are cut in the middle of thinking: raise the limit", "raise_length_limit", 4096),
        ),
    ),
    "answers-get-longer": Symptom(
        Planted("reward pays for length", "trl"),
        (LENGTH, Panel("score", {"reward": "training reward", "validation": "held-out score"}, 1)),
        (
            READ,
            Do("let too long answers cost", "overlong_penalty"),
            Do("a loss that does not spare long wrong answers", "token_mean_loss", None, "dapo"),
        ),
    ),
    "answers-get-shorter": Symptom(Planted("answers shrink", "verl"), (LENGTH, REWARD), (READ, NEAR, SLOWER)),
    "kl-blows-up": Symptom(
        Planted("KL runs away", "trl"),
        (Panel("KL to the reference (nats)", {"kl": ""}, 6),),
        (SLOWER, NEAR, CLIPPED),
    ),
    "gradient-spikes": Symptom(
        Planted("gradient spikes", "verl"),
        (GRADIENT,),
        (CLIPPED, SLOWER, Do("look at the batch of the spike", "log_completions")),
    ),
    "clipping-saturates": Symptom(
        Planted("clip saturates", "trl"),
        (Panel("clipped tokens (share)", {"clip_share": ""}, 5),),
        (Do("one optimiser step a batch", "fewer_updates"), SLOWER, Do("a clip of 0.2 on both sides", "clip_standard")),
    ),
    "sampler-and-trainer-disagree": Symptom(
        Field("f20-open-instruct.csv"),
        (Panel("gap of log-probabilities (nats)", {"sampler_logp_gap": ""}, 4),),
        (
            Do("sample from the policy that is trained", "sample_from_policy"),
            Do("weigh by the ratio of both policies", "importance_correction"),
            Do("fresh weights before each generation", "fresh_weights"),
            Do("finer precision", "higher_precision"),
            Do("write the gap down", "log_sampler_gap"),
        ),
    ),
    "one-environment-fails": Symptom(
        Field("f61-env-fails-alone.jsonl"),
        (Panel("reward (mean of a batch)", {"reward": "all", "reward/*": ""}, 1),),
        (Do("leave the family out until it is mended", "keep_out_family"), READ),
    ),
    "one-part-is-not-learnt": Symptom(
        Planted("one part learnt alone", "trl"),
        (Panel("parts of the reward", {"reward.part/accuracy": "accuracy", "reward.part/format": "format"}, 2),),
        (Do("weigh the part that is not learnt more", "reward_weights"), MORE),
    ),
    "up-and-down": Symptom(Planted("up and down", "verl"), (REWARD,), (SLOWER, NEAR, CLIPPED)),
    "entropy-cannot-be": Symptom(
        Field("f35-verl-summed-entropy.log"),
        (Panel("“entropy” (nats)", {"entropy": ""}, 0), LENGTH),
        (
            Do("a sum: take the mean over tokens (verl's entropy follows its loss)", "token_mean_loss"),
            Do("0 throughout: let the engine compute it", "log_entropy"),
        ),
    ),
    "loss-diverges": Symptom(
        Planted("loss rises again", "trl"),
        (Panel("loss (nats per token)", {"loss": "training"}, 7),),
        (
            Do("a tenth of the learning rate (here of 2e-5)", "lower_learning_rate", 2e-6),
            CLIPPED,
            Do("warm the learning rate up", "warmup"),
        ),
        supervised=True,
    ),
    "overfits": Symptom(
        Planted("learnt by heart", "trl"),
        (Panel("loss (nats per token)", {"loss": "training", "eval_loss": "held out"}, 7),),
        (
            Do("fewer epochs", "fewer_epochs"),
            Do("weight decay", "weight_decay"),
            Do("evaluate often, and keep the best", "evaluate_often"),
        ),
        supervised=True,
    ),
}
