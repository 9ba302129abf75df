"""What is pasted against a symptom, engine by engine: TRL, verl, prime-rl, Tinker, and a loop of one's own."""

from __future__ import annotations

import re
import warnings

from symptom_list import Do

from entrokit.diagnose.levers.reading import Levers
from entrokit.rlvr import recipe

TITLES = {"trl": "TRL", "verl": "verl", "prime-rl": "prime-rl", "tinker": "Tinker", "loop": "your own loop"}
BOTH, ALL = ("trl", "verl"), tuple(TITLES)

# Engines that are programs of the reader's own: what stands in the place of an option; value is the lever's number.
WRITTEN = {
    "tinker": {
        "lower_learning_rate": "`tinker.AdamParams(learning_rate={value})`",
        "clip_gradient": "`tinker.AdamParams(grad_clip_norm={value})`",
        "save_often": '`client.save_state(name=f"step-{step}")` every 20 steps',
        "skip_nonfinite": "wait for the result of `forward_backward_custom`, and leave `optim_step` out where its "
        "loss is not finite",
        "fewer_updates": "`TinkerRecipe(spec, updates_per_batch=1)`",
        "entropy_bonus_off": "there is none: the API gives log-probabilities alone",
        "reward_weights": "weigh the parts where your environment adds them up",
        "curriculum": "leave out prompts by a success rate measured before, in your `sample_groups`",
        "more_completions": "{value} rollouts a prompt, in your `sample_groups`",
        "dynamic_sampling": "the cookbook's `remove_constant_reward_groups`, before `TinkerRecipe.data`",
        "log_completions": "write your groups down as JSON lines [that diagnose reads](diagnose.md#what-it-reads)",
    },
    "loop": {
        "lower_learning_rate": "`torch.optim.AdamW(model.parameters(), lr={value})`",
        "clip_gradient": "`norm = torch.nn.utils.clip_grad_norm_(model.parameters(), {value})`",
        "save_often": '`torch.save(model.state_dict(), f"step-{step}.pt")` every 20 steps',
        "skip_nonfinite": "step only where what `clip_grad_norm_` returns is finite: `torch.isfinite(norm)`",
        "fewer_updates": "one `optimizer.step()` for what was sampled at once",
        "entropy_bonus_off": "take the term out of the loss",
        "reward_weights": "weigh the parts where you add them up",
        "curriculum": "leave out prompts by a success rate measured before",
        "more_completions": "{value} completions a prompt",
        "dynamic_sampling": "leave out groups whose rewards are all equal before the loss, and sample more prompts",
        "log_completions": "write them down as JSON lines [that diagnose reads](diagnose.md#what-it-reads)",
    },
}
# What methods are refused for, on the page that says so.
REFUSED = {
    "prime-rl": "not carried: [a loss there is shown one sequence's log-probabilities]"
    "(prime-rl.md#what-is-refused-and-why)",
    "tinker": "not carried: [the API gives log-probabilities alone](tinker.md#what-is-refused)",
}


def told(do: Do, engine: str, *, supervised: bool = False) -> str:
    """One remedy in the words of one engine; links are from the docs' root."""
    ours = _of_recipe(do.recipe, engine)
    words = [] if ours is None else [ours]
    if engine in WRITTEN:
        written = WRITTEN[engine].get(do.lever, "") if ours is None else ""
        words += [written.replace("{value}", f"{do.value:g}" if do.value is not None else "")] if written else []
    elif do.lever:
        words += _option(Levers.of(engine, supervised=supervised), do, alone=ours is None)
    return ", or ".join(words) or REFUSED[engine]


def _option(levers: Levers, do: Do, *, alone: bool) -> list[str]:
    """The engine's own option; where there is none, what is closest, unless our own recipe stands before it."""
    said = levers.say(do.lever, value=do.value)
    # The levers' note begins with engine and version where there is no such option; here the line says the engine.
    note = re.sub(r"^[\w-]+ [\d.]+: ", "", said.note or "")
    if note == (said.note or ""):
        return ["; ".join([f"`{said.write}`"] * bool(said.write) + [note] * bool(note))]
    return [f"{note}: `{said.write}`" if said.write else note] if alone else []


def _of_recipe(spec: str, engine: str) -> str | None:
    """Our own recipe there; None where there is none, or where the engine cannot carry it."""
    if not spec:
        return None
    method = spec.rpartition("+")[2].partition("(")[0]
    if engine == "trl":
        return f'[`EntropyGRPOTrainer`](tutorials/trl.md) with `recipe="{spec}"`'
    if engine == "loop":
        return f'[`policy_loss("{spec}", …)`](own-loop.md)'
    if engine == "verl":
        if method == "siren":
            return "[not available](verl.md): its engines give no statistics of the nucleus"
        # verl's own KL is what its reference worker is started for.
        return (
            None if method == "reference-kl" else f"`actor_rollout_ref.actor.policy_loss.loss_mode=entrokit-{method}`"
        )
    if not _carried(spec, engine):
        return None
    if engine == "prime-rl":
        return f"`--trainer.loss.type custom --trainer.loss.import-path entrokit.engines.prime_rl.recipes.{spec}`"
    reference = ", reference=…" if any(i.needs_reference for i in recipe(spec).interventions) else ""
    return f'[`TinkerRecipe("{spec}"{reference})`](tinker.md)'


def _carried(spec: str, engine: str) -> bool:
    from entrokit.engines.prime_rl import loss_of
    from entrokit.engines.tinker.carried import refuse

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loss_of(spec) if engine == "prime-rl" else refuse(recipe(spec), reference=True, max_length=1)
    except ValueError:
        return False
    return True
